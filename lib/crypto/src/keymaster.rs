//! Keys that are derived from root secrets and paths.
//!
//! Source: `swift/common/middleware/crypto/keymaster.py`.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::key::SecretKey;
use crate::meta::KeyId;
use crate::text::{from_wsgi, to_wsgi};

/// Shortest root secret, in bytes.
const SECRET_BYTES_MIN: usize = 32;

/// HMAC-SHA256.
pub(crate) fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = match Hmac::<Sha256>::new_from_slice(key) {
        Ok(mac) => mac,
        // A key of HMAC has any length.
        Err(_) => return [0; 32],
    };
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// The version of the key ids that are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MetaVersion {
    /// The path is in WSGI's spelling; of an object whose name begins with a slash it is the name.
    V1,
    /// The path is in WSGI's spelling: Swift's default.
    #[default]
    V2,
    /// The path is UTF-8.
    V3,
}

impl MetaVersion {
    /// The version of this number.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "1" => Some(Self::V1),
            "2" => Some(Self::V2),
            "3" => Some(Self::V3),
            _ => None,
        }
    }

    /// As in a key id.
    pub fn number(self) -> &'static str {
        match self {
            Self::V1 => "1",
            Self::V2 => "2",
            Self::V3 => "3",
        }
    }
}

/// The path whose keys are wanted: of an object, or of a container in a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyPath<'a> {
    /// The account.
    pub account: &'a str,
    /// The container.
    pub container: &'a str,
    /// The object; `None` for the container's own key.
    pub object: Option<&'a str>,
}

impl KeyPath<'_> {
    fn container_path(&self) -> String {
        format!("/{}/{}", self.account, self.container)
    }

    pub(crate) fn full(&self) -> String {
        match self.object {
            Some(object) => format!("{}/{object}", self.container_path()),
            None => self.container_path(),
        }
    }
}

/// A root secret that is not configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the root secret {} is not configured", .0.as_deref().map_or("without an id".to_owned(), |id| format!("with the id {id:?}")))]
pub struct UnknownSecret(pub Option<String>);

/// An invalid set of root secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RootSecretError {
    /// A value. It is a secret and not part of the text.
    #[error("{option}: expected base64 of at least 32 bytes")]
    Value {
        /// Name of the option.
        option: String,
    },
    /// The id of the active secret.
    #[error("active_root_secret_id = {0:?}: expected the id of an encryption_root_secret_<id>")]
    Active(String),
    /// There is no secret without an id, and no active id.
    #[error(
        "encryption_root_secret: expected base64 of at least 32 bytes, or active_root_secret_id"
    )]
    Missing,
}

/// The keys of an object and its container.
#[derive(Debug, Clone)]
pub struct PathKeys {
    /// Encrypts metadata of the object, and wraps the key of its body.
    pub object: SecretKey,
    /// Encrypts etags in listings.
    pub container: SecretKey,
    /// Identifies both.
    pub id: KeyId,
}

/// The root secrets of a cluster.
#[derive(Clone)]
pub struct RootSecrets {
    secrets: BTreeMap<Option<String>, Vec<u8>>,
    active: Option<String>,
    version: MetaVersion,
}

impl fmt::Debug for RootSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RootSecrets")
            .field("ids", &self.secrets.keys())
            .field("active", &self.active)
            .finish_non_exhaustive()
    }
}

/// Base64, in which line breaks are ignored.
fn decode(text: &str) -> Option<Vec<u8>> {
    let joined: String = text.split_ascii_whitespace().collect();
    STANDARD.decode(joined).ok().filter(|secret| secret.len() >= SECRET_BYTES_MIN)
}

impl RootSecrets {
    /// Prefix of the options with root secrets.
    pub const OPTION: &'static str = "encryption_root_secret";

