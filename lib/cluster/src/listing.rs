//! Rows of listings, queries, and the roll-up of names by a delimiter.

use serde::{Deserialize, Serialize};

use crate::timestamp::{RowTimes, Timestamp};

/// A row of a container listing, as a container server returns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectRow {
    /// The object's name.
    pub name: String,
    /// The three packed times of the row.
    pub times: RowTimes,
    /// Size in bytes.
    pub size: u64,
    /// Content type, possibly with `swift_bytes` and other listing-only parameters.
    pub content_type: String,
    /// Etag, possibly with listing-only parameters (`; slo_etag=…`).
    pub etag: String,
    /// Whether this is a deletion.
    pub deleted: bool,
    /// Storage policy of the object.
    pub policy: u32,
}

impl ObjectRow {
    /// The newest of the row's times: its `last_modified`.
    pub fn last_modified(&self) -> Timestamp {
        self.times.data.max(self.times.content_type).max(self.times.meta)
    }
}

/// One entry of a container listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectEntry {
    /// An object.
    Object(ObjectRow),
    /// A common prefix, which ends in the delimiter.
    Subdir(String),
}

impl ObjectEntry {
    /// Name of the object or sub-directory.
    pub fn name(&self) -> &str {
        match self {
            Self::Object(row) => &row.name,
            Self::Subdir(name) => name,
        }
    }
}

/// The parameters of a listing, which are Swift's.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ListQuery {
    /// Most entries to return; 0 returns none.
    pub limit: usize,
    /// Names after this one, exclusive.
    pub marker: String,
    /// Names before this one, exclusive.
    pub end_marker: String,
    /// Names with this prefix.
    pub prefix: Option<String>,
    /// Rolls up names that contain this text after the prefix.
    pub delimiter: String,
    /// Swift's pseudo-directory listing: only entries directly in this path.
    pub path: Option<String>,
    /// From the last to the first.
    pub reverse: bool,
    /// Also names that begin with NUL, which are for Swift's own features.
    #[serde(default)]
    pub reserved: bool,
}

impl ListQuery {
    /// The first name that may be listed: of the prefix, and past the reserved ones.
    pub fn from(&self, prefix: &str) -> Vec<u8> {
        let first = if self.reserved { Vec::new() } else { vec![1] };
        prefix.as_bytes().to_vec().max(first)
    }
}

/// A row of an account listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerRow {
    /// The container's name.
    pub name: String,
    /// Objects in it, as last reported.
    pub object_count: u64,
    /// Bytes in it, as last reported.
    pub bytes_used: u64,
    /// When it was last put.
    pub put_timestamp: Timestamp,
    /// Its storage policy.
    pub policy: u32,
}

/// One entry of an account listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerEntry {
    /// A container.
    Container(ContainerRow),
    /// A common prefix.
    Subdir(String),
}

/// The least text greater than every text that starts with `prefix`; `None` if it does not exist.
/// SQLite compares names as bytes, so this is the last byte of the prefix plus one.
pub fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = prefix.to_vec();
    while let Some(last) = bytes.pop() {
        if last < 0xff {
            bytes.push(last + 1);
            return Some(bytes);
        }
    }
    None
}

/// Splits the `swift_bytes` parameter, the size of a large object, off a content type.
pub fn split_swift_bytes(content_type: &str) -> (String, Option<String>) {
    let mut kept = Vec::new();
    let mut bytes = None;
    for (index, part) in content_type.split(';').enumerate() {
        match part.trim().strip_prefix("swift_bytes=") {
            Some(value) if index > 0 => bytes = Some(value.to_owned()),
            _ => kept.push(part),
        }
    }
    (kept.join(";"), bytes)
}

/// The first parameter of a content type that begins with `swift_`. With such parameters the cluster
/// makes listings show other sizes; content types of clients must not have one.
///
/// Source: `check_content_type` in `swift/common/constraints.py`; case does not matter.
pub fn reserved_parameter(content_type: &str) -> Option<&str> {
    content_type.split(';').skip(1).map(str::trim).find(|parameter| {
        parameter.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("swift_"))
    })
}

/// The common prefix of `name` under a listing's prefix and delimiter, if it rolls up.
pub fn common_prefix<'a>(name: &'a str, prefix: &str, delimiter: &str) -> Option<&'a str> {
    if delimiter.is_empty() {
        return None;
    }
    let rest = name.strip_prefix(prefix)?;
    let at = rest.find(delimiter)?;
    name.get(..prefix.len() + at + delimiter.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_roll_up_at_the_first_delimiter_after_the_prefix() {
        assert_eq!(common_prefix("a/b/c", "", "/"), Some("a/"));
        assert_eq!(common_prefix("a/b/c", "a/", "/"), Some("a/b/"));
        assert_eq!(common_prefix("a/b", "a/", "/"), None);
        assert_eq!(common_prefix("a", "", "/"), None);
    }

    #[test]
    fn parameters_of_the_cluster_are_found_in_content_types() {
        for (content_type, found) in [
            ("text/plain", None),
            ("swift_bytes=1", None),
            ("text/plain;charset=utf-8", None),
            ("text/plain; x=swift_bytes", None),
            ("text/plain;swift_bytes=9", Some("swift_bytes=9")),
            ("text/plain; charset=utf-8 ;\tSwift_Hash=x", Some("Swift_Hash=x")),
            ("text/plain; swift_", Some("swift_")),
            ("text/plain;\u{fc}\u{fc}\u{fc}", None),
        ] {
            assert_eq!(reserved_parameter(content_type), found, "{content_type}");
        }
    }

    #[test]
    fn the_end_of_a_prefix_is_past_all_its_names() {
        assert_eq!(after_prefix(b"a/").unwrap(), b"a0");
        assert_eq!(after_prefix(b"a\xff").unwrap(), b"b");
        assert_eq!(after_prefix(b"\xff"), None);
    }
}
