//! Keys that are not derived from root secrets: those of clients and of key management services.
//!
//! The wrapping key of a body is an HMAC of the given key with a random salt. So is the check, which
//! distinguishes a wrong key from damaged data; the key itself is not stored.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use subtle::ConstantTimeEq;

use crate::key::{BLOCK_BYTES, KEY_BYTES, SecretKey};
use crate::keymaster::{KeyPath, hmac_sha256};
use crate::meta::CryptoMetaError;

/// Proves the knowledge of a key without storing it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalKeyCheck {
    /// Random bytes.
    pub salt: [u8; BLOCK_BYTES],
    /// HMAC of the key over the salt and the context.
    pub mac: [u8; KEY_BYTES],
}

/// How the wrapping key of a body is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExternalScheme {
    /// From the key that a client sent with the request.
    Customer(ExternalKeyCheck),
    /// From a key of a key management service.
    Kms {
        /// Id of the key.
        key: String,
        /// Encryption context of the client, empty without one.
        context: String,
        /// Check of the key.
        check: ExternalKeyCheck,
    },
}

impl ExternalKeyCheck {
    /// The check of a key.
    pub fn new(key: &SecretKey, salt: [u8; BLOCK_BYTES], context: &str) -> Self {
        let mac =
            hmac_sha256(key.bytes(), &[b"apus external key check\0", &salt, context.as_bytes()]);
        Self { salt, mac }
    }

    /// Whether this is the key.
    pub fn matches(&self, key: &SecretKey, context: &str) -> bool {
        Self::new(key, self.salt, context).mac.ct_eq(&self.mac).into()
    }

    /// The key that wraps the key of a body; `None` if this is not the right key.
    pub fn wrapping_key(&self, key: &SecretKey, context: &str) -> Option<SecretKey> {
        let parts: [&[u8]; 3] = [b"apus external key wrap\0", &self.salt, context.as_bytes()];
        self.matches(key, context).then(|| SecretKey::new(hmac_sha256(key.bytes(), &parts)))
    }

    /// As one word.
    pub fn encode(&self) -> String {
        STANDARD.encode([self.salt.as_slice(), &self.mac].concat())
    }

    /// Reads [`ExternalKeyCheck::encode`].
    pub fn decode(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text).ok()?;
        let (salt, mac) = bytes.split_at_checked(BLOCK_BYTES)?;
        Some(Self { salt: salt.try_into().ok()?, mac: mac.try_into().ok()? })
    }
}

/// The etag of a body that such a key encrypts: the same key, name and MD5 have the same etag, and
/// without the key it says nothing of the body.
pub fn external_etag(key: &SecretKey, path: &KeyPath<'_>, md5: &str) -> String {
    let name = path.full();
    let parts = [b"apus external etag\0", name.as_bytes(), b"\0", md5.as_bytes()];
    let mac = hmac_sha256(key.bytes(), &parts);
    mac.iter().take(BLOCK_BYTES).map(|byte| format!("{byte:02x}")).collect()
}

impl ExternalScheme {
    /// The member of a key id that names the scheme.
    pub(crate) const MARK: &'static str = "apus";

    pub(crate) fn to_json(&self) -> Value {
        let mut out = Map::new();
        let check = match self {
            Self::Customer(check) => {
                out.insert(Self::MARK.to_owned(), "sse-c".into());
                check
            }
            Self::Kms { key, context, check } => {
                out.insert(Self::MARK.to_owned(), "sse-kms".into());
                out.insert("kms_key".to_owned(), key.as_str().into());
                out.insert("context".to_owned(), context.as_str().into());
                check
            }
        };
        out.insert("check".to_owned(), check.encode().into());
        Value::Object(out)
    }

    pub(crate) fn from_json(item: &Value) -> Result<Self, CryptoMetaError> {
        let text = |name| item.get(name).and_then(Value::as_str);
        let check = text("check").and_then(ExternalKeyCheck::decode);
        let check = check.ok_or(CryptoMetaError("key_id has no valid check"))?;
        match (text(Self::MARK), text("kms_key"), text("context")) {
            (Some("sse-c"), ..) => Ok(Self::Customer(check)),
            (Some("sse-kms"), Some(key), Some(context)) => {
                Ok(Self::Kms { key: key.to_owned(), context: context.to_owned(), check })
            }
            _ => Err(CryptoMetaError("key_id has an unknown scheme")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::{BodyKey, CryptoMeta, KeyId};

    #[test]
    fn only_the_right_key_and_context_have_a_wrapping_key() {
        let (key, other) = (SecretKey::new([1; 32]), SecretKey::new([2; 32]));
        let check = ExternalKeyCheck::new(&key, [9; 16], "ctx");
        assert!(check.wrapping_key(&key, "ctx").is_some());
        assert_ne!(check.wrapping_key(&key, "ctx").unwrap().bytes(), &check.mac);
        assert!(check.wrapping_key(&key, "").is_none() && !check.matches(&other, "ctx"));
        assert_eq!(ExternalKeyCheck::decode(&check.encode()), Some(check));
        assert_eq!(ExternalKeyCheck::decode("AAAA"), None);
    }

    #[test]
    fn etags_are_those_of_one_key_and_name() {
        let path = KeyPath { account: "a", container: "c", object: Some("o") };
        let other = KeyPath { object: Some("p"), ..path };
        let (one, two) = (SecretKey::new([1; 32]), SecretKey::new([2; 32]));
        let etag = external_etag(&one, &path, "m");
        assert_eq!(etag, external_etag(&one, &path, "m"));
        assert_eq!(etag.len(), 32);
        for different in [
            external_etag(&two, &path, "m"),
            external_etag(&one, &other, "m"),
            external_etag(&one, &path, "n"),
        ] {
            assert_ne!(etag, different);
        }
    }

    #[test]
    fn schemes_are_written_and_read() {
        let check = ExternalKeyCheck::new(&SecretKey::new([1; 32]), [9; 16], "");
        let kms =
            ExternalScheme::Kms { key: "k".into(), context: "c".into(), check: check.clone() };
        for scheme in [ExternalScheme::Customer(check), kms] {
            let meta = CryptoMeta {
                iv: Some([3; 16]),
                key_id: Some(KeyId::External(scheme)),
                body_key: Some(BodyKey { iv: [4; 16], wrapped: [5; 32] }),
            };
            assert_eq!(CryptoMeta::load(&meta.dump()), Ok(meta));
        }
        let unknown =
            "%7B%22cipher%22%3A%22AES_CTR_256%22%2C%22key_id%22%3A%7B%22apus%22%3A%22x%22%7D%7D";
        assert!(CryptoMeta::load(unknown).is_err());
    }
}
