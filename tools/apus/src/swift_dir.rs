//! Options for the directory with the configuration of a cluster.

use std::path::PathBuf;

/// The directory, or the data folder of `apus saio` that has it.
#[derive(Debug, clap::Args)]
pub(crate) struct SwiftDirOptions {
    /// Directory with swift.conf, rings and, if there is one, proxy-server.conf
    #[arg(long, default_value = "/etc/swift", value_name = "DIR", global = true)]
    swiftdir: PathBuf,
    /// Data folder of `apus saio`, instead of --swiftdir
    #[arg(long, value_name = "DIR", global = true, conflicts_with = "swiftdir")]
    data: Option<PathBuf>,
}

impl SwiftDirOptions {
    /// The directory.
    pub(crate) fn directory(&self) -> PathBuf {
        let of_saio = self.data.as_ref().map(|data| data.join("etc"));
        of_saio.unwrap_or_else(|| self.swiftdir.clone())
    }
}
