//! The names that ring files may have. Nothing else ever becomes part of a path.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What ring files end with.
const END: &str = ".ring.gz";

/// `account.ring.gz`, `container.ring.gz`, `object.ring.gz` or, of policy 1, `object-1.ring.gz`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RingName(String);

impl RingName {
    /// Reads a file name; `None` when it is not that of a ring.
    pub fn parse(name: &str) -> Option<Self> {
        let kind = name.strip_suffix(END)?;
        let is_policy = |index: &str| {
            // One spelling for each; policy 0 has no number.
            index.starts_with(|first: char| ('1'..='9').contains(&first))
                && index.parse::<u32>().is_ok_and(|number| number.to_string() == index)
        };
        let good = matches!(kind, "account" | "container" | "object")
            || kind.strip_prefix("object-").is_some_and(is_policy);
        good.then(|| Self(name.to_owned()))
    }

    /// The file's name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `account`, `container`, `object` or `object-1`.
    pub fn kind(&self) -> &str {
        self.0.strip_suffix(END).unwrap_or(&self.0)
    }

    /// The name of the file that holds the statement.
    pub(super) fn of_statement(&self) -> String {
        format!("{}.signature", self.0)
    }
}

impl fmt::Display for RingName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for RingName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        Self::parse(&name).ok_or_else(|| {
            format!(
                "{name:?}: expected account.ring.gz, container.ring.gz, object.ring.gz or object-<policy>.ring.gz"
            )
        })
    }
}

impl From<RingName> for String {
    fn from(name: RingName) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_rings_are_taken_and_each_in_one_spelling() {
        for name in ["account", "container", "object", "object-1", "object-4294967295"] {
            let parsed = RingName::parse(&format!("{name}.ring.gz")).unwrap();
            assert_eq!(parsed.kind(), name);
        }
        for name in [
            "object-0.ring.gz",
            "object-01.ring.gz",
            "object-+1.ring.gz",
            "object-4294967296.ring.gz",
            "object-.ring.gz",
            "account-1.ring.gz",
            "object.builder",
            "../object.ring.gz",
            "object.ring.gz/",
            "object.ring.gz.signature",
            "Object.ring.gz",
            "",
        ] {
            assert_eq!(RingName::parse(name), None, "{name}");
        }
    }
}
