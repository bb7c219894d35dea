//! Role → server: reads a configuration directory and runs the chosen servers in this process.
//!
//! Servers that run here are called without a socket: each is registered under the addresses that
//! the rings give to its own bind address.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use apus_broker::Broker;
use apus_cluster::{SwiftConf, policy::PolicyType};
use apus_daemon::clock::SystemClock;
use apus_daemon::config::{Conf, Section};
use apus_daemon::http::SharedHandler;
use apus_daemon::task::{TaskKind, spawn};
use apus_daemon::{Clock, Drain, drain, serve};
use apus_disk::{Counters, Reserve};
use apus_proxy::auth::authorize::Rules;
use apus_proxy::auth::tempauth::TempAuth;
use apus_ring::SharedRing;
use apus_store::clock::HybridClock;
use apus_store::quorum::{Quorum, Rings};
use apus_wire::{Client, Deadlines, Transport};
use tokio::net::TcpListener;

use crate::counts::Counts;

/// A server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The front door.
    Proxy,
    /// Lists containers.
    Account,
    /// Lists objects.
    Container,
    /// Keeps objects.
    Object,
}

impl Role {
    /// All of them, the front door last.
    pub const ALL: [Self; 4] = [Self::Account, Self::Container, Self::Object, Self::Proxy];

    fn name(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::Account => "account",
            Self::Container => "container",
            Self::Object => "object",
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Self::Proxy => 8080,
            Self::Account => 6202,
            Self::Container => 6201,
            Self::Object => 6200,
        }
    }
}

/// Open databases per server; each costs a thread.
const DATABASES_MAX: usize = 256;
/// How often rings are looked at for a new version (Swift's interval).
const RING_INTERVAL: Duration = Duration::from_secs(15);
/// How often all containers are looked at for account rows that are behind, in seconds (Swift's
/// interval).
const ACCOUNT_INTERVAL_SECONDS: u64 = 300;
/// Swift's filters whose work is done here, in our order; `cache` is not needed.
const FILTERS: [&str; 13] = [
    "catch_errors",
    "gatekeeper",
    "healthcheck",
    "proxy-logging",
    "cache",
    "listing_formats",
    "s3api",
    "tempauth",
    "bulk",
    "copy",
    "slo",
    "dlo",
    "proxy-server",
];
/// How often undelivered listing rows are tried again, in seconds.
const UPDATE_INTERVAL_SECONDS: u64 = 30;
/// How often account rows of changed containers are sent.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Servers that are bound and ready.
pub struct Node {
    proxy: Option<SharedHandler>,
    counters: Arc<Counters>,
    client: Arc<Client>,
    listeners: Vec<(TcpListener, SharedHandler)>,
    brokers: Vec<Arc<Broker>>,
    background: Vec<tokio::task::JoinHandle<()>>,
    drain: Drain,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

struct Builder<'a> {
    conf_dir: &'a Path,
    roles: &'a [Role],
    cluster: SwiftConf,
    rings: Rings,
    transport: Arc<Transport>,
    client: Arc<Client>,
    clock: Arc<dyn Clock>,
    node: Node,
}

fn load_rings(conf_dir: &Path, cluster: &SwiftConf) -> Result<Rings, String> {
    let load = |name: &str| SharedRing::load(&conf_dir.join(name)).map(Arc::new);
    let mut objects = BTreeMap::new();
    for policy in cluster.policies.iter() {
        if policy.policy_type == PolicyType::Replication {
            let name = format!("{}.ring.gz", policy.index.suffixed("object"));
            objects.insert(policy.index, load(&name)?);
        }
    }
    Ok(Rings { account: load("account.ring.gz")?, container: load("container.ring.gz")?, objects })
}

fn swift_conf(conf_dir: &Path) -> Result<SwiftConf, String> {
    let path = conf_dir.join("swift.conf");
    let conf = Conf::read(&path)?;
    SwiftConf::from_sections(conf.sections())
        .map_err(|error| format!("{}: {error}", path.display()))
}

