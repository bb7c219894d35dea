//! A process with its roles: creates servers and daemons from a configuration, and runs them.
//!
//! Servers that run here are called without a socket: each is registered under the addresses that
//! the rings give to its own bind address; sockets are in [`super::middleware`].

use std::any::Any;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use apus_broker::Broker;
use apus_cluster::SwiftConf;
use apus_cluster::backend_auth::Mode;
use apus_daemon::clock::SystemClock;
use apus_daemon::drain::{Asked, Signals};
use apus_daemon::handover::MessageKind;
use apus_daemon::http::SharedHandler;
use apus_daemon::metrics::Metrics;
use apus_daemon::systemd::{State, notify};
use apus_daemon::task::{TaskKind, spawn};
use apus_daemon::{Clock, Drain, PassContext, PassRunner, ReconCache, Scope, serve};
use apus_disk::Counters;
use apus_ring::{Local, SharedRing};
use apus_store::quorum::Rings;
use apus_wire::rings::RingFolder;
use apus_wire::signed::Signer;
use apus_wire::{Client, Deadlines, Transport};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::conf::Place;
use super::device_lock::LockHolder;
use super::owners::{Owners, this_process};
use super::private_servers::PrivateServers;
use super::rings::{previous_rings, ring_folder, used, versions, watch};
use super::role::{Roles, Server};
use super::storage::DeviceSettings;
use super::worker::{Inherited, Overseen};
use crate::counts::{Counts, Sources};

/// Servers and daemons that are ready to run.
pub struct Node {
    pub(super) proxy: Option<SharedHandler>,
    pub(super) counters: Arc<Counters>,
    client: Arc<Client>,
    clock: Arc<dyn Clock>,
    pub(super) listeners: Vec<(TcpListener, SharedHandler, serve::Callers)>,
    /// Sockets that serve no data.
    pub(super) open_listeners: Vec<(TcpListener, SharedHandler, serve::Callers)>,
    /// The storage servers of this process, for commands.
    pub(super) private_servers: PrivateServers,
    /// Peers of the storage servers.
    pub(super) peers: serve::Callers,
    pub(super) metrics: Arc<Metrics>,
    pub(super) brokers: Vec<Arc<Broker>>,
    pub(super) object: Option<apus_object::Server>,
    pub(super) background: Vec<tokio::task::JoinHandle<()>>,
    pub(super) units: Vec<(PassRunner, ReconCache)>,
    /// Of the devices that its servers use.
    pub(super) owners: Vec<Arc<Owners>>,
    /// Of the devices that its daemons use, when they run all the time.
    pub(super) daemon_owners: Vec<Owners>,
    pub(super) limits: serve::Limits,
    /// Of the proxy's listener.
    pub(super) client_limits: serve::Limits,
    pub(super) drain: Drain,
    /// Where the proxy listens.
    pub(super) proxy_address: Option<SocketAddr>,
    /// What runs here and where, for the operator.
    pub(super) running: Vec<String>,
    /// Values that must live as long as this, such as locks.
    kept: Vec<Box<dyn Any + Send + Sync>>,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

pub(super) struct Builder<'a> {
    pub(super) place: &'a Place,
    pub(super) roles: &'a Roles,
    pub(super) cluster: SwiftConf,
    pub(super) rings: Rings,
    pub(super) transport: Arc<Transport>,
    pub(super) client: Arc<Client>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) node: Node,
    /// As locks of devices name this process.
    pub(super) this: LockHolder,
    /// Storage servers open sockets unless their files say otherwise.
    pub(super) listens: bool,
    /// Those of the process before; nothing is bound without.
    pub(super) sockets: Option<Inherited>,
    /// Nothing in an open cluster.
    pub(super) ring_folder: Option<Arc<RingFolder>>,
}

