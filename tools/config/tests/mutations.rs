//! Wrong values and misspelt names in the samples are reported.
#![allow(clippy::unwrap_used)]

use apus_config::FILES;
use apus_daemon::config::Conf;
use apus_options::{
    FileDeclaration, OptionKind, OptionLookup, OptionProblem, SectionDeclaration, check, sample,
};

/// The sample with its commented options in effect, those without a value left out.
fn full(file: &FileDeclaration) -> String {
    let is_option = |line: &str| {
        let name = line.strip_prefix("# ").and_then(|line| line.split_once(" = "));
        name.is_some_and(|(name, _)| !name.contains([' ', '<']))
    };
    let lines = sample(file);
    let lines = lines.lines().map(|line| if is_option(line) { &line[2..] } else { line });
    lines.collect::<Vec<_>>().join("\n")
}

/// A text that is not of the type.
fn wrong(kind: OptionKind) -> Option<&'static str> {
    match kind {
        OptionKind::Flag => Some("maybe"),
        OptionKind::Whole { .. } | OptionKind::Number { .. } => Some("12x"),
        OptionKind::Port => Some("70000"),
        OptionKind::Ip | OptionKind::Address => Some("10.0.0"),
        OptionKind::Size => Some("101%"),
        OptionKind::Choice(_) => Some("neither"),
        OptionKind::Text(_) | OptionKind::List(_) | OptionKind::Path(_) => None,
    }
}

/// Usual misspellings: a letter left out, doubled, replaced, two exchanged, and another separator.
fn misspellings(name: &str) -> Vec<String> {
    let middle = name.len() / 2;
    let (first, rest) = name.split_at(middle);
    let mut swapped: Vec<char> = name.chars().collect();
    swapped.swap(middle - 1, middle);
    let all = [
        format!("{first}{}", &rest[1..]),
        format!("{first}{}{rest}", &rest[..1]),
        format!("{first}x{}", &rest[1..]),
        swapped.into_iter().collect(),
        format!("{name}s"),
        name[..name.len() - 1].to_owned(),
    ];
    all.into_iter().filter(|other| other != name).collect()
}

fn sections(file: &FileDeclaration) -> impl Iterator<Item = (&'static SectionDeclaration, String)> {
    let name = |section: &SectionDeclaration| {
        section.name.replace("<index>", "0").replace("<name>", "dark_data")
    };
    file.sections.iter().map(move |section| (section, name(section)))
}

#[test]
fn complete_samples_are_accepted() {
    for file in FILES {
        let text = full(file);
        let conf = Conf::parse(&text).unwrap();
        let findings = check(file, conf.given());
        assert!(findings.is_empty(), "{}: {findings:?}", file.name);
        assert!(conf.given().count() * 10 > file.all().count() * 7, "{}", file.name);
    }
}

#[test]
fn every_wrong_value_is_reported() {
    let mut tried = 0;
    for file in FILES {
        for (section, name) in sections(file) {
            for option in file.options_of(section).filter(|option| !option.name.contains('<')) {
                let Some(value) = wrong(option.kind) else { continue };
                let text = format!("[{name}]\n{} = {value}\n", option.name);
                let conf = Conf::parse(&text).unwrap();
                let findings = check(file, conf.given());
                let is_found = matches!(findings.as_slice(), [one] if matches!(one.problem, OptionProblem::Value(_)));
                assert!(is_found, "{}: {text} {findings:?}", file.name);
                tried += 1;
            }
        }
    }
    assert!(tried > 100, "{tried}");
}

#[test]
fn misspelt_names_are_reported_with_the_right_name() {
    let (mut tried, mut suggested, mut reported) = (0, 0, 0);
    let mut missed = Vec::new();
    for file in FILES {
        for (section, name) in sections(file) {
            for option in file.options_of(section).filter(|option| !option.name.contains('<')) {
                for misspelt in misspellings(option.name) {
                    let is_other_name = misspelt == "use"
                        || !matches!(file.lookup(section, &misspelt), OptionLookup::Unknown);
                    if is_other_name {
                        continue;
                    }
                    let text = format!("[{name}]\n{misspelt} = 1\n");
                    let conf = Conf::parse(&text).unwrap();
                    let findings = check(file, conf.given());
                    tried += 1;
                    reported += usize::from(findings.len() == 1);
                    let right = OptionProblem::Unknown(Some(option.name.to_owned()));
                    match findings.first().is_some_and(|finding| finding.problem == right) {
                        true => suggested += 1,
                        false => missed.push(format!("{text}{findings:?}")),
                    }
                }
            }
        }
    }
    assert!(tried > 1000 && reported == tried, "{reported} of {tried}");
    assert!(suggested * 100 >= tried * 95, "{suggested} of {tried}: {missed:#?}");
}
