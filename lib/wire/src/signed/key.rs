//! Keys that are derived from a cluster key. Nothing here prints a key, and keys are compared only by
//! the MACs they make.

use apus_cluster::backend_auth::ClusterKey;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

pub(crate) type HmacSha256 = Hmac<Sha256>;

/// Bytes of a MAC.
pub(crate) const MAC_BYTES: usize = 32;
/// Bytes of a block of SHA-256.
const BLOCK_BYTES: usize = 64;

/// HMAC-SHA256 with a key of any length (RFC 2104: a long one is hashed, a short one padded).
fn keyed(key: &[u8]) -> HmacSha256 {
    let hashed = Sha256::digest(key);
    let key = if key.len() > BLOCK_BYTES { hashed.as_slice() } else { key };
    let mut block = [0; BLOCK_BYTES];
    for (to, from) in block.iter_mut().zip(key) {
        *to = *from;
    }
    HmacSha256::new(&block.into())
}

fn derived(key: &[u8], purpose: &[u8]) -> [u8; MAC_BYTES] {
    let mut mac = keyed(key);
    mac.update(purpose);
    mac.finalize().into_bytes().into()
}

/// A cluster key, ready for use.
#[derive(Clone)]
pub(crate) struct Key {
    /// Identifies the key in requests and logs without revealing it.
    pub(crate) id: String,
    requests: HmacSha256,
    bodies: HmacSha256,
    rings: HmacSha256,
    answers: HmacSha256,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Key {
    pub(crate) fn new(key: &ClusterKey) -> Self {
        let part = |purpose: &[u8]| derived(key.bytes(), purpose);
        let id = part(b"apus v1 key id");
        Self {
            id: hex::encode(id).chars().take(8).collect(),
            requests: keyed(&part(b"apus v1 backend requests")),
            bodies: keyed(&part(b"apus v1 backend bodies")),
            rings: keyed(&part(b"apus v1 ring files")),
            answers: keyed(&part(b"apus v1 sealed answers")),
        }
    }

    /// For the signature of one request.
    pub(crate) fn request(&self) -> HmacSha256 {
        self.requests.clone()
    }

    /// For the statement of one ring file.
    pub(crate) fn ring(&self) -> HmacSha256 {
        self.rings.clone()
    }

    /// For one sealed answer.
    pub(crate) fn answer(&self) -> HmacSha256 {
        self.answers.clone()
    }

    /// For the body of the request with this signature.
    pub(crate) fn body(&self, signature: &[u8; MAC_BYTES]) -> HmacSha256 {
        let mut mac = self.bodies.clone();
        mac.update(signature);
        keyed(&mac.finalize().into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mac_is_that_of_rfc_4231_for_short_and_long_keys() {
        assert_eq!(
            hex::encode(derived(b"Jefe", b"what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        let long = "Test Using Larger Than Block-Size Key - Hash Key First";
        assert_eq!(
            hex::encode(derived(&[0xaa; 131], long.as_bytes())),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }

    #[test]
    fn a_key_is_named_but_not_shown() {
        let key = Key::new(&ClusterKey::parse(&"ab".repeat(32)).unwrap());
        assert_eq!(format!("{key:?}"), format!("Key {{ id: \"{}\", .. }}", key.id));
        assert!(key.id.len() == 8 && !"ab".repeat(32).contains(&key.id));
    }
}
