//! A cluster by a `swift_dir`: the key, the rings, and the servers in them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use apus_cluster::backend_auth::{BackendAuth, ClusterKey, Mode};
use apus_daemon::clock::SystemClock;
use apus_wire::Transport;
use apus_wire::rings::{
    RingClient, RingFile, RingFolder, RingKeys, RingName, RingServer, targets_of,
};
use apus_wire::signed::Signer;

use apus_membership::swift_conf;

/// A cluster, as one of its nodes or an operator's machine knows it.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// Directory of `swift.conf` and the rings.
    pub(crate) swift_dir: PathBuf,
    /// What signs rings.
    pub(crate) keys: RingKeys,
    /// Asks its servers.
    pub(crate) courier: RingClient,
}

/// Which servers are meant.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Chosen {
    /// Only this server or, without a port, all servers at this address
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(crate) only: Vec<String>,
    /// Also this server, which is in none of the rings
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) also: Vec<String>,
    /// Only servers of this region
    #[arg(long, short)]
    pub(crate) region: Option<u32>,
    /// Only servers of this zone
    #[arg(long, short)]
    pub(crate) zone: Option<u32>,
}

impl Chosen {
    fn has(&self, target: &RingServer) -> bool {
        self.region.is_none_or(|region| region == target.region)
            && self.zone.is_none_or(|zone| zone == target.zone)
            && (self.only.is_empty() || self.only.iter().any(|only| is_named(target, only)))
    }
}

fn is_named(target: &RingServer, name: &str) -> bool {
    name == target.address || name.trim_start_matches('[').trim_end_matches(']') == target.ip
}

impl Cluster {
    /// Reads `swift.conf`. `key_file` holds a cluster key instead of it.
    pub(crate) fn read(
        swift_dir: &Path,
        key_file: Option<&Path>,
        timeout: Duration,
    ) -> Result<Self, String> {
        let auth = match key_file {
            Some(path) => auth_of(path)?,
            None => swift_conf(swift_dir)?.backend_auth,
        };
        let keys = RingKeys::new(&auth)?;
        let signer = Signer::new(&auth, Arc::new(SystemClock));
        let courier = RingClient::new(Arc::new(Transport::new(signer)), timeout);
        Ok(Self { swift_dir: swift_dir.to_owned(), keys, courier })
    }

    /// The rings of the directory; a ring that cannot be read is reported and left out.
    pub(crate) fn rings(&self) -> Result<Vec<RingFile>, String> {
        let names = apus_disk::names(&self.swift_dir)
            .map_err(|error| format!("{}: {error}", self.swift_dir.display()))?;
        let mut files = Vec::new();
        for name in names.iter().filter(|name| RingName::parse(name).is_some()) {
            match RingFile::read(&self.swift_dir.join(name)) {
                Ok(file) => files.push(file),
                Err(error) => eprintln!("apus: {error}: its servers are not asked"),
            }
        }
        Ok(files)
    }

    /// The servers of these rings, and of those in the directory, that are meant.
    pub(crate) fn targets(
        &self,
        files: &[RingFile],
        chosen: &Chosen,
    ) -> Result<Vec<RingServer>, String> {
        let here = self.rings()?;
        let mut targets = targets_of(files.iter().chain(&here).map(RingFile::ring));
        for name in &chosen.only {
            if !targets.iter().any(|target| is_named(target, name)) {
                return Err(format!("--only {name}: no server of the rings; name it with --also"));
            }
        }
        targets.retain(|target| chosen.has(target));
        for address in &chosen.also {
            let also = RingServer::at(address)
                .ok_or_else(|| format!("--also {address:?}: expected an address and a port"))?;
            if !targets.iter().any(|target| target.address == also.address) {
                targets.push(also);
            }
        }
        if targets.is_empty() {
            return Err(format!(
                "no server to ask: no ring in {} and none of those given has one that is meant",
                self.swift_dir.display()
            ));
        }
        Ok(targets)
    }

    /// The directory as a place for rings.
    pub(crate) fn folder(&self) -> Arc<RingFolder> {
        Arc::new(RingFolder::new(&self.swift_dir, self.keys.clone(), Vec::new()))
    }
}

/// A key in a file of its own: hexadecimal digits.
fn auth_of(path: &Path) -> Result<BackendAuth, String> {
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let key = ClusterKey::parse(text.trim()).ok_or_else(|| {
        format!("{}: expected a cluster key, 64 or more hexadecimal digits", path.display())
    })?;
    Ok(BackendAuth { mode: Mode::Signed, keys: vec![key] })
}
