//! Settings of objects: system metadata that S3 changes without rewriting an object.
//!
//! They are transient system metadata, which a PUT writes and a POST replaces. A POST of Swift's
//! dialect must keep them, and a change of one must keep everything else. Both therefore read the
//! newest version and write under the lease of the object's name, so that all changes of an object
//! have one order. Only containers with a mark pay for that: the gate sets it before the first
//! setting is written in them.

use apus_cluster::Metadata;
use apus_cluster::metadata::{belongs_to_data, has_prefix, is_stored_with_object};

use crate::operation::{ObjectHead, SettingChange};

/// Prefix of the names of settings.
pub const PREFIX: &str = "X-Object-Transient-Sysmeta-Apus-S3-";
/// The tags of an object, in the stored form of `apus_bucket::TagSet`.
pub const TAGGING: &str = "X-Object-Transient-Sysmeta-Apus-S3-Tagging";
/// Container metadata that marks containers with objects that have settings.
pub(crate) const CONTAINER_MARK: &str = "X-Container-Sysmeta-Apus-Object-Settings";

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

/// The metadata of an object after the change of a setting.
pub(crate) fn changed(head: &ObjectHead, change: &SettingChange) -> Metadata {
    let mut metadata = replaceable(head);
    match change {
        SettingChange::Tagging(Some(tags)) => {
            metadata.insert(TAGGING.to_owned(), tags.clone());
        }
        SettingChange::Tagging(None) => {
            metadata.remove(TAGGING);
        }
    }
    metadata
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

    #[test]
    fn a_change_keeps_everything_that_a_post_replaces() {
        let mut expected = metadata(&[
            ("X-Object-Meta-Color", "blue"),
            ("Cache-Control", "max-age=60"),
            ("X-Delete-At", "1700000000"),
            ("X-Object-Manifest", "c/p"),
            ("X-Object-Transient-Sysmeta-Crypto-Meta", "k"),
        ]);
        assert_eq!(changed(&object(), &SettingChange::Tagging(None)), expected);
        expected.insert(TAGGING.to_owned(), "c=d".to_owned());
        let change = SettingChange::Tagging(Some("c=d".to_owned()));
        assert_eq!(changed(&object(), &change), expected);
    }

    #[test]
    fn a_post_keeps_settings_alone() {
        let after = posted(&object(), metadata(&[("X-Object-Meta-Size", "1")]));
        assert_eq!(after, metadata(&[("X-Object-Meta-Size", "1"), (TAGGING, "a=b")]));
        assert!(has_settings(&after) && !has_settings(&Metadata::new()));
    }
}
