//! Operations on the nodes of the cluster.
//!
//! Every public function takes a [`Permit`](crate::gate::Permit), so that no operation can bypass the
//! gate.

mod account;
mod best;
mod call;
mod container;
mod database;
mod digest;
mod fan;
mod head;
mod listing;
mod nodes;
mod object_rows;
mod post;
mod queue;
mod read;
mod refused_rows;
mod repair;
mod reserve;
mod send;
mod update;
mod write;

pub(crate) use listing::object_entries;

use std::collections::BTreeMap;
use std::sync::Arc;

use apus_cluster::{HashConf, Policies, PolicyIndex};
use apus_ring::SharedRing;
use apus_wire::Client;

use crate::clock::HybridClock;
use crate::{Error, Result};

pub use apus_wire::message::object::ObjectVersion;
pub use reserve::{Reply, Verdict, verdict};

/// The rings of the cluster.
#[derive(Debug, Clone)]
pub struct Rings {
    /// Ring of the accounts.
    pub account: Arc<SharedRing>,
    /// Ring of the containers.
    pub container: Arc<SharedRing>,
    /// Ring of the objects of each policy.
    pub objects: BTreeMap<PolicyIndex, Arc<SharedRing>>,
}

/// Sends requests to nodes and combines their answers into one.
#[derive(Debug, Clone)]
pub struct Quorum {
    pub(crate) client: Arc<Client>,
    pub(crate) rings: Rings,
    pub(crate) hash: HashConf,
    pub(crate) policies: Policies,
    pub(crate) clock: Arc<HybridClock>,
    pub(crate) repairs: Arc<repair::Repairs>,
    /// Whether a write creates its account (`account_autocreate`).
    pub(crate) makes_accounts: bool,
}

impl Quorum {
    /// Creates a quorum over a client and the configuration of the cluster.
    pub fn new(
        client: Arc<Client>,
        rings: Rings,
        hash: HashConf,
        policies: Policies,
        clock: Arc<HybridClock>,
    ) -> Self {
        let repairs = Arc::default();
        Self { client, rings, hash, policies, clock, repairs, makes_accounts: true }
    }

    /// Sets whether the first write to an account creates it (`account_autocreate`).
    #[must_use]
    pub fn making_accounts(self, makes_accounts: bool) -> Self {
        Self { makes_accounts, ..self }
    }

    /// The policies of the cluster.
    pub fn policies(&self) -> &Policies {
        &self.policies
    }

    /// The clock that stamps writes.
    pub fn clock(&self) -> &Arc<HybridClock> {
        &self.clock
    }

    fn object_ring(&self, policy: PolicyIndex) -> Result<&Arc<SharedRing>> {
        self.rings
            .objects
            .get(&policy)
            .ok_or_else(|| Error::unavailable(format!("policy {policy} has no ring")))
    }
}
