//! Options of `apus recon`: those of `swift-recon`, and some of its own.

use std::path::PathBuf;

/// Server type; its rings name the hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum ServerType {
    Account,
    Container,
    Object,
}

impl ServerType {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Container => "container",
            Self::Object => "object",
        }
    }
}

/// Options of `apus recon`.
#[derive(Debug, Default, clap::Args)]
pub struct Options {
    /// Server types to ask; object servers by default
    #[arg(value_name = "SERVER_TYPE", num_args = 0..=3)]
    pub(super) servers: Vec<ServerType>,
    /// Also show the response of each host
    #[arg(short, long)]
    pub(super) verbose: bool,
    /// Do not show each host that does not respond
    #[arg(long)]
    pub(super) suppress: bool,
    /// Listing updates that wait for delivery
    #[arg(short, long = "async")]
    pub(super) async_pending: bool,
    /// Replication
    #[arg(short, long)]
    pub(super) replication: bool,
    /// Reconstruction of erasure-coded policies
    #[arg(short = 'R', long)]
    pub(super) reconstruction: bool,
    /// Auditors
    #[arg(long)]
    pub(super) auditor: bool,
    /// Updaters
    #[arg(long)]
    pub(super) updater: bool,
    /// Expirers
    #[arg(long)]
    pub(super) expirer: bool,
    /// Sharders
    #[arg(long)]
    pub(super) sharding: bool,
    /// Objects or rows of which a primary node lacks the newest version
    #[arg(long)]
    pub(super) redundancy: bool,
    /// Devices that are not mounted
    #[arg(short, long)]
    pub(super) unmounted: bool,
    /// Space on disks
    #[arg(short, long)]
    pub(super) diskusage: bool,
    /// Show space in units instead of bytes
    #[arg(long)]
    pub(super) human_readable: bool,
    /// Load averages
    #[arg(short, long)]
    pub(super) loadstats: bool,
    /// Quarantined objects and databases
    #[arg(short, long)]
    pub(super) quarantined: bool,
    /// Check that the servers in the ring are of the right type
    #[arg(long)]
    pub(super) validate_servers: bool,
    /// Compare rings and swift.conf with those in --swiftdir
    #[arg(long)]
    pub(super) md5: bool,
    /// Sockets
    #[arg(long)]
    pub(super) sockstat: bool,
    /// Errors that a drive audit found
    #[arg(long)]
    pub(super) driveaudit: bool,
    /// Compare clocks
    #[arg(short = 'T', long)]
    pub(super) time: bool,
    /// Seconds by which clocks may differ
    #[arg(long, default_value_t = 0.0)]
    pub(super) jitter: f64,
    /// Versions of the servers
    #[arg(long)]
    pub(super) swift_versions: bool,
    /// Also list this many of the fullest devices
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub(super) top: usize,
    /// Also list this many of the emptiest devices
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub(super) lowest: usize,
    /// All checks of the server types
    #[arg(long)]
    pub(super) all: bool,
    /// Only hosts with devices in this region
    #[arg(long)]
    pub(super) region: Option<u32>,
    /// Only hosts with devices in this zone
    #[arg(short, long)]
    pub(super) zone: Option<u32>,
    /// Time limit of each request
    #[arg(short, long, value_name = "SECONDS", default_value_t = 5)]
    pub(super) timeout: u64,
    /// Directory with rings and swift.conf
    #[arg(long, default_value = "/etc/swift")]
    pub(super) swiftdir: PathBuf,
    /// Only object servers of this policy, by name or index
    #[arg(short, long)]
    pub(super) policy: Option<String>,
    /// Print one JSON document instead of lines
    #[arg(long)]
    pub(super) json: bool,
}
