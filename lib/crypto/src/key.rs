//! Keys and IVs.

use std::fmt;

use subtle::ConstantTimeEq;

/// Length of a key in bytes.
pub const KEY_BYTES: usize = 32;
/// Length of a block of the cipher, and of an IV, in bytes.
pub const BLOCK_BYTES: usize = 16;

/// An initial counter block.
pub type Iv = [u8; BLOCK_BYTES];

/// A key of 256 bits. It does not appear in debug output, and is compared in constant time.
#[derive(Clone)]
pub struct SecretKey([u8; KEY_BYTES]);

impl SecretKey {
    /// A key of these bytes.
    pub fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// A key of a slice, if it has the right length.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey")
    }
}

impl PartialEq for SecretKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for SecretKey {}
