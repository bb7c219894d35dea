//! Rounds of the ring manager: check builders and cluster, and do the next step when it is due.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use apus_cluster::SwiftConf;
use apus_daemon::clock::SystemClock;
use apus_daemon::{Clock, Drain};
use apus_membership::DeviceContents;
use apus_wire::Transport;
use apus_wire::rings::{PushOptions, PushOutcome, RingClient, RingKeys, RingServer, push};
use apus_wire::signed::Signer;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::ask::SignedClient;
use super::conf::Settings;
use super::manager::{Manager, Policy};
use super::state::{Draining, Place};
use super::watch::{ClusterStatus, Server, StatusClient, Watch, ask_all};

/// Result of the last round.
#[derive(Debug, Clone, Default)]
struct Latest {
    standing: ClusterStatus,
    /// Servers that do not respond and whose devices have no weight.
    gone: Vec<String>,
    /// What the next step waits for.
    waits_for: Vec<String>,
    error: Option<String>,
    steps: u64,
    last_step: Value,
}

/// The manager with its clients and state.
#[derive(Debug)]
pub(super) struct Rounds {
    settings: Settings,
    cluster: SwiftConf,
    scout: StatusClient,
    keys: RingKeys,
    manager: Arc<Mutex<Manager>>,
    watch: Mutex<Watch>,
    latest: Mutex<Latest>,
    /// Whether the rings were pushed once, which signs them on all servers.
    has_pushed: AtomicBool,
    wake: Notify,
}

fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn now() -> f64 {
    SystemClock.now().as_secs_f64()
}

fn now_seconds() -> u64 {
    SystemClock.now().as_secs()
}

/// Status of a drain for operators.
#[derive(Debug, Clone)]
struct DrainStatus {
    place: Place,
    held: DeviceContents,
    /// Reasons why it is not safe to pull; empty when it is.
    blockers: Vec<String>,
    parts: u64,
    since: u64,
    safe_since: Option<u64>,
}

impl DrainStatus {
    /// Whether it holds data, or has partitions in a ring.
    fn is_used(&self) -> bool {
        self.parts > 0 || (self.held.is_there && !self.held.is_empty())
    }

    fn json(&self) -> Value {
        json!({
            "device": self.place.to_string(),
            "since": self.since,
            "partitions_in_ring": self.parts,
            "held": self.held,
            "safe_to_pull": self.blockers.is_empty(),
            "safe_since": self.safe_since,
            "not_yet": self.blockers,
        })
    }
}

impl Rounds {
    pub(super) fn open(settings: Settings, cluster: SwiftConf) -> Result<Self, String> {
        let manager = Manager::open(&settings.builder_dir, settings.policy)?;
        let client = SignedClient::new(&cluster.backend_auth, settings.timeout);
        let keys = RingKeys::new(&cluster.backend_auth)?;
        let signer = Signer::new(&cluster.backend_auth, Arc::new(SystemClock));
        let courier = RingClient::new(Arc::new(Transport::new(signer)), settings.timeout);
        Ok(Self {
            settings,
            cluster,
            scout: StatusClient { client, courier },
            keys,
            has_pushed: AtomicBool::new(false),
            manager: Arc::new(Mutex::new(manager)),
            watch: Mutex::default(),
            latest: Mutex::default(),
            wake: Notify::new(),
        })
    }

    /// Runs until the process stops.
    pub(super) async fn run(self: Arc<Self>, drain: Drain) {
        while !drain.has_begun() {
            let result = self.round().await;
            if let Err(error) = &result {
                tracing::error!(error, "the round failed");
            }
            hold(&self.latest).error = result.err();
            tokio::select! {
                () = tokio::time::sleep(self.settings.interval) => {}
                () = self.wake.notified() => {}
                () = drain.begun() => {}
            }
        }
    }

