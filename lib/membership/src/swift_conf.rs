//! Reads `swift.conf` of a directory.

use std::path::Path;

use apus_cluster::SwiftConf;
use apus_daemon::config::Conf;

/// `swift.conf` of a directory.
///
/// # Errors
/// What is wrong with the file.
pub fn swift_conf(swift_dir: &Path) -> Result<SwiftConf, String> {
    let path = swift_dir.join("swift.conf");
    let conf = Conf::read(&path)?;
    SwiftConf::from_sections(conf.sections())
        .map_err(|error| format!("{}: {error}", path.display()))
}