impl Builder<'_> {
    /// Makes a server and those of its daemons that are to run here.
    async fn add(&mut self, server: Server) -> Result<(), String> {
        let serves = self.roles.servers.contains(&server);
        let wanted: Vec<_> = self.roles.daemons_of(server).collect();
        if !serves && wanted.is_empty() {
            return Ok(());
        }
        let (conf, is_there) = self.place.server_conf_or_defaults(server)?;
        let serves = serves && self.is_meant(server, &conf, is_there)?;
        self.node.running.extend(wanted.iter().map(|daemon| (*daemon).to_owned()));
        if server == Server::Proxy && !serves {
            return Ok(());
        }
        let handler = match server {
            Server::Proxy => {
                let recon = DeviceSettings::read(&conf, "", server)?.recon;
                self.node.metrics.read_reports_of(&ReconCache::new(&recon));
                Some(self.proxy(&conf)?)
            }
            _ => self.storage(&conf, server, serves, &wanted)?,
        };
        self.note_daemons(server, &conf, &wanted)?;
        if let Some(handler) = handler.filter(|_| serves && self.sockets.is_some()) {
            let handler = self.owned(server, &conf, handler).await?;
            self.serve(server, &conf, handler).await?;
        }
        super::declarations::warn(&conf, server);
        Ok(())
    }

    /// The rings that name the servers of a kind.
    pub(super) fn rings_of(&self, server: Server) -> Vec<&Arc<SharedRing>> {
        match server {
            Server::Account => vec![&self.rings.account],
            Server::Container => vec![&self.rings.container],
            Server::Object => self.rings.objects.values().collect(),
            Server::Proxy => vec![],
        }
    }

    /// The addresses under which rings have a server.
    pub(super) fn ring_addresses(&self, server: Server, local: &Local) -> Vec<String> {
        let mut addresses = Vec::new();
        for ring in self.rings_of(server) {
            for device in ring.get().devices().iter().flatten().filter(|it| local.owns(it)) {
                addresses.extend([device.address(), device.replication_address()]);
            }
        }
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }
}

impl Node {
    /// Reads the configuration, makes the servers and binds their sockets. `path` is a directory
    /// with everything in it, or one server's file.
    ///
    /// # Errors
    /// What is wrong with a file or an address, in one line.
    pub async fn prepare(path: &Path, roles: &Roles) -> Result<Self, String> {
        Self::prepare_on(path, roles, Inherited::default()).await
    }

    /// As [`Node::prepare`], with sockets of the process before where they are at the same address.
    ///
    /// # Errors
    /// Likewise.
    pub(super) async fn prepare_on(
        path: &Path,
        roles: &Roles,
        sockets: Inherited,
    ) -> Result<Self, String> {
        Self::build(path, roles, Some(sockets), true).await
    }

    /// As [`Node::prepare`], but storage servers are called within this process only, unless their
    /// files say `listen = true`.
    ///
    /// # Errors
    /// Likewise.
    pub(crate) async fn prepare_silent(path: &Path, roles: &Roles) -> Result<Self, String> {
        Self::build(path, roles, Some(Inherited::default()), false).await
    }

    /// As [`Node::prepare`], without sockets: to see that the configuration is good.
    ///
    /// # Errors
    /// What is wrong with a file, in one line.
    pub(crate) async fn prepare_unheard(path: &Path, roles: &Roles) -> Result<Self, String> {
        Self::build(path, roles, None, true).await
    }

    async fn build(
        path: &Path,
        roles: &Roles,
        sockets: Option<Inherited>,
        listens: bool,
    ) -> Result<Self, String> {
        let place = Place::find(path, roles)?;
        let cluster = place.swift_conf()?;
        let rings = place.rings(&cluster)?;
        place.expect_key(&cluster, &rings)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let former = previous_rings(&place, roles, &cluster, &clock)?;
        if let Some(former) = &former {
            for ring in used(&rings) {
                former.note(ring.path());
                former.recall(&ring);
            }
        }
        let signer = Signer::new(&cluster.backend_auth, clock.clone());
        let transport = Arc::new(Transport::new(signer));
        let client = Arc::new(Client::new(transport.clone(), clock.clone(), Deadlines::default()));
        let drain = Drain::default();
        let limits = serve::Limits {
            headers_max: cluster.constraints.headers_max(),
            head_bytes_max: cluster.constraints.head_bytes_max(),
            ..serve::Limits::default()
        };
        let node = Self {
            proxy: None,
            counters: Arc::default(),
            client: client.clone(),
            clock: clock.clone(),
            listeners: Vec::new(),
            open_listeners: Vec::new(),
            private_servers: PrivateServers::default(),
            peers: peers(cluster.backend_auth.mode),
            metrics: Arc::default(),
            brokers: Vec::new(),
            object: None,
            background: vec![spawn(
                TaskKind::Background,
                watch(used(&rings), former, cluster.rings.check_interval, drain.clone()),
            )],
            units: Vec::new(),
            owners: Vec::new(),
            daemon_owners: Vec::new(),
            limits,
            client_limits: limits,
            drain,
            proxy_address: None,
            running: Vec::new(),
            kept: Vec::new(),
        };
        let ring_folder = ring_folder(&place, &cluster, &rings);
        let mut builder = Builder {
            ring_folder,
            place: &place,
            roles,
            cluster,
            rings,
            transport,
            client,
            clock,
            node,
            this: this_process(path),
            listens,
            sockets,
        };
        for server in Server::ALL {
            builder.add(server).await?;
        }
        builder.warn_if_open();
        builder.fetch_rings();
        let used = used(&builder.rings);
        let node = builder.node;
        let sources = node.sources();
        node.metrics.add_totals(move || sources.counts().totals());
        node.metrics.report_rings(move || versions(&used));
        Ok(node)
    }

