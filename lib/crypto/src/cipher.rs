//! AES-256 in counter mode.
//!
//! Source: `Crypto` in `swift/common/middleware/crypto/crypto_utils.py`.

use aes::Aes256;
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit, StreamCipher};

use crate::key::{BLOCK_BYTES, Iv, KEY_BYTES, SecretKey};

/// The keystream of one key and IV, which encrypts and decrypts. No I/O, no padding: the length stays.
pub struct Keystream(Ctr128BE<Aes256>);

impl std::fmt::Debug for Keystream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keystream")
    }
}

impl Keystream {
    /// The keystream from this byte of the message on.
    pub fn new(key: &SecretKey, iv: &Iv, offset: u64) -> Self {
        let block = BLOCK_BYTES as u64;
        // As in Swift, the counter is the whole IV modulo 2^128.
        let first = u128::from_be_bytes(*iv).wrapping_add(u128::from(offset / block));
        let mut stream = Ctr128BE::<Aes256>::new(key.bytes().into(), &first.to_be_bytes().into());
        let mut skipped = [0; BLOCK_BYTES];
        if let Some(skipped) = skipped.get_mut(..(offset % block) as usize) {
            stream.apply_keystream(skipped);
        }
        Self(stream)
    }

    /// Encrypts or decrypts the next bytes in place.
    pub fn apply(&mut self, bytes: &mut [u8]) {
        self.0.apply_keystream(bytes);
    }
}

/// Encrypts a key by another one.
pub fn wrap_key(wrapping: &SecretKey, iv: &Iv, key: &SecretKey) -> [u8; KEY_BYTES] {
    let mut wrapped = *key.bytes();
    Keystream::new(wrapping, iv, 0).apply(&mut wrapped);
    wrapped
}

/// Decrypts a key that [`wrap_key`] encrypted.
pub fn unwrap_key(wrapping: &SecretKey, iv: &Iv, wrapped: [u8; KEY_BYTES]) -> SecretKey {
    SecretKey::new(wrap_key(wrapping, iv, &SecretKey::new(wrapped)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_continues_the_keystream_also_where_the_counter_wraps() {
        let key = SecretKey::new([7; 32]);
        for iv in [[0; 16], [0xff; 16]] {
            let mut whole = [0u8; 100];
            Keystream::new(&key, &iv, 0).apply(&mut whole);
            for offset in [0, 1, 15, 16, 17, 33, 64, 99] {
                let mut rest = vec![0u8; 100 - offset];
                Keystream::new(&key, &iv, offset as u64).apply(&mut rest);
                assert_eq!(rest, &whole[offset..], "{offset}");
            }
        }
    }

    #[test]
    fn a_wrapped_key_is_unwrapped() {
        let (outer, inner) = (SecretKey::new([1; 32]), SecretKey::new([2; 32]));
        let wrapped = wrap_key(&outer, &[3; 16], &inner);
        assert_ne!(&wrapped, inner.bytes());
        assert_eq!(unwrap_key(&outer, &[3; 16], wrapped), inner);
    }
}
