//! Decryption of an object's metadata.

use apus_cluster::metadata::{Resource, has_prefix};
use apus_cluster::{Metadata, ObjectPath};
use apus_crypto::{
    CryptoMeta, CryptoMetaError, ExternalScheme, Iv, KeyId, KeyPath, PathKeys, SecretKey,
    decrypt_value, etag_mac, split_value, unwrap_key,
};
use subtle::ConstantTimeEq;

use super::key_path;
use super::{
    BODY_META, BODY_PREFIX, ETAG, ETAG_MAC, EXTERNAL_ETAG, Encryption, ROW_ETAG, USER_META,
    USER_PREFIX,
};
use crate::context::Context;
use crate::encryption::{ENCRYPTION, EncryptionFault, ObjectEncryption, ReadKey};
use crate::operation::ObjectHead;
use crate::{Error, Result};

/// The key of a body.
pub(super) struct BodySecret {
    pub(super) key: SecretKey,
    pub(super) iv: Iv,
}

fn damaged(header: &'static str) -> impl Fn(CryptoMetaError) -> EncryptionFault {
    move |_| EncryptionFault::Damaged(header)
}

/// Whether an item begins with this prefix: one look-up.
fn has_any(metadata: &Metadata, prefix: &str) -> bool {
    let from =
        metadata.range::<str, _>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded));
    from.take(1).any(|(name, _)| name.starts_with(prefix))
}

/// Decrypts a value that may be encrypted.
fn plain(
    value: &str,
    key: &SecretKey,
    header: &'static str,
) -> std::result::Result<String, EncryptionFault> {
    match split_value(value).map_err(damaged(header))? {
        Some(encrypted) => decrypt_value(&encrypted, key).map_err(|_| EncryptionFault::WrongKey),
        None => Ok(value.to_owned()),
    }
}

impl Encryption {
    /// The keys that a key id names.
    pub(super) fn keys_of(
        &self,
        id: Option<&KeyId>,
        request: &KeyPath<'_>,
    ) -> std::result::Result<PathKeys, EncryptionFault> {
        let Some(root) = &self.keys.root else {
            return Err(EncryptionFault::LostKey("no root secret is configured".to_owned()));
        };
        let found = match id {
            Some(KeyId::Path { version, path, secret }) => {
                root.keys_of(*version, path, secret, request)
            }
            // As in Swift.
            None => root.active_keys(request),
            Some(KeyId::External(_)) => return Err(EncryptionFault::Damaged(USER_META)),
        };
        found.map_err(|unknown| EncryptionFault::LostKey(unknown.to_string()))
    }

    /// Refuses a request without the key that the object needs, or with another one.
    fn check_key(cx: &Context, head: &ObjectHead) -> Result<()> {
        let Some(request) = &cx.encryption else { return Ok(()) };
        match (&request.read, ObjectEncryption::of(&head.metadata)?) {
            (ReadKey::Absent, Some(ObjectEncryption::Customer(_))) => {
                Err(EncryptionFault::KeyNeeded.into())
            }
            (ReadKey::Customer(key), Some(ObjectEncryption::Customer(check)))
                if !check.matches(key, "") =>
            {
                Err(EncryptionFault::OtherKey.into())
            }
            _ => Ok(()),
        }
    }

    /// Decrypts the metadata of an object. Returns the key of its body if that is encrypted, or why
    /// there is none.
    ///
    /// # Errors
    /// `Undecryptable`; `Invalid` when the request lacks the client's key, or has another one.
    pub(super) fn open(
        &self,
        cx: &Context,
        object: &ObjectPath,
        head: &mut ObjectHead,
    ) -> Result<Option<Result<BodySecret>>> {
        Self::check_key(cx, head)?;
        let path = key_path(object);
        let body = match has_any(&head.metadata, BODY_PREFIX) {
            true => self.open_body(cx, &path, head)?,
            false => None,
        };
        if has_any(&head.metadata, USER_META) {
            self.open_user_metadata(&path, &mut head.metadata)?;
        }
        Ok(body)
    }

