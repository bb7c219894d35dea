//! Logical places of objects and partitions on a device.
//!
//! The paths are those of one directory per object. An engine that stores objects differently still
//! identifies them by these places, in logs and in `hashes.invalid`.

use std::path::PathBuf;

use apus_cluster::{PartPower, PathHash, PolicyIndex};

/// One object on one device.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) device: PathBuf,
    pub(crate) policy: PolicyIndex,
    pub(crate) partition: u32,
    pub(crate) hash: PathHash,
}

impl Place {
    /// The partition that holds the object.
    pub(crate) fn in_partition(&self) -> Partition {
        Partition { device: self.device.clone(), policy: self.policy, number: self.partition }
    }

    pub(crate) fn partition_directory(&self) -> PathBuf {
        self.device.join(self.policy.suffixed("objects")).join(self.partition.to_string())
    }

    /// The hash directory: `<device>/objects[-N]/<partition>/<suffix>/<hash>`.
    pub(crate) fn directory(&self) -> PathBuf {
        self.partition_directory().join(self.hash.suffix_dir()).join(self.hash.to_string())
    }
}

/// One partition on one device: `<device>/objects[-N]/<number>`.
#[derive(Debug, Clone)]
pub(crate) struct Partition {
    /// The device's directory.
    pub(crate) device: PathBuf,
    pub(crate) policy: PolicyIndex,
    pub(crate) number: u32,
}

impl Partition {
    pub(crate) fn directory(&self) -> PathBuf {
        self.device.join(self.policy.suffixed("objects")).join(self.number.to_string())
    }

    /// The place of one object of the partition.
    pub(crate) fn place(&self, hash: PathHash) -> Place {
        Place { device: self.device.clone(), policy: self.policy, partition: self.number, hash }
    }
}

/// Whether a name is that of a suffix: three lower-case hex digits.
pub(crate) fn is_suffix(name: &str) -> bool {
    name.len() == 3 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Additional work of a write while the number of partitions is being doubled.
#[derive(Debug, Clone)]
pub(crate) enum OtherPath {
    /// Give the file another name in the partition of this place.
    Link(Place),
    /// Remove obsolete files from this place, in which nothing is written any longer.
    Tidy(Place),
}

impl OtherPath {
    /// Derives the other path from the part power that a request names.
    pub(crate) fn of(own: &Place, power: PartPower) -> Option<Self> {
        let at =
            |power: PartPower| Place { partition: power.partition(&own.hash).0, ..own.clone() };
        let place = at(power);
        if place.partition != own.partition {
            return Some(Self::Link(place));
        }
        let before = at(power.halved()?);
        // Partition 0 keeps its number.
        (before.partition != own.partition).then_some(Self::Tidy(before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(partition: u32) -> Place {
        let hash = PathHash::parse("9d00c9d091fea9ea855f29c22714dc83").unwrap();
        Place { device: "/srv/node/sd1".into(), policy: PolicyIndex(0), partition, hash }
    }

    fn power(power: u32) -> PartPower {
        PartPower::new(power).unwrap()
    }

    #[test]
    fn the_other_path_follows_from_the_named_power() {
        // 628 of 2^10, 1256 of 2^11.
        let next = OtherPath::of(&place(628), power(11)).unwrap();
        assert!(matches!(next, OtherPath::Link(other) if other.partition == 1256));
        let doubled = OtherPath::of(&place(1256), power(11)).unwrap();
        assert!(matches!(doubled, OtherPath::Tidy(before) if before.partition == 628));
        let back = OtherPath::of(&place(1256), power(10)).unwrap();
        assert!(matches!(back, OtherPath::Link(before) if before.partition == 628));
        assert!(OtherPath::of(&place(0), power(0)).is_none(), "one partition has no predecessor");
    }
}
