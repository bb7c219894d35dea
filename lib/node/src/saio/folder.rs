//! The data folder of `apus saio`, which one process at a time uses.
//!
//! It is created completely or not at all.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use apus_daemon::config::Conf;
use apus_daemon::random;
use apus_disk::{AtomicFile, Counters};
use apus_ring::SharedRing;
use apus_ring::builder::{NewDevice, RingBuilder, file};
use apus_ring::format::v1;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::Options;
use super::texts::{self, KINDS};
use super::users;
use crate::device_lock::LockHolder;
use crate::owners::this_process;

/// The file with users and the port.
pub(super) const PROXY_CONF: &str = "etc/proxy-server.conf";
/// The file with the root secret of encryption.
const KEYMASTER_CONF: &str = "etc/keymaster.conf";
/// The format of the data folder; a folder of another format is not changed.
const FORMAT: &str = "apus saio data, format 1\n";
const FORMAT_WORDS: &str = "apus saio data, format ";
const FORMAT_FILE: &str = "FORMAT";
/// The process that uses the folder, or used it last.
const OWNER_FILE: &str = "OWNER";
const PART_POWER: u32 = 10;
/// The port, devices and replicas of a new cluster.
const NEW: (u16, u16, u16) = (8080, 4, 3);

/// A data folder that this process has locked until this is dropped.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
    counters: Arc<Counters>,
    /// Open and locked.
    _locked: Vec<File>,
}

/// The text of an error about a folder.
fn at(root: &Path, error: &dyn std::fmt::Display) -> String {
    format!("--data {}: {error}", root.display())
}

/// Locks an open file or directory; the error names the process that has the folder.
fn lock(root: &Path, path: &Path) -> Result<File, String> {
    let file = File::open(path).map_err(|error| at(root, &error))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => {
            let record = std::fs::read_to_string(root.join(OWNER_FILE)).unwrap_or_default();
            let holder = LockHolder::decode(&record);
            let holder = holder.map_or_else(|| "another process".to_owned(), |it| it.to_string());
            Err(at(
                root,
                &format!("is in use by {holder}; stop it, or use --data with another folder"),
            ))
        }
        Err(error) => Err(at(root, &error)),
    }
}

/// The error for an unknown content of the format file.
fn other_format(text: &str) -> String {
    let number = text.trim().strip_prefix(FORMAT_WORDS).and_then(|n| n.parse::<u64>().ok());
    match number {
        Some(number) => format!(
            "holds format {number}: a newer apus wrote this; this one reads format 1, so start it with that version or use --data with another folder"
        ),
        None => format!(
            "{FORMAT_FILE} holds {:?}, expected {:?}: not a data folder of apus saio; use --data with another one",
            text.trim(),
            FORMAT.trim()
        ),
    }
}

/// Restricts a directory, which has keys in it, to its owner.
fn restrict(path: &Path) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))
        .map_err(|error| format!("{}: {error}", path.display()))
}

/// Creates a directory and its parents for this user only; existing ones keep their mode.
fn make_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

