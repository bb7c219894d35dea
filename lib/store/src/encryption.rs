//! Encryption as requests, configuration and stored objects name it.

use std::collections::BTreeMap;

pub use apus_crypto::{ExternalKeyCheck, MetaVersion, RootSecretError, RootSecrets, SecretKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::{Error, Kind, Subject};

/// System metadata with the encryption of an object as S3's clients see it ([`ObjectEncryption`]).
pub const ENCRYPTION: &str = "X-Object-Sysmeta-Apus-Encryption";

/// What a request says of encryption.
#[derive(Debug, Clone, Default)]
pub struct RequestEncryption {
    /// The key of what is read.
    pub read: ReadKey,
    /// The encryption of what is written; without it the bucket's default.
    pub write: Option<WriteEncryption>,
}

/// The customer's key with which an object is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ReadKey {
    /// The dialect has no such keys: metadata is readable, bodies are not.
    #[default]
    Unchecked,
    /// The request has none: objects that need one are refused.
    Absent,
    /// The request's key.
    Customer(SecretKey),
}

/// The encryption of what is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteEncryption {
    /// None, whatever the default of the bucket is.
    Plain,
    /// By keys of the cluster (SSE-S3).
    Managed,
    /// By a key of the key management service (SSE-KMS).
    Kms {
        /// Its id; the default key when absent.
        key: Option<String>,
        /// Encryption context, empty without one.
        context: String,
        /// Whether the client asks for a bucket key. It is shown and has no effect.
        bucket_key: bool,
    },
    /// By a key of the client (SSE-C).
    Customer(SecretKey),
}

/// The encryption of a stored object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectEncryption {
    /// By keys of the cluster.
    Managed,
    /// By a key of the key management service.
    Kms {
        /// Its id.
        key: String,
        /// Encryption context, empty without one.
        context: String,
        /// Whether the client asked for a bucket key.
        bucket_key: bool,
    },
    /// By a key of the client.
    Customer(ExternalKeyCheck),
}

impl ObjectEncryption {
    /// As the value of [`ENCRYPTION`].
    pub fn to_stored(&self) -> String {
        match self {
            Self::Managed => "AES256".to_owned(),
            Self::Kms { key, context, bucket_key } => {
                format!("aws:kms {key} {} {}", u8::from(*bucket_key), STANDARD.encode(context))
            }
            Self::Customer(check) => format!("customer {}", check.encode()),
        }
    }

    /// Reads a stored value.
    pub fn from_stored(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        match (words.next()?, words.next(), words.next(), words.next()) {
            ("AES256", None, ..) => Some(Self::Managed),
            ("aws:kms", Some(key), Some(bucket_key), Some(context)) => Some(Self::Kms {
                key: key.to_owned(),
                context: String::from_utf8(STANDARD.decode(context).ok()?).ok()?,
                bucket_key: bucket_key == "1",
            }),
            ("customer", Some(check), None, _) => {
                ExternalKeyCheck::decode(check).map(Self::Customer)
            }
            _ => None,
        }
    }

    /// The encryption of an object with this metadata, if it has one.
    ///
    /// # Errors
    /// `Undecryptable` when the metadata is damaged.
    pub fn of(metadata: &apus_cluster::Metadata) -> crate::Result<Option<Self>> {
        let Some(text) = metadata.get(ENCRYPTION) else { return Ok(None) };
        let parsed = Self::from_stored(text);
        parsed.map(Some).ok_or_else(|| EncryptionFault::Damaged(ENCRYPTION).into())
    }
}

/// Why a request for an encrypted object fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncryptionFault {
    /// The object is encrypted by a key of a client, and the request has none.
    #[error(
        "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve the object."
    )]
    KeyNeeded,
    /// The client's key is another one.
    #[error("The provided encryption parameters did not match the ones used originally.")]
    OtherKey,
    /// A part of an upload that began with a client's key has none.
    #[error(
        "The multipart upload initiate requested encryption. Subsequent part requests must include the appropriate encryption parameters."
    )]
    PartKeyNeeded,
    /// A part has a client's key, and the upload has not.
    #[error(
        "The multipart upload initiate did not request encryption with a customer key. Part requests must not have one."
    )]
    PartKeyUnexpected,
    /// The configuration has no root secret.
    #[error(
        "Server side encryption with keys of the cluster needs encryption_root_secret in [filter:keymaster] of proxy-server.conf"
    )]
    NoRootSecret,
    /// The request names no key, and the configuration no default.
    #[error(
        "Server side encryption with aws:kms needs a key id in the request, or default_key in [kms]"
    )]
    NoKmsKey,
    /// A key of the key management service that does not exist.
    #[error("The key {0:?} does not exist: expected the id of a key_<id> in [kms]")]
    UnknownKmsKey(String),
    /// The key of an object is not configured any longer.
    #[error("The object cannot be decrypted: {0}")]
    LostKey(String),
    /// The key that is configured is not the one that encrypted the object.
    #[error("The object cannot be decrypted: the configured key is not the one that encrypted it")]
    WrongKey,
    /// Metadata of the encryption is damaged.
    #[error("The object cannot be decrypted: {0} is damaged")]
    Damaged(&'static str),
}

