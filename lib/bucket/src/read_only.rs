//! Accounts and clusters in which nothing may be changed.
//!
//! Source: `swift/common/middleware/read_only.py`.

use apus_cluster::Metadata;

/// System metadata of an account: `true` forbids writes, any other value allows them.
pub const OF_ACCOUNT: &str = "X-Account-Sysmeta-Read-Only";

/// A change that a request makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It writes.
    Write,
    /// It deletes.
    Delete,
}

/// The settings of `[filter:read_only]`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReadOnlyConfig {
    /// Whether accounts without a setting of their own are read-only.
    pub read_only: bool,
    /// Whether deletions are allowed nevertheless.
    pub allow_deletes: bool,
}

impl ReadOnlyConfig {
    /// Whether a change in an account with this metadata is forbidden. An empty setting is none.
    pub fn forbids(self, headers: &Metadata, change: Change) -> bool {
        let is_exempt = change == Change::Delete && self.allow_deletes;
        let own = headers.get(OF_ACCOUNT).filter(|value| !value.is_empty());
        !is_exempt && own.map_or(self.read_only, |value| is_true(value))
    }
}

/// `config_true_value` of Swift.
fn is_true(value: &str) -> bool {
    ["true", "1", "yes", "on", "t", "y"].iter().any(|word| word.eq_ignore_ascii_case(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_of_the_account_is_before_that_of_the_cluster() {
        for (read_only, own, expected) in [
            (false, None, false),
            (true, None, true),
            (false, Some("true"), true),
            (false, Some("Yes"), true),
            (true, Some("false"), false),
            (true, Some("x"), false),
            (true, Some(""), true),
            (false, Some(""), false),
        ] {
            let own = own.map(|value| (OF_ACCOUNT.to_owned(), value.to_owned()));
            let headers: Metadata = own.into_iter().collect();
            let config = ReadOnlyConfig { read_only, allow_deletes: false };
            assert_eq!(config.forbids(&headers, Change::Write), expected, "{headers:?}");
            assert_eq!(config.forbids(&headers, Change::Delete), expected, "{headers:?}");
            let lenient = ReadOnlyConfig { allow_deletes: true, ..config };
            assert_eq!(lenient.forbids(&headers, Change::Write), expected, "{headers:?}");
            assert!(!lenient.forbids(&headers, Change::Delete), "{headers:?}");
        }
    }
}
