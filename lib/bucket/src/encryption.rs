//! The default encryption of a bucket's new objects.

use serde::{Deserialize, Serialize};

/// Longest id of a key, in bytes.
const KEY_BYTES_MAX: usize = 2048;

/// How new objects are encrypted whose requests do not say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DefaultEncryption {
    /// By keys of the cluster.
    #[serde(rename = "AES256")]
    Managed,
    /// By a key of the key management service.
    #[serde(rename = "aws:kms")]
    Kms {
        /// Its id; the default key of the service when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
    },
}

/// The encryption configuration of a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketEncryption {
    /// The encryption.
    pub default: DefaultEncryption,
    /// Whether a bucket key is used. It is shown and has no effect.
    pub bucket_key: bool,
}

/// An encryption configuration that is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEncryption {
    /// The algorithm.
    #[error("SSEAlgorithm: {0:?}, expected AES256 or aws:kms")]
    Algorithm(String),
    /// A key with an algorithm that has none.
    #[error("a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms")]
    KeyWithoutKms,
    /// The id of the key.
    #[error("KMSMasterKeyID: expected 1 to 2048 characters of ASCII without blanks")]
    Key,
}

impl DefaultEncryption {
    /// An encryption by the name of its algorithm and perhaps the id of a key.
    ///
    /// # Errors
    /// [`InvalidEncryption`].
    pub fn new(algorithm: &str, key: Option<&str>) -> Result<Self, InvalidEncryption> {
        match (algorithm, key) {
            ("AES256", None) => Ok(Self::Managed),
            ("AES256", Some(_)) => Err(InvalidEncryption::KeyWithoutKms),
            ("aws:kms", key) => {
                let is_valid = |key: &str| {
                    (1..=KEY_BYTES_MAX).contains(&key.len())
                        && key.bytes().all(|byte| byte.is_ascii_graphic())
                };
                match key.is_none_or(is_valid) {
                    true => Ok(Self::Kms { key: key.map(str::to_owned) }),
                    false => Err(InvalidEncryption::Key),
                }
            }
            (other, _) => Err(InvalidEncryption::Algorithm(other.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn algorithms_are_aws_own() {
        let kms = |key: &str| DefaultEncryption::Kms { key: Some(key.to_owned()) };
        for (algorithm, key, expected) in [
            ("AES256", None, Ok(DefaultEncryption::Managed)),
            ("AES256", Some("k"), Err(InvalidEncryption::KeyWithoutKms)),
            ("aws:kms", Some("k"), Ok(kms("k"))),
            ("aws:kms", None, Ok(DefaultEncryption::Kms { key: None })),
            ("aws:kms", Some("a b"), Err(InvalidEncryption::Key)),
            ("aws:kms", Some(""), Err(InvalidEncryption::Key)),
            ("aws:kms:dsse", None, Err(InvalidEncryption::Algorithm("aws:kms:dsse".to_owned()))),
        ] {
            assert_eq!(DefaultEncryption::new(algorithm, key), expected, "{algorithm} {key:?}");
        }
    }
}
