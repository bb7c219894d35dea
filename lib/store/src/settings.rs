//! Settings of objects: system metadata that S3 changes without rewriting an object.
//!
//! They are transient system metadata, which a PUT writes and a POST replaces. A POST of Swift's
//! dialect must keep them, and a change of one must keep everything else. Both therefore read the
//! newest version and write under the lease of the object's name, so that all changes of an object
//! have one order. Only containers with a mark pay for that: the gate sets it before the first
//! setting is written in them.

use apus_bucket::acl::{AccessControlList, AclError, OBJECT_ACL};
use apus_bucket::object_lock::{Retention, VersionLock, hold_to_stored};
use apus_cluster::metadata::{belongs_to_data, has_prefix, is_stored_with_object};
use apus_cluster::{Metadata, Timestamp};

use crate::operation::{ObjectHead, SettingChange};
use crate::{Error, Kind, Result, Subject};

/// Steps of a timestamp (10 µs) in a millisecond.
const STEPS_PER_MS: u64 = 100;

/// Prefix of the names of settings.
pub const PREFIX: &str = "X-Object-Transient-Sysmeta-Apus-S3-";
/// The tags of an object, in the stored form of `apus_bucket::TagSet`.
pub const TAGGING: &str = "X-Object-Transient-Sysmeta-Apus-S3-Tagging";
/// The ACL of an object that was changed after it was written, in Swift's stored form. It takes
/// precedence over the one with which the object was written, [`OBJECT_ACL`].
pub const ACL: &str = "X-Object-Transient-Sysmeta-Apus-S3-Acl";
pub(crate) use apus_bucket::object_lock::SETTINGS_MARK as CONTAINER_MARK;
pub use apus_bucket::object_lock::{LEGAL_HOLD, RETENTION};

/// Whether the metadata of an object has settings.
pub(crate) fn has_settings(metadata: &Metadata) -> bool {
    metadata.keys().any(|name| has_prefix(name, PREFIX))
}

