//! Encrypted header values and listing etags: base64 with the description as a parameter.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::cipher::Keystream;
use crate::key::{Iv, SecretKey};
use crate::keymaster::hmac_sha256;
use crate::meta::{CryptoMeta, CryptoMetaError, KeyId};

/// Separates a value from its description.
const PARAMETER: &str = "swift_meta=";

/// A value with the description of its encryption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncryptedValue<'a> {
    /// Base64.
    pub value: &'a str,
    /// How it was encrypted.
    pub meta: CryptoMeta,
}

/// Encrypts a text. `id` is added where the key is not that of the object's body.
pub fn encrypt_value(text: &str, key: &SecretKey, iv: Iv, id: Option<&KeyId>) -> String {
    let mut bytes = text.as_bytes().to_vec();
    Keystream::new(key, &iv, 0).apply(&mut bytes);
    let meta = CryptoMeta { iv: Some(iv), key_id: id.cloned(), body_key: None };
    format!("{}; {PARAMETER}{}", STANDARD.encode(bytes), meta.dump())
}

/// Splits the description off; `None` when the value is not encrypted.
///
/// # Errors
/// [`CryptoMetaError`].
pub fn split_value(text: &str) -> Result<Option<EncryptedValue<'_>>, CryptoMetaError> {
    let mut parts = text.split(';');
    let value = parts.next().unwrap_or_default().trim();
    let meta = parts.find_map(|part| part.trim().strip_prefix(PARAMETER));
    let meta = meta.map(|meta| CryptoMeta::load(meta.trim_matches('"'))).transpose()?;
    Ok(meta.map(|meta| EncryptedValue { value, meta }))
}

/// Decrypts a value.
///
/// # Errors
/// [`CryptoMetaError`], also when the key was another one and the result is not a text.
pub fn decrypt_value(
    encrypted: &EncryptedValue<'_>,
    key: &SecretKey,
) -> Result<String, CryptoMetaError> {
    let iv = encrypted.meta.iv.ok_or(CryptoMetaError("a value has no iv"))?;
    let decoded = STANDARD.decode(encrypted.value);
    let mut bytes = decoded.map_err(|_| CryptoMetaError("a value is not base64"))?;
    Keystream::new(key, &iv, 0).apply(&mut bytes);
    String::from_utf8(bytes).map_err(|_| CryptoMetaError("a value was encrypted by another key"))
}

/// The MAC of an etag, by which servers evaluate conditions.
pub fn etag_mac(key: &SecretKey, etag: &str) -> String {
    STANDARD.encode(hmac_sha256(key.bytes(), &[etag.as_bytes()]))
}
