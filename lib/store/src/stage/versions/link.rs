//! The link that makes a version the current one.
//!
//! It is a static link, as Swift's `_put_symlink_to_version` writes it: it names etag and length of
//! the version, has its content type and expiry, and is not counted among the links in a row.

use apus_cluster::listing::split_swift_bytes;
use apus_cluster::{Metadata, ObjectPath, Timestamp, percent};

use super::super::slo;
use super::super::symlink::link as stored;
use super::current::{LINK_ETAG, LINK_TIME, joined_etag};
use super::names::{ROW_ETAG, VERSIONS_SYMLINK};
use crate::body::LateMetadata;
use crate::operation::{ObjectHead, PutObject, WriteConditions};

/// System metadata with the etag that S3 clients know, where that is not the body's MD5.
const S3_ETAG: &str = "X-Object-Sysmeta-S3Api-Etag";
/// MD5 of an empty body.
pub(super) const EMPTY_ETAG: &str = "d41d8cd98f00b204e9800998ecf8427e";

/// What a link says about its version.
#[derive(Debug)]
pub(super) struct VersionFacts {
    pub(super) path: ObjectPath,
    /// When the version was written.
    pub(super) time: Timestamp,
    pub(super) etag: String,
    /// Length of its body in bytes.
    pub(super) length: u64,
    pub(super) content_type: String,
    pub(super) metadata: Metadata,
}

impl VersionFacts {
    /// Of a stored version.
    pub(super) fn of(path: ObjectPath, head: ObjectHead) -> Self {
        // A static link of a client stands for the etag of its target.
        let etag = head.get(stored::TARGET_ETAG).unwrap_or(&head.etag).to_owned();
        Self {
            path,
            time: head.timestamp,
            etag,
            length: head.length,
            content_type: head.content_type,
            metadata: head.metadata,
        }
    }

    /// The write of the link at `object`.
    pub(super) fn link(self, object: ObjectPath, conditions: WriteConditions) -> PutObject {
        let path = format!("{}/{}", self.path.container.container, self.path.object);
        let path = percent::encode_path(&path);
        let length = self.length.to_string();
        let bytes = self.metadata.get(slo::SIZE_KEY).unwrap_or(&length);
        // Other features' fields in the version's row apply to the link as well.
        let row = self.metadata.get(ROW_ETAG).and_then(|etag| etag.split_once(';'));
        let words: Vec<String> = std::iter::once(EMPTY_ETAG.to_owned())
            .chain(row.into_iter().flat_map(|(_, words)| words.split(';')).filter_map(|word| {
                let word = word.trim();
                let is_kept = word.starts_with("s3_etag=") || word.starts_with("slo_etag=");
                is_kept.then(|| word.to_owned())
            }))
            .chain([
                format!("symlink_target={path}"),
                format!("symlink_target_etag={}", self.etag),
                format!("symlink_target_bytes={bytes}"),
            ])
            .collect();
        let mut metadata = Metadata::from(
            [
                (stored::TARGET, path.as_str()),
                (stored::TARGET_ETAG, &self.etag),
                (stored::TARGET_BYTES, bytes),
                (stored::ALLOWS_RESERVED, "true"),
                (stored::EXTENDS, "true"),
                (VERSIONS_SYMLINK, "true"),
                (LINK_TIME, &self.time.normal()),
                (ROW_ETAG, &words.join("; ")),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        let kept = ["X-Delete-At", S3_ETAG].into_iter();
        metadata.extend(kept.filter_map(|name| {
            self.metadata.get(name).map(|value| (name.to_owned(), value.clone()))
        }));
        if let Some(etag) = joined_etag(&self.metadata) {
            metadata.insert(LINK_ETAG.to_owned(), etag.clone());
        }
        PutObject {
            object,
            body: apus_daemon::http::empty(),
            length: Some(0),
            content_type: split_swift_bytes(&self.content_type).0,
            metadata,
            etag: None,
            timestamp: None,
            conditions,
            late: LateMetadata::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::memory_store::object;
    use super::*;

    #[test]
    fn a_link_names_its_version_and_its_row_has_what_listings_show() {
        let pairs = [
            (ROW_ETAG, "own; s3_etag=s-2; slo_etag=j; null_version=true"),
            (slo::SIZE_KEY, "700"),
            (slo::ETAG_KEY, "j"),
            (S3_ETAG, "s-2"),
            ("X-Object-Meta-Color", "blue"),
            ("X-Static-Large-Object", "True"),
        ];
        let facts = VersionFacts {
            path: object("\0versions\0c/\0o\0v"),
            time: Timestamp::from_seconds(7),
            etag: "own".to_owned(),
            length: 20,
            content_type: "a/b;swift_bytes=700".to_owned(),
            metadata: pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        };
        let put = facts.link(object("c/o"), WriteConditions::default());
        assert_eq!(put.content_type, "a/b");
        assert_eq!(put.metadata[stored::TARGET], "%00versions%00c/%00o%00v");
        assert_eq!(put.metadata[stored::TARGET_BYTES], "700");
        assert_eq!(put.metadata[LINK_ETAG], "j");
        assert_eq!(
            put.metadata[ROW_ETAG],
            format!(
                "{EMPTY_ETAG}; s3_etag=s-2; slo_etag=j; symlink_target=%00versions%00c/%00o%00v; \
                 symlink_target_etag=own; symlink_target_bytes=700"
            )
        );
        assert!(!put.metadata.contains_key("X-Static-Large-Object"));
    }
}