    /// Reads `encryption_root_secret` and `encryption_root_secret_<id>` among the options; `None`
    /// when there are no such options.
    ///
    /// # Errors
    /// [`RootSecretError`].
    pub fn from_options<'a>(
        options: impl Iterator<Item = (&'a str, &'a str)>,
        active: Option<&str>,
        version: MetaVersion,
    ) -> Result<Option<Self>, RootSecretError> {
        let mut secrets = BTreeMap::new();
        for (option, value) in options {
            let id = match option.strip_prefix(Self::OPTION) {
                Some("") => None,
                Some(rest) => match rest.strip_prefix('_').filter(|id| !id.is_empty()) {
                    Some(id) => Some(id.to_owned()),
                    None => continue,
                },
                None => continue,
            };
            let secret = decode(value);
            let secret =
                secret.ok_or_else(|| RootSecretError::Value { option: option.to_owned() })?;
            secrets.insert(id, secret);
        }
        let active = active.filter(|id| !id.is_empty()).map(str::to_owned);
        match (secrets.contains_key(&active), active) {
            (true, active) => Ok(Some(Self { secrets, active, version })),
            (false, Some(active)) => Err(RootSecretError::Active(active)),
            (false, None) if secrets.is_empty() => Ok(None),
            (false, None) => Err(RootSecretError::Missing),
        }
    }

    fn derive(&self, path: &str, secret: &Option<String>) -> Result<SecretKey, UnknownSecret> {
        let root = self.secrets.get(secret).ok_or_else(|| UnknownSecret(secret.clone()))?;
        Ok(SecretKey::new(hmac_sha256(root, &[path.as_bytes()])))
    }

    fn keys(
        &self,
        path: &KeyPath<'_>,
        secret: &Option<String>,
        version: MetaVersion,
    ) -> Result<PathKeys, UnknownSecret> {
        let full = match path.object {
            Some(name) if name.starts_with('/') && version == MetaVersion::V1 => name.to_owned(),
            _ => path.full(),
        };
        let spelled = if version == MetaVersion::V3 { full.clone() } else { to_wsgi(&full) };
        Ok(PathKeys {
            object: self.derive(&full, secret)?,
            container: self.derive(&path.container_path(), secret)?,
            id: KeyId::Path { version, path: spelled, secret: secret.clone() },
        })
    }

    /// The keys for new data.
    ///
    /// # Errors
    /// Never with a set that was read: the active secret is configured.
    pub fn active_keys(&self, path: &KeyPath<'_>) -> Result<PathKeys, UnknownSecret> {
        self.keys(path, &self.active, self.version)
    }

    /// The object keys that existing data may have, one for each root secret.
    pub fn object_keys(&self, path: &KeyPath<'_>) -> Vec<SecretKey> {
        let full = path.full();
        let keys = self.secrets.values();
        keys.map(|root| SecretKey::new(hmac_sha256(root, &[full.as_bytes()]))).collect()
    }

    /// The keys of existing data: of the path in its key id, which is usually that of the request.
    /// Swift's proxies wrote paths of several spellings.
    ///
    /// # Errors
    /// [`UnknownSecret`].
    pub fn keys_of(
        &self,
        version: MetaVersion,
        stored: &str,
        secret: &Option<String>,
        request: &KeyPath<'_>,
    ) -> Result<PathKeys, UnknownSecret> {
        let own = format!("/{}/", request.account);
        if version == MetaVersion::V1 && !stored.starts_with(&own) {
            // A name with a leading slash, stored without account and container.
            let path = KeyPath { object: Some(request.object.unwrap_or(stored)), ..*request };
            return self.keys(&path, secret, version);
        }
        let alternative = match version {
            MetaVersion::V1 | MetaVersion::V2 => from_wsgi(stored),
            MetaVersion::V3 => None,
        };
        let is_requested = |text: &str| {
            split(text).is_some_and(|path| {
                path.account == request.account
                    && path.container == request.container
                    && (request.object.is_none() || path.object == request.object)
            })
        };
        let chosen = match &alternative {
            Some(text) if !is_requested(stored) && is_requested(text) => text,
            _ => stored,
        };
        let path = split(chosen).unwrap_or(*request);
        self.keys(&path, secret, version)
    }
}

/// `/account/container/object`.
fn split(path: &str) -> Option<KeyPath<'_>> {
    let (account, rest) = path.strip_prefix('/')?.split_once('/')?;
    let (container, object) = match rest.split_once('/') {
        Some((container, object)) => (container, Some(object)),
        None => (rest, None),
    };
    Some(KeyPath { account, container, object })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(
        options: &[(&str, &str)],
        active: Option<&str>,
    ) -> Result<Option<RootSecrets>, RootSecretError> {
        RootSecrets::from_options(options.iter().copied(), active, MetaVersion::V2)
    }

    #[test]
    fn options_are_swifts() {
        let one = STANDARD.encode([b'a'; 32]);
        let broken = format!("{}\n  {}", &one[..20], &one[20..]);
        assert!(secrets(&[("encryption_root_secret", &broken)], None).unwrap().is_some());
        assert!(secrets(&[("use", "egg:swift#keymaster")], None).unwrap().is_none());
        let two = [("encryption_root_secret_1", one.as_str()), ("encryption_root_secret_2", &one)];
        assert_eq!(secrets(&two, None).unwrap_err(), RootSecretError::Missing);
        assert!(matches!(secrets(&two, Some("3")), Err(RootSecretError::Active(_))));
        let both = secrets(&two, Some("2")).unwrap().unwrap();
        assert!(!format!("{both:?}").contains("YWFh"));
        let short = STANDARD.encode([b'a'; 31]);
        for value in [short.as_str(), "?", ""] {
            let refused = secrets(&[("encryption_root_secret", value)], None).unwrap_err();
            assert_eq!(
                refused.to_string(),
                "encryption_root_secret: expected base64 of at least 32 bytes"
            );
        }
    }

    #[test]
    fn a_removed_secret_is_an_error() {
        let one = STANDARD.encode([b'a'; 32]);
        let set = secrets(&[("encryption_root_secret", &one)], None).unwrap().unwrap();
        let path = KeyPath { account: "a", container: "c", object: Some("o") };
        let old = Some("old".to_owned());
        let error = set.keys_of(MetaVersion::V2, "/a/c/o", &old, &path).unwrap_err();
        assert_eq!(error.to_string(), "the root secret with the id \"old\" is not configured");
    }
}
