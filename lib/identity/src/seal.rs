//! Encryption of secrets at rest, and the check characters of access key ids.
//!
//! XChaCha20-Poly1305 with random nonces; the keys are derived from the root secrets by HMAC-SHA-256.
//! What an encrypted secret belongs to is authenticated with it, so that it cannot be moved.

use apus_cluster::RootSecrets;
use apus_daemon::random;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::access_key::{AccessKeyId, SecretKey, check_text};

const NONCE_BYTES: usize = 24;

/// An encrypted secret, in hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedSecret {
    /// Which root secret encrypted it.
    root: String,
    nonce: String,
    text: String,
}

/// The keys of one root secret.
#[derive(Clone)]
struct SealingKey {
    id: String,
    secrets: Zeroizing<Vec<u8>>,
    ids: Zeroizing<Vec<u8>>,
}

/// Encrypts and decrypts secrets.
#[derive(Clone)]
pub struct Sealing {
    /// The first one encrypts.
    keys: Vec<SealingKey>,
}

impl std::fmt::Debug for Sealing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ids: Vec<&str> = self.keys.iter().map(|key| key.id.as_str()).collect();
        f.debug_struct("Sealing").field("keys", &ids).finish()
    }
}

fn mac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let Ok(mut mac) = <Hmac<Sha256> as KeyInit>::new_from_slice(key) else { return Vec::new() };
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

impl SealingKey {
    fn cipher(&self) -> Option<XChaCha20Poly1305> {
        XChaCha20Poly1305::new_from_slice(&self.secrets).ok()
    }

    /// The last characters of an access key id that begins with these.
    fn check(&self, body: &str) -> String {
        let digest = mac(&self.ids, body.as_bytes());
        let first = digest.first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        check_text(first)
    }
}

impl Sealing {
    /// Derives the keys.
    pub fn new(roots: &RootSecrets) -> Self {
        let keys = roots.iter().map(|root| {
            let derived = |purpose: &str| mac(root.bytes(), purpose.as_bytes());
            let id = derived("apus identities: name of the root secret");
            SealingKey {
                id: hex::encode(id.get(..8).unwrap_or_default()),
                secrets: Zeroizing::new(derived("apus identities: secrets of access keys")),
                ids: Zeroizing::new(derived("apus identities: ids of access keys")),
            }
        });
        Self { keys: keys.collect() }
    }

    /// Encrypts a text that belongs to `owner`.
    pub(crate) fn seal(&self, owner: &str, text: &[u8]) -> Option<SealedSecret> {
        let key = self.keys.first()?;
        let nonce = random::bytes::<NONCE_BYTES>();
        let payload = Payload { msg: text, aad: owner.as_bytes() };
        let sealed = key.cipher()?.encrypt(&XNonce::from(nonce), payload).ok()?;
        let (root, nonce, text) = (key.id.clone(), hex::encode(nonce), hex::encode(sealed));
        Some(SealedSecret { root, nonce, text })
    }

    /// Decrypts a text; `None` if another root secret encrypted it, or it belongs to another owner.
    pub(crate) fn open(&self, owner: &str, sealed: &SealedSecret) -> Option<Zeroizing<Vec<u8>>> {
        let key = self.keys.iter().find(|key| key.id == sealed.root)?;
        let nonce: [u8; NONCE_BYTES] = hex::decode(&sealed.nonce).ok()?.try_into().ok()?;
        let text = hex::decode(&sealed.text).ok()?;
        let payload = Payload { msg: &text, aad: owner.as_bytes() };
        key.cipher()?.decrypt(&XNonce::from(nonce), payload).ok().map(Zeroizing::new)
    }

    /// Encrypts the secret of an access key.
    pub(crate) fn seal_secret(&self, owner: &str, secret: &SecretKey) -> Option<SealedSecret> {
        self.seal(owner, secret.as_str().as_bytes())
    }

    /// Decrypts the secret of an access key.
    pub(crate) fn open_secret(&self, owner: &str, sealed: &SealedSecret) -> Option<SecretKey> {
        let bytes = self.open(owner, sealed)?;
        std::str::from_utf8(&bytes).ok().map(|text| SecretKey::new(text.to_owned()))
    }

