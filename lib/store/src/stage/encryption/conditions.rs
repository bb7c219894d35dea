//! Conditions on etags, which servers compare with the MAC of an encrypted object's etag.
//!
//! Source: `_mask_conditional_etags` in `swift/common/middleware/crypto/encrypter.py`.

use apus_cluster::ObjectPath;
use apus_cluster::etag::EtagList;
use apus_crypto::etag_mac;

use super::{ETAG_MAC, EXTERNAL_ETAG, Encryption, key_path};
use crate::operation::{HeadObject, WriteConditions};

/// Where the etag of an encrypted object is: an object has one of the two.
const ETAGS_AT: [&str; 2] = [ETAG_MAC, EXTERNAL_ETAG];

impl Encryption {
    /// Adds the MACs of the etags that lists name, by each root secret; whether there are any. The
    /// etags stay for objects that are not encrypted.
    fn mask(&self, object: &ObjectPath, lists: [&mut Option<EtagList>; 2]) -> bool {
        let mut has_tags = false;
        let mut keys = None;
        for list in lists.into_iter().flatten() {
            let tags: Vec<String> =
                list.tags().filter(|tag| *tag != "*").map(str::to_owned).collect();
            if tags.is_empty() {
                continue;
            }
            has_tags = true;
            let Some(root) = &self.keys.root else { continue };
            let keys = keys.get_or_insert_with(|| root.object_keys(&key_path(object)));
            let macs = tags.iter().flat_map(|tag| keys.iter().map(|key| etag_mac(key, tag)));
            list.extend(macs.collect::<Vec<_>>());
        }
        has_tags
    }

    pub(super) fn mask_read(&self, op: &mut HeadObject) {
        let conditions = &mut op.conditions;
        if self.mask(&op.object, [&mut conditions.if_match, &mut conditions.if_none_match]) {
            op.etag_at.extend(ETAGS_AT.map(str::to_owned));
        }
    }

    pub(super) fn mask_write(&self, object: &ObjectPath, conditions: &mut WriteConditions) {
        if self.mask(object, [&mut conditions.if_match, &mut conditions.if_none_match]) {
            conditions.etag_at.extend(ETAGS_AT.map(str::to_owned));
        }
    }
}
