//! Place of the configuration, and the options that all roles share.
//!
//! A place is a directory with `swift.conf`, rings and `<server>-server.conf` files, as ours are,
//! or one server's file or `conf.d` directory, as Swift's programs are started; then `swift.conf`
//! and the rings are in its `swift_dir`.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use apus_cluster::backend_auth::{self, BackendAuthOptions};
use apus_cluster::{SwiftConf, policy::PolicyType};
use apus_daemon::config::{BindOptions, Conf, ConfigError, Section};
use apus_membership::swift_conf;
use apus_ring::SharedRing;
use apus_store::quorum::Rings;

use super::role::{Roles, Server};
use super::start::ProcessOptions;

/// Swift's default for `swift_dir`.
const SWIFT_DIR: &str = "/etc/swift";

/// A place of configuration.
#[derive(Debug, Clone)]
pub struct Place {
    /// The given path.
    path: PathBuf,
    /// Where `swift.conf` and the rings are.
    swift_dir: PathBuf,
}

impl Place {
    /// Finds `swift_dir` of a path, for a process with these roles.
    ///
    /// # Errors
    /// The configuration cannot be read.
    pub fn find(path: &Path, roles: &Roles) -> Result<Self, String> {
        if path.join("swift.conf").exists() {
            return Ok(Self { path: path.to_owned(), swift_dir: path.to_owned() });
        }
        if path.is_dir() && path.extension().is_none_or(|extension| extension != "d") {
            return Err(format!("{}: no swift.conf in it", path.display()));
        }
        let conf = Conf::read(path)?;
        let parent = path.parent().unwrap_or(Path::new("."));
        let section = match (roles.first(), roles.servers.as_slice(), roles.daemons.as_slice()) {
            (Some(server), [], [daemon]) => section_of(&conf, daemon, server),
            (Some(server), ..) => section_of(&conf, "", server),
            (None, ..) => conf.section("DEFAULT"),
        };
        let swift_dir = match ProcessOptions::read(&section)?.swift_dir {
            Some(given) => given,
            None if parent.join("swift.conf").exists() => parent.to_owned(),
            None => PathBuf::from(SWIFT_DIR),
        };
        Ok(Self { path: path.to_owned(), swift_dir })
    }

