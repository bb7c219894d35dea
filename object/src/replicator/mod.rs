//! The daemon `object-replicator`: pushes partitions to the nodes that the ring assigns.
//!
//! Source: `swift/obj/replicator.py`. It pushes and never pulls, never removes a partition that is
//! assigned to this node, and never creates a device that is missing.

mod job;
mod options;
mod redundancy;
mod report;
mod returned;
mod revert;
pub(crate) mod sender;
mod unchanged;
mod update;
mod verified;

use std::collections::BTreeMap;
use std::sync::Arc;

use apus_cluster::{PolicyIndex, Timestamp, policy::PolicyType};
use apus_daemon::{Pass, PassContext, Span, Stopped, random};
use apus_ring::{Device, Local, Ring, SharedRing};
use apus_store::quorum::Rings;
use apus_wire::Client;
use async_trait::async_trait;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::Semaphore;

use self::job::PartitionJob;
pub(crate) use self::options::{ObjectReplicatorOptions, ReplicatorOptions};
use self::report::Report;
use self::unchanged::{PartitionFilter, SyncedPartitions};
use crate::diskfile::partition_mark::PartitionMark;
use crate::engine::place::Partition;
use crate::store::{ObjectStore, presence};

/// Each partition's directories are listed in one of this many sweeps, and all in a requested one.
const LIST_EVERY: u32 = 10;

/// The daemon.
#[derive(Debug)]
pub(crate) struct Replicator {
    store: Arc<ObjectStore>,
    client: Arc<Client>,
    rings: Rings,
    local: Local,
    options: Arc<ReplicatorOptions>,
    sweeps: u32,
    memory: SyncedPartitions,
}

/// Which partitions a walk over a device processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Handoffs,
    Primaries,
    All,
}

/// A device of this node in one policy.
type PolicyDevice = (PolicyIndex, Arc<SharedRing>, Device);

impl Replicator {
    /// Pushes from the devices of `store` that are `local` in the rings of objects.
    pub(crate) fn new(
        store: Arc<ObjectStore>,
        client: Arc<Client>,
        rings: Rings,
        local: Local,
        options: ReplicatorOptions,
    ) -> Self {
        let sweeps = u32::from(u16::from_le_bytes(random::bytes()));
        Self {
            store,
            client,
            rings,
            local,
            options: Arc::new(options),
            sweeps,
            memory: SyncedPartitions::default(),
        }
    }

    /// The policies that are replicated.
    fn policies<'a>(
        &'a self,
        cx: &'a PassContext,
    ) -> impl Iterator<Item = (PolicyIndex, &'a Arc<SharedRing>)> {
        self.store.policies.iter().filter_map(|policy| {
            let (index, ring) = (policy.index, self.rings.objects.get(&policy.index)?);
            if policy.policy_type != PolicyType::Replication || !cx.scope.has_policy(index.0) {
                return None;
            }
            if ring.get().next_part_power().is_some() {
                // Each object then has two places, which would be copied as two objects.
                tracing::warn!(
                    policy = index.0,
                    "Not replicating a policy while its part power is being changed"
                );
                return None;
            }
            Some((index, ring))
        })
    }

    /// This node's devices by name, with the policies that use each.
    fn devices(&self, cx: &PassContext) -> BTreeMap<String, Vec<PolicyDevice>> {
        let mut devices: BTreeMap<String, Vec<PolicyDevice>> = BTreeMap::new();
        for (index, ring) in self.policies(cx) {
            let current = ring.get();
            for device in current.devices().iter().flatten() {
                if self.local.owns(device) && cx.scope.has_device(&device.device) {
                    let policy_device = (index, ring.clone(), device.clone());
                    devices.entry(device.device.clone()).or_default().push(policy_device);
                }
            }
        }
        devices
    }

    /// Walks over all devices concurrently.
    async fn walk(
        &self,
        cx: &PassContext,
        devices: &BTreeMap<String, Vec<PolicyDevice>>,
        phase: Phase,
    ) -> Result<Report, Stopped> {
        // Shared by all walks.
        let slots = Arc::new(Semaphore::new(self.options.concurrency));
        let mut walks = FuturesUnordered::new();
        for (name, policies) in devices {
            let slots = slots.clone();
            walks.push(
                DeviceWalk { replicator: self, cx, slots, name, policies, phase }.run().boxed(),
            );
        }
        let mut report = Report::default();
        while let Some(done) = walks.next().await {
            report.add(done?);
        }
        Ok(report)
    }
}