    /// Calls a function with the manager, which may wait for disks and for the lock.
    pub(super) async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Manager, u64) -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        let manager = self.manager.clone();
        let done = apus_daemon::task::spawn_blocking(move || {
            let now_seconds = now_seconds();
            work(&mut hold(&manager), now_seconds)
        });
        done.await.map_err(|error| format!("stopped: {error}"))?
    }

    /// As [`Rounds::with`]; the next round starts at once.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Manager, u64) -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        let done = self.with(work).await;
        self.wake.notify_one();
        done
    }

    async fn round(&self) -> Result<(), String> {
        let (servers, expected) = self
            .with(|manager, now_seconds| {
                manager.recover(now_seconds)?;
                Ok((manager.servers(), manager.digests()))
            })
            .await?;
        let asked = servers.keys().cloned().collect();
        let mut replies = ask_all(&self.scout, &asked, &now).await;
        let mut gone = Vec::new();
        replies.retain(|server, reply| match reply {
            Err(error) if servers.get(server) == Some(&false) => {
                gone.push(error.clone());
                false
            }
            _ => true,
        });
        // Daemons reload files now and then; proxies, which get no push, fetch them.
        let rings = &self.cluster.rings;
        let take_up = (rings.check_interval
            + rings.fetch_every().unwrap_or_default().mul_f64(1.25))
        .as_secs_f64();
        let standing = hold(&self.watch).note(expected, &replies, now(), take_up);
        {
            let mut latest = hold(&self.latest);
            (latest.standing, latest.gone) = (standing.clone(), gone);
        }
        if !standing.lagging.is_empty() || !self.has_pushed.load(Ordering::Relaxed) {
            self.push(&servers).await?;
        }
        self.judge_drains(&standing).await?;
        self.step(&standing).await
    }

    /// Pushes the rings to all servers.
    async fn push(&self, servers: &BTreeMap<Server, bool>) -> Result<(), String> {
        let files = self.with(|manager, _| manager.ring_files()).await?;
        let addresses: BTreeSet<&str> =
            servers.keys().map(|server| server.address.as_str()).collect();
        let targets: Vec<RingServer> = addresses.into_iter().filter_map(RingServer::at).collect();
        let pushed =
            push(&self.scout.courier, &self.keys, &files, &targets, &PushOptions::default())
                .await?;
        let mut troubles = pushed.missing().map(|ring| match &ring.outcome {
            PushOutcome::Refused { reason, .. } | PushOutcome::Unreachable { reason } => {
                format!("{} {}: {reason}", ring.address, ring.ring)
            }
            _ => format!("{} {}", ring.address, ring.ring),
        });
        if let Some(trouble) = troubles.next() {
            tracing::warn!(more = troubles.count(), "a ring was not pushed: {trouble}");
        } else {
            self.has_pushed.store(true, Ordering::Relaxed);
            // The next round sees the new rings.
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Notes which devices are safe to pull.
    async fn judge_drains(&self, standing: &ClusterStatus) -> Result<(), String> {
        let drains = self.with(|manager, _| Ok(manager.builders.state.drains.clone())).await?;
        for draining in drains {
            let drained = self.look_at(&draining, standing, false).await?;
            let place = draining.place.clone();
            if drained.blockers.is_empty() {
                self.with(move |manager, now| manager.note_safe(&place, Some(now))).await?;
            } else if draining.safe_since.is_some() && drained.is_used() {
                // It is in use again. A device that was pulled reports nothing.
                self.with(move |manager, _| manager.note_safe(&place, None)).await?;
            }
        }
        Ok(())
    }

    /// Reasons why a device is not safe to pull yet, without a request to its node.
    fn not_yet(&self, parts: u64, standing: &ClusterStatus) -> Vec<String> {
        let mut blockers = Vec::new();
        if parts > 0 {
            blockers.push(format!("rings give it {parts} partitions"));
        }
        blockers.extend(standing.lagging.iter().map(|server| format!("{server} has other rings")));
        blockers.extend(standing.silent.iter().cloned());
        if !blockers.is_empty() {
            return blockers;
        }
        let behind = standing.behind.iter();
        blockers.extend(behind.map(|server| {
            format!("the replicator of the {server} has not found everything in place yet")
        }));
        let overlap = self.cluster.rings.overlap.as_secs_f64();
        match standing.since.map(|since| since + overlap - now()) {
            Some(left) if left > 0.0 => blockers.push(format!(
                "proxies use the previous rings as well for {left:.0} s more (ring_overlap)"
            )),
            Some(_) => {}
            None => blockers.push("no round has ended yet".to_owned()),
        }
        blockers
    }

    /// The status of a drain. Counting the contents of a disk is expensive: with `always`, or when
    /// there is no other reason against pulling it.
    async fn look_at(
        &self,
        draining: &Draining,
        standing: &ClusterStatus,
        always: bool,
    ) -> Result<DrainStatus, String> {
        let place = draining.place.clone();
        let wanted = place.clone();
        let (servers, parts) = self
            .with(move |manager, _| Ok((manager.servers_of(&wanted), manager.parts_of(&wanted))))
            .await?;
        let mut blockers = self.not_yet(parts, standing);
        let mut held = DeviceContents::default();
        if always || blockers.is_empty() {
            let path = format!("/apus/device/{}", place.device);
            let mut unknown = None;
            // All servers of a node may use the same directory: the largest counts are right.
            for server in &servers {
                let reply = self.scout.client.get(&server.address, &path).await.and_then(|reply| {
                    serde_json::from_value(reply).map_err(|error| error.to_string())
                });
                match reply {
                    Ok(reply) => held = held.most(&reply),
                    Err(error) => unknown = Some(error),
                }
            }
            match unknown {
                Some(error) => blockers.push(format!("its contents are unknown: {error}")),
                None if !held.is_there => {
                    blockers.push("it does not exist or is not mounted".to_owned())
                }
                None if !held.is_empty() => blockers.push(format!("it holds {held}")),
                None => {}
            }
        }
        let (since, safe_since) = (draining.since, draining.safe_since);
        Ok(DrainStatus { place, held, blockers, parts, since, safe_since })
    }

    /// Rebalances if a step is due and the cluster is ready.
    async fn step(&self, standing: &ClusterStatus) -> Result<(), String> {
        let (pending, newcomers, policy) = self
            .with(|manager, now| Ok((manager.pending(now), manager.newcomers(), manager.policy)))
            .await?;
        let due = pending.iter().any(|one| one.is_approved && one.seconds_left == 0);
        let mut waits_for: Vec<String> = Vec::new();
        for one in &pending {
            if !one.is_approved {
                waits_for.push(format!("{}: the operator's approval", one.ring));
            } else if one.seconds_left > 0 {
                waits_for
                    .push(format!("{}: min_part_hours, {} s more", one.ring, one.seconds_left));
            }
        }
        let mut is_time = due && standing.is_settled();
        if due {
            let missing = self.not_ready(&newcomers).await;
            is_time &= missing.is_empty();
            waits_for.extend(missing);
            waits_for.extend(standing.lagging.iter().map(|one| format!("{one}: has other rings")));
            waits_for.extend(standing.silent.iter().cloned());
            let behind = standing.behind.iter();
            waits_for.extend(behind.map(|one| format!("{one}: replication has not caught up")));
        }
        hold(&self.latest).waits_for = waits_for;
        if !is_time {
            return Ok(());
        }
        let stepped = self.with(|manager, now| manager.step(now)).await?;
        if !stepped.is_empty() {
            let automatic = policy == Policy::Automatic;
            tracing::info!(?stepped, automatic, "rebalanced rings");
            let mut latest = hold(&self.latest);
            latest.steps += 1;
            latest.last_step = json!({ "at": now_seconds(), "rings": stepped });
            latest.standing = ClusterStatus::default();
            drop(latest);
            // The next round pushes the new rings.
            self.wake.notify_one();
        }
        Ok(())
    }

    /// New devices that their servers do not have.
    async fn not_ready(&self, newcomers: &BTreeSet<(Server, String)>) -> Vec<String> {
        let mut missing = Vec::new();
        for (server, device) in newcomers {
            let reply =
                self.scout.client.get(&server.address, &format!("/apus/device/{device}")).await;
            match reply.map(|reply| reply.get("is_there") == Some(&Value::Bool(true))) {
                Ok(true) => {}
                Ok(false) => {
                    missing.push(format!("{server}: {device} does not exist or is not mounted"))
                }
                Err(error) => missing.push(error),
            }
        }
        missing
    }

    /// Numbers of partition replicas that devices hold, and since when all servers run these rings.
    pub(super) async fn parts(&self, search: String) -> Result<Value, String> {
        let parts = self.with(move |manager, _| {
            let places = manager.found(&search)?;
            let all =
                places.iter().map(|place| (place.to_string(), json!(manager.parts_of(place))));
            Ok(Value::Object(all.collect()))
        });
        let parts = parts.await?;
        let latest = hold(&self.latest);
        let (since, waits_for) = (latest.standing.since, latest.waits_for.clone());
        Ok(json!({ "partitions": parts, "all_run_the_rings_since": since, "waits_for": waits_for }))
    }

    /// The status for operators.
    pub(super) async fn status(&self) -> Result<Value, String> {
        let (pending, policy, drains) = self
            .with(|manager, now| {
                let drains = manager.builders.state.drains.clone();
                Ok((manager.pending(now), manager.policy, drains))
            })
            .await?;
        let latest = hold(&self.latest).clone();
        let mut rows = Vec::new();
        for draining in drains {
            let mut drained = self.look_at(&draining, &latest.standing, true).await?;
            if drained.blockers.is_empty() && drained.safe_since.is_none() {
                // The operator may pull the device as soon as this is reported.
                let place = draining.place.clone();
                self.with(move |manager, now| manager.note_safe(&place, Some(now))).await?;
                drained.safe_since = Some(now_seconds());
            }
            rows.push(drained.json());
        }
        let rings: BTreeMap<String, String> = self.with(|manager, _| Ok(manager.digests())).await?;
        Ok(json!({
            "rebalance": match policy {
                Policy::Ask => "ask",
                Policy::Automatic => "automatic",
            },
            "pending": pending,
            "waits_for": latest.waits_for,
            "cluster": latest.standing.json(),
            "gone": latest.gone,
            "drains": rows,
            "steps": latest.steps,
            "last_step": latest.last_step,
            "rings": rings,
            "error": latest.error,
        }))
    }

    /// Sizes of all devices that servers report, in bytes.
    pub(super) async fn sizes(&self) -> Result<BTreeMap<Place, u64>, String> {
        let servers = self.with(|manager, _| Ok(manager.servers())).await?;
        let hosts = servers.into_keys().map(|server| {
            let ip = server.address.rsplit_once(':').map_or("", |(ip, _)| ip);
            (ip.trim_matches(['[', ']']).to_owned(), server.address.clone())
        });
        let (hosts, timeout) = (hosts.collect(), self.settings.timeout);
        let asked = apus_daemon::task::spawn_blocking(move || apus_recon::disks(hosts, timeout));
        let (disks, _) = asked.await.map_err(|error| error.to_string())??;
        let place = |disk: &apus_recon::Disk| {
            let ip = disk.address.rsplit_once(':').map_or("", |(ip, _)| ip);
            Place { ip: ip.trim_matches(['[', ']']).to_owned(), device: disk.device.clone() }
        };
        Ok(disks.iter().map(|disk| (place(disk), disk.size)).collect())
    }
}
