//! The JSON that describes how a body or a value was encrypted.
//!
//! Source: `dump_crypto_meta` and `load_crypto_meta` in
//! `swift/common/middleware/crypto/crypto_utils.py`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::external::ExternalScheme;
use crate::key::{Iv, KEY_BYTES};
use crate::keymaster::MetaVersion;
use crate::text::{python_json, quote_plus, unquote_plus};

/// The only cipher.
const CIPHER: &str = "AES_CTR_256";

/// Names the key that encrypted something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyId {
    /// Derived from a root secret and a path: Swift's.
    Path {
        /// Version of the spelling.
        version: MetaVersion,
        /// The path in that spelling.
        path: String,
        /// Id of the root secret, unless it has none.
        secret: Option<String>,
    },
    /// A key that is not derived from a root secret. Swift's proxies answer 500 to it.
    External(ExternalScheme),
}

/// A wrapped key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyKey {
    /// IV of the wrapping.
    pub iv: Iv,
    /// The encrypted key.
    pub wrapped: [u8; KEY_BYTES],
}

/// How a body or a value was encrypted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CryptoMeta {
    /// The IV; the common description of user metadata has none.
    pub iv: Option<Iv>,
    /// The key, unless that of the object is meant.
    pub key_id: Option<KeyId>,
    /// The wrapped key of a body.
    pub body_key: Option<BodyKey>,
}

/// A description that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the encryption metadata is damaged: {0}")]
pub struct CryptoMetaError(pub &'static str);

fn base64_of<const N: usize>(item: &Value) -> Option<[u8; N]> {
    STANDARD.decode(item.as_str()?).ok()?.try_into().ok()
}

fn text(item: &Value, name: &str) -> Option<String> {
    item.get(name)?.as_str().map(str::to_owned)
}

impl KeyId {
    fn to_json(&self) -> Value {
        let mut out = Map::new();
        match self {
            Self::Path { version, path, secret } => {
                out.insert("v".to_owned(), version.number().into());
                out.insert("path".to_owned(), path.as_str().into());
                if let Some(secret) = secret {
                    out.insert("secret_id".to_owned(), secret.as_str().into());
                }
            }
            Self::External(scheme) => return scheme.to_json(),
        }
        Value::Object(out)
    }

    fn from_json(item: &Value) -> Result<Self, CryptoMetaError> {
        if item.get(ExternalScheme::MARK).is_some() {
            return Ok(Self::External(ExternalScheme::from_json(item)?));
        }
        let version = text(item, "v").and_then(|number| MetaVersion::parse(&number));
        Ok(Self::Path {
            version: version.ok_or(CryptoMetaError("key_id has an unknown version"))?,
            path: text(item, "path").ok_or(CryptoMetaError("key_id has no path"))?,
            secret: text(item, "secret_id"),
        })
    }
}

impl CryptoMeta {
    /// As a header value.
    pub fn dump(&self) -> String {
        let mut out = Map::new();
        out.insert("cipher".to_owned(), CIPHER.into());
        if let Some(iv) = &self.iv {
            out.insert("iv".to_owned(), STANDARD.encode(iv).into());
        }
        if let Some(id) = &self.key_id {
            out.insert("key_id".to_owned(), id.to_json());
        }
        if let Some(key) = &self.body_key {
            let mut inner = Map::new();
            inner.insert("iv".to_owned(), STANDARD.encode(key.iv).into());
            inner.insert("key".to_owned(), STANDARD.encode(key.wrapped).into());
            out.insert("body_key".to_owned(), Value::Object(inner));
        }
        quote_plus(&python_json(&Value::Object(out)))
    }

    /// Reads a header value.
    ///
    /// # Errors
    /// [`CryptoMetaError`].
    pub fn load(value: &str) -> Result<Self, CryptoMetaError> {
        let json = unquote_plus(value).ok_or(CryptoMetaError("it is not UTF-8"))?;
        let item: Value =
            serde_json::from_str(&json).map_err(|_| CryptoMetaError("it is not JSON"))?;
        if item.get("cipher").and_then(Value::as_str) != Some(CIPHER) {
            return Err(CryptoMetaError("expected the cipher AES_CTR_256"));
        }
        let iv = match item.get("iv") {
            Some(iv) => Some(base64_of(iv).ok_or(CryptoMetaError("iv is not 16 bytes"))?),
            None => None,
        };
        let body_key = match item.get("body_key") {
            Some(key) => {
                let part = |name| key.get(name).ok_or(CryptoMetaError("body_key is incomplete"));
                let iv = base64_of(part("iv")?);
                let wrapped = base64_of(part("key")?);
                let both = iv.zip(wrapped);
                let (iv, wrapped) = both.ok_or(CryptoMetaError("body_key has a wrong length"))?;
                Some(BodyKey { iv, wrapped })
            }
            None => None,
        };
        let key_id = item.get("key_id").map(KeyId::from_json).transpose()?;
        Ok(Self { iv, key_id, body_key })
    }
}