    /// What clients talk to, when the proxy runs here.
    pub fn proxy(&self) -> Option<SharedHandler> {
        self.proxy.clone()
    }

    /// Where the proxy listens, when it runs here.
    pub(crate) fn proxy_address(&self) -> Option<SocketAddr> {
        self.proxy_address
    }

    /// What runs here and where it listens: `object-server 10.0.0.1:6200, object-auditor`.
    pub(super) fn running(&self) -> String {
        self.running.join(", ")
    }

    /// Keeps something until the end, such as a lock.
    pub(crate) fn keep(&mut self, thing: Box<dyn Any + Send + Sync>) {
        self.kept.push(thing);
    }

    /// What the seams counted so far.
    pub fn counts(&self) -> Counts {
        self.sources().counts()
    }

    fn sources(&self) -> Sources {
        Sources {
            counters: self.counters.clone(),
            client: self.client.clone(),
            brokers: self.brokers.clone(),
        }
    }

    /// Takes the devices of the daemons that are to run all the time, before [`Node::run`].
    ///
    /// # Errors
    /// A device on which another process runs the same daemon.
    pub async fn own_for_daemons(&mut self, scope: &Scope) -> Result<(), String> {
        for owners in std::mem::take(&mut self.daemon_owners) {
            let owners = Arc::new(owners.within(scope));
            owners.start().await?;
            self.owners.push(owners);
        }
        Ok(())
    }

    /// Takes the devices of the worker before, which was sealed.
    pub(super) async fn take_over(&self) {
        for owners in &self.owners {
            owners.take_over().await;
        }
    }

    fn pass_context(&self, scope: Scope, once: bool) -> PassContext {
        PassContext { scope, clock: self.clock.clone(), drain: self.drain.clone(), once }
    }

