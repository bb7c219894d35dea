//! Numbers of a ring: partitions, the power of their count, and ids of devices.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use crate::hashed_path::PathHash;

/// A text that is not a number of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RingNumberError {
    /// It is not a whole number, or is too large for its kind.
    #[error("not a whole number of 32 bits")]
    Digits(#[from] ParseIntError),
    /// A ring has at most 2^32 partitions.
    #[error("a part power is at most {max}, not {power}", max = PartPower::MAX)]
    PartPower {
        /// The number.
        power: u32,
    },
}

/// A partition of a ring: the first bits of the hash of a name.
///
/// ```
/// use apus_cluster::Partition;
/// let partition: Partition = "628".parse()?;
/// assert_eq!(partition.to_string(), "628");
/// # Ok::<(), apus_cluster::partition::RingNumberError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Partition(pub u32);

/// The power of two that gives the number of partitions of a ring.
///
/// ```
/// use apus_cluster::{HashConf, PartPower, Partition};
/// let conf = HashConf { prefix: vec![], suffix: b"changeme".to_vec() };
/// let power = PartPower::new(10).unwrap();
/// assert_eq!(power.partitions(), 1024);
/// assert_eq!(power.partition(&conf.hash(&["AUTH_test"])), Partition(628));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartPower(u8);

/// The id of a device in a ring and its builder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct DeviceId(pub u32);

impl PartPower {
    /// The largest power of a ring.
    pub const MAX: u32 = 32;

    /// A power of at most [`PartPower::MAX`].
    pub fn new(power: u32) -> Option<Self> {
        u8::try_from(power).ok().filter(|_| power <= Self::MAX).map(Self)
    }

    /// The exponent.
    pub fn get(self) -> u32 {
        u32::from(self.0)
    }

    /// The power of half as many partitions; `None` for a single one.
    pub fn halved(self) -> Option<Self> {
        self.0.checked_sub(1).map(Self)
    }

    /// The number of partitions.
    pub fn partitions(self) -> u64 {
        1 << self.0
    }

    /// The partition of a name.
    pub fn partition(self, hash: &PathHash) -> Partition {
        let [a, b, c, d, ..] = hash.0;
        let bits = u32::from_be_bytes([a, b, c, d]);
        Partition(bits.checked_shr(Self::MAX - self.get()).unwrap_or(0))
    }
}

impl FromStr for Partition {
    type Err = RingNumberError;

    fn from_str(text: &str) -> Result<Self, RingNumberError> {
        Ok(Self(text.parse::<u32>()?))
    }
}

impl FromStr for PartPower {
    type Err = RingNumberError;

    fn from_str(text: &str) -> Result<Self, RingNumberError> {
        let power = text.parse::<u32>()?;
        Self::new(power).ok_or(RingNumberError::PartPower { power })
    }
}

impl FromStr for DeviceId {
    type Err = RingNumberError;

    fn from_str(text: &str) -> Result<Self, RingNumberError> {
        Ok(Self(text.parse::<u32>()?))
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for PartPower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_parsed_and_displayed_alike() {
        assert_eq!("7".parse::<Partition>().unwrap().to_string(), "7");
        assert_eq!("32".parse::<PartPower>().unwrap().to_string(), "32");
        assert_eq!("4294967295".parse::<DeviceId>().unwrap(), DeviceId(u32::MAX));
        for text in ["", "-1", "x", "1.0", "4294967296"] {
            assert!(text.parse::<Partition>().is_err(), "{text}");
            assert!(text.parse::<PartPower>().is_err(), "{text}");
            assert!(text.parse::<DeviceId>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_part_power_is_at_most_32() {
        assert_eq!("33".parse::<PartPower>(), Err(RingNumberError::PartPower { power: 33 }));
        assert_eq!(PartPower::new(256), None);
        assert_eq!(PartPower::new(32).unwrap().partitions(), 1 << 32);
        let error = RingNumberError::PartPower { power: 33 };
        assert_eq!(error.to_string(), "a part power is at most 32, not 33");
    }

    #[test]
    fn the_first_bits_of_a_hash_are_the_partition() {
        let all = PathHash([255; 16]);
        let of = |power| PartPower::new(power).unwrap().partition(&all);
        assert_eq!([of(0), of(1), of(10)], [Partition(0), Partition(1), Partition(1023)]);
        assert_eq!(of(32), Partition(u32::MAX));
    }
}
