//! Encryption at rest in Swift's encoding: keys, ciphers and the text forms in metadata.
//!
//! Nothing here does I/O, and nothing here is random: callers supply IVs, keys and salts. The formats
//! are those of `swift/common/middleware/crypto`; a body whose key is not derived from a root secret
//! has a key id of our own in the same JSON, which Swift refuses ([`KeyId::External`]).
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

mod cipher;
mod external;
mod key;
mod keymaster;
mod meta;
mod text;
mod value;
#[cfg(test)]
mod vectors;

pub use cipher::{Keystream, unwrap_key, wrap_key};
pub use external::{ExternalKeyCheck, ExternalScheme, external_etag};
pub use key::{BLOCK_BYTES, Iv, KEY_BYTES, SecretKey};
pub use keymaster::{KeyPath, MetaVersion, PathKeys, RootSecretError, RootSecrets, UnknownSecret};
pub use meta::{BodyKey, CryptoMeta, CryptoMetaError, KeyId};
pub use value::{EncryptedValue, decrypt_value, encrypt_value, etag_mac, split_value};
