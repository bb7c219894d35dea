//! Sockets of a node's servers, and the middleware in front of each server.
//!
//! A request passes counting, the guard and the endpoints for operators before the server. A call
//! within the process passes counting only.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use apus_cluster::backend_auth::Mode;
use apus_daemon::ReconCache;
use apus_daemon::addresses;
use apus_daemon::config::{Conf, Section};
use apus_daemon::http::SharedHandler;
use apus_daemon::metrics::{Counted, MetricsHttp};
use apus_daemon::recon_http::{ReconHttp, ReconParts};
use apus_daemon::serve::Callers;
use apus_membership::{JoinDeps, JoinHttp};
use apus_options::{address, flag, list, options, whole};
use apus_ring::{Local, SharedRing};
use apus_wire::signed::Guard;
use apus_wire::signed::seal::Sealed;
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::client_limits::client_limits;
use super::conf::bind_address;
use super::node::Builder;
use super::role::Server;
use super::storage::DeviceSettings;

options! {
    /// The socket of a server.
    #[derive(Debug)]
    pub struct SocketOptions {
        /// How long to wait for an address in use. Swift's default is 30; here no process keeps an address for long.
        bind_timeout: u64 = whole(1).unit("seconds"),
    }
}

options! {
    /// How other nodes reach a storage server.
    #[derive(Debug)]
    pub struct ReachOptions {
        /// Whether the server opens its socket. In a process with a proxy and all servers of a cluster it can be called without.
        listen: Option<bool> = flag(true).unset("true; false in `apus saio`").example("true"),
        /// Addresses under which rings have this server in addition to those of its sockets: names, or addresses that a network translates.
        reached_as: Vec<String> = list("", "addresses between commas"),
    }
}

options! {
    /// The metrics of a process with a proxy.
    #[derive(Debug)]
    pub struct MetricsOptions {
        /// Address at which metrics are served. The proxy's own port is for clients, for which `/metrics` is a bucket.
        metrics_bind: Option<SocketAddr> = address().example("127.0.0.1:9100"),
    }
}

const BIND_AGAIN: Duration = Duration::from_millis(20);
/// Paths whose responses are sealed: those for nodes that join, and for drains.
const SEALED: &[&str] = &["/apus/join", "/apus/device/", "/recon/"];

