//! Which options are in which section of which file.

use crate::OptionDeclaration;

/// A configuration file.
#[derive(Debug, Clone, Copy)]
pub struct FileDeclaration {
    /// Its name, such as `object-server.conf`.
    pub name: &'static str,
    /// Its subject.
    pub sentence: &'static str,
    /// Options that every section of a role has, and that samples show in `[DEFAULT]`.
    pub common: &'static [&'static [OptionDeclaration]],
    /// Its sections.
    pub sections: &'static [SectionDeclaration],
}

/// A section of a file.
#[derive(Debug, Clone, Copy)]
pub struct SectionDeclaration {
    /// Its name, or what several have in common: `storage-policy:<index>`.
    pub name: &'static str,
    /// Its subject.
    pub sentence: &'static str,
    /// Its options.
    pub groups: &'static [&'static [OptionDeclaration]],
    /// Defaults of common options that are this section's, as they would be in the file.
    pub defaults: &'static [(&'static str, &'static str)],
    /// Lines of the sample that have an effect, such as a pipeline.
    pub lines: &'static [&'static str],
    /// Whether it inherits the common options.
    pub is_role: bool,
}

impl SectionDeclaration {
    /// A section of a server or daemon, which has the file's common options, too.
    pub const fn role(
        name: &'static str,
        sentence: &'static str,
        groups: &'static [&'static [OptionDeclaration]],
    ) -> Self {
        Self { name, sentence, groups, defaults: &[], lines: &[], is_role: true }
    }

    /// A section with its own options only.
    pub const fn plain(
        name: &'static str,
        sentence: &'static str,
        groups: &'static [&'static [OptionDeclaration]],
    ) -> Self {
        Self { is_role: false, ..Self::role(name, sentence, groups) }
    }

    /// Sets lines of the sample.
    pub const fn with_lines(self, lines: &'static [&'static str]) -> Self {
        Self { lines, ..self }
    }

    /// Sets defaults that are this section's.
    pub const fn with_defaults(self, defaults: &'static [(&'static str, &'static str)]) -> Self {
        Self { defaults, ..self }
    }

    /// Its own options.
    pub fn options(&self) -> impl Iterator<Item = &'static OptionDeclaration> + use<> {
        self.groups.iter().copied().flatten()
    }

    /// Whether this declares a section of that name. Swift's samples spell some filters with `_` and
    /// some with `-`: both are one.
    pub fn is_named(&self, name: &str) -> bool {
        let dashed = |letter: char| if letter == '_' { '-' } else { letter };
        match self.name.split_once('<') {
            None if self.name.starts_with("filter:") => {
                self.name.chars().map(dashed).eq(name.chars().map(dashed))
            }
            None => self.name == name,
            Some((prefix, _)) => name.len() > prefix.len() && name.starts_with(prefix),
        }
    }
}

/// How an option of a section is known.
#[derive(Debug, Clone, Copy)]
pub enum OptionLookup {
    /// It is declared for the section.
    Declared(&'static OptionDeclaration),
    /// It is declared, but for another section.
    Elsewhere(&'static str),
    /// It is not declared.
    Unknown,
}

impl FileDeclaration {
    /// The declaration of a section.
    pub fn section(&self, name: &str) -> Option<&'static SectionDeclaration> {
        self.sections.iter().find(|section| section.is_named(name))
    }

    /// The options that every role has.
    pub fn common(&self) -> impl Iterator<Item = &'static OptionDeclaration> + use<> {
        self.common.iter().copied().flatten()
    }

    /// The options that a section may have.
    pub fn options_of(
        &self,
        section: &SectionDeclaration,
    ) -> impl Iterator<Item = &'static OptionDeclaration> + use<> {
        section.options().chain(self.common().filter({
            let is_role = section.is_role;
            move |_| is_role
        }))
    }

    /// Every option of the file; `[DEFAULT]` may have any of them.
    pub fn all(&self) -> impl Iterator<Item = &'static OptionDeclaration> + use<> {
        self.common().chain(self.sections.iter().flat_map(SectionDeclaration::options))
    }

    /// How the option of a section is known. `[DEFAULT]` is not a declared section: see [`Self::all`].
    pub fn lookup(&self, section: &SectionDeclaration, option: &str) -> OptionLookup {
        if let Some(found) = self.options_of(section).find(|known| known.is_named(option)) {
            return OptionLookup::Declared(found);
        }
        let has = |other: &&SectionDeclaration| other.options().any(|known| known.name == option);
        match self.sections.iter().find(has) {
            Some(other) => OptionLookup::Elsewhere(other.name),
            None => OptionLookup::Unknown,
        }
    }

    /// The default of an option in a section, as it would be in the file.
    pub fn default_of(
        &self,
        section: &SectionDeclaration,
        option: &OptionDeclaration,
    ) -> Option<String> {
        // A daemon has the addresses and devices of its server.
        let server = self.sections.iter().find(|section| section.is_role);
        let mut sections =
            [Some(section), server.filter(|_| section.is_role)].into_iter().flatten();
        let own = sections
            .find_map(|section| section.defaults.iter().find(|(name, _)| *name == option.name));
        match own {
            Some((_, text)) => Some((*text).to_owned()),
            None => option.default.text().map(String::from),
        }
    }
}
