//! `[ring-manager]` of `ring-manager.conf`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use apus_daemon::config::Conf;

use super::manager::Policy;

/// Default port, next to Swift's 6200 to 6202.
const PORT: u16 = 6203;
const SECTION: &str = "ring-manager";

/// Options of the ring manager.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) bind: SocketAddr,
    /// The builder files.
    pub(super) builder_dir: PathBuf,
    /// `swift.conf` and this node's rings.
    pub(super) swift_dir: PathBuf,
    pub(super) policy: Policy,
    /// Time between two rounds.
    pub(super) interval: Duration,
    /// Time limit of a request.
    pub(super) timeout: Duration,
    pub(super) log_level: &'static str,
}

fn seconds(text: &str) -> Option<Duration> {
    let seconds = text.parse().ok().filter(|seconds| (0.05..=86_400.0).contains(seconds))?;
    Some(Duration::from_secs_f64(seconds))
}

impl Settings {
    /// Reads the file, or `ring-manager.conf` of a directory.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let (file, folder) = match path.is_dir() {
            true => (path.join("ring-manager.conf"), path.to_owned()),
            false => (path.to_owned(), path.parent().unwrap_or(Path::new(".")).to_owned()),
        };
        let conf = Conf::read(&file)?;
        let section = conf.section(SECTION);
        let ip = section.get("bind_ip").unwrap_or("127.0.0.1");
        let port = section.parse("bind_port", PORT, "a port")?;
        let ip = ip.parse().map_err(|_| section.refuse("bind_ip", ip, "an IP address"))?;
        let policy = match section.get("rebalance").unwrap_or("ask") {
            "ask" => Policy::Ask,
            "automatic" => Policy::Automatic,
            other => return Err(section.refuse("rebalance", other, "ask or automatic").into()),
        };
        let duration = |name: &str, default: u64| match section.get(name) {
            None => Ok(Duration::from_secs(default)),
            Some(text) => seconds(text)
                .ok_or_else(|| section.refuse(name, text, "seconds from 0.05 to 86400")),
        };
        let settings = Self {
            bind: SocketAddr::new(ip, port),
            builder_dir: section.get("builder_dir").map_or_else(|| folder.clone(), PathBuf::from),
            swift_dir: section.get("swift_dir").map_or(folder, PathBuf::from),
            policy,
            interval: duration("interval", 15)?,
            timeout: duration("timeout", 10)?,
            log_level: apus_daemon::log::level(&section)?,
        };
        // A misspelt `rebalance` must not pass for the default.
        match conf.unused().first() {
            Some(warning) => Err(warning.clone()),
            None => Ok(settings),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_have_defaults_and_bad_ones_are_named() {
        let folder = std::env::temp_dir().join(format!("apus-manager-conf-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let read = |text: &str| {
            std::fs::write(folder.join("ring-manager.conf"), text).unwrap();
            Settings::read(&folder)
        };
        let settings = read("[ring-manager]\nbind_ip = 10.0.0.1\n").unwrap();
        assert_eq!(settings.bind, "10.0.0.1:6203".parse().unwrap());
        assert_eq!((settings.policy, settings.builder_dir), (Policy::Ask, folder.clone()));
        for (text, word) in [
            ("rebalance = yes", "ask or automatic"),
            ("rebalanse = ask", "rebalanse"),
            ("interval = 0", "0.05"),
            ("bind_ip = here", "IP address"),
        ] {
            let error = read(&format!("[ring-manager]\n{text}\n")).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