/// `<role>-server.conf`, or the directory `<role>-server.conf.d`; defaults when there is neither.
fn server_conf(conf_dir: &Path, role: Role) -> Result<Conf, String> {
    for name in [format!("{}-server.conf", role.name()), format!("{}-server.conf.d", role.name())] {
        let path = conf_dir.join(name);
        if path.exists() {
            return Conf::read(&path);
        }
    }
    Conf::parse("")
}

impl Builder<'_> {
    async fn add(&mut self, role: Role) -> Result<(), String> {
        let conf = server_conf(self.conf_dir, role)?;
        let section = conf.section(&format!("app:{}-server", role.name()));
        let bind = bind_address(&section, role)?;
        let handler = match role {
            Role::Proxy => self.proxy(&conf)?,
            Role::Account | Role::Container | Role::Object => {
                self.storage(role, &section, &conf.section(&format!("{}-updater", role.name())))?
            }
        };
        let listens = section.flag("listen", false)?;
        for warning in conf.unused() {
            tracing::warn!("{warning}");
        }
        if role == Role::Proxy {
            self.node.proxy = Some(handler.clone());
        } else {
            self.register(role, bind, &handler);
            // In one process nobody needs the sockets, unless others are to reach this node.
            if self.roles.contains(&Role::Proxy) && !listens {
                return Ok(());
            }
        }
        let listener = TcpListener::bind(bind)
            .await
            .map_err(|error| format!("{} server: cannot listen on {bind}: {error}", role.name()))?;
        self.node.listeners.push((listener, handler));
        Ok(())
    }

    /// Registers a server under every ring address that is its own.
    fn register(&self, role: Role, bind: SocketAddr, handler: &SharedHandler) {
        let rings: Vec<_> = match role {
            Role::Account => vec![&self.rings.account],
            Role::Container => vec![&self.rings.container],
            Role::Object => self.rings.objects.values().collect(),
            Role::Proxy => vec![],
        };
        for ring in rings {
            for device in ring.get().devices().iter().flatten() {
                let own_ip = bind.ip().is_unspecified() || device.ip == bind.ip().to_string();
                if own_ip && device.port == bind.port() {
                    self.transport.register(&device.address(), handler.clone());
                }
            }
        }
    }

    fn storage(
        &mut self,
        role: Role,
        section: &Section<'_>,
        updater: &Section<'_>,
    ) -> Result<SharedHandler, String> {
        let devices = PathBuf::from(section.get("devices").unwrap_or("/srv/node"));
        let mount_check = section.flag("mount_check", true)?;
        let broker = |name: &str| {
            Broker::new(name, DATABASES_MAX, self.node.counters.clone())
                .map(Arc::new)
                .map_err(|error| format!("{name} server: {error}"))
        };
        let handler: SharedHandler = match role {
            Role::Account => {
                let broker = broker("account")?;
                self.node.brokers.push(broker.clone());
                Arc::new(apus_account::Server::new(apus_account::Parts {
                    devices,
                    mount_check,
                    hash: self.cluster.hash.clone(),
                    policies: self.cluster.policies.clone(),
                    clock: self.clock.clone(),
                    broker,
                }))
            }
            Role::Container => {
                let broker = broker("container")?;
                self.node.brokers.push(broker.clone());
                let server = Arc::new(apus_container::Server::new(apus_container::Parts {
                    devices,
                    mount_check,
                    hash: self.cluster.hash.clone(),
                    clock: self.clock.clone(),
                    client: self.client.clone(),
                    broker,
                }));
                let report = apus_container::report_changes(
                    server.clone(),
                    self.rings.account.clone(),
                    REPORT_INTERVAL,
                    self.node.drain.clone(),
                );
                self.node.background.push(spawn(TaskKind::Background, report));
                let interval = updater.parse("interval", ACCOUNT_INTERVAL_SECONDS, "seconds")?;
                let update = apus_container::update_accounts(
                    server.clone(),
                    self.rings.account.clone(),
                    Duration::from_secs(interval),
                    self.node.drain.clone(),
                );
                self.node.background.push(spawn(TaskKind::Background, update));
                server
            }
            Role::Object => {
                let text = section.get("fallocate_reserve").unwrap_or("1%");
                let reserve = Reserve::parse(text).ok_or_else(|| {
                    section.refuse("fallocate_reserve", text, "bytes or a percentage")
                })?;
                let server = apus_object::Server::new(apus_object::Parts {
                    devices,
                    mount_check,
                    reserve,
                    hash: self.cluster.hash.clone(),
                    policies: self.cluster.policies.clone(),
                    clock: self.clock.clone(),
                    client: self.client.clone(),
                    counters: self.node.counters.clone(),
                });
                let interval = updater.parse("interval", UPDATE_INTERVAL_SECONDS, "seconds")?;
                let update = apus_object::deliver_updates(
                    server.clone(),
                    self.rings.container.clone(),
                    Duration::from_secs(interval),
                    self.node.drain.clone(),
                );
                self.node.background.push(spawn(TaskKind::Background, update));
                Arc::new(server)
            }
            Role::Proxy => return Err("the proxy has no devices".to_owned()),
        };
        Ok(handler)
    }

    fn proxy(&self, conf: &Conf) -> Result<SharedHandler, String> {
        let auth = conf.section("filter:tempauth");
        let auth = TempAuth::from_options(auth.own(), &self.cluster.hash)
            .map_err(|error| format!("proxy-server.conf: {error}"))?;
        let quorum = Quorum::new(
            self.client.clone(),
            self.rings.clone(),
            self.cluster.hash.clone(),
            self.cluster.policies.clone(),
            Arc::new(HybridClock::new(self.clock.clone())),
        );
        let rules = Arc::new(Rules::new(auth.reseller_prefix()));
        for filter in pipeline(conf).filter(|filter| !FILTERS.contains(filter)) {
            tracing::warn!("proxy-server.conf: pipeline: {filter} is not done and left out");
        }
        let s3 = conf.section("filter:s3api");
        let domains = s3.get("storage_domain").unwrap_or_default();
        let app = conf.section("app:proxy-server");
        Ok(Arc::new(apus_proxy::Server::new(apus_proxy::Parts {
            store: apus_store::pipeline::client(quorum, rules, upload_bytes(&app)?),
            auth: Arc::new(auth),
            policies: self.cluster.policies.clone(),
            clock: self.clock.clone(),
            storage_domains: domains
                .split(',')
                .map(|domain| domain.trim().to_owned())
                .filter(|domain| !domain.is_empty())
                .collect(),
            sigv2: s3.flag("sigv2", false)?,
            region: s3.get("location").unwrap_or("us-east-1").to_owned(),
            client_timeout_seconds: app.parse("client_timeout", 60, "whole seconds")?,
        })))
    }
}

