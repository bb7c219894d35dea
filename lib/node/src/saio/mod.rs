//! A whole cluster in one process: created by the first start, opened by later ones.
//!
//! Writes ordinary configuration files and rings under the data folder; the servers then read
//! them as those of any other node.

mod folder;
mod texts;
mod users;

use std::path::PathBuf;

use apus_daemon::config::Conf;
use apus_disk::bind_private_socket;

use self::folder::Folder;
pub use self::texts::samples;
use crate::private_servers::SERVERS_SOCKET;
use crate::{Node, Roles};

/// Options of a cluster. An option that is `None` keeps the value that the folder has.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Folder that holds everything; created if it does not exist.
    pub data: PathBuf,
    /// Port of the proxy on 127.0.0.1; 0 for any free port.
    pub port: Option<u16>,
    /// Devices of a new cluster.
    pub devices: Option<u16>,
    /// Replicas of a new cluster.
    pub replicas: Option<u16>,
    /// Whether it has the users that Swift's test suites expect.
    pub dev_users: bool,
    /// Run the servers only, without replicators, auditors and other daemons.
    pub no_daemons: bool,
}

/// An opened cluster.
#[derive(Debug)]
pub struct Cluster {
    /// Its servers and daemons. The folder stays locked for as long as this exists.
    pub node: Node,
    /// What a client needs to use it.
    pub access: Access,
}

/// Addresses and credentials of a cluster.
#[derive(Debug, Clone)]
pub struct Access {
    /// URL of the proxy.
    pub endpoint: String,
    /// URL at which Swift clients authenticate.
    pub auth_url: String,
    /// Account of the user.
    pub account: String,
    /// Swift user and S3 access key.
    pub user: String,
    /// Swift key and S3 secret key.
    pub key: String,
    /// The data folder, as an absolute path.
    pub data: PathBuf,
}

/// Opens the cluster of a folder, or creates it, without serving yet.
///
/// # Errors
/// What is wrong with the folder or an address, in one line.
pub async fn open(options: &Options) -> Result<Cluster, String> {
    let folder = Folder::open(options)?;
    let roles = if options.no_daemons { Roles::main() } else { Roles::all() };
    let mut node = Node::prepare_silent(&folder.path("etc"), &roles).await?;
    let port = node.proxy_address().ok_or("the proxy does not listen")?.port();
    let access = access(&folder, port)?;
    let socket = folder.path("etc").join(SERVERS_SOCKET);
    let failed = |error: std::io::Error| format!("{}: {error}", socket.display());
    let (listener, name) = bind_private_socket(&socket).map_err(failed)?;
    node.listen_privately(listener).map_err(failed)?;
    // Dropped before the lock of the folder: the next process makes a socket of its own.
    node.keep(Box::new(name));
    node.keep(Box::new(folder));
    Ok(Cluster { node, access })
}

fn access(folder: &Folder, port: u16) -> Result<Access, String> {
    let conf = Conf::read(&folder.path(folder::PROXY_CONF))?;
    let auth = conf.section("filter:tempauth");
    let line = auth.text("user_apus_admin").ok_or("proxy-server.conf: no user_apus_admin")?;
    let key = line.split_whitespace().next().unwrap_or_default().to_owned();
    let endpoint = format!("http://127.0.0.1:{port}");
    Ok(Access {
        auth_url: format!("{endpoint}/auth/v1.0"),
        endpoint,
        account: "AUTH_apus".to_owned(),
        user: "apus:admin".to_owned(),
        key,
        data: folder.root().to_owned(),
    })
}
