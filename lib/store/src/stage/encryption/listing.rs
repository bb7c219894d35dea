//! Decryption of the etags in a listing.

use apus_cluster::ContainerPath;
use apus_cluster::listing::ObjectEntry;
use apus_crypto::{EncryptedValue, decrypt_value, split_value};
use memchr::memmem;

use super::{Encryption, container_key_path};
use crate::Result;
use crate::context::Context;
use crate::encryption::EncryptionFault;
use crate::operation::{ObjectList, Page};

/// A part of every encrypted etag.
const MARK: &str = "swift_meta=";
/// The etag of a row that cannot be decrypted: Swift's.
const UNKNOWN: &str = "<unknown>";

impl Encryption {
    fn row_etag(
        &self,
        container: &ContainerPath,
        encrypted: &EncryptedValue<'_>,
    ) -> std::result::Result<String, EncryptionFault> {
        let keys = self.keys_of(encrypted.meta.key_id.as_ref(), &container_key_path(container))?;
        decrypt_value(encrypted, &keys.container).map_err(|_| EncryptionFault::WrongKey)
    }

    /// Decrypts the etags of a page. One that cannot be decrypted is shown as unknown, as in Swift.
    pub(super) fn decrypt_list(
        &self,
        cx: &Context,
        container: &ContainerPath,
        list: ObjectList,
    ) -> Result<ObjectList> {
        let is_encrypted = match &list.page {
            Page::Json(json) => memmem::find(json, MARK.as_bytes()).is_some(),
            Page::Entries(entries) => entries
                .iter()
                .any(|entry| matches!(entry, ObjectEntry::Object(row) if row.etag.contains(MARK))),
        };
        if !is_encrypted {
            return Ok(list);
        }
        let mut entries = list.page.entries()?;
        let mut failed = None;
        for entry in &mut entries {
            let ObjectEntry::Object(row) = entry else { continue };
            let etag = match split_value(&row.etag) {
                Ok(None) => continue,
                Ok(Some(encrypted)) => self.row_etag(container, &encrypted),
                Err(_) => Err(EncryptionFault::Damaged("the etag in the listing")),
            };
            row.etag = etag.unwrap_or_else(|fault| {
                failed = Some(fault);
                UNKNOWN.to_owned()
            });
        }
        if let Some(error) = failed {
            tracing::error!(%error, trans_id = %cx.trans_id, "Failed to decrypt etags of a listing");
        }
        Ok(ObjectList { page: Page::Entries(entries), ..list })
    }
}
