//! `<kind>-server.conf` of a new node: what a server of it needs, and its daemons.

use std::path::Path;

/// Kinds of storage servers with Swift's ports and the daemons of each.
pub(super) const KINDS: [(&str, u16, &[&str]); 3] = [
    ("account", 6202, &["account-replicator", "account-auditor", "account-reaper"]),
    ("container", 6201, &["container-replicator", "container-updater", "container-auditor"]),
    ("object", 6200, &["object-replicator", "object-updater", "object-auditor", "object-expirer"]),
];

/// The text of a server's file.
pub(super) fn conf(kind: &str, port: u16, daemons: &[&str], ip: &str, devices: &Path) -> String {
    let mut text = format!(
        "# Written by `apus join`.\n[DEFAULT]\nbind_ip = {ip}\nbind_port = {port}\ndevices = {}\n\
         # Without a mounted disk a device is not used; false where devices are plain directories.\n\
         mount_check = true\n\n[app:{kind}-server]\nuse = egg:swift#{kind}\n",
        devices.display()
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
    use crate::roles::DAEMONS;

    #[test]
    fn the_files_are_read_as_they_are_meant() {
        for (kind, port, daemons) in KINDS {
            let conf = Conf::parse(&conf(kind, port, daemons, "10.0.0.5", Path::new("/srv/node")));
            let conf = conf.unwrap();
            let section = conf.section(&format!("app:{kind}-server"));
            assert_eq!(section.get("bind_ip"), Some("10.0.0.5"));
            assert_eq!(section.parse("bind_port", 0, "a port"), Ok(port));
            assert_eq!(section.get("devices"), Some("/srv/node"));
            assert_eq!(section.flag("mount_check", false), Ok(true));
            for daemon in daemons {
                assert!(DAEMONS.iter().any(|(known, _)| known == daemon), "{daemon}");
            }
        }
    }
}
