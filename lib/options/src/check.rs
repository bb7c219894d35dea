//! Checks the options of a file against their declarations.

use std::collections::BTreeMap;

use crate::{
    FileDeclaration, OptionDeclaration, OptionLookup, SectionDeclaration, SwiftFile, nearest,
    swift_file,
};

/// An option as a file has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GivenOption<'a> {
    /// The section in which it is.
    pub section: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its value.
    pub value: &'a str,
    /// The file.
    pub file: &'a str,
    /// The line, from 1.
    pub line: usize,
}

/// What is wrong with an option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OptionProblem {
    /// The value is not as declared; with what was expected.
    Value(String),
    /// The name is not known, with the nearest known one.
    Unknown(Option<String>),
    /// The section is not known, with the nearest known one.
    UnknownSection(Option<String>),
    /// The option has an effect in another section only.
    Elsewhere(&'static str),
    /// Swift has the option; here it has no effect.
    WithoutEffect,
}

/// An option with a problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionFinding<'a> {
    /// The option.
    pub given: GivenOption<'a>,
    /// What is wrong.
    pub problem: OptionProblem,
    /// Whether the value must not be shown.
    pub is_secret: bool,
}

impl OptionFinding<'_> {
    /// Whether an operator must change something: a value that is refused, or a name that is probably misspelt.
    pub fn is_error(&self) -> bool {
        matches!(
            self.problem,
            OptionProblem::Value(_)
                | OptionProblem::Unknown(Some(_))
                | OptionProblem::UnknownSection(Some(_))
        )
    }

    /// The finding in words, without the file and line.
    pub fn text(&self) -> String {
        let GivenOption { section, name, value, .. } = self.given;
        let value = if self.is_secret { "(hidden)" } else { value };
        let mean = |near: &Option<String>| {
            near.as_ref().map_or_else(String::new, |near| format!("; did you mean {near}?"))
        };
        match &self.problem {
            OptionProblem::Value(expected) => {
                format!("[{section}] {name} = {value:?}: expected {expected}")
            }
            OptionProblem::Unknown(near) => {
                format!("[{section}] {name}: not known, has no effect{}", mean(near))
            }
            OptionProblem::UnknownSection(near) => {
                format!("[{section}]: section not known, has no effect{}", mean(near))
            }
            OptionProblem::Elsewhere(other) => {
                format!("[{section}] {name}: has no effect here; it is an option of [{other}]")
            }
            OptionProblem::WithoutEffect => {
                format!("[{section}] {name}: an option of Swift without effect here")
            }
        }
    }
}

/// The name under which a section is declared: a filter's is that of its entry point.
fn canonical(section: &str, entry: Option<&str>) -> String {
    let Some(name) = section.strip_prefix("filter:") else { return section.to_owned() };
    let name = match entry {
        Some(entry) if entry.starts_with("egg:") => {
            entry.rsplit_once('#').map_or(name, |(_, name)| name)
        }
        _ => name,
    };
    let name = name.trim().replace('_', "-");
    let name = match name.as_str() {
        "swift3" => "s3api",
        "memcache" => "cache",
        name => name,
    };
    format!("filter:{name}")
}

/// The options of Paste Deploy, which every section may have.
const PASTE: [&str; 4] =
    ["use", "paste.filter_factory", "paste.app_factory", "paste.composite_factory"];

/// Checks the options of a file, in the order in which they were given.
pub fn check<'a>(
    file: &FileDeclaration,
    given: impl IntoIterator<Item = GivenOption<'a>>,
) -> Vec<OptionFinding<'a>> {
    let given: Vec<GivenOption<'a>> = given.into_iter().collect();
    let entries: BTreeMap<&str, &str> = given
        .iter()
        .filter(|option| option.name == "use")
        .map(|option| (option.section, option.value))
        .collect();
    let checker = Checker { file, swift: swift_file(file.name) };
    let mut findings = Vec::new();
    let mut unknown: Vec<&str> = Vec::new();
    for option in given {
        let name = canonical(option.section, entries.get(option.section).copied());
        let problem = match checker.section_problem(&name) {
            // Once for each section.
            Some(_) if unknown.contains(&option.section) => None,
            Some(problem) => {
                unknown.push(option.section);
                Some((problem, false))
            }
            None => checker.problem(&name, &option),
        };
        if let Some((problem, is_secret)) = problem {
            findings.push(OptionFinding { given: option, problem, is_secret });
        }
    }
    findings
}

struct Checker<'a> {
    file: &'a FileDeclaration,
    swift: Option<&'static SwiftFile>,
}