    /// `<role>-server.conf`, or the directory `<role>-server.conf.d`; defaults when there is
    /// neither.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn server_conf(&self, server: Server) -> Result<Conf, String> {
        self.server_conf_or_defaults(server).map(|(conf, _)| conf)
    }

    /// The same, and whether there is one.
    pub(super) fn server_conf_or_defaults(&self, server: Server) -> Result<(Conf, bool), String> {
        if self.path != self.swift_dir {
            return Ok((Conf::read(&self.path)?, true));
        }
        for end in ["conf", "conf.d"] {
            let path = self.path.join(format!("{}-server.{end}", server.name()));
            if path.exists() {
                return Ok((Conf::read(&path)?, true));
            }
        }
        Ok((Conf::parse("")?, false))
    }

    /// Checks `swift.conf` and loads the rings, each with the word of its servers.
    ///
    /// # Errors
    /// What prevents a start.
    pub fn verify(&self) -> Result<Vec<(&'static str, Arc<SharedRing>)>, String> {
        let cluster = self.swift_conf()?;
        let rings = self.rings(&cluster)?;
        self.expect_key(&cluster, &rings)?;
        let mut all = vec![("account", rings.account), ("container", rings.container)];
        all.extend(rings.objects.into_values().map(|ring| ("object", ring)));
        Ok(all)
    }

    /// Where `swift.conf` and the rings are.
    pub fn swift_dir(&self) -> &Path {
        &self.swift_dir
    }

    pub(crate) fn swift_conf_path(&self) -> PathBuf {
        self.swift_dir.join("swift.conf")
    }

    /// Where all rings of the cluster are, those of erasure-coded policies included.
    pub(crate) fn ring_paths(&self, cluster: &SwiftConf) -> Vec<PathBuf> {
        let objects = cluster.policies.iter().map(|policy| policy.index.suffixed("object"));
        let kinds = ["account", "container"].map(str::to_owned).into_iter().chain(objects);
        kinds.map(|kind| self.swift_dir.join(format!("{kind}.ring.gz"))).collect()
    }

    pub(crate) fn swift_conf(&self) -> Result<SwiftConf, String> {
        let path = self.swift_conf_path();
        let cluster = swift_conf(&self.swift_dir)?;
        if !cluster.backend_auth.keys.is_empty() && is_readable_by_all(&path) {
            tracing::warn!(
                "{}: every user of this machine can read the cluster key",
                path.display()
            );
        }
        Ok(cluster)
    }

    /// Whether a cluster without a key is meant to be one. A `swift.conf` of Swift, without our
    /// section, is; and so is one whose rings lead to this machine only.
    ///
    /// # Errors
    /// A section of ours with neither a key nor the word that says so.
    pub(super) fn expect_key(&self, cluster: &SwiftConf, rings: &Rings) -> Result<(), String> {
        if !cluster.backend_auth.keys.is_empty() {
            return Ok(());
        }
        let path = self.swift_conf_path();
        let conf = Conf::read(&path)?;
        if !conf.sections().any(|(name, _)| name == backend_auth::SECTION)
            || BackendAuthOptions::read(&conf.section(backend_auth::SECTION))?
                .backend_auth
                .is_some()
        {
            return Ok(());
        }
        let remote =
            rings.objects.values().chain([&rings.account, &rings.container]).find_map(|ring| {
                let ring = ring.get();
                let mut devices = ring.devices().iter().flatten();
                devices.find(|device| !is_loopback(&device.ip)).map(|device| device.ip.clone())
            });
        match remote {
            None => Ok(()),
            Some(ip) => Err(format!(
                "{}: [{}] has no cluster_key, and rings name {ip}: any client that reaches a storage server could read, write and delete everything. Set the same `cluster_key` (`openssl rand -hex 32`) on every node, or `backend_auth = open` if that is intended",
                path.display(),
                backend_auth::SECTION
            )),
        }
    }

    pub(crate) fn rings(&self, cluster: &SwiftConf) -> Result<Rings, String> {
        let load = |name: &str| {
            let ring =
                SharedRing::load(&self.swift_dir.join(name)).map_err(|error| error.to_string())?;
            Ok::<_, String>(Arc::new(ring.remembering(cluster.rings.overlap)))
        };
        let mut objects = BTreeMap::new();
        for policy in cluster.policies.iter() {
            if policy.policy_type == PolicyType::Replication {
                let name = format!("{}.ring.gz", policy.index.suffixed("object"));
                objects.insert(policy.index, load(&name)?);
            }
        }
        Ok(Rings {
            account: load("account.ring.gz")?,
            container: load("container.ring.gz")?,
            objects,
        })
    }
}

/// Whether an address of a ring is this machine's.
fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

pub(super) fn is_readable_by_all(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o004 != 0)
        && path.parent().and_then(|parent| std::fs::metadata(parent).ok()).is_some_and(|parent| {
            // A user without access to the directory cannot read its files.
            parent.permissions().mode() & 0o001 != 0
        })
}

/// The section that a role is configured in: of a group, that of its first server.
pub(crate) fn section_of<'a>(conf: &'a Conf, role: &str, server: Server) -> Section<'a> {
    let of_server = format!("app:{}-server", server.name());
    match super::role::DAEMONS.iter().any(|(daemon, _)| *daemon == role) {
        true => conf.daemon_section(role, &of_server),
        false => conf.section(&of_server),
    }
}

/// `bind_ip` and `bind_port`.
pub(crate) fn bind_address(
    section: &Section<'_>,
    server: Server,
) -> Result<SocketAddr, ConfigError> {
    Ok(BindOptions::read(section)?.address(server.default_port()))
}
