//! The options that are in effect, with their origin.

use apus_options::{GivenOption, OptionDeclaration, SectionDeclaration};

use crate::files::ConfigFile;

/// The lines for a file.
pub(crate) fn show(file: &ConfigFile, with_origin: bool) -> Vec<String> {
    let mut lines = vec![format!("# {}", file.path.display())];
    let given: Vec<String> = file.conf.sections().map(|(name, _)| name.to_owned()).collect();
    let role = file.declaration.sections.iter().find(|section| section.is_role);
    for section in file.declaration.sections {
        // A section with names in it stands for those that are there.
        let names: Vec<String> = match section.name.contains('<') {
            true => given.iter().filter(|name| section.is_named(name)).cloned().collect(),
            false => vec![section.name.to_owned()],
        };
        for name in names {
            lines.push(String::new());
            lines.push(format!("[{name}]"));
            let server = role.filter(|_| section.is_role).map(|role| role.name);
            let view = SectionView { file, section, name: &name, server };
            lines.extend(view.lines(with_origin));
        }
    }
    lines
}

struct SectionView<'a> {
    file: &'a ConfigFile,
    section: &'static SectionDeclaration,
    name: &'a str,
    /// The section of the server, from which daemons have addresses and devices.
    server: Option<&'static str>,
}

impl SectionView<'_> {
    fn lines(&self, with_origin: bool) -> Vec<String> {
        let declaration = self.file.declaration;
        let own = self.file.conf.section(self.name);
        let mut lines = Vec::new();
        for option in self.section.options() {
            if option.name.contains('<') {
                let family = own.own().filter(|(name, _)| option.is_named(name));
                let family: Vec<_> = family.filter_map(|(name, _)| own.origin(name)).collect();
                lines.extend(
                    family.iter().map(|given| line(option, Some(given), None, with_origin)),
                );
                continue;
            }
            let default = declaration.default_of(self.section, option);
            lines.push(line(option, own.origin(option.name).as_ref(), default, with_origin));
        }
        let Some(server) = self.server else { return lines };
        let shared = self.file.conf.daemon_section(self.name, server);
        for option in declaration.common() {
            let default = declaration.default_of(self.section, option);
            lines.push(line(option, shared.origin(option.name).as_ref(), default, with_origin));
        }
        lines
    }
}

fn line(
    option: &OptionDeclaration,
    given: Option<&GivenOption<'_>>,
    default: Option<String>,
    with_origin: bool,
) -> String {
    let name = given.map_or(option.name, |given| given.name);
    let value = match given {
        Some(_) if option.is_secret => "(hidden)".to_owned(),
        Some(given) => given.value.replace('\n', " "),
        None => default.unwrap_or_default(),
    };
    let mut text = format!("{name} = {value}");
    if with_origin {
        let origin = match (given, &option.default) {
            (Some(given), _) => format!("{}:{}", given.file, given.line),
            (None, apus_options::OptionDefault::Unset(absent)) => format!("default: {absent}"),
            (None, _) => "default".to_owned(),
        };
        text = format!("{text:<44} # {origin}");
    }
    text
}