impl Checker<'_> {
    fn section_problem(&self, name: &str) -> Option<OptionProblem> {
        let is_swifts = self.swift.is_some_and(|swift| swift.has_section(name));
        if name == "DEFAULT" || self.file.section(name).is_some() || is_swifts {
            return None;
        }
        let known = self.file.sections.iter().map(|section| section.name);
        let known = known.chain(self.swift.into_iter().flat_map(SwiftFile::section_names));
        Some(OptionProblem::UnknownSection(nearest(name, known).map(str::to_owned)))
    }

    /// What is wrong with an option, and whether its value is a secret.
    fn problem(&self, section: &str, given: &GivenOption<'_>) -> Option<(OptionProblem, bool)> {
        if PASTE.contains(&given.name) {
            return None;
        }
        let declared = self.file.section(section);
        let wrong = |option: &OptionDeclaration| {
            let is_wrong = !option.accepts(given.value);
            is_wrong.then(|| (OptionProblem::Value(option.expected()), option.is_secret))
        };
        let mut elsewhere = None;
        if section == "DEFAULT" {
            let mut known = self.file.all().filter(|option| option.is_named(given.name)).peekable();
            if known.peek().is_some() {
                // Sections may differ in what they accept.
                return known.find_map(wrong);
            }
        } else if let Some(declared) = declared {
            match self.file.lookup(declared, given.name) {
                OptionLookup::Declared(option) => return wrong(option),
                OptionLookup::Elsewhere(other) => elsewhere = Some(other),
                OptionLookup::Unknown => {}
            }
        }
        if self.swift.is_some_and(|swift| swift.has_option(section, given.name)) {
            return Some((OptionProblem::WithoutEffect, false));
        }
        if let Some(other) = elsewhere {
            return Some((OptionProblem::Elsewhere(other), false));
        }
        let near = nearest(given.name, self.names(section, declared));
        Some((OptionProblem::Unknown(near.map(str::to_owned)), false))
    }

    /// The names that a section may have, those with an effect first.
    fn names(
        &self,
        section: &str,
        declared: Option<&'static SectionDeclaration>,
    ) -> Vec<&'static str> {
        let mut names: Vec<&'static str> = match declared {
            Some(declared) => self.file.options_of(declared).map(|option| option.name).collect(),
            None if section == "DEFAULT" => self.file.all().map(|option| option.name).collect(),
            None => Vec::new(),
        };
        names.extend(self.swift.into_iter().flat_map(|swift| swift.options_of(section)));
        names.push("use");
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{text, whole};

    const TICKER: &[OptionDeclaration] =
        &[whole(30).from(1).named("interval"), text("", "a key").secret().named("key_<user>")];
    const COMMON: &[OptionDeclaration] = &[whole(80).named("bind_port")];
    const OTHER: &[OptionDeclaration] = &[whole(1).named("concurrency")];
    const FILE: FileDeclaration = FileDeclaration {
        name: "ticker.conf",
        sentence: "",
        common: &[COMMON],
        sections: &[
            SectionDeclaration::role("ticker", "", &[TICKER]),
            SectionDeclaration::plain("filter:other", "", &[OTHER]),
        ],
    };

    fn texts(lines: &[(&str, &str, &str)]) -> Vec<String> {
        let given = lines.iter().map(|(section, name, value)| GivenOption {
            section,
            name,
            value,
            file: "f",
            line: 1,
        });
        check(&FILE, given).iter().map(OptionFinding::text).collect()
    }

    #[test]
    fn values_names_and_sections_are_checked() {
        for (line, expected) in [
            (("ticker", "interval", "3"), None),
            (("ticker", "bind_port", "3"), None),
            (("ticker", "key_me", "x"), None),
            (("ticker", "use", "x"), None),
            (("DEFAULT", "interval", "3"), None),
            (("filter:OTHER", "concurrency", "1"), Some("[filter:OTHER]: section not known")),
            (("ticker", "interval", "0"), Some("expected a whole number from 1")),
            (("DEFAULT", "interval", "0"), Some("expected a whole number from 1")),
            (
                ("ticker", "intervall", "3"),
                Some("not known, has no effect; did you mean interval?"),
            ),
            (("ticker", "colour", "3"), Some("[ticker] colour: not known, has no effect")),
            (("tikcer", "interval", "3"), Some("has no effect; did you mean ticker?")),
            (("ticker", "concurrency", "3"), Some("it is an option of [filter:other]")),
            (("filter:other", "bind_port", "3"), Some("not known, has no effect")),
        ] {
            let found = texts(&[line]);
            match expected {
                None => assert!(found.is_empty(), "{found:?}"),
                Some(expected) => assert!(found[0].contains(expected), "{found:?}"),
            }
        }
    }

    #[test]
    fn a_filter_is_known_by_its_entry_point() {
        let lines =
            [("filter:mine", "use", "egg:swift#other"), ("filter:mine", "concurrency", "x")];
        let found = texts(&lines);
        assert!(found[0].contains("[filter:mine] concurrency") && found.len() == 1, "{found:?}");
    }
}