    /// The check characters of an id. They come from the last secret, which never changes: it is
    /// derived from the hash prefix and suffix.
    fn check(&self, body: &str) -> String {
        self.keys.last().map(|key| key.check(body)).unwrap_or_default()
    }

    /// A new access key id.
    pub(crate) fn new_id(&self) -> AccessKeyId {
        AccessKeyId::generate(|body| self.check(body))
    }

    /// Whether a secret was encrypted with the root secret that encrypts now.
    pub(crate) fn is_current(&self, sealed: &SealedSecret) -> bool {
        self.keys.first().is_some_and(|key| key.id == sealed.root)
    }

    /// Whether this cluster can have made an id. Of random ids it accepts one in sixty million, so
    /// that requests with unknown keys cost the cluster nothing.
    pub fn can_have_made(&self, id: &AccessKeyId) -> bool {
        let (body, check) = id.parts();
        bool::from(self.check(body).as_bytes().ct_eq(check.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use apus_cluster::HashConf;

    use super::*;

    const ONE: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    fn hash() -> HashConf {
        HashConf { prefix: b"p".to_vec(), suffix: b"s".to_vec() }
    }

    fn with(options: &[(&str, &str)]) -> Sealing {
        Sealing::new(&RootSecrets::from_options(options).unwrap().with_hashes(&hash()))
    }

    #[test]
    fn a_secret_is_opened_by_its_owner_only() {
        let sealing = with(&[]);
        let secret = SecretKey::generate();
        let sealed = sealing.seal_secret("AIDA1/AK1", &secret).unwrap();
        assert!(sealing.open_secret("AIDA1/AK1", &sealed).unwrap().is(secret.as_str()));
        assert!(sealing.open_secret("AIDA2/AK1", &sealed).is_none());
        let json = serde_json::to_string(&sealed).unwrap();
        assert!(!json.contains(secret.as_str()) && !json.contains(&hex::encode(secret.as_str())));
        let again = sealing.seal_secret("AIDA1/AK1", &secret).unwrap();
        assert_ne!(again, sealed, "a nonce is used once");
        let mut changed = sealed.clone();
        changed.text.replace_range(0..1, if changed.text.starts_with('0') { "1" } else { "0" });
        assert!(sealing.open_secret("AIDA1/AK1", &changed).is_none());
        for damaged in [
            SealedSecret { nonce: "00".into(), ..sealed.clone() },
            SealedSecret { text: "x".into(), ..sealed },
        ] {
            assert!(sealing.open_secret("AIDA1/AK1", &damaged).is_none());
        }
    }

    #[test]
    fn secrets_stay_readable_while_a_root_secret_is_set_or_changed() {
        let two = ONE.replace("00", "77");
        let derived = with(&[]);
        let first = with(&[("identity_root_secret", ONE)]);
        let second =
            with(&[("identity_root_secret", &two), ("identity_root_secret_previous", ONE)]);
        let secret = SecretKey::generate();
        let of_derived = derived.seal_secret("o", &secret).unwrap();
        let of_first = first.seal_secret("o", &secret).unwrap();
        assert!(first.open_secret("o", &of_derived).is_some());
        assert!(second.open_secret("o", &of_first).is_some());
        assert!(derived.open_secret("o", &of_first).is_none());
        assert!(second.is_current(&second.seal_secret("o", &secret).unwrap()));
        assert!(!second.is_current(&of_first));
        assert!(second.can_have_made(&first.new_id()) && first.can_have_made(&derived.new_id()));
    }

    #[test]
    fn ids_that_this_cluster_did_not_make_are_recognised() {
        let sealing = with(&[]);
        let id = sealing.new_id();
        assert!(sealing.can_have_made(&id));
        let (body, check) = id.parts();
        let other = if check == "AAAAA" { "AAAAB" } else { "AAAAA" };
        let forged = AccessKeyId::parse(&format!("{body}{other}")).unwrap();
        assert!(!sealing.can_have_made(&forged));
        assert!(!Sealing { keys: Vec::new() }.can_have_made(&id));
    }

    #[test]
    fn keys_are_never_shown() {
        let shown = format!("{:?}", with(&[("identity_root_secret", ONE)]));
        assert!(!shown.contains("112233"), "{shown}");
    }
}
