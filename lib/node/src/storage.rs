//! Account, container and object servers of a process, with their daemons.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use apus_broker::Broker;
use apus_daemon::addresses;
use apus_daemon::config::{Conf, ConfigError, DeviceOptions, ReconCacheOptions};
use apus_daemon::http::SharedHandler;
use apus_daemon::task::{TaskKind, spawn};
use apus_daemon::{PassRunner, ReconCache};
use apus_disk::Reserve;
use apus_object::QuarantineLimit;
use apus_options::{number, options, size, whole};
use apus_ring::Local;

use super::conf::{bind_address, section_of};
use super::encryption::local_keys;
use super::node::Builder;
use super::role::Server;

/// Open databases per server; each costs a thread.
const DATABASES_MAX: usize = 256;
/// How often account rows of changed containers are sent.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// A server and all its daemons.
struct Storage {
    handler: SharedHandler,
    units: Vec<PassRunner>,
}

options! {
    /// Options of `[app:object-server]` for its devices.
    #[derive(Debug)]
    pub struct ObjectServerOptions {
        /// Space of a device that stays free.
        fallocate_reserve: String = size("1%"),
        /// Length up to which a range of an object that Swift wrote is checked by reading the whole object.
        verify_ranges_without_checksums: u64 = whole(1_048_576).unit("bytes"),
        /// Objects that may be quarantined on a device within an hour; more are only logged.
        quarantines_per_hour: u64 = whole(100),
        /// The same as a part of the objects of the device.
        quarantine_percent: f64 = number(5.0).unit("percent"),
    }
}

/// Device options of a server or daemon, from its own section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DeviceSettings {
    /// Directory of the devices.
    pub(super) devices: PathBuf,
    /// Whether they must be mount points.
    pub(super) mount_check: bool,
    /// Address by which rings name this node's devices.
    bind: SocketAddr,
    /// Directory of recon reports.
    pub(super) recon: PathBuf,
}

impl DeviceSettings {
    /// The options of the daemon `role`, or of the server if there is none of this name.
    pub(super) fn read(conf: &Conf, role: &str, server: Server) -> Result<Self, ConfigError> {
        let section = section_of(conf, role, server);
        let given = DeviceOptions::read(&section)?;
        Ok(Self {
            devices: given.devices,
            mount_check: given.mount_check,
            bind: bind_address(&section, server)?,
            recon: ReconCacheOptions::read(&section)?.recon_cache_path,
        })
    }

    /// The addresses of this node in rings.
    pub(super) fn local(&self) -> Local {
        Local::new(addresses::of(self.bind.ip()), self.bind.port())
    }
}

