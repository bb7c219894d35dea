//! Persistent state of the ring manager: approvals, and drains in progress.
//!
//! One JSON file next to the builders, replaced durably. It never repeats the content of a builder
//! file, which is authoritative for devices and placement.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The file's name.
pub(super) const FILE: &str = "ring-manager.json";
/// The format that this reads and writes.
const FORMAT: u32 = 1;

/// A device as all rings know it: its address without the port, and its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) ip: String,
    pub(crate) device: String,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.ip, self.device)
    }
}

/// A device that is being emptied.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Draining {
    pub(super) place: Place,
    /// Time of the request, in seconds since 1970.
    pub(super) since: u64,
    /// Its previous weights, by ring.
    pub(super) weights: BTreeMap<String, f64>,
    /// The drain was cancelled: the device gets them back.
    pub(super) cancelled: bool,
    /// When it was first safe to pull, in seconds since 1970.
    pub(super) safe_since: Option<u64>,
}

/// The content of the state file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    format: u32,
    /// By ring: the devices, places and weights that may be rebalanced for, as
    /// [`super::builders::devices_of`] writes them.
    pub(super) approved: BTreeMap<String, String>,
    pub(super) drains: Vec<Draining>,
}

impl Default for State {
    fn default() -> Self {
        Self { format: FORMAT, approved: BTreeMap::new(), drains: Vec::new() }
    }
}

impl State {
    /// Reads a file's bytes.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let state: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        match state.format {
            FORMAT => Ok(state),
            other => Err(format!("format {other}: expected {FORMAT}")),
        }
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, String> {
        serde_json::to_vec_pretty(self).map_err(|error| error.to_string())
    }
}