impl Builder<'_> {
    /// A listening socket: that of the previous process, if it had one at this address. While another
    /// process has the address it tries again for `bind_timeout`: a killed process may take a moment
    /// to end.
    async fn listen(
        &mut self,
        bind: SocketAddr,
        what: &str,
        section: &Section<'_>,
    ) -> Result<TcpListener, String> {
        let options = SocketOptions::read(section)?;
        let until = Instant::now() + Duration::from_secs(options.bind_timeout);
        let inherited = self.sockets.as_mut().and_then(|inherited| inherited.take(bind));
        let mut listener = match inherited {
            Some(inherited) => TcpListener::from_std(inherited),
            None => TcpListener::bind(bind).await,
        };
        while listener.as_ref().is_err_and(|error| error.kind() == ErrorKind::AddrInUse)
            && Instant::now() < until
        {
            tokio::time::sleep(BIND_AGAIN).await;
            listener = TcpListener::bind(bind).await;
        }
        listener.map_err(|error| {
            let hint = match error.kind() {
                ErrorKind::AddrInUse => {
                    "; another process listens there: stop it, or set another bind_port (`apus saio`: use --port N)"
                }
                ErrorKind::AddrNotAvailable => "; this machine has no such address: set bind_ip",
                ErrorKind::PermissionDenied => "; ports below 1024 need root: set another bind_port",
                _ => "",
            };
            format!("{what}: cannot listen on {bind}: {error}{hint}")
        })
    }

    /// Whether a server should run here. A missing file is reported with the assumed options. A proxy
    /// without a file would have no users, so it does not run.
    pub(super) fn is_meant(
        &self,
        server: Server,
        conf: &Conf,
        is_there: bool,
    ) -> Result<bool, String> {
        if is_there {
            return Ok(true);
        }
        let (name, folder) = (server.name(), self.place.swift_dir().display());
        if server != Server::Proxy {
            let site = DeviceSettings::read(conf, "", server)?;
            let bind = bind_address(&conf.section(&format!("app:{name}-server")), server)?;
            let check = if site.mount_check { "mounted in" } else { "in" };
            let devices = site.devices.display();
            tracing::warn!(
                "no {name}-server.conf in {folder}: assumed bind_ip = {}, bind_port = {}, devices {check} {devices}",
                bind.ip(),
                bind.port()
            );
        } else if self.roles.servers.len() > 1 {
            tracing::warn!("no proxy-server.conf in {folder}: no proxy server runs here");
            return Ok(false);
        } else {
            return Err(format!("no proxy-server.conf in {folder}, which names its users"));
        }
        Ok(true)
    }

    /// Notes a server and its address. A storage server that no ring names would stay empty.
    fn note_running(&mut self, server: Server, bind: SocketAddr, is_silent: bool) {
        let name = server.name();
        let where_ = if is_silent { "in this process".to_owned() } else { bind.to_string() };
        self.node.running.push(format!("{name}-server {where_}"));
        let local = Local::new(addresses::of(bind.ip()), bind.port());
        let rings = self.rings_of(server);
        let is_ours = |ring: &&Arc<SharedRing>| {
            ring.get().devices().iter().flatten().any(|device| local.owns(device))
        };
        if server != Server::Proxy && !rings.iter().any(is_ours) {
            tracing::warn!(
                "{name} server: no ring has a device at {bind}, so it gets no requests: for a node that joins see `apus ring pending`, otherwise check bind_ip and bind_port of {name}-server.conf"
            );
        }
    }

    /// Binds a server's socket, and registers the server for calls within this process.
    pub(super) async fn serve(
        &mut self,
        server: Server,
        conf: &Conf,
        handler: SharedHandler,
    ) -> Result<(), String> {
        let section = conf.section(&format!("app:{}-server", server.name()));
        let bind = bind_address(&section, server)?;
        let reach = ReachOptions::read(&section)?;
        let listens = reach.listen.unwrap_or(self.listens);
        let metrics = self.node.metrics.clone();
        let count = |handler| Arc::new(Counted::new(handler, server.name(), metrics.clone()));
        if server == Server::Proxy {
            self.node.proxy = Some(count(handler.clone()));
            self.node.client_limits = client_limits(&section, self.node.limits)?;
            self.serve_metrics(&section).await?;
        } else {
            let called: SharedHandler = count(handler.clone());
            let local = Local::new(addresses::of(bind.ip()), bind.port());
            let known_as = self.ring_addresses(server, &local);
            for address in &known_as {
                self.transport.register(address, called.clone());
            }
            if !self.listens {
                let private = self.for_other_processes(server, conf, handler.clone())?;
                let private: SharedHandler = count(self.guarded(private, known_as.clone()));
                self.node.private_servers.add(known_as, &private);
            }
            // Only a process with all servers of a cluster can do without sockets for them.
            if self.roles.servers.contains(&Server::Proxy) && !listens {
                self.note_running(server, bind, true);
                return Ok(());
            }
        }
        let listener = self.listen(bind, &format!("{} server", server.name()), &section).await?;
        let bound = listener.local_addr().unwrap_or(bind);
        self.note_running(server, bound, false);
        let handler = match server {
            Server::Proxy => {
                self.node.proxy_address = Some(bound);
                handler
            }
            _ => self.guarded(self.for_other_processes(server, conf, handler)?, reach.reached_as),
        };
        let callers = match server {
            Server::Proxy => Callers::Clients,
            _ => self.node.peers,
        };
        self.node.listeners.push((listener, count(handler), callers));
        Ok(())
    }

    /// `metrics_bind = <address>:<port>` of the proxy.
    async fn serve_metrics(&mut self, section: &Section<'_>) -> Result<(), String> {
        let Some(bind) = MetricsOptions::read(section)?.metrics_bind else { return Ok(()) };
        let listener = self.listen(bind, "metrics", section).await?;
        let handler = Arc::new(MetricsHttp::new(None, self.node.metrics.clone()));
        self.node.open_listeners.push((listener, handler, Callers::Plain));
        Ok(())
    }

    fn recon_parts(&self, server: Server, conf: &Conf) -> Result<ReconParts, String> {
        let site = DeviceSettings::read(conf, "", server)?;
        Ok(ReconParts {
            server: server.name(),
            devices: site.devices,
            mount_check: site.mount_check,
            swift_conf: self.place.swift_conf_path(),
            rings: self.place.ring_paths(&self.cluster),
            cache: ReconCache::new(&site.recon),
            clock: self.clock.clone(),
        })
    }

    /// A storage server with the endpoints for operators and other nodes.
    fn for_other_processes(
        &self,
        server: Server,
        conf: &Conf,
        handler: SharedHandler,
    ) -> Result<SharedHandler, String> {
        let recon = self.recon_parts(server, conf)?;
        let recon = self.with_rings(Arc::new(ReconHttp::new(handler, recon)));
        let metrics = MetricsHttp::new(Some(recon), self.node.metrics.clone());
        let site = DeviceSettings::read(conf, "", server)?;
        let join = JoinDeps {
            swift_dir: self.place.swift_dir().to_owned(),
            devices: (site.devices, site.mount_check),
            auth: self.cluster.backend_auth.clone(),
        };
        let join = Arc::new(JoinHttp::new(Arc::new(metrics), join));
        Ok(Arc::new(Sealed::new(join, &self.cluster.backend_auth, SEALED)))
    }

    /// A storage server as others reach it, under these addresses in addition to those of its socket.
    fn guarded(&self, handler: SharedHandler, reached_as: Vec<String>) -> SharedHandler {
        Arc::new(Guard::new(handler, &self.cluster.backend_auth, self.clock.clone(), reached_as))
    }

    /// Warns of an open cluster, unless all its servers are in this process.
    pub(super) fn warn_if_open(&self) {
        let auth = &self.cluster.backend_auth;
        let serves = |server| self.roles.servers.contains(&server);
        let listens = self.node.listeners.len() > usize::from(serves(Server::Proxy));
        if auth.mode == Mode::Signed || (Server::ALL.into_iter().all(serves) && !listens) {
            return;
        }
        let how = if auth.keys.is_empty() {
            "set the same `cluster_key` (`openssl rand -hex 32`) in [apus] of swift.conf on every node; \
             together with `backend_auth = open` until all have it"
        } else {
            "requests are signed but need not be; when all nodes have the key, remove \
             `backend_auth = open` from [apus] of swift.conf, node by node"
        };
        tracing::warn!(
            "BACKEND REQUESTS ARE NOT AUTHENTICATED (backend_auth = open): any client that reaches the ports of \
             account, container and object servers may read, write and delete everything; {how}"
        );
    }
}
