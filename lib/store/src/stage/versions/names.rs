//! Names of hidden containers and of versions, and what marks them, all as Swift's.
//!
//! The versions of `c` are in `\0versions\0c`, as `\0<name>\0<inverted time>`, so that they sort by
//! name and then from the newest to the oldest.

use apus_cluster::listing::ObjectRow;
use apus_cluster::{
    ContainerName, ContainerPath, Metadata, ObjectName, ObjectPath, Timestamp, percent,
};

use crate::operation::{VERSIONS_CONTAINER, VersionId, Versioning};
use crate::{Error, Result};

/// Content type of a delete marker, which clients cannot set.
pub(super) const MARKER_TYPE: &str = "application/x-deleted;swift_versions_deleted=1";
/// On the link to a current version: `true`.
pub(super) const VERSIONS_SYMLINK: &str = "X-Object-Sysmeta-Versions-Symlink";
/// System metadata of our own on a null version that is no longer in the visible container: `true`.
/// For Swift it is a version like any other.
pub(super) const NULL_VERSION: &str = "X-Object-Sysmeta-Apus-Null-Version";
/// The parameter of its row's etag.
const NULL_WORD: &str = "null_version=true";
/// The etag field of the row in the listing.
pub(super) const ROW_ETAG: &str = "X-Object-Sysmeta-Container-Update-Override-Etag";

/// Where the versions of a container are, and whether writes keep them.
#[derive(Debug, Clone)]
pub(super) struct VersionedContainer {
    /// The hidden container.
    pub(super) hidden: ContainerPath,
    pub(super) state: Versioning,
}

impl VersionedContainer {
    /// By a container's headers; `None` for one that never kept versions.
    /// Source: `object_request` in
    /// `swift/common/middleware/versioned_writes/object_versioning.py`.
    pub(super) fn of(container: &ContainerPath, headers: &Metadata) -> Option<Self> {
        let name = percent::decode_utf8(headers.get(VERSIONS_CONTAINER)?)?;
        let name = ContainerName::parse(name.split('/').next()?).ok()?;
        let state = Versioning::of(headers).unwrap_or(Versioning::Suspended);
        let hidden = ContainerPath::new(container.account.clone(), name);
        name_is_hidden(&hidden).then_some(Self { hidden, state })
    }

    /// The version of an object that was written at this time.
    pub(super) fn version(&self, object: &ObjectName, time: Timestamp) -> Result<ObjectPath> {
        let name = format!("{}{}", prefix(object.as_str()), time.inverted().normal());
        let name = ObjectName::parse(&name).map_err(|error| Error::invalid(error.to_string()))?;
        Ok(self.hidden.object(name))
    }
}

fn name_is_hidden(container: &ContainerPath) -> bool {
    container.container.is_reserved()
}

/// The hidden container of a container.
pub(super) fn hidden(container: &ContainerPath) -> Result<ContainerPath> {
    let name = format!("\0versions\0{}", container.container);
    let name = ContainerName::parse(&name).map_err(|error| Error::invalid(error.to_string()))?;
    Ok(ContainerPath::new(container.account.clone(), name))
}

/// The container whose versions are in this hidden one.
pub(super) fn visible(hidden: &str) -> Option<&str> {
    hidden.strip_prefix("\0versions\0").filter(|name| !name.is_empty())
}

/// The prefix of the names of all versions of an object.
pub(super) fn prefix(object: &str) -> String {
    format!("\0{object}\0")
}

/// The object and time that the name of a version has.
pub(super) fn parse_version(name: &str) -> Option<(&str, Timestamp)> {
    let (object, inverted) = name.strip_prefix('\0')?.rsplit_once('\0')?;
    let inverted = Timestamp::parse(inverted).filter(|time| time.offset() == 0)?;
    (!object.is_empty()).then_some((object, inverted.inverted()))
}

/// The etag field of a null version's row.
pub(super) fn null_row(etag: &str) -> String {
    format!("{etag}; {NULL_WORD}")
}

/// A version by its row in the hidden container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct VersionRow {
    pub(super) key: String,
    pub(super) time: Timestamp,
    pub(super) is_null: bool,
    pub(super) row: ObjectRow,
}

impl VersionRow {
    pub(super) fn parse(mut row: ObjectRow) -> Option<Self> {
        let (key, time) = parse_version(&row.name)?;
        let key = key.to_owned();
        let words = row.etag.split(';').map(str::trim);
        let kept: Vec<&str> = words.filter(|word| *word != NULL_WORD).collect();
        let kept = kept.join("; ");
        let is_null = kept.len() != row.etag.len();
        if is_null {
            row.etag = kept;
        }
        Some(Self { key, time, is_null, row })
    }

    pub(super) fn is_marker(&self) -> bool {
        self.row.content_type == MARKER_TYPE
    }

    pub(super) fn id(&self) -> VersionId {
        if self.is_null { VersionId::Null } else { VersionId::At(self.time) }
    }
}

#[cfg(test)]
mod tests {
    use apus_cluster::AccountName;
    use apus_cluster::timestamp::RowTimes;

    use super::*;

    fn container(name: &str) -> ContainerPath {
        let name = ContainerName::parse(name).unwrap();
        ContainerPath::new(AccountName::parse("a").unwrap(), name)
    }

    #[test]
    fn names_are_those_of_swift() {
        let time = Timestamp::parse("1700000000.12345").unwrap();
        let path = hidden(&container("c")).unwrap();
        assert_eq!(path.container.as_str(), "\0versions\0c");
        assert_eq!(visible(path.container.as_str()), Some("c"));
        let headers =
            Metadata::from([(VERSIONS_CONTAINER.to_owned(), "%00versions%00c".to_owned())]);
        let versioned = VersionedContainer::of(&container("c"), &headers).unwrap();
        assert_eq!(versioned.hidden, path);
        let name = versioned.version(&ObjectName::parse("o/p").unwrap(), time).unwrap();
        assert_eq!(name.object.as_str(), "\0o/p\08299999999.87654");
        assert_eq!(parse_version(name.object.as_str()), Some(("o/p", time)));
        for bad in
            ["o", "\0o", "\0o\0", "\0o\0x", "\0\08299999999.87654", "\0o\08299999999.87654_1"]
        {
            assert_eq!(parse_version(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn only_a_hidden_container_can_have_versions() {
        for name in ["", "c", "%ff"] {
            let headers = Metadata::from([(VERSIONS_CONTAINER.to_owned(), name.to_owned())]);
            assert!(VersionedContainer::of(&container("c"), &headers).is_none(), "{name}");
        }
    }

    #[test]
    fn a_row_says_whether_it_is_the_null_version() {
        let row = |etag: &str| {
            let times = RowTimes::all(Timestamp::ZERO);
            VersionRow::parse(ObjectRow {
                name: "\0o\08299999999.87654".to_owned(),
                times,
                size: 1,
                content_type: "text/plain".to_owned(),
                etag: etag.to_owned(),
                deleted: false,
                policy: 0,
            })
            .unwrap()
        };
        assert_eq!(row("e; s3_etag=x").id().to_string(), "1700000000.12345");
        let null = row(&null_row("e; s3_etag=x"));
        assert_eq!((null.id(), null.row.etag.as_str()), (VersionId::Null, "e; s3_etag=x"));
    }
}