    fn open_body(
        &self,
        cx: &Context,
        path: &KeyPath<'_>,
        head: &mut ObjectHead,
    ) -> Result<Option<Result<BodySecret>>> {
        let stored = head.metadata.remove(BODY_META);
        let meta = stored.as_deref().map(CryptoMeta::load).transpose();
        let meta = meta.map_err(damaged(BODY_META))?;
        let body = match meta {
            None => None,
            Some(CryptoMeta { iv: Some(iv), body_key: Some(body_key), key_id }) => {
                let outer = match &key_id {
                    Some(KeyId::External(scheme)) => {
                        if let Some(etag) = head.metadata.remove(EXTERNAL_ETAG) {
                            head.etag = etag;
                        }
                        self.external_key(cx, scheme)
                    }
                    id => {
                        let keys = self.keys_of(id.as_ref(), path)?;
                        Self::open_etags(&keys, head)?;
                        let managed = || ObjectEncryption::Managed.to_stored();
                        head.metadata.entry(ENCRYPTION.to_owned()).or_insert_with(managed);
                        Ok(keys.object)
                    }
                };
                let opened = outer.map(|outer| {
                    let key = unwrap_key(&outer, &body_key.iv, body_key.wrapped);
                    BodySecret { key, iv }
                });
                Some(opened.map_err(Error::from))
            }
            Some(_) => return Err(EncryptionFault::Damaged(BODY_META).into()),
        };
        head.metadata.retain(|name, _| !name.starts_with(BODY_PREFIX));
        Ok(body)
    }

    /// The key that wraps the key of a body, if it is not derived from a root secret.
    fn external_key(
        &self,
        cx: &Context,
        scheme: &ExternalScheme,
    ) -> std::result::Result<SecretKey, EncryptionFault> {
        match scheme {
            ExternalScheme::Customer(check) => {
                match cx.encryption.as_deref().map(|own| &own.read) {
                    Some(ReadKey::Customer(key)) => {
                        check.wrapping_key(key, "").ok_or(EncryptionFault::OtherKey)
                    }
                    _ => Err(EncryptionFault::KeyNeeded),
                }
            }
            ExternalScheme::Kms { key, context, check } => {
                let lost = |_| EncryptionFault::LostKey(format!("there is no key_{key} in [kms]"));
                let (_, secret) = self.keys.kms_key(Some(key)).map_err(lost)?;
                check.wrapping_key(secret, context).ok_or(EncryptionFault::WrongKey)
            }
        }
    }

    /// Decrypts the etags, and verifies by their MAC that the key is the right one.
    fn open_etags(
        keys: &PathKeys,
        head: &mut ObjectHead,
    ) -> std::result::Result<(), EncryptionFault> {
        if let Some(encrypted) = head.metadata.get(ETAG) {
            let etag = plain(encrypted, &keys.object, ETAG)?;
            let mac = head.metadata.get(ETAG_MAC).ok_or(EncryptionFault::Damaged(ETAG_MAC))?;
            let own = etag_mac(&keys.object, &etag);
            if !bool::from(own.as_bytes().ct_eq(mac.as_bytes())) {
                return Err(EncryptionFault::WrongKey);
            }
            head.etag = etag;
        }
        if let Some(row) = head.metadata.get_mut(ROW_ETAG) {
            *row = plain(row, &keys.container, ROW_ETAG)?;
        }
        Ok(())
    }

    fn open_user_metadata(
        &self,
        path: &KeyPath<'_>,
        metadata: &mut Metadata,
    ) -> std::result::Result<(), EncryptionFault> {
        let stored = metadata.remove(USER_META);
        let encrypted: Vec<String> =
            metadata.keys().filter(|name| has_prefix(name, USER_PREFIX)).cloned().collect();
        if encrypted.is_empty() {
            return Ok(());
        }
        let meta = stored.as_deref().map(CryptoMeta::load).transpose();
        let id = meta.map_err(damaged(USER_META))?.and_then(|meta| meta.key_id);
        let keys = self.keys_of(id.as_ref(), path)?;
        for name in encrypted {
            let Some(value) = metadata.remove(&name) else { continue };
            let value = match split_value(&value).map_err(damaged(USER_META))? {
                Some(found) => {
                    decrypt_value(&found, &keys.object).map_err(|_| EncryptionFault::WrongKey)?
                }
                // Swift does not encrypt empty values.
                None if value.is_empty() => value,
                None => return Err(EncryptionFault::Damaged(USER_META)),
            };
            let short = name.get(USER_PREFIX.len()..).unwrap_or_default();
            metadata.insert(format!("{}{short}", Resource::Object.user_prefix()), value);
        }
        Ok(())
    }
}
