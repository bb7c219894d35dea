//! `[ring-manager]` of `ring-manager.conf`.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use apus_daemon::config::Conf;
use apus_daemon::log::LogOptions;
use apus_options::{FileDeclaration, SectionDeclaration, choice, ip, number, options, path, port};

use super::manager::Policy;

const SECTION: &str = "ring-manager";

options! {
    /// Options of `[ring-manager]`.
    #[derive(Debug)]
    pub struct RingManagerOptions {
        /// Address at which the manager listens.
        bind_ip: IpAddr = ip("127.0.0.1"),
        /// Port at which the manager listens, next to Swift's 6200 to 6202.
        bind_port: u16 = port(6203),
        /// Directory of the builder files.
        builder_dir: Option<PathBuf> = path("", "a directory").unset("that of this file").example("/etc/swift"),
        /// Directory of `swift.conf` and of this node's rings.
        swift_dir: Option<PathBuf> = path("", "a directory").unset("that of this file").example("/etc/swift"),
        /// Whether a rebalance waits for `apus ring approve`.
        rebalance: String = choice("ask", &["ask", "automatic"]),
        /// Time between two rounds.
        interval: Duration = number(15.0).unit("seconds").between(0.05, 86_400.0),
        /// Timeout of a request.
        timeout: Duration = number(10.0).unit("seconds").between(0.05, 86_400.0),
    }
}

/// The file of the ring manager.
pub static RING_MANAGER_FILE: FileDeclaration = FileDeclaration {
    name: "ring-manager.conf",
    sentence: "The ring manager, on one node of the cluster.",
    common: &[],
    sections: &[SectionDeclaration::plain(
        SECTION,
        "The ring manager.",
        &[RingManagerOptions::OPTIONS, LogOptions::OPTIONS],
    )],
};

/// Settings of the ring manager.
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

impl Settings {
    /// Reads the file, or `ring-manager.conf` of a directory.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let (file, folder) = match path.is_dir() {
            true => (path.join("ring-manager.conf"), path.to_owned()),
            false => (path.to_owned(), path.parent().unwrap_or(Path::new(".")).to_owned()),
        };
        let conf = Conf::read(&file)?;
        let section = conf.section(SECTION);
        let given = RingManagerOptions::read(&section)?;
        let settings = Self {
            bind: SocketAddr::new(given.bind_ip, given.bind_port),
            builder_dir: given.builder_dir.unwrap_or_else(|| folder.clone()),
            swift_dir: given.swift_dir.unwrap_or(folder),
            policy: match given.rebalance.as_str() {
                "automatic" => Policy::Automatic,
                _ => Policy::Ask,
            },
            interval: given.interval,
            timeout: given.timeout,
            log_level: apus_daemon::log::level(&section)?,
        };
        // A misspelt `rebalance` must not pass for the default.
        match apus_options::check(&RING_MANAGER_FILE, conf.given()).first() {
            Some(finding) => Err(format!("{}: {}", file.display(), finding.text())),
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
