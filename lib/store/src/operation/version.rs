//! Versions of objects, and whether a container keeps them.

use std::fmt;

use apus_cluster::listing::ObjectRow;
use apus_cluster::{ContainerPath, Metadata, ObjectPath, Timestamp};

use super::container::ContainerHead;

/// The id of a version: the time of its write, as Swift shows it to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VersionId {
    /// The version that was written while versioning was not enabled: at most one of each object.
    Null,
    /// The version that was written at this time, without an offset.
    At(Timestamp),
}

impl VersionId {
    /// Parses an id: `null` or a time as Swift writes it (`1700000000.12345`).
    pub fn parse(text: &str) -> Option<Self> {
        if text == "null" {
            return Some(Self::Null);
        }
        let time = Timestamp::parse(text)?;
        (time.offset() == 0 && time.normal() == text).then_some(Self::At(time))
    }
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::At(time) => f.write_str(&time.normal()),
        }
    }
}

/// Whether a container keeps versions, once its owner has decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versioning {
    /// Every write keeps the versions before it.
    Enabled,
    /// Writes replace the null version; all other versions are kept.
    Suspended,
}

/// Container system metadata: `True` or `False`, once the owner has decided.
pub const VERSIONS_ENABLED: &str = "X-Container-Sysmeta-Versions-Enabled";
/// Container system metadata: the name of the hidden container, percent-encoded.
pub const VERSIONS_CONTAINER: &str = "X-Container-Sysmeta-Versions-Container";
/// Container system metadata of Swift's older versioning: the container with the copies of replaced
/// objects, as the client named it.
pub const ARCHIVE_CONTAINER: &str = "X-Container-Sysmeta-Versions-Location";
/// Container system metadata: `history`, or `stack`, which is the default.
pub const ARCHIVE_MODE: &str = "X-Container-Sysmeta-Versions-Mode";

impl Versioning {
    /// The state in a container's headers; `None` when its owner has not decided.
    /// Source: `swift/common/middleware/s3api/controllers/versioning.py`.
    pub fn of(headers: &Metadata) -> Option<Self> {
        let value = headers.get(VERSIONS_ENABLED).filter(|value| !value.is_empty())?;
        Some(if is_true(value) { Self::Enabled } else { Self::Suspended })
    }
}

/// Lists the versions of the objects in a container: by key, and those of a key from the newest to
/// the oldest.
#[derive(Debug, Clone)]
pub struct ListVersions {
    /// The container.
    pub container: ContainerPath,
    /// Keys with this prefix.
    pub prefix: String,
    /// Rolls up keys that contain this text after the prefix; empty for none.
    pub delimiter: String,
    /// Keys after this one.
    pub key_marker: String,
    /// For that key, versions after this one.
    pub version_marker: Option<VersionId>,
    /// Keys before this one (after it, when reversed); empty for all. Swift's rules only.
    pub end_marker: String,
    /// From the last key to the first, and from the oldest version to the newest. Swift's rules only.
    pub reverse: bool,
    /// Maximum number of versions and common prefixes.
    pub limit: usize,
}

/// Makes a version the current one again, as it is: the version that is current now is kept.
#[derive(Debug, Clone)]
pub struct RestoreVersion {
    /// The object.
    pub object: ObjectPath,
    /// The version.
    pub version: VersionId,
}

/// A version in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedVersion {
    /// The key.
    pub key: String,
    /// The version.
    pub id: VersionId,
    /// Whether it is the current version of its key.
    pub is_latest: bool,
    /// Whether it is a delete marker.
    pub delete_marker: bool,
    /// Size, etag, content type and times. Its name is an internal one.
    pub row: ObjectRow,
}

/// An entry of a listing of versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionEntry {
    /// A version.
    Version(Box<ListedVersion>),
    /// A common prefix, which ends in the delimiter.
    Prefix(String),
}

/// A page of versions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VersionList {
    /// The container; under Swift's rules only, whose listings show it.
    pub head: ContainerHead,
    /// The versions by key, and common prefixes between them.
    pub entries: Vec<VersionEntry>,
    /// Start of the next page, if the page is truncated: key and version, which is absent after a
    /// prefix.
    pub next: Option<(String, Option<VersionId>)>,
}

/// Whether Swift reads this text as true (`config_true_value`).
fn is_true(text: &str) -> bool {
    const TRUE: [&str; 6] = ["true", "1", "yes", "on", "t", "y"];
    TRUE.iter().any(|word| text.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_null_or_a_time_in_swifts_form() {
        let time = Timestamp::from_steps(170_000_000_012_345);
        assert_eq!(VersionId::parse("null"), Some(VersionId::Null));
        assert_eq!(VersionId::parse("1700000000.12345"), Some(VersionId::At(time)));
        assert_eq!(VersionId::At(time).to_string(), "1700000000.12345");
        for bad in ["", "NULL", "1700000000", "1700000000.1", "1700000000.12345_1", "x", "-1.00000"]
        {
            assert_eq!(VersionId::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_container_keeps_versions_once_its_owner_decides() {
        let of = |value: &str| {
            Versioning::of(&Metadata::from([(VERSIONS_ENABLED.to_owned(), value.to_owned())]))
        };
        assert_eq!(Versioning::of(&Metadata::new()), None);
        assert_eq!(of(""), None);
        assert_eq!(of("True"), Some(Versioning::Enabled));
        assert_eq!(of("False"), Some(Versioning::Suspended));
    }
}
