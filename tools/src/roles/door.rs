//! The doors of a node: what stands before a server on a socket, in the order in which a request
//! meets it: counting, the guard, the endpoints for operators, the server.
//!
//! A call within the process meets the counting only.

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
use apus_ring::Local;
use apus_wire::signed::Guard;
use apus_wire::signed::seal::Sealed;
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::client_limits::client_limits;
use super::conf::bind_address;
use super::node::Builder;
use super::role::Server;
use super::storage::Site;
use crate::ring_manager::facts::{JoinHttp, JoinParts};

/// For how long an address that somebody has is tried, unless `bind_timeout` says so (30 of
/// Swift's servers: here nothing keeps an address for long).
const BIND_SECONDS: u64 = 1;
const BIND_AGAIN: Duration = Duration::from_millis(20);
/// What makes a node one of the cluster, or says when a disk may be pulled.
const SEALED: &[&str] = &["/apus/join", "/apus/device/", "/recon/"];

impl Builder<'_> {
    /// A socket that listens: the one of the process before, if that had one at this address.
    /// While somebody else has the address it tries again for `bind_timeout`: one that was killed
    /// may take a moment to go.
    async fn listen(
        &mut self,
        bind: SocketAddr,
        what: &str,
        section: &Section<'_>,
    ) -> Result<TcpListener, String> {
        let seconds = section.parse("bind_timeout", BIND_SECONDS, "whole seconds")?;
        let until = Instant::now() + Duration::from_secs(seconds);
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
        listener.map_err(|error| format!("{what}: cannot listen on {bind}: {error}"))
    }

    /// Binds a server's socket, and lets this process call the server directly.
    pub(super) async fn serve(
        &mut self,
        server: Server,
        conf: &Conf,
        handler: SharedHandler,
    ) -> Result<(), String> {
        let section = conf.section(&format!("app:{}-server", server.name()));
        let bind = bind_address(&section, server)?;
        let listens = section.flag("listen", false)?;
        let metrics = self.node.metrics.clone();
        let count = |handler| Arc::new(Counted::new(handler, server.name(), metrics.clone()));
        if server == Server::Proxy {
            self.node.proxy = Some(count(handler.clone()));
            self.node.client_limits = client_limits(&section, self.node.limits)?;
            self.serve_metrics(&section).await?;
        } else {
            let called: SharedHandler = count(handler.clone());
            self.register(server, &Local::new(addresses::of(bind.ip()), bind.port()), &called);
            // In one process nobody needs the sockets, unless others are to reach this node.
            if self.roles.servers.contains(&Server::Proxy) && !listens {
                return Ok(());
            }
        }
        let listener = self.listen(bind, &format!("{} server", server.name()), &section).await?;
        let handler = match server {
            Server::Proxy => handler,
            _ => {
                let recon = self.recon_parts(server, conf)?;
                let recon = self.with_rings(Arc::new(ReconHttp::new(handler, recon)));
                let metrics = MetricsHttp::new(Some(recon), self.node.metrics.clone());
                let site = Site::read(conf, "", server)?;
                let join = JoinParts {
                    swift_dir: self.place.swift_dir().to_owned(),
                    devices: (site.devices, site.mount_check),
                    auth: self.cluster.backend_auth.clone(),
                };
                let told = Arc::new(JoinHttp::new(Arc::new(metrics), join));
                let sealed = Sealed::new(told, &self.cluster.backend_auth, SEALED);
                self.guarded(Arc::new(sealed), &section)
            }
        };
        let callers = match self.cluster.backend_auth.mode {
            _ if server == Server::Proxy => Callers::Clients,
            Mode::Open => Callers::Swifts,
            Mode::Signed => Callers::Plain,
        };
        self.node.listeners.push((listener, count(handler), callers));
        Ok(())
    }

    /// `metrics_bind = <address>:<port>` of the proxy: its own port is for clients, to whom
    /// `/metrics` is a bucket, and who are not to read them.
    async fn serve_metrics(&mut self, section: &Section<'_>) -> Result<(), String> {
        let Some(text) = section.get("metrics_bind") else { return Ok(()) };
        let bind = text
            .parse()
            .map_err(|_| section.refuse("metrics_bind", text, "an IP address and a port"))?;
        let listener = self.listen(bind, "metrics", section).await?;
        let handler = Arc::new(MetricsHttp::new(None, self.node.metrics.clone()));
        self.node.open_listeners.push((listener, handler, Callers::Plain));
        Ok(())
    }

    fn recon_parts(&self, server: Server, conf: &Conf) -> Result<ReconParts, String> {
        let site = Site::read(conf, "", server)?;
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

    /// A storage server as others reach it. `reached_as`: addresses under which rings have it,
    /// beside those of its sockets (names, or addresses that a network translates).
    fn guarded(&self, handler: SharedHandler, section: &Section<'_>) -> SharedHandler {
        let names = section.get("reached_as").unwrap_or_default().split(',').map(str::trim);
        let names = names.filter(|name| !name.is_empty()).map(str::to_owned).collect();
        Arc::new(Guard::new(handler, &self.cluster.backend_auth, self.clock.clone(), names))
    }

    /// Says what an open cluster means, unless nothing of it leaves this process.
    pub(super) fn warn_if_open(&self) {
        let auth = &self.cluster.backend_auth;
        let serves = |server| self.roles.servers.contains(&server);
        let listens = self.node.listeners.len() > usize::from(serves(Server::Proxy));
        if auth.mode == Mode::Signed || (Server::ALL.into_iter().all(serves) && !listens) {
            return;
        }
        let how = if auth.keys.is_empty() {
            "put the same `cluster_key` (`openssl rand -hex 32`) in [apus] of swift.conf on every node; \
             with `backend_auth = open` beside it until all have it"
        } else {
            "requests are signed but need not be; when all nodes have the key, remove \
             `backend_auth = open` from [apus] of swift.conf, node by node"
        };
        tracing::warn!(
            "BACKEND REQUESTS ARE NOT AUTHENTICATED (backend_auth = open): whoever reaches the ports of \
             account, container and object servers may read, write and delete everything; {how}"
        );
    }
}
