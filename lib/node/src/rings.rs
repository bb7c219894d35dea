//! Rings of a process: reload of changed files, and exchange with other nodes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use apus_cluster::SwiftConf;
use apus_daemon::http::SharedHandler;
use apus_daemon::task::{TaskKind, spawn};
use apus_daemon::{Clock, Drain};
use apus_ring::{Ring, SharedRing};
use apus_store::quorum::Rings;
use apus_wire::rings::{RingClient, RingFolder, RingKeys, RingsHttp, keep_fetching, take_up};

use super::conf::Place;
use super::node::Builder;
use super::previous_rings::PreviousRings;
use super::role::{Roles, Server};
use super::storage::DeviceSettings;

/// How long another node may take to report its rings.
const ANSWER: Duration = Duration::from_secs(10);

/// All rings that a process uses.
pub(super) fn used(rings: &Rings) -> Vec<Arc<SharedRing>> {
    let Rings { account, container, objects } = rings;
    [account, container].into_iter().chain(objects.values()).cloned().collect()
}

/// Their versions by file name.
pub(super) fn versions(rings: &[Arc<SharedRing>]) -> Vec<(String, u64)> {
    let name =
        |ring: &SharedRing| ring.path().file_name().map(|name| name.to_string_lossy().into_owned());
    rings.iter().filter_map(|ring| Some((name(ring)?, ring.get().version()))).collect()
}

/// Where a process keeps its rings; nothing in an open cluster, where they do not travel.
pub(super) fn ring_folder(
    place: &Place,
    cluster: &SwiftConf,
    rings: &Rings,
) -> Option<Arc<RingFolder>> {
    let keys = RingKeys::new(&cluster.backend_auth).ok()?;
    Some(Arc::new(RingFolder::new(place.swift_dir(), keys, used(rings))))
}

/// Where the rings before are kept; only proxies ask for majorities of two rings.
pub(super) fn previous_rings(
    place: &Place,
    roles: &Roles,
    cluster: &SwiftConf,
    clock: &Arc<dyn Clock>,
) -> Result<Option<PreviousRings>, String> {
    if !roles.servers.contains(&Server::Proxy) {
        return Ok(None);
    }
    let site = DeviceSettings::read(&place.server_conf(Server::Proxy)?, "", Server::Proxy)?;
    Ok(PreviousRings::find(place.swift_dir(), &site.recon, cluster.rings.overlap, clock))
}

/// Rereads rings that changed, and has the ones before kept.
pub(super) async fn watch(
    rings: Vec<Arc<SharedRing>>,
    former: Option<PreviousRings>,
    interval: Duration,
    drain: Drain,
) {
    let current = |rings: &[Arc<SharedRing>]| -> Vec<Arc<Ring>> {
        rings.iter().map(|ring| Arc::clone(&ring.get())).collect()
    };
    let mut noted = current(&rings);
    loop {
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = drain.begun() => return,
        }
        let (taken, former, before) = (rings.clone(), former.clone(), noted.clone());
        let take = move || {
            take_up(&taken);
            // Other tasks may have reloaded a ring as well.
            for (ring, before) in taken.iter().zip(&before) {
                if let Some(former) = former.as_ref().filter(|_| !Arc::ptr_eq(&ring.get(), before))
                {
                    former.note(ring.path());
                }
            }
        };
        // Before the reload: later changes are noted the next time.
        let taken = current(&rings);
        // A panic was reported already.
        let _ = apus_daemon::task::spawn_blocking(take).await;
        noted = taken;
    }
}

impl Builder<'_> {
    /// A storage server with the endpoint for rings.
    pub(super) fn with_rings(&self, handler: SharedHandler) -> SharedHandler {
        Arc::new(RingsHttp::new(handler, self.ring_folder.clone()))
    }

    /// Starts the task that fetches newer rings from other nodes, if this process has servers.
    pub(super) fn fetch_rings(&mut self) {
        let changes = self.cluster.rings;
        let serves = self.sockets.is_some() && !self.roles.servers.is_empty();
        let Some(interval) = changes.fetch_every().filter(|_| serves) else { return };
        let Some(folder) = self.ring_folder.clone() else {
            if changes.fetch_interval.is_some() {
                tracing::warn!(
                    "swift.conf: [apus] ring_fetch_interval has no effect with backend_auth = open"
                );
            }
            return;
        };
        let (rings, transport) = (used(&self.rings), self.transport.clone());
        let courier = RingClient::new(transport.clone(), ANSWER);
        let peers = move || {
            let mut peers = BTreeSet::new();
            for ring in &rings {
                peers.extend(ring.get().devices().iter().flatten().map(|device| device.address()));
            }
            peers.retain(|address| !transport.is_local(address));
            peers.into_iter().collect()
        };
        let fetching = keep_fetching(courier, folder, peers, interval, self.node.drain.clone());
        self.node.background.push(spawn(TaskKind::Background, fetching));
    }
}
