//! The declaration of one option: name, type, unit, default, range, sentence.

use std::borrow::Cow;

use crate::value::{flag_value, is_size, whole_value};

/// An option of a configuration file.
#[derive(Debug, Clone, Copy)]
pub struct OptionDeclaration {
    /// The name. A family, such as `user_<account>_<user>`, has its variable parts in angle brackets.
    pub name: &'static str,
    /// Type, unit and range.
    pub kind: OptionKind,
    /// The value without the option.
    pub default: OptionDefault,
    /// A word that is accepted instead of a number: `auto`.
    pub word: Option<&'static str>,
    /// A further condition.
    check: Option<fn(&str) -> bool>,
    /// Must never be shown: a key.
    pub is_secret: bool,
    /// A value for the sample when there is no default.
    pub example: &'static str,
    /// What the option does, with spaces around it.
    sentence: &'static str,
}

/// Type, unit and range of an option.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum OptionKind {
    /// Yes or no, in all of Swift's spellings.
    Flag,
    /// A whole number of a unit, which may be empty.
    Whole {
        /// The unit.
        unit: &'static str,
        /// The least one.
        least: u64,
        /// The greatest one.
        most: u64,
    },
    /// A finite number of a unit, which may be empty.
    Number {
        /// The unit.
        unit: &'static str,
        /// The least one.
        least: f64,
        /// The greatest one.
        most: f64,
    },
    /// A TCP or UDP port.
    Port,
    /// An IP address.
    Ip,
    /// An IP address and a port.
    Address,
    /// Bytes, or a percentage of a device.
    Size,
    /// One of some words.
    Choice(&'static [&'static str]),
    /// Any text; with what it is.
    Text(&'static str),
    /// Words between commas; with what they are.
    List(&'static str),
    /// A file or directory.
    Path(&'static str),
}

/// The value of an option that is not given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum OptionDefault {
    /// Yes or no.
    Flag(bool),
    /// A whole number.
    Whole(u64),
    /// A number.
    Number(f64),
    /// As it would be in the file.
    Text(&'static str),
    /// Something that a file cannot hold; with what it is, for documents.
    Unset(&'static str),
}

impl OptionDefault {
    /// The text that the option would have in a file; `None` if there is none.
    pub fn text(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Flag(value) => Some(Cow::Borrowed(if *value { "true" } else { "false" })),
            Self::Whole(number) => Some(number.to_string().into()),
            Self::Number(number) => Some(number.to_string().into()),
            Self::Text(text) => Some(Cow::Borrowed(text)),
            Self::Unset(_) => None,
        }
    }
}

const fn new(kind: OptionKind, default: OptionDefault) -> OptionDeclaration {
    OptionDeclaration {
        name: "",
        kind,
        default,
        word: None,
        check: None,
        is_secret: false,
        example: "",
        sentence: "",
    }
}

/// A boolean.
pub const fn flag(default: bool) -> OptionDeclaration {
    new(OptionKind::Flag, OptionDefault::Flag(default))
}

/// A whole number.
pub const fn whole(default: u64) -> OptionDeclaration {
    new(OptionKind::Whole { unit: "", least: 0, most: u64::MAX }, OptionDefault::Whole(default))
}

/// A finite number from 0.
pub const fn number(default: f64) -> OptionDeclaration {
    let kind = OptionKind::Number { unit: "", least: 0.0, most: f64::MAX };
    new(kind, OptionDefault::Number(default))
}

/// A port.
pub const fn port(default: u16) -> OptionDeclaration {
    new(OptionKind::Port, OptionDefault::Whole(default as u64))
}

/// An IP address.
pub const fn ip(default: &'static str) -> OptionDeclaration {
    new(OptionKind::Ip, OptionDefault::Text(default))
}

/// An IP address and a port; there is no default.
pub const fn address() -> OptionDeclaration {
    new(OptionKind::Address, OptionDefault::Unset("none"))
}

/// Bytes or a percentage.
pub const fn size(default: &'static str) -> OptionDeclaration {
    new(OptionKind::Size, OptionDefault::Text(default))
}

/// One of some words.
pub const fn choice(default: &'static str, words: &'static [&'static str]) -> OptionDeclaration {
    new(OptionKind::Choice(words), OptionDefault::Text(default))
}

/// Text; `what` names it in errors.
pub const fn text(default: &'static str, what: &'static str) -> OptionDeclaration {
    new(OptionKind::Text(what), OptionDefault::Text(default))
}

/// Words between commas; `what` names them in errors.
pub const fn list(default: &'static str, what: &'static str) -> OptionDeclaration {
    new(OptionKind::List(what), OptionDefault::Text(default))
}

/// A path; `what` names it in errors.
pub const fn path(default: &'static str, what: &'static str) -> OptionDeclaration {
    new(OptionKind::Path(what), OptionDefault::Text(default))
}

/// Options whose names contain names of others, such as `user_<account>_<user>`.
pub const fn family(
    name: &'static str,
    kind: OptionDeclaration,
    sentence: &'static str,
) -> OptionDeclaration {
    kind.named(name).explained(sentence)
}

impl OptionDeclaration {
    /// Sets the name.
    pub const fn named(self, name: &'static str) -> Self {
        Self { name, ..self }
    }

    /// Sets the sentence.
    pub const fn explained(self, sentence: &'static str) -> Self {
        Self { sentence, ..self }
    }

    /// Sets the unit of a number, in the plural.
    pub const fn unit(self, unit: &'static str) -> Self {
        let kind = match self.kind {
            OptionKind::Whole { least, most, .. } => OptionKind::Whole { unit, least, most },
            OptionKind::Number { least, most, .. } => OptionKind::Number { unit, least, most },
            other => other,
        };
        Self { kind, ..self }
    }

    /// Sets the least number.
    pub const fn from(self, number: u64) -> Self {
        let kind = match self.kind {
            OptionKind::Whole { unit, most, .. } => OptionKind::Whole { unit, least: number, most },
            OptionKind::Number { unit, most, .. } => {
                OptionKind::Number { unit, least: number as f64, most }
            }
            other => other,
        };
        Self { kind, ..self }
    }

    /// Sets the greatest number.
    pub const fn to(self, number: u64) -> Self {
        let kind = match self.kind {
            OptionKind::Whole { unit, least, .. } => {
                OptionKind::Whole { unit, least, most: number }
            }
            OptionKind::Number { unit, least, .. } => {
                OptionKind::Number { unit, least, most: number as f64 }
            }
            other => other,
        };
        Self { kind, ..self }
    }

    /// Sets the range of a number with a fraction.
    pub const fn between(self, least: f64, most: f64) -> Self {
        let kind = match self.kind {
            OptionKind::Number { unit, .. } => OptionKind::Number { unit, least, most },
            other => other,
        };
        Self { kind, ..self }
    }

    /// Accepts a word, too, which is then the default.
    pub const fn or_word(self, word: &'static str) -> Self {
        Self { word: Some(word), default: OptionDefault::Text(word), ..self }
    }

    /// Without a default: `absent` is what applies then, in words.
    pub const fn unset(self, absent: &'static str) -> Self {
        Self { default: OptionDefault::Unset(absent), ..self }
    }

    /// Sets the value that a sample shows when there is no default.
    pub const fn example(self, example: &'static str) -> Self {
        Self { example, ..self }
    }

    /// Adds a condition; the text of the type should name it.
    pub const fn checked(self, check: fn(&str) -> bool) -> Self {
        Self { check: Some(check), ..self }
    }

    /// Marks a key, which is never shown.
    pub const fn secret(self) -> Self {
        Self { is_secret: true, ..self }
    }

    /// What the option does.
    pub fn sentence(&self) -> &'static str {
        self.sentence.trim()
    }

    /// Whether the declaration stands for this name.
    pub fn is_named(&self, name: &str) -> bool {
        match self.name.split_once('<') {
            None => self.name == name,
            Some((prefix, _)) => name.len() > prefix.len() && name.starts_with(prefix),
        }
    }

    /// Whether a text is as declared.
    pub fn accepts(&self, text: &str) -> bool {
        let text = text.trim();
        if self.word.is_some_and(|word| word.eq_ignore_ascii_case(text)) {
            return true;
        }
        if self.check.is_some_and(|check| !check(text)) {
            return false;
        }
        match self.kind {
            OptionKind::Flag => flag_value(text).is_some(),
            OptionKind::Whole { least, most, .. } => {
                whole_value(text).is_some_and(|number| (least..=most).contains(&number))
            }
            OptionKind::Number { least, most, .. } => text
                .parse::<f64>()
                .is_ok_and(|number| number.is_finite() && (least..=most).contains(&number)),
            OptionKind::Port => text.parse::<u16>().is_ok(),
            OptionKind::Ip => text.parse::<std::net::IpAddr>().is_ok(),
            OptionKind::Address => text.parse::<std::net::SocketAddr>().is_ok(),
            OptionKind::Size => is_size(text),
            OptionKind::Choice(words) => words.contains(&text),
            OptionKind::Text(_) | OptionKind::List(_) | OptionKind::Path(_) => true,
        }
    }

    /// What a text must be, for samples and documents.
    pub fn value_text(&self) -> String {
        match self.kind {
            OptionKind::Flag => "true or false".to_owned(),
            _ => self.expected(),
        }
    }

    /// What a text must be, for errors: `whole seconds from 1`.
    pub fn expected(&self) -> String {
        let range = |least: &dyn std::fmt::Display, most: Option<&dyn std::fmt::Display>| match (
            least.to_string(),
            most,
        ) {
            (least, Some(most)) => format!(" from {least} to {most}"),
            (least, None) if least == "0" => String::new(),
            (least, None) => format!(" from {least}"),
        };
        let mut text = match self.kind {
            OptionKind::Flag => "true or false (yes, no, on, off, 1, 0)".to_owned(),
            OptionKind::Whole { unit, least, most } => {
                // A limit of the type is not worth a word.
                let most = (most < u64::from(u32::MAX)).then_some(&most as &dyn std::fmt::Display);
                let what = if unit.is_empty() {
                    "a whole number".to_owned()
                } else {
                    format!("whole {unit}")
                };
                what + &range(&least, most)
            }
            OptionKind::Number { unit, least, most } => {
                let most = (most < f64::MAX).then_some(&most as &dyn std::fmt::Display);
                let what = if unit.is_empty() { "a number" } else { unit };
                let from_zero = if least == 0.0 && most.is_none() { ", 0 or more" } else { "" };
                format!("{what}{}{from_zero}", range(&least, most))
            }
            OptionKind::Port => "a port".to_owned(),
            OptionKind::Ip => "an IP address".to_owned(),
            OptionKind::Address => "an IP address and a port".to_owned(),
            OptionKind::Size => "bytes or a percentage".to_owned(),
            OptionKind::Choice(words) => match words {
                [first, last] => format!("{first} or {last}"),
                [all @ .., last] => format!("{} or {last}", all.join(", ")),
                [] => "nothing".to_owned(),
            },
            OptionKind::Text(what) | OptionKind::List(what) | OptionKind::Path(what) => {
                what.to_owned()
            }
        };
        if let Some(word) = self.word {
            text.push_str(", or ");
            text.push_str(word);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_accepted_by_type_and_range() {
        for (declaration, good, bad, expected) in [
            (flag(true), &["yes", "OFF", "1"][..], &["maybe", "2"][..], "true or false"),
            (whole(1).from(1), &["1", " 7 "], &["0", "-1", "x", "1.5"], "a whole number from 1"),
            (whole(60).unit("seconds"), &["0", "60.0"], &["60.5", "1m"], "whole seconds"),
            (whole(4).or_word("auto"), &["auto", "AUTO", "3"], &["all"], "a whole number, or auto"),
            (number(1.0), &["0", "1e3"], &["-1", "nan", "inf"], "a number, 0 or more"),
            (
                number(1.0).unit("seconds").between(0.05, 10.0),
                &["0.05", "10"],
                &["0", "11"],
                "seconds from 0.05 to 10",
            ),
            (port(1), &["65535"], &["65536", "-1"], "a port"),
            (ip("::1"), &["10.0.0.1", "::"], &["localhost"], "an IP address"),
            (address(), &["10.0.0.1:80", "[::1]:80"], &["10.0.0.1"], "an IP address and a port"),
            (size("1%"), &["1%", "0.5%", "100"], &["101%", "x", "-1"], "bytes or a percentage"),
            (choice("a", &["a", "b", "c"]), &["a", "c"], &["A", ""], "a, b or c"),
        ] {
            for text in good {
                assert!(declaration.accepts(text), "{declaration:?} {text}");
            }
            for text in bad {
                assert!(!declaration.accepts(text), "{declaration:?} {text}");
            }
            assert!(declaration.expected().starts_with(expected), "{}", declaration.expected());
            let default = declaration.default.text();
            assert!(default.is_none_or(|text| declaration.accepts(&text)), "{declaration:?}");
        }
    }

    #[test]
    fn a_family_has_every_name_with_its_prefix() {
        let users = text("", "a key").named("user_<account>_<user>");
        assert!(users.is_named("user_test_tester") && !users.is_named("user_"));
        assert!(!users.is_named("users"));
    }
}
