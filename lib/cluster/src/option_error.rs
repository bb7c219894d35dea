//! The error of an option in `swift.conf` that cannot be used, and the source of its options.

use apus_options::{OptionDeclaration, OptionSource};

/// An option with a value that is not as expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("[{section}] {option}{}: expected {expected}", shown(.value.as_deref()))]
pub struct OptionError {
    /// The section.
    pub section: String,
    /// The option.
    pub option: String,
    /// Its value; `None` when it is missing, or a secret.
    pub value: Option<String>,
    /// What was expected.
    pub expected: String,
}

fn shown(value: Option<&str>) -> String {
    value.map_or_else(String::new, |value| format!(" = {value:?}"))
}

impl OptionError {
    /// An option whose value is not as expected.
    pub(crate) fn value(section: &str, option: &str, value: &str, expected: &str) -> Self {
        let value = Some(value.to_owned());
        Self { value, ..Self::hidden(section, option, expected) }
    }

    /// An option that is missing, or whose value must not be shown.
    pub(crate) fn hidden(section: &str, option: &str, expected: &str) -> Self {
        Self {
            section: section.to_owned(),
            option: option.to_owned(),
            value: None,
            expected: expected.to_owned(),
        }
    }
}

/// The options of a section of `swift.conf`.
pub(crate) struct GivenOptions<'a> {
    /// The section.
    pub(crate) section: &'a str,
    /// Names and values.
    pub(crate) options: &'a [(&'a str, &'a str)],
}

impl OptionSource for GivenOptions<'_> {
    type Error = OptionError;

    fn text(&self, name: &str) -> Option<&str> {
        self.options.iter().find(|(known, _)| *known == name).map(|(_, value)| value.trim())
    }

    fn refuse(&self, name: &str, value: &str, expected: &str) -> OptionError {
        OptionError::value(self.section, name, value, expected)
    }

    fn refuse_declared(&self, declaration: &OptionDeclaration, value: &str) -> OptionError {
        let (name, expected) = (declaration.name, declaration.expected());
        match declaration.is_secret || (value.is_empty() && self.text(name).is_none()) {
            true => OptionError::hidden(self.section, name, &expected),
            false => self.refuse(name, value, &expected),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_names_everything_that_is_known() {
        let error = OptionError::value("apus", "ring_overlap", "soon", "seconds");
        assert_eq!(error.to_string(), "[apus] ring_overlap = \"soon\": expected seconds");
        let error = OptionError::hidden("apus", "cluster_key", "hexadecimal digits");
        assert_eq!(error.to_string(), "[apus] cluster_key: expected hexadecimal digits");
    }
}