impl EncryptionFault {
    fn kind(&self) -> Kind {
        match self {
            Self::KeyNeeded
            | Self::OtherKey
            | Self::PartKeyNeeded
            | Self::PartKeyUnexpected
            | Self::NoKmsKey
            | Self::UnknownKmsKey(_) => Kind::Invalid,
            Self::NoRootSecret => Kind::NotSupported,
            Self::LostKey(_) | Self::WrongKey | Self::Damaged(_) => Kind::Undecryptable,
        }
    }
}

impl From<EncryptionFault> for Error {
    fn from(fault: EncryptionFault) -> Self {
        Self::new(fault.kind(), Subject::Object).text(fault.to_string()).because(fault)
    }
}

/// The keys of the key management service, from a file.
#[derive(Debug, Clone, Default)]
pub struct KmsKeys {
    /// By id.
    pub keys: BTreeMap<String, SecretKey>,
    /// Id of the key for requests without one.
    pub default_key: Option<String>,
}

/// The keys of a proxy.
#[derive(Debug, Clone, Default)]
pub struct EncryptionKeys {
    /// Root secrets, if there are any.
    pub root: Option<RootSecrets>,
    /// Whether every new object is encrypted, as by Swift's `encryption` filter.
    pub encrypts_all: bool,
    /// Keys for SSE-KMS.
    pub kms: KmsKeys,
}

impl EncryptionKeys {
    /// A key for SSE-KMS, by its id or ARN.
    ///
    /// # Errors
    /// [`EncryptionFault::NoKmsKey`], [`EncryptionFault::UnknownKmsKey`].
    pub fn kms_key(&self, id: Option<&str>) -> Result<(&str, &SecretKey), EncryptionFault> {
        let id = id.or(self.kms.default_key.as_deref()).ok_or(EncryptionFault::NoKmsKey)?;
        let name = match id.strip_prefix("arn:aws:kms:").and_then(|arn| arn.split_once(":key/")) {
            Some((_, name)) => name,
            None => id,
        };
        let found = self.kms.keys.get_key_value(name);
        let (name, key) = found.ok_or_else(|| EncryptionFault::UnknownKmsKey(id.to_owned()))?;
        Ok((name, key))
    }

    /// The encryption of an object that is written so, as it is stored; `None` for a plain one.
    ///
    /// # Errors
    /// `NotSupported` without root secrets, `Invalid` for an unknown key.
    pub fn describe(&self, write: &WriteEncryption) -> crate::Result<Option<ObjectEncryption>> {
        Ok(Some(match write {
            WriteEncryption::Plain => return Ok(None),
            WriteEncryption::Managed if self.root.is_none() => {
                return Err(EncryptionFault::NoRootSecret.into());
            }
            WriteEncryption::Managed => ObjectEncryption::Managed,
            WriteEncryption::Kms { key, context, bucket_key } => {
                let (id, _) = self.kms_key(key.as_deref())?;
                let (key, context) = (id.to_owned(), context.clone());
                ObjectEncryption::Kms { key, context, bucket_key: *bucket_key }
            }
            WriteEncryption::Customer(key) => {
                let salt = apus_daemon::random::bytes();
                ObjectEncryption::Customer(ExternalKeyCheck::new(key, salt, ""))
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> EncryptionKeys {
        let keys = BTreeMap::from([("one".to_owned(), SecretKey::new([1; 32]))]);
        EncryptionKeys { kms: KmsKeys { keys, default_key: None }, ..EncryptionKeys::default() }
    }

    #[test]
    fn keys_have_ids_and_arns() {
        let keys = keys();
        for id in ["one", "arn:aws:kms:us-east-1:1:key/one"] {
            assert_eq!(keys.kms_key(Some(id)).unwrap().0, "one");
        }
        assert_eq!(keys.kms_key(None), Err(EncryptionFault::NoKmsKey));
        assert_eq!(keys.kms_key(Some("x")), Err(EncryptionFault::UnknownKmsKey("x".to_owned())));
        let managed = keys.describe(&WriteEncryption::Managed).unwrap_err();
        assert_eq!(managed.kind, Kind::NotSupported);
    }

    #[test]
    fn the_encryption_of_an_object_is_stored_and_read() {
        let check = ExternalKeyCheck::new(&SecretKey::new([1; 32]), [2; 16], "");
        for encryption in [
            ObjectEncryption::Managed,
            ObjectEncryption::Customer(check),
            ObjectEncryption::Kms {
                key: "k".into(),
                context: "{\"a\": 1}".into(),
                bucket_key: true,
            },
            ObjectEncryption::Kms { key: "k".into(), context: String::new(), bucket_key: false },
        ] {
            let text = encryption.to_stored();
            assert_eq!(ObjectEncryption::from_stored(&text), Some(encryption), "{text}");
        }
        for text in ["", "AES128", "AES256 x", "customer", "customer AA", "aws:kms k"] {
            assert_eq!(ObjectEncryption::from_stored(text), None, "{text}");
        }
    }
}