impl Builder<'_> {
    /// Creates a server with the daemons that share its device options, and one without requests for
    /// each other set of options. Returns the handler of the first.
    pub(super) fn storage(
        &mut self,
        conf: &Conf,
        server: Server,
        serves: bool,
        daemons: &[&'static str],
    ) -> Result<Option<SharedHandler>, String> {
        let mut sites: Vec<(DeviceSettings, Vec<&str>)> = Vec::new();
        if serves {
            sites.push((DeviceSettings::read(conf, "", server)?, Vec::new()));
        }
        for daemon in daemons {
            let site = DeviceSettings::read(conf, daemon, server)?;
            match sites.iter_mut().find(|(known, _)| *known == site) {
                Some((_, those)) => those.push(daemon),
                None => sites.push((site, vec![daemon])),
            }
        }
        let mut first = None;
        for (index, (site, those)) in sites.iter().enumerate() {
            let serves = serves && index == 0;
            let made = match server {
                Server::Proxy => return Ok(None),
                Server::Account => self.account(conf, site, serves)?,
                Server::Container => self.container(conf, site, serves)?,
                Server::Object => self.object(conf, site)?,
            };
            let recon = ReconCache::new(&site.recon);
            self.node.metrics.read_reports_of(&recon);
            let units = made.units.into_iter().filter(|unit| those.contains(&unit.name()));
            self.node.units.extend(units.map(|unit| (unit, recon.clone())));
            first.get_or_insert(made.handler);
        }
        Ok(first)
    }

    /// Daemons without a server in this process keep no database open.
    fn broker(&mut self, name: &str, serves: bool) -> Result<Arc<Broker>, String> {
        let open_max = if serves { DATABASES_MAX } else { 0 };
        let broker = Broker::new(name, open_max, self.node.counters.clone())
            .map(Arc::new)
            .map_err(|error| format!("{name} server: {error}"))?;
        self.node.brokers.push(broker.clone());
        if serves {
            let close = apus_broker::close_unused(broker.clone(), self.node.drain.clone());
            self.node.background.push(spawn(TaskKind::Background, close));
        }
        Ok(broker)
    }

    fn account(
        &mut self,
        conf: &Conf,
        site: &DeviceSettings,
        serves: bool,
    ) -> Result<Storage, String> {
        let server = Arc::new(apus_account::Server::new(apus_account::Parts {
            devices: site.devices.clone(),
            mount_check: site.mount_check,
            hash: self.cluster.hash.clone(),
            policies: self.cluster.policies.clone(),
            clock: self.clock.clone(),
            broker: self.broker("account", serves)?,
            constraints: self.cluster.constraints.clone(),
        }));
        let parts = apus_account::DaemonParts {
            accounts: self.rings.account.clone(),
            containers: self.rings.container.clone(),
            objects: self.rings.objects.clone(),
            local: site.local(),
            client: self.client.clone(),
        };
        let units = apus_account::units(&server, &parts, conf)?;
        Ok(Storage { handler: server, units })
    }

    /// `serves`: requests are served here, so account rows are sent from here.
    fn container(
        &mut self,
        conf: &Conf,
        site: &DeviceSettings,
        serves: bool,
    ) -> Result<Storage, String> {
        let server = Arc::new(apus_container::Server::new(apus_container::Parts {
            devices: site.devices.clone(),
            mount_check: site.mount_check,
            hash: self.cluster.hash.clone(),
            clock: self.clock.clone(),
            client: self.client.clone(),
            broker: self.broker("container", serves)?,
            constraints: self.cluster.constraints.clone(),
        }));
        if serves {
            let report = apus_container::report_changes(
                server.clone(),
                self.rings.account.clone(),
                REPORT_INTERVAL,
                self.node.drain.clone(),
            );
            self.node.background.push(spawn(TaskKind::Background, report));
        }
        let parts = apus_container::DaemonParts {
            rings: self.rings.clone(),
            local: site.local(),
            store: apus_store::pipeline::internal(self.quorum()),
            uploads: apus_store::pipeline::lifecycle(
                self.quorum(),
                Arc::new(local_keys(self.place)),
            ),
            webhooks: self.cluster.webhooks.clone(),
        };
        let units = apus_container::units(&server, &parts, conf)?;
        Ok(Storage { handler: server, units })
    }

    fn object(&mut self, conf: &Conf, site: &DeviceSettings) -> Result<Storage, String> {
        let section = conf.section("app:object-server");
        let given = ObjectServerOptions::read(&section)?;
        let text = given.fallocate_reserve.as_str();
        let reserve = Reserve::parse(text)
            .ok_or_else(|| section.refuse("fallocate_reserve", text, "bytes or a percentage"))?;
        let server = apus_object::Server::new(apus_object::Parts {
            devices: site.devices.clone(),
            mount_check: site.mount_check,
            reserve,
            hash: self.cluster.hash.clone(),
            policies: self.cluster.policies.clone(),
            clock: self.clock.clone(),
            client: self.client.clone(),
            counters: self.node.counters.clone(),
            verify_ranges_bytes: given.verify_ranges_without_checksums,
            quarantine_limit: QuarantineLimit {
                per_hour: given.quarantines_per_hour,
                share: given.quarantine_percent / 100.0,
            },
            replication: apus_object::ReplicationOptions::read(&section)?,
        });
        self.node.object.get_or_insert_with(|| server.clone());
        let parts = apus_object::DaemonParts {
            rings: self.rings.clone(),
            local: site.local(),
            store: apus_store::pipeline::expirer(self.quorum()),
        };
        let units = apus_object::units(&server, &parts, conf)?;
        Ok(Storage { handler: Arc::new(server), units })
    }
}