impl Folder {
    /// Creates the cluster on the first start, and applies the options of a later one. Refuses folders
    /// of something else, those that another process uses, and options that cannot be changed.
    pub(super) fn open(options: &Options) -> Result<Self, String> {
        let given = &options.data;
        let root = std::path::absolute(given).map_err(|error| at(given, &error))?;
        make_private(&root).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists | ErrorKind::NotADirectory => {
                at(&root, &format!("is not a folder ({error}); use --data with another one"))
            }
            _ => at(
                &root,
                &format!("the folder cannot be created ({error}); use --data with another one"),
            ),
        })?;
        // Before anything is written or read: another process may be creating it.
        let mut locked = vec![lock(&root, &root)?];
        let format_path = root.join(FORMAT_FILE);
        let format = match std::fs::read_to_string(&format_path) {
            Ok(text) if text == FORMAT => Some(()),
            Ok(text) => return Err(at(&root, &other_format(&text))),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(at(&root, &error)),
        };
        let mut folder = Self { root, counters: Arc::default(), _locked: Vec::new() };
        match format {
            Some(()) => {
                locked.push(lock(&folder.root, &format_path)?);
                folder._locked = locked;
                folder.note_owner()?;
                folder.change(options)?;
            }
            None => {
                folder.expect_empty()?;
                // Also when an empty directory was given.
                restrict(&folder.root)?;
                folder.make(options)?;
                locked.push(lock(&folder.root, &format_path)?);
                folder._locked = locked;
                folder.note_owner()?;
            }
        }
        Ok(folder)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Writes a file durably.
    fn write(&self, name: &str, content: &[u8]) -> Result<(), String> {
        let path = self.path(name);
        let directory = path.parent().unwrap_or(&self.root);
        let written = (|| {
            make_private(directory)?;
            let mut file = AtomicFile::create(directory, directory, &self.counters)?;
            file.append(content)?;
            file.sync()?;
            file.publish(&path, &[])
        })();
        written.map_err(|error: std::io::Error| format!("{}: {error}", path.display()))
    }

    /// Notes this process, for the error of another one that wants the folder.
    fn note_owner(&self) -> Result<(), String> {
        self.write(OWNER_FILE, this_process(&self.root).encode().as_bytes())
    }

    /// Accepts an empty folder, or what a process left that died while it created the cluster.
    fn expect_empty(&self) -> Result<(), String> {
        let mut entries = std::fs::read_dir(&self.root).map_err(|error| at(&self.root, &error))?;
        if entries.next().is_some() && !self.path("etc").is_dir() {
            let error =
                "is not empty and not a data folder of apus; use --data with another folder";
            return Err(at(&self.root, &error));
        }
        Ok(())
    }

    fn make(&self, options: &Options) -> Result<(), String> {
        let (port, devices, replicas) = (
            options.port.unwrap_or(NEW.0),
            options.devices.unwrap_or(NEW.1),
            options.replicas.unwrap_or(NEW.2.min(options.devices.unwrap_or(NEW.2))),
        );
        if replicas > devices {
            return Err(format!("--replicas {replicas}: expected at most --devices {devices}"));
        }
        for device in 1..=devices {
            let path = self.path(&format!("devices/sd{device}"));
            make_private(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        for (kind, port) in KINDS {
            self.make_ring(kind, port, devices, replicas)?;
        }
        let swift_conf =
            texts::swift_conf(&random::hex::<16>(), &random::hex::<16>(), &random::hex::<32>());
        self.write("etc/swift.conf", swift_conf.as_bytes())?;
        let secret = STANDARD.encode(random::bytes::<32>());
        self.write(KEYMASTER_CONF, texts::keymaster_conf(&secret).as_bytes())?;
        let audit = self.path("audit.log");
        let (token_key, user_key) = (random::hex::<32>(), random::hex::<20>());
        let proxy = texts::proxy_conf(port, &token_key, &user_key, &audit);
        let proxy = if options.dev_users { users::added(&proxy)? } else { proxy };
        self.write(PROXY_CONF, proxy.as_bytes())?;
        restrict(&self.path("etc"))?;
        // The last file: a folder without it is incomplete, and is created again.
        self.write(FORMAT_FILE, FORMAT.as_bytes())
    }

    /// Builder, ring and configuration of one kind of server.
    fn make_ring(&self, kind: &str, port: u16, devices: u16, replicas: u16) -> Result<(), String> {
        let failed = |error: &dyn std::fmt::Display| format!("{kind} ring: {error}");
        let mut builder =
            RingBuilder::new(PART_POWER, f64::from(replicas), 1).map_err(|error| failed(&error))?;
        builder.id = Some(random::hex::<16>());
        for device in 1..=devices {
            builder.add(NewDevice {
                region: 1,
                zone: u32::from(device),
                ip: "127.0.0.1".to_owned(),
                port,
                replication_ip: None,
                replication_port: None,
                device: format!("sd{device}"),
                weight: 1.0,
                meta: String::new(),
            });
        }
        builder
            .rebalance(0, u64::from_le_bytes(random::bytes()))
            .map_err(|error| failed(&error))?;
        self.write(&format!("etc/{kind}.builder"), &file::encode(&builder))?;
        let ring = v1::encode(&builder.ring_data()).map_err(|error| failed(&error))?;
        self.write(&format!("etc/{kind}.ring.gz"), &ring)?;
        let conf = texts::storage_conf(kind, port, &self.path("devices"), &self.path("cache"));
        self.write(&format!("etc/{kind}-server.conf"), conf.as_bytes())
    }

    /// Applies the options of a later start; the error names an option that cannot be changed.
    fn change(&self, options: &Options) -> Result<(), String> {
        let ring = SharedRing::load(&self.path("etc/object.ring.gz"));
        let ring = ring.map_err(|error| error.to_string())?.get();
        let devices = ring.devices().iter().flatten().count();
        let wanted = [
            ("--devices", options.devices, devices),
            ("--replicas", options.replicas, ring.rows().len()),
        ];
        for (option, given, there) in wanted {
            if let Some(given) = given.filter(|given| usize::from(*given) != there) {
                let what = format!(
                    "{option} {given} has no effect on a cluster that exists and has {there}; leave the option out, or use --data with another folder"
                );
                return Err(at(&self.root, &what));
            }
        }
        let path = self.path(PROXY_CONF);
        let text = std::fs::read_to_string(&path)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        let mut changed = text.clone();
        if let Some(port) = options.port {
            changed = with_port(&changed, port);
        }
        if options.dev_users {
            changed =
                users::added(&changed).map_err(|error| format!("{}: {error}", path.display()))?;
        } else {
            changed = users::allowed_where_present(&changed);
        }
        // A text that cannot be parsed is not written.
        Conf::parse(&changed).map_err(|error| format!("{}: {error}", path.display()))?;
        if changed != text {
            self.write(PROXY_CONF, changed.as_bytes())?;
        }
        Ok(())
    }
}

/// The text of the proxy's file with another port.
fn with_port(text: &str, port: u16) -> String {
    let wanted = format!("bind_port = {port}");
    let lines = text.lines();
    let lines: Vec<&str> = lines
        .map(|line| if line.starts_with("bind_port = ") { wanted.as_str() } else { line })
        .collect();
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_format_is_distinguished_from_a_file_of_something_else() {
        assert!(other_format("apus saio data, format 99\n").contains("format 99: a newer apus"));
        assert!(other_format("a diary").contains("a diary"));
    }

    #[test]
    fn a_port_is_changed_and_nothing_else() {
        let text = "[DEFAULT]\nbind_ip = 127.0.0.1\nbind_port = 8080\n# bind_port = 1\n";
        assert_eq!(with_port(text, 9), text.replace("8080", "9"));
    }
}