/// The names in Swift's `pipeline = …`; none when there is no such line.
fn pipeline(conf: &Conf) -> impl Iterator<Item = &str> {
    let names = conf.section("pipeline:main").get("pipeline").unwrap_or_default();
    names.split_whitespace()
}

/// `upload_memory`, in MiB; a quarter of the machine's memory when it is not given.
fn upload_bytes(app: &Section<'_>) -> Result<u64, String> {
    let machine = || {
        let text = std::fs::read_to_string("/proc/meminfo").ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    // /proc counts in KiB.
    let quarter_mib = machine().map_or(1024, |kib| kib / 1024 / 4);
    Ok(app.parse("upload_memory", quarter_mib, "whole MiB")?.saturating_mul(1024 * 1024))
}

fn bind_address(section: &Section<'_>, role: Role) -> Result<SocketAddr, String> {
    let ip = section.get("bind_ip").unwrap_or("127.0.0.1");
    let port = section.parse("bind_port", role.default_port(), "a port")?;
    let ip = ip.parse().map_err(|_| section.refuse("bind_ip", ip, "an IP address"))?;
    Ok(SocketAddr::new(ip, port))
}

impl Node {
    /// Reads the configuration, makes the servers and binds their sockets.
    ///
    /// # Errors
    /// What is wrong with a file or an address, in one line.
    pub async fn prepare(conf_dir: &Path, roles: &[Role]) -> Result<Self, String> {
        let cluster = swift_conf(conf_dir)?;
        let rings = load_rings(conf_dir, &cluster)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let transport = Arc::new(Transport::default());
        let client = Arc::new(Client::new(transport.clone(), clock.clone(), Deadlines::default()));
        let drain = Drain::default();
        let node = Self {
            proxy: None,
            counters: Arc::default(),
            client: client.clone(),
            listeners: Vec::new(),
            brokers: Vec::new(),
            background: vec![spawn(TaskKind::Background, watch(rings.clone(), drain.clone()))],
            drain,
        };
        let mut builder =
            Builder { conf_dir, roles, cluster, rings, transport, client, clock, node };
        for role in roles {
            builder.add(*role).await?;
        }
        Ok(builder.node)
    }

    /// What clients talk to, when the proxy runs here.
    pub fn proxy(&self) -> Option<SharedHandler> {
        self.proxy.clone()
    }

    /// What the seams counted so far.
    pub fn counts(&self) -> Counts {
        let databases = |of: fn(&apus_broker::Counters) -> u64| {
            self.brokers.iter().map(|broker| of(broker.counters())).sum()
        };
        Counts {
            syncs: self.counters.syncs(),
            file_calls: self.counters.file_calls(),
            thread_hops: self.counters.reads().1,
            transactions: databases(apus_broker::Counters::transactions),
            database_writes: databases(apus_broker::Counters::writes),
            backend_requests: self.client.counters().requests(),
            md5_bytes: self.client.counters().md5_bytes(),
        }
    }

    /// Serves until `stop`, then lets open requests finish and closes the databases.
    ///
    /// # Errors
    /// When waiting for `stop` fails.
    pub async fn run(
        self,
        stop: impl std::future::Future<Output = std::io::Result<()>>,
    ) -> Result<(), String> {
        let mut serving = Vec::new();
        for (listener, handler) in self.listeners {
            let limits = serve::Limits::default();
            let work = serve::serve(listener, handler, self.drain.clone(), limits);
            serving.push(spawn(TaskKind::Background, work));
        }
        stop.await.map_err(|error| format!("signals: {error}"))?;
        self.drain.begin();
        for task in serving.into_iter().chain(self.background) {
            // A task that panicked has been reported by the panic itself.
            let _ = task.await;
        }
        for broker in self.brokers {
            broker.close().await;
        }
        Ok(())
    }
}

/// Rereads rings that changed; a bad new file keeps the old ring and is named once.
async fn watch(rings: Rings, drain: Drain) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(RING_INTERVAL) => {}
            () = drain.begun() => return,
        }
        for ring in [&rings.account, &rings.container].into_iter().chain(rings.objects.values()) {
            match ring.refresh() {
                Ok(true) => tracing::info!(ring = %ring.path().display(), "new ring"),
                Ok(false) => {}
                Err(error) => tracing::error!(error, "the old ring stays"),
            }
        }
    }
}

/// A runtime for servers.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("runtime: {error}"))
}

/// Runs servers of a configuration directory until a signal.
pub(crate) fn run(conf_dir: &Path, roles: &[Role]) -> Result<(), String> {
    apus_daemon::log::start("info");
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        let node = Node::prepare(conf_dir, roles).await?;
        tracing::info!(conf = %conf_dir.display(), "ready");
        node.run(drain::stop_signal()).await
    });
    // A walk through a disk that hangs must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(5));
    result
}