#[async_trait]
impl Pass for Replicator {
    type Report = Report;

    fn name(&self) -> &'static str {
        "object-replicator"
    }

    async fn pass(&mut self, cx: &PassContext) -> Result<Report, Stopped> {
        self.sweeps = self.sweeps.wrapping_add(1);
        let devices = self.devices(cx);
        let rings = self.policies(cx).map(|(policy, ring)| (policy.0, Arc::clone(&ring.get())));
        self.memory.begin(rings.collect());
        let mut report = Report::default();
        if self.options.handoffs_first || self.options.handoffs_only {
            report = self.walk(cx, &devices, Phase::Handoffs).await?;
            if self.options.handoffs_only {
                return Ok(report);
            }
            if report.handoffs_left > 0 {
                tracing::warn!(
                    handoffs = report.handoffs_left,
                    "handoffs_first: primary partitions wait until no handoff is left"
                );
                return Ok(report);
            }
        }
        let phase = if self.options.handoffs_first { Phase::Primaries } else { Phase::All };
        report.add(self.walk(cx, &devices, phase).await?);
        if cx.scope.devices.is_empty() && cx.scope.partitions.is_empty() {
            report.compared = self.policies(cx).map(|(policy, _)| policy.0).collect();
            self.memory.end();
        }
        Ok(report)
    }

    fn recon(&self, report: &Report, span: Span) -> serde_json::Map<String, serde_json::Value> {
        report.recon(span)
    }
}

/// A walk over one device.
struct DeviceWalk<'a> {
    replicator: &'a Replicator,
    cx: &'a PassContext,
    slots: Arc<Semaphore>,
    name: &'a str,
    policies: &'a [PolicyDevice],
    phase: Phase,
}

