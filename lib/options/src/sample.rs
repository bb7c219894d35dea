//! Sample files with every option, its default and its sentence.

use crate::{FileDeclaration, OptionDeclaration};

/// Longest line of a sample.
const WIDTH: usize = 100;

/// Comment lines with a text.
fn comment(out: &mut String, text: &str) {
    let mut line = String::from("#");
    for word in text.split_whitespace() {
        if line.len() + 1 + word.len() > WIDTH {
            out.push_str(&line);
            out.push('\n');
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    out.push_str(&line);
    out.push('\n');
}

fn option(out: &mut String, option: &OptionDeclaration, default: Option<String>) {
    comment(out, &format!("{} ({})", option.sentence(), option.value_text()));
    let value = default.filter(|text| !text.is_empty());
    let value = value.unwrap_or_else(|| option.example.to_owned());
    out.push_str(format!("# {} = {value}", option.name).trim_end());
    out.push('\n');
}

/// The sample of a file.
pub fn sample(file: &FileDeclaration) -> String {
    let mut out = String::new();
    comment(&mut out, &format!("{}: {}", file.name, file.sentence));
    comment(
        &mut out,
        "Every option with its default. Generated from the declarations in the sources; `apus config check` checks a file.",
    );
    if !file.common.is_empty() {
        out.push_str("\n[DEFAULT]\n");
        let server = file.sections.iter().find(|section| section.is_role);
        for common in file.common() {
            let default = match server {
                Some(server) => file.default_of(server, common),
                None => common.default.text().map(String::from),
            };
            option(&mut out, common, default);
        }
    }
    for section in file.sections {
        out.push('\n');
        comment(&mut out, section.sentence);
        out.push_str(&format!("[{}]\n", example_name(section.name)));
        for line in section.lines {
            out.push_str(line);
            out.push('\n');
        }
        for own in section.options() {
            let is_given = section.lines.iter().any(|line| {
                line.split_once('=').is_some_and(|(name, _)| own.is_named(name.trim()))
            });
            if !is_given {
                option(&mut out, own, file.default_of(section, own));
            }
        }
    }
    out
}

/// `storage-policy:<index>` as a sample has it.
fn example_name(name: &str) -> String {
    name.replace("<index>", "0").replace("<name>", "dark_data")
}
