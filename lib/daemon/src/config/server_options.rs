//! Options that several servers and tools read.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use apus_options::{flag, ip, options, path, port};

options! {
    /// The address of a server.
    #[derive(Debug, Clone)]
    pub struct BindOptions {
        /// Address at which the server listens, and by which rings name this node.
        pub bind_ip: IpAddr = ip("127.0.0.1"),
        /// Port at which the server listens.
        pub bind_port: Option<u16> =
            port(0).unset("8080 (proxy), 6202 (account), 6201 (container), 6200 (object)"),
    }
}

impl BindOptions {
    /// The address, with the port of a server that has none in its file.
    pub fn address(&self, default_port: u16) -> SocketAddr {
        SocketAddr::new(self.bind_ip, self.bind_port.unwrap_or(default_port))
    }
}

options! {
    /// The devices of a storage server.
    #[derive(Debug, Clone)]
    pub struct DeviceOptions {
        /// Directory of the devices.
        pub devices: PathBuf = path("/srv/node", "a directory"),
        /// Whether a device must be a mount point to be used.
        pub mount_check: bool = flag(true),
    }
}

options! {
    /// The reports of daemons.
    #[derive(Debug, Clone)]
    pub struct ReconCacheOptions {
        /// Directory of the reports that `swift-recon` and `/metrics` read.
        pub recon_cache_path: PathBuf = path("/var/cache/swift", "a directory"),
    }
}
