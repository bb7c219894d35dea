//! `<kind>-server.conf` of a new node, for the server and its daemons.

use std::path::Path;

/// Kinds of storage servers with Swift's ports and the daemons of each.
pub(super) const KINDS: [(&str, u16, &[&str]); 3] = [
    ("account", 6202, &["account-replicator", "account-auditor", "account-reaper"]),
    ("container", 6201, &["container-replicator", "container-updater", "container-auditor"]),
    ("object", 6200, &["object-replicator", "object-updater", "object-auditor", "object-expirer"]),
];

/// Address and directories of a new node.
pub(super) struct Place<'a> {
    /// Address in rings.
    pub(super) ip: &'a str,
    /// The directory of all devices.
    pub(super) devices: &'a Path,
    /// Whether all devices are mount points.
    pub(super) mount_check: bool,
    /// Directory of recon reports; Swift's default without one.
    pub(super) recon: Option<&'a Path>,
}

/// The text of a server's file.
pub(super) fn conf(kind: &str, port: u16, daemons: &[&str], place: &Place<'_>) -> String {
    let Place { ip, devices, mount_check, recon } = place;
    let recon = recon.map(|path| format!("recon_cache_path = {}\n", path.display()));
    let mut text = format!(
        "# Written by `apus join`.\n[DEFAULT]\nbind_ip = {ip}\nbind_port = {port}\ndevices = {}\n{}\
         # Without a mounted disk a device is not used; false where devices are plain directories.\n\
         mount_check = {mount_check}\n\n\
         # Others reach this server, also when it runs in one process with a proxy.\n\
         [app:{kind}-server]\nuse = egg:swift#{kind}\nlisten = true\n",
        devices.display(),
        recon.unwrap_or_default()
    );
    for daemon in daemons {
        text.push_str(&format!("\n[{daemon}]\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use apus_daemon::config::Conf;

    use super::*;

    #[test]
    fn the_files_have_the_intended_options() {
        for (kind, port, daemons) in KINDS {
            let place = Place {
                ip: "10.0.0.5",
                devices: Path::new("/srv/node"),
                mount_check: true,
                recon: Some(Path::new("/data/cache")),
            };
            let conf = Conf::parse(&conf(kind, port, daemons, &place)).unwrap();
            let section = conf.section(&format!("app:{kind}-server"));
            assert_eq!(section.text("bind_ip"), Some("10.0.0.5"));
            assert_eq!(section.text("bind_port"), Some(port.to_string().as_str()));
            assert_eq!(section.text("devices"), Some("/srv/node"));
            assert_eq!(section.text("mount_check"), Some("true"));
            assert_eq!(section.text("listen"), Some("true"));
            assert_eq!(section.text("recon_cache_path"), Some("/data/cache"));
            let text = super::conf(kind, port, daemons, &place);
            assert!(daemons.iter().all(|daemon| text.contains(&format!("[{daemon}]"))));
        }
    }
}