impl DeviceWalk<'_> {
    async fn run(self) -> Result<Report, Stopped> {
        let store = &self.replicator.store;
        let mut report = Report::default();
        let Ok(root) = store.devices.path(self.name) else {
            tracing::warn!(device = self.name, "Skipped a device that is missing or not mounted");
            report.devices_missing = 1;
            return Ok(report);
        };
        let (path, own) = (root.clone(), store.clone());
        let (now, reclaim_age) = (self.cx.clock.now(), self.replicator.options.reclaim_age);
        let policies: Vec<_> = self.policies.iter().map(|(policy, ..)| *policy).collect();
        let look = move || {
            for policy in policies {
                own.engine(policy).sweep_temporary(&path, policy, now);
            }
            presence::away_since(&path, now, reclaim_age, &own.counters)
        };
        let away_since = match store.background(self.name, look).await {
            Ok(away_since) => away_since,
            Err(error) => {
                tracing::error!(device = self.name, %error, "Failed to begin a sweep of a device");
                report.devices_missing = 1;
                return Ok(report);
            }
        };
        for policy_device in self.policies {
            report.add(self.policy(policy_device, away_since).await?);
        }
        let scope = &self.cx.scope;
        if scope.partitions.is_empty() && scope.policies.is_empty() && self.phase != Phase::Handoffs
        {
            let (now, counters) = (self.cx.clock.now(), store.counters.clone());
            let note = move || presence::record_sweep(&root, now, &counters);
            if let Err(error) = store.background(self.name, note).await {
                tracing::warn!(device = self.name, %error, "Failed to record the sweep of a device");
            }
        }
        Ok(report)
    }

    /// The partitions of one policy: their numbers only, in no order.
    async fn partitions(&self, policy: PolicyIndex) -> Vec<u32> {
        let store = &self.replicator.store;
        let Ok(root) = store.devices.path(self.name) else { return Vec::new() };
        let engine = store.engine(policy).clone();
        let list = move || engine.partitions(&root, policy);
        let mut numbers = match store.background(self.name, list).await {
            Ok(numbers) => numbers,
            Err(error) => {
                tracing::error!(device = self.name, %error, "Failed to list the partitions of a device");
                Vec::new()
            }
        };
        // Nodes must not all work on the same partition.
        let salt = u32::from_le_bytes(random::bytes());
        numbers.sort_unstable_by_key(|number| number.wrapping_mul(2_654_435_761) ^ salt);
        numbers
    }

    /// Whether this sweep lists the directories of a partition.
    fn is_listed(&self, number: u32) -> bool {
        self.cx.once || self.replicator.sweeps.wrapping_add(number).is_multiple_of(LIST_EVERY)
    }

    fn sieve<'a>(
        &'a self,
        policy: PolicyIndex,
        ring: &'a Ring,
        local: &'a Device,
    ) -> PartitionFilter<'a> {
        PartitionFilter {
            store: &self.replicator.store,
            client: &self.replicator.client,
            memory: &self.replicator.memory,
            ring,
            policy,
            local,
            timeout: self.replicator.options.http_timeout,
        }
    }

    async fn policy(
        &self,
        (policy, ring, local): &PolicyDevice,
        away_since: Option<Timestamp>,
    ) -> Result<Report, Stopped> {
        let mut report = Report::default();
        let mut numbers = self.partitions(*policy).await;
        numbers.retain(|number| self.cx.scope.has_partition(*number));
        let numbers = match self.phase == Phase::Handoffs || away_since.is_some() {
            true => numbers.into_iter().map(|number| (number, None)).collect(),
            false => {
                let ring = Arc::clone(&ring.get());
                let sieve = self.sieve(*policy, &ring, local);
                let sift = sieve.sift(&numbers, |number| self.is_listed(number), &mut report);
                self.cx.unless_stopped(sift).await?
            }
        };
        let mut numbers = numbers.into_iter();
        let mut jobs = FuturesUnordered::new();
        loop {
            while jobs.len() < self.replicator.options.concurrency
                && let Some(number) = numbers.next()
            {
                jobs.push(self.partition((*policy, ring, local), number, away_since).boxed());
            }
            match jobs.next().await {
                Some(done) => report.add(done?),
                None => return Ok(report),
            }
        }
    }

    async fn partition(
        &self,
        (policy, ring, local): (PolicyIndex, &SharedRing, &Device),
        (number, mark): (u32, Option<PartitionMark>),
        away_since: Option<Timestamp>,
    ) -> Result<Report, Stopped> {
        let store = &self.replicator.store;
        let _slot = self.slots.acquire().await;
        self.cx.safe_point().await?;
        // The current ring: a new one applies from the next partition on.
        let ring = Arc::clone(&ring.get());
        let mut failed = Report::default();
        if ring.next_part_power().is_some() {
            // Since the walk began.
            return Ok(failed);
        }
        if number >= ring.partitions() {
            tracing::warn!(
                device = self.name,
                partition = number,
                "A partition is not in the ring"
            );
            failed.failure = 1;
            return Ok(failed);
        }
        // The device may have disappeared since the walk began.
        let Ok(device) = store.devices.path(self.name) else {
            failed.failure = 1;
            return Ok(failed);
        };
        let job = PartitionJob {
            store: store.clone(),
            client: self.replicator.client.clone(),
            local: local.clone(),
            partition: Partition { device, policy, number },
            ring,
            options: self.replicator.options.clone(),
            list: self.is_listed(number),
            away_since,
            mark,
            memory: self.replicator.memory.clone(),
        };
        let work: BoxFuture<'static, Report> = match (self.phase, job.is_handoff()) {
            (Phase::Handoffs | Phase::All, true) => {
                async move { revert::revert(&job).await }.boxed()
            }
            (Phase::Primaries | Phase::All, false) => {
                async move { update::update(&job).await }.boxed()
            }
            _ => return Ok(Report::default()),
        };
        self.cx.unless_stopped(work).await
    }
}
