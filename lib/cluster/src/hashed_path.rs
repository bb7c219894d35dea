//! Placement of names: the MD5 of prefix, path and suffix, and what follows from it.
//!
//! Source: `hash_path` in `swift/common/utils/__init__.py`.

use std::fmt;

/// The hash path prefix and suffix of `[swift-hash]` in `swift.conf`, which are secret.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct HashConf {
    /// Bytes before the path.
    pub prefix: Vec<u8>,
    /// Bytes after the path.
    pub suffix: Vec<u8>,
}

impl fmt::Debug for HashConf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashConf(secret)")
    }
}

impl HashConf {
    /// Hashes the path made of `parts`, which are account, container and object names.
    pub fn hash(&self, parts: &[&str]) -> PathHash {
        let mut context = md5::Context::new();
        context.consume(&self.prefix);
        for part in parts {
            context.consume(b"/");
            context.consume(part.as_bytes());
        }
        context.consume(&self.suffix);
        PathHash(context.finalize().0)
    }

    /// Hashes a path that is already joined, such as the `name` of stored metadata.
    pub fn hash_joined(&self, path: &str) -> PathHash {
        let mut context = md5::Context::new();
        context.consume(&self.prefix);
        context.consume(path.as_bytes());
        context.consume(&self.suffix);
        PathHash(context.finalize().0)
    }
}

/// The MD5 of a name with the cluster's prefix and suffix.
///
/// ```
/// use apus_cluster::{HashConf, PathHash};
/// let conf = HashConf { prefix: vec![], suffix: b"changeme".to_vec() };
/// let hash = conf.hash(&["AUTH_test"]);
/// assert_eq!(hash.to_string(), "9d00c9d091fea9ea855f29c22714dc83");
/// assert_eq!(hash.suffix_dir(), "c83");
/// assert_eq!(PathHash::parse(&hash.to_string()), Some(hash));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PathHash(pub [u8; 16]);

impl PathHash {
    /// Name of the suffix directory: the last three hex digits.
    pub fn suffix_dir(&self) -> String {
        let hex = self.to_string();
        hex.get(29..).unwrap_or_default().to_owned()
    }

    /// The hash as a number modulo `divisor`, which distributes names evenly; 0 for a divisor of 0.
    pub fn modulo(&self, divisor: u64) -> u64 {
        let rest = u128::from_be_bytes(self.0).checked_rem(u128::from(divisor)).unwrap_or(0);
        u64::try_from(rest).unwrap_or(0)
    }

    /// Parses 32 hex digits.
    pub fn parse(hex: &str) -> Option<Self> {
        let mut bytes = [0u8; 16];
        hex::decode_to_slice(hex, &mut bytes).ok()?;
        Some(Self(bytes))
    }
}

impl fmt::Display for PathHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 32];
        hex::encode_to_slice(self.0, &mut text).map_err(|_| fmt::Error)?;
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for PathHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::PartPower;

    #[test]
    fn hash_equals_swifts() {
        let conf = HashConf { prefix: vec![], suffix: b"changeme".to_vec() };
        let hash = conf.hash(&["AUTH_test"]);
        assert_eq!(hash.to_string(), "9d00c9d091fea9ea855f29c22714dc83");
        assert_eq!(PartPower::new(10).unwrap().partition(&hash).0, 628);
        assert_eq!(hash.suffix_dir(), "c83");
        assert_eq!(PathHash::parse("9d00c9d091fea9ea855f29c22714dc83"), Some(hash));
    }

    #[test]
    fn names_are_distributed_as_swift_does() {
        // int(md5(name).hexdigest(), 16) % 3
        let plain = HashConf::default();
        let modulo = |name| plain.hash_joined(name).modulo(3);
        assert_eq!(["c1", "c2", "ü"].map(modulo), [1, 2, 1]);
        assert_eq!(plain.hash_joined("c1").modulo(0), 0);
    }

    #[test]
    fn a_ring_of_one_partition_has_partition_zero() {
        assert_eq!(PartPower::new(0).unwrap().partition(&PathHash([255; 16])).0, 0);
    }
}
