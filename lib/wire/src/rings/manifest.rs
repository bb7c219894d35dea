//! The rings that a node has, as it reports them to others.

use apus_cluster::PartPower;
use serde::{Deserialize, Serialize};

use super::{Rank, RingName, Statement};

/// One ring file of a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name.
    pub name: RingName,
    /// Bytes of the file.
    pub length: u64,
    /// SHA-256 of the file, in lower-case hexadecimal digits.
    pub sha256: String,
    /// MD5 in hexadecimal, as `/recon/ringmd5` reports it.
    pub md5: String,
    /// What the file says; nothing when it cannot be read as a ring.
    pub ring: Option<Facts>,
    /// Version of the ring that the server uses; absent when it uses no ring of this name.
    pub loaded_version: Option<u64>,
    /// What was said of the ring under the cluster's key. It may be of another ring than the file
    /// is: then `fault` says so.
    pub statement: Option<Statement>,
    /// Why this file is not passed on; nothing when it is.
    pub fault: Option<String>,
}

/// What a ring file says.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// Version of the builder; 0 when the file does not say.
    pub version: u64,
    /// 2^this is the number of partitions.
    pub part_power: u32,
    /// Part power that an increase is under way to.
    pub next_part_power: Option<u32>,
    /// Replicas, possibly fractional.
    pub replicas: f64,
    /// Devices, also those without partitions.
    pub devices: usize,
}

impl Facts {
    /// Of a ring.
    pub fn of(ring: &apus_ring::Ring) -> Self {
        Self {
            version: ring.version(),
            part_power: ring.part_power().get(),
            next_part_power: ring.next_part_power().map(PartPower::get),
            replicas: ring.replica_count(),
            devices: ring.devices().iter().flatten().count(),
        }
    }
}

impl Entry {
    /// The statement, when it is good and of this file.
    pub fn signed(&self) -> Option<&Statement> {
        self.statement.as_ref().filter(|_| self.fault.is_none())
    }

    /// What decides whether another ring is newer. A file that is damaged counts as what was said
    /// of it; `None` when nothing is known of it at all.
    pub fn rank(&self) -> Option<Rank> {
        match (&self.ring, &self.statement) {
            (Some(ring), statement) => {
                let series = statement.as_ref().map_or(0, |statement| statement.series);
                Some(Rank { series, version: ring.version })
            }
            (None, Some(statement)) => Some(statement.rank()),
            (None, None) => None,
        }
    }
}

/// All ring files of a node, by name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The files.
    pub rings: Vec<Entry>,
}

impl Manifest {
    /// A ring by name.
    pub fn get(&self, name: &RingName) -> Option<&Entry> {
        self.rings.iter().find(|entry| entry.name == *name)
    }
}
