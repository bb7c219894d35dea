//! Options of the auditor's sweeps.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use apus_cluster::PolicyIndex;
use apus_ring::SharedRing;

/// The objects' rings, which are used only to find the partition of an object.
pub(crate) type ObjectRings = BTreeMap<PolicyIndex, Arc<SharedRing>>;

/// Kind of a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SweepKind {
    /// Everything.
    All,
    /// Everything but bodies.
    ZeroByteFiles,
}

impl SweepKind {
    /// Swift's name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::All => "ALL",
            Self::ZeroByteFiles => "ZBF",
        }
    }
}

/// Options of a sweep.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AuditorOptions {
    pub(crate) kind: SweepKind,
    /// Zero for no limit.
    pub(crate) files_per_second: f64,
    /// Zero for no limit.
    pub(crate) bytes_per_second: f64,
    /// Devices that are swept at the same time, each at these rates.
    pub(crate) concurrency: usize,
    /// After this time a sweep reports, and continues from there.
    pub(crate) log_time: Duration,
    /// Whether bodies that Swift wrote get checksums of their blocks.
    pub(crate) add_checksums: bool,
}
