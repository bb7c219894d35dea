//! Account, container and object servers of one process, with the daemons that work on the same
//! devices.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use apus_broker::Broker;
use apus_daemon::Unit;
use apus_daemon::addresses;
use apus_daemon::config::{Conf, Section};
use apus_daemon::http::SharedHandler;
use apus_daemon::task::{TaskKind, spawn};
use apus_disk::Reserve;
use apus_object::QuarantineLimit;
use apus_ring::Local;

use super::node::Builder;
use super::role::Server;

/// Open databases per server; each costs a thread.
const DATABASES_MAX: usize = 256;
/// How often account rows of changed containers are sent.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// A server and all its daemons.
pub(super) struct Storage {
    pub(super) handler: SharedHandler,
    pub(super) units: Vec<Unit>,
}

/// Up to which length a range of an object that Swift wrote is checked by reading the whole.
const VERIFY_RANGES_BYTES: u64 = 1024 * 1024;

/// How much that looks damaged may be moved aside on a device within an hour.
fn quarantine_limit(section: &Section<'_>) -> Result<QuarantineLimit, String> {
    let default = QuarantineLimit::default();
    let per_hour = section.parse("quarantines_per_hour", default.per_hour, "a whole number")?;
    let percent = section.parse("quarantine_percent", default.share * 100.0, "a percentage")?;
    Ok(QuarantineLimit { per_hour, share: percent / 100.0 })
}

/// Where the devices are, and whether they must be mount points.
pub(super) fn devices(section: &Section<'_>) -> Result<(PathBuf, bool), String> {
    let devices = PathBuf::from(section.get("devices").unwrap_or("/srv/node"));
    Ok((devices, section.flag("mount_check", true)?))
}

impl Builder<'_> {
    /// Which devices of the rings are this node's.
    fn local(section: &Section<'_>, server: Server) -> Result<Local, String> {
        let bind = super::conf::bind_address(section, server)?;
        Ok(Local::new(addresses::of(bind.ip()), bind.port()))
    }

    /// Beside a server of another process nothing is kept open.
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

    pub(super) fn account(&mut self, conf: &Conf, serves: bool) -> Result<Storage, String> {
        let section = conf.section("app:account-server");
        let (devices, mount_check) = devices(&section)?;
        let server = Arc::new(apus_account::Server::new(apus_account::Parts {
            devices,
            mount_check,
            hash: self.cluster.hash.clone(),
            policies: self.cluster.policies.clone(),
            clock: self.clock.clone(),
            broker: self.broker("account", serves)?,
        }));
        let parts = apus_account::DaemonParts {
            accounts: self.rings.account.clone(),
            containers: self.rings.container.clone(),
            objects: self.rings.objects.clone(),
            local: Self::local(&section, Server::Account)?,
            client: self.client.clone(),
        };
        let units = apus_account::units(&server, &parts, conf)?;
        Ok(Storage { handler: server, units })
    }

    /// `serves`: requests are served here, so account rows are sent from here.
    pub(super) fn container(&mut self, conf: &Conf, serves: bool) -> Result<Storage, String> {
        let section = conf.section("app:container-server");
        let (devices, mount_check) = devices(&section)?;
        let server = Arc::new(apus_container::Server::new(apus_container::Parts {
            devices,
            mount_check,
            hash: self.cluster.hash.clone(),
            clock: self.clock.clone(),
            client: self.client.clone(),
            broker: self.broker("container", serves)?,
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
            local: Self::local(&section, Server::Container)?,
            store: apus_store::pipeline::internal(self.quorum()),
        };
        let units = apus_container::units(&server, &parts, conf)?;
        Ok(Storage { handler: server, units })
    }

    pub(super) fn object(&mut self, conf: &Conf) -> Result<Storage, String> {
        let section = conf.section("app:object-server");
        let (devices, mount_check) = devices(&section)?;
        let text = section.get("fallocate_reserve").unwrap_or("1%");
        let reserve = Reserve::parse(text)
            .ok_or_else(|| section.refuse("fallocate_reserve", text, "bytes or a percentage"))?;
        let server = apus_object::Server::new(apus_object::Parts {
            devices,
            mount_check,
            reserve,
            hash: self.cluster.hash.clone(),
            policies: self.cluster.policies.clone(),
            clock: self.clock.clone(),
            client: self.client.clone(),
            counters: self.node.counters.clone(),
            verify_ranges_bytes: section.parse(
                "verify_ranges_without_checksums",
                VERIFY_RANGES_BYTES,
                "whole bytes",
            )?,
            quarantine_limit: quarantine_limit(&section)?,
            replication: apus_object::ReplicationOptions::read(&section)?,
        });
        self.node.object = Some(server.clone());
        let parts = apus_object::DaemonParts {
            rings: self.rings.clone(),
            local: Self::local(&section, Server::Object)?,
            store: apus_store::pipeline::internal(self.quorum()),
        };
        let units = apus_object::units(&server, &parts, conf)?;
        Ok(Storage { handler: Arc::new(server), units })
    }
}