    /// What it listens on.
    pub(super) fn sockets(&self) -> Vec<BorrowedFd<'_>> {
        let all = self.listeners.iter().chain(&self.open_listeners);
        all.map(|(listener, ..)| listener.as_fd()).collect()
    }

    /// Serves until a signal, then lets open requests finish and closes the databases.
    pub async fn run(self, scope: Scope, signals: &mut Signals) {
        self.run_for(scope, signals, None).await;
    }

    /// As [`Node::run`], until the overseer says so.
    pub(super) async fn run_overseen(
        self,
        scope: Scope,
        signals: &mut Signals,
        overseen: Overseen,
    ) {
        self.run_for(scope, signals, Some(overseen)).await;
    }

    async fn run_for(mut self, scope: Scope, signals: &mut Signals, overseen: Option<Overseen>) {
        let cx = self.pass_context(scope, false);
        let mut running = std::mem::take(&mut self.background);
        for (unit, recon) in std::mem::take(&mut self.units) {
            running.push(spawn(TaskKind::Background, unit.run(cx.clone(), recon)));
        }
        for owners in &self.owners {
            let watch = owners.clone().watch(self.drain.clone());
            running.push(spawn(TaskKind::Background, watch));
        }
        let open = std::mem::take(&mut self.open_listeners);
        let all = std::mem::take(&mut self.listeners).into_iter().chain(open);
        for (listener, handler, callers) in all {
            let limits = match callers {
                serve::Callers::Clients => self.client_limits,
                serve::Callers::Plain | serve::Callers::Swifts => self.limits,
            };
            let work = serve::serve(listener, handler, callers, self.drain.clone(), limits);
            running.push(spawn(TaskKind::Background, work));
        }
        let mut private = std::mem::take(&mut self.private_servers);
        if let Some(listener) = private.listener.take() {
            let servers = Arc::new(private);
            let work = serve::serve(listener, servers, self.peers, self.drain.clone(), self.limits);
            running.push(spawn(TaskKind::Background, work));
        }
        self.wait(signals, overseen.as_ref()).await;
        if overseen.is_none() {
            notify(State::Stopping);
        }
        if !self.drain.has_begun() {
            self.drain.begin();
        }
        let drain = self.drain.clone();
        let patience = overseen.map(|overseen| overseen.patience);
        tokio::select! {
                    () = self.end(running) => {}
        // A later signal, or time, ends the patient drain.
                    () = hurry(signals, drain, patience) => {}
                }
    }

    /// Waits until there is a reason to end; a patient end is begun.
    async fn wait(&self, signals: &mut Signals, overseen: Option<&Overseen>) {
        loop {
            let asked = tokio::select! {
                asked = signals.next() => asked,
                heard = hear(overseen) => match (heard, overseen) {
                    (Some(MessageKind::Seal), Some(overseen)) => {
                        if !self.sealed(signals).await {
                            return;
                        }
                        overseen.say(MessageKind::Sealed).await;
                        continue;
                    }
                    (Some(MessageKind::Finish), Some(overseen)) => {
                        self.drain.begin_patiently();
                        self.drain.stopped_listening().await;
                        Overseen::let_go();
                        overseen.say(MessageKind::StoppedListening).await;
                        return;
                    }
                    (Some(word), _) => {
                        tracing::warn!(?word, "unexpected message from the overseer");
                        continue;
                    }
                    // The overseer is gone.
                    (None, _) => return,
                },
            };
            match asked {
                Asked::Stop => return,
                Asked::Reload if overseen.is_none() => tracing::warn!(
                    "SIGUSR1: a reload needs `workers`; with `workers = 0` only rings are reread"
                ),
                Asked::Finish | Asked::Reload => {
                    if self.sealed(signals).await {
                        self.drain.begin_patiently();
                    }
                    return;
                }
            }
        }
    }

    /// Seals the object server and releases the devices for another process. Returns `false` when a
    /// signal to stop comes first, since a disk may hang.
    async fn sealed(&self, signals: &mut Signals) -> bool {
        let stop = async { while signals.next().await != Asked::Stop {} };
        let seal = async {
            if let Some(object) = &self.object {
                object.seal().await;
            }
            self.owners.iter().for_each(|owners| owners.release());
        };
        tokio::select! {
            () = seal => true,
            () = stop => false,
        }
    }

    /// Runs each daemon's pass once, one after the other, or until a signal.
    ///
    /// # Errors
    /// The daemons whose pass failed.
    pub async fn once(mut self, scope: Scope, mut signals: Signals) -> Result<(), String> {
        let cx = self.pass_context(scope, true);
        let drain = self.drain.clone();
        let mut running = std::mem::take(&mut self.background);
        running.push(spawn(TaskKind::Background, async move {
            tokio::select! {
                _ = signals.next() => drain.begin(),
                () = drain.begun() => {}
            }
        }));
        let mut failed = Vec::new();
        for (mut unit, recon) in std::mem::take(&mut self.units) {
            if let Err(error) = unit.once(&cx, &recon).await {
                failed.push(error.to_string());
            }
        }
        self.drain.begin();
        self.end(running).await;
        if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
    }

    async fn end(self, running: Vec<tokio::task::JoinHandle<()>>) {
        for task in running {
            // A panic was reported already.
            let _ = task.await;
        }
        for broker in self.brokers {
            broker.close().await;
        }
    }
}

/// Peers of the storage servers of a cluster.
fn peers(mode: Mode) -> serve::Callers {
    match mode {
        Mode::Open => serve::Callers::Swifts,
        Mode::Signed => serve::Callers::Plain,
    }
}

/// The overseer's next message; pending forever without an overseer, `None` when it has ended.
async fn hear(overseen: Option<&Overseen>) -> Option<MessageKind> {
    match overseen {
        Some(overseen) => overseen.channel.receive().await.ok().flatten().map(|heard| heard.kind),
        None => std::future::pending().await,
    }
}

/// Ends the patience of a drain at the next signal to stop, or after some time; never returns.
async fn hurry(signals: &mut Signals, drain: Drain, patience: Option<Duration>) {
    let until = patience.map(|patience| Instant::now() + patience);
    loop {
        let late = async {
            match until.filter(|_| !drain.is_hurried()) {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            asked = signals.next() => if asked == Asked::Stop {
                drain.begin();
            },
            () = late => {
                tracing::warn!("requests were open for stale_worker_timeout and are ended");
                drain.begin();
            }
        }
    }
}