/// The metadata that a POST replaces.
fn replaceable(head: &ObjectHead) -> Metadata {
    let kept = |name: &str| is_stored_with_object(name) && !belongs_to_data(name);
    let items = head.metadata.iter().filter(|(name, _)| kept(name));
    items.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The locks of an object.
pub(crate) fn lock_of(head: &ObjectHead) -> VersionLock {
    VersionLock::from_stored(head.get(RETENTION), head.get(LEGAL_HOLD))
}

/// The ACL in the metadata of an object; `None` for an object of the bucket's owner that only it may
/// access.
///
/// # Errors
/// [`AclError::Damaged`].
pub fn acl_of(metadata: &Metadata) -> std::result::Result<Option<AccessControlList>, AclError> {
    let stored = metadata.get(ACL).or_else(|| metadata.get(OBJECT_ACL));
    stored.map_or(Ok(None), |stored| AccessControlList::from_stored(stored))
}

/// Milliseconds since 1970 of a time.
pub(crate) fn now_ms(time: Timestamp) -> u64 {
    time.steps() / STEPS_PER_MS
}

/// The metadata of an object after the change of a setting at this time.
///
/// # Errors
/// `Locked` when the retention may not be changed so; `Conflict` when the ACL was made for another
/// owner.
pub(crate) fn changed(
    head: &ObjectHead,
    change: &SettingChange,
    time: Timestamp,
) -> Result<Metadata> {
    let mut metadata = replaceable(head);
    let (name, value) = match change {
        SettingChange::Tagging(tags) => (TAGGING, tags.clone()),
        SettingChange::Retention { retention, bypass } => {
            let checked = lock_of(head).check_change(*retention, now_ms(time), *bypass);
            checked
                .map_err(|refusal| Error::new(Kind::Locked, Subject::Object).because(refusal))?;
            (RETENTION, retention.map(Retention::to_stored))
        }
        SettingChange::LegalHold(on) => (LEGAL_HOLD, Some(hold_to_stored(*on).to_owned())),
        SettingChange::Acl { acl, owner_before } => {
            let before = acl_of(&head.metadata).map_err(|error| {
                Error::unavailable(format!("an object has a damaged ACL: {error}"))
            })?;
            if before.map(|acl| acl.owner) != *owner_before {
                return Err(Error::new(Kind::Conflict, Subject::Object));
            }
            (ACL, Some(acl.clone()))
        }
    };
    match value {
        Some(value) => metadata.insert(name.to_owned(), value),
        None => metadata.remove(name),
    };
    Ok(metadata)
}

/// The metadata of an object after a POST of other metadata: its settings stay.
pub(crate) fn posted(head: &ObjectHead, mut metadata: Metadata) -> Metadata {
    let settings = head.metadata.iter().filter(|(name, _)| has_prefix(name, PREFIX));
    metadata.extend(settings.map(|(name, value)| (name.clone(), value.clone())));
    metadata
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(items: &[(&str, &str)]) -> Metadata {
        items.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn object() -> ObjectHead {
        let metadata = metadata(&[
            ("X-Object-Meta-Color", "blue"),
            ("Cache-Control", "max-age=60"),
            ("X-Delete-At", "1700000000"),
            ("X-Object-Manifest", "c/p"),
            ("X-Static-Large-Object", "True"),
            ("X-Object-Sysmeta-Slo-Etag", "e"),
            ("X-Object-Transient-Sysmeta-Crypto-Meta", "k"),
            (TAGGING, "a=b"),
            ("X-Timestamp", "1"),
        ]);
        ObjectHead { metadata, ..ObjectHead::default() }
    }

    fn after(change: &SettingChange) -> Metadata {
        changed(&object(), change, Timestamp::from_seconds(1)).unwrap()
    }

    #[test]
    fn a_retention_that_has_not_ended_is_not_shortened() {
        use apus_bucket::object_lock::RetentionMode::Compliance;
        let retention = |until_ms| Some(Retention { mode: Compliance, until_ms });
        let change =
            |until_ms| SettingChange::Retention { retention: retention(until_ms), bypass: true };
        let mut head = object();
        head.metadata = after(&change(5_000));
        assert_eq!(head.metadata[RETENTION], "COMPLIANCE 5000");
        let at = |ms, change| changed(&head, &change, Timestamp::from_steps(ms * STEPS_PER_MS));
        assert_eq!(at(4_999, change(4_999)).unwrap_err().kind, Kind::Locked);
        assert!(at(4_999, change(5_001)).is_ok() && at(5_000, change(1)).is_ok());
        let held = at(0, SettingChange::LegalHold(true)).unwrap();
        assert_eq!(
            (held[LEGAL_HOLD].as_str(), held[RETENTION].as_str()),
            ("ON", "COMPLIANCE 5000")
        );
    }

    #[test]
    fn a_change_keeps_everything_that_a_post_replaces() {
        let mut expected = metadata(&[
            ("X-Object-Meta-Color", "blue"),
            ("Cache-Control", "max-age=60"),
            ("X-Delete-At", "1700000000"),
            ("X-Object-Manifest", "c/p"),
            ("X-Object-Transient-Sysmeta-Crypto-Meta", "k"),
        ]);
        assert_eq!(after(&SettingChange::Tagging(None)), expected);
        expected.insert(TAGGING.to_owned(), "c=d".to_owned());
        let change = SettingChange::Tagging(Some("c=d".to_owned()));
        assert_eq!(after(&change), expected);
    }

    #[test]
    fn an_acl_replaces_that_of_the_same_owner_alone() {
        let of = |owner: &str| AccessControlList::private(owner).to_stored().unwrap();
        let mut head = object();
        let change = |owner_before: Option<&str>, acl: &str| SettingChange::Acl {
            acl: of(acl),
            owner_before: owner_before.map(str::to_owned),
        };
        let at = Timestamp::from_seconds(1);
        let written = changed(&head, &change(None, "a:new"), at).unwrap();
        assert_eq!(written[ACL], of("a:new"));
        head.metadata.insert(OBJECT_ACL.to_owned(), of("b:writer"));
        let refused = changed(&head, &change(None, "a:new"), at).unwrap_err();
        assert_eq!(refused.kind, Kind::Conflict);
        let written = changed(&head, &change(Some("b:writer"), "b:writer"), at).unwrap();
        head.metadata.extend(written);
        head.metadata.insert(OBJECT_ACL.to_owned(), "damaged".to_owned());
        assert_eq!(acl_of(&head.metadata).unwrap().unwrap().owner, "b:writer");
        head.metadata.remove(ACL);
        assert!(acl_of(&head.metadata).is_err());
        assert!(changed(&head, &change(None, "a:new"), at).is_err());
    }

    #[test]
    fn a_post_keeps_settings_alone() {
        let after = posted(&object(), metadata(&[("X-Object-Meta-Size", "1")]));
        assert_eq!(after, metadata(&[("X-Object-Meta-Size", "1"), (TAGGING, "a=b")]));
        assert!(has_settings(&after) && !has_settings(&Metadata::new()));
    }
}
