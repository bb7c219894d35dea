//! The reference page of all options.

use crate::{FileDeclaration, OptionDeclaration, OptionDefault};

fn row(out: &mut String, option: &OptionDeclaration, default: Option<String>) {
    let default = match (&option.default, default) {
        (OptionDefault::Unset(absent), None) => (*absent).to_owned(),
        (_, Some(text)) if !text.is_empty() => format!("`{text}`"),
        _ => "empty".to_owned(),
    };
    let cells =
        [&option.value_text(), &default, option.sentence()].map(|cell| cell.replace('|', "\\|"));
    out.push_str(&format!("| `{}` | {} |\n", option.name, cells.join(" | ")));
}

const HEAD: &str = "| option | value | default | meaning |\n|---|---|---|---|\n";

/// The page, from the declarations of all files.
pub fn page(files: &[&FileDeclaration]) -> String {
    let mut out = String::from(
        "# Options\n\n\
         Every option of every file, generated from the declarations in the sources (`tests` of `tools/config` compare).\n\
         `apus config check DIR` checks a configuration, `apus config show --origin DIR` prints each effective option with\n\
         its file and line. Samples with the same contents are in [`etc/`](../../etc).\n\n\
         An option of a section may also be in `[DEFAULT]` of its file, for all sections; `set name = value` in a section\n\
         is the same as `name = value`. Flags are `true`, `yes`, `on`, `1`, `t`, `y` or `false`, `no`, `off`, `0`, `f`, `n`.\n",
    );
    for file in files {
        out.push_str(&format!("\n## {}\n\n{}\n", file.name, file.sentence));
        if !file.common.is_empty() {
            out.push_str("\n### In every section of a server or daemon\n\n");
            out.push_str(HEAD);
            let server = file.sections.iter().find(|section| section.is_role);
            for option in file.common() {
                let default = server.and_then(|server| file.default_of(server, option));
                row(&mut out, option, default);
            }
        }
        for section in file.sections {
            out.push_str(&format!("\n### `[{}]`\n\n{}\n", section.name, section.sentence));
            if section.options().next().is_some() {
                out.push('\n');
                out.push_str(HEAD);
            }
            for option in section.options() {
                row(&mut out, option, file.default_of(section, option));
            }
        }
    }
    out
}
