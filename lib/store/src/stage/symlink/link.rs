//! The stored link: an empty object whose system metadata names the target.

use apus_cluster::{AccountName, ContainerName, Metadata, ObjectName, percent};

use crate::operation::{LinkTarget, ObjectHead};
use crate::{Error, Kind, Result, Subject};

/// `container/object`, percent-encoded.
pub const TARGET: &str = "X-Object-Sysmeta-Symlink-Target";
/// The target's account, percent-encoded, when the client named it.
pub const TARGET_ACCOUNT: &str = "X-Object-Sysmeta-Symlink-Target-Account";
/// Etag that the target of a static link must have.
pub const TARGET_ETAG: &str = "X-Object-Sysmeta-Symlink-Target-Etag";
/// Length of that target in bytes, for listings.
pub const TARGET_BYTES: &str = "X-Object-Sysmeta-Symlink-Target-Bytes";
/// Allows a target with a reserved name: only Swift's own features write this.
pub(crate) const ALLOWS_RESERVED: &str = "X-Object-Sysmeta-Allow-Reserved-Names";
/// Excludes the link from the number of links in a row: only Swift's own features write this.
pub(crate) const EXTENDS: &str = "X-Object-Sysmeta-Symloop-Extend";

/// A link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) target: LinkTarget,
    /// Etag that the target must have, when the link is a static one.
    pub(crate) etag: Option<String>,
}

impl Link {
    /// Parses the link that an object is, if it is one.
    pub(crate) fn of(head: &ObjectHead) -> Result<Option<Self>> {
        let Some(path) = head.get(TARGET) else { return Ok(None) };
        let broken = || {
            let cause = format!("{TARGET} is {path:?}, expected <container>/<object>");
            Error::new(Kind::Conflict, Subject::Object).because(cause)
        };
        let names = percent::decode_utf8(path).ok_or_else(broken)?;
        let (container, object) = names.split_once('/').ok_or_else(broken)?;
        let account = head.get(TARGET_ACCOUNT).map(|name| {
            let name = percent::decode_utf8(name).ok_or_else(broken)?;
            AccountName::parse(&name).map_err(|_| broken())
        });
        let target = LinkTarget {
            account: account.transpose()?,
            container: ContainerName::parse(container).map_err(|_| broken())?,
            object: ObjectName::parse(object).map_err(|_| broken())?,
        };
        Ok(Some(Self { target, etag: head.get(TARGET_ETAG).map(str::to_owned) }))
    }

    /// Its system metadata, except the length of a static link's target.
    pub(super) fn stored(&self) -> Metadata {
        let LinkTarget { account, container, object } = &self.target;
        let path = percent::encode_path(&format!("{container}/{object}"));
        let mut stored = Metadata::from([(TARGET.to_owned(), path)]);
        if let Some(account) = account {
            stored.insert(TARGET_ACCOUNT.to_owned(), percent::encode_path(account.as_str()));
        }
        if let Some(etag) = &self.etag {
            stored.insert(TARGET_ETAG.to_owned(), etag.clone());
        }
        stored
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(items: &[(&str, &str)]) -> ObjectHead {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        ObjectHead { metadata: items.iter().map(pair).collect(), ..ObjectHead::default() }
    }

    #[test]
    fn a_stored_link_survives_a_round_trip() {
        let target = LinkTarget {
            account: Some(AccountName::parse("AUTH_ü").unwrap()),
            container: ContainerName::parse("c c").unwrap(),
            object: ObjectName::parse("o/ö%2F").unwrap(),
        };
        let link = Link { target, etag: Some("etag".to_owned()) };
        let stored = link.stored();
        assert_eq!(stored[TARGET], "c%20c/o/%C3%B6%252F");
        assert_eq!(stored[TARGET_ACCOUNT], "AUTH_%C3%BC");
        let head = ObjectHead { metadata: stored, ..ObjectHead::default() };
        assert_eq!(Link::of(&head).unwrap(), Some(link));
    }

    #[test]
    fn an_ordinary_object_is_not_a_link_and_a_broken_link_is_an_error() {
        assert_eq!(Link::of(&head(&[])).unwrap(), None);
        for path in ["", "c", "/o", "c/", "%ff/o"] {
            assert_eq!(Link::of(&head(&[(TARGET, path)])).unwrap_err().kind, Kind::Conflict);
        }
        let slash = head(&[(TARGET, "c/o"), (TARGET_ACCOUNT, "a/b")]);
        assert_eq!(Link::of(&slash).unwrap_err().kind, Kind::Conflict);
    }
}
