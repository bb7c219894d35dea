//! Checks of this machine: ports, devices, clock and limits.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use apus_daemon::addresses;
use apus_daemon::clock::{Clock as _, SystemClock};
use apus_daemon::config::{BindOptions, DeviceOptions};
use apus_disk::{AtomicFile, Counters, is_mount};
use apus_node::Server;
use apus_ring::Local;
use rustix::process::{Resource, getrlimit};

use crate::cluster::ClusterRings;
use crate::files::{ConfigFile, Configuration};
use crate::report::Report;

/// Metadata that every object of Swift may have, in bytes: 90 items with names and values of 4 KiB, and headers.
const METADATA_BYTES: usize = 16_384;
/// Sizes of an attribute that are tried, in bytes; the first is that of XFS.
const ATTRIBUTE_BYTES: [usize; 3] = [65_536, METADATA_BYTES, 3_000];
/// A sync that takes longer is reported.
const SYNC_MAX: Duration = Duration::from_millis(500);
/// Fewer open files than this limit a server to few connections.
const DESCRIPTORS_LEAST: u64 = 8192;
/// Programs that keep the clock right, as the kernel names them (15 characters).
const TIME_PROGRAMS: [&str; 6] =
    ["chronyd", "ntpd", "systemd-timesyn", "timemaster", "ptp4l", "openntpd"];

/// Checks this machine for the servers of a configuration.
pub(crate) fn check(
    configuration: &Configuration,
    rings: Option<&ClusterRings>,
    report: &mut Report,
) {
    let mut known: BTreeMap<SocketAddr, String> = BTreeMap::new();
    for file in &configuration.files {
        let Some(server) = file.server() else { continue };
        let section = file.conf.section(&format!("app:{}-server", server.name()));
        // Values that are refused were reported.
        let Ok(bind) = BindOptions::read(&section) else { continue };
        let bind = bind.address(server.default_port());
        let path = file.path.display().to_string();
        match known.insert(bind, path.clone()) {
            Some(other) => report.error(format!("{path}: {bind} is also the address in {other}")),
            None => check_port(&path, bind, report),
        }
        if server != Server::Proxy
            && let Some(rings) = rings
        {
            check_devices(file, server, bind, rings, report);
        }
    }
    check_clock(configuration, report);
    check_descriptors(report);
}

fn check_port(path: &str, bind: SocketAddr, report: &mut Report) {
    match TcpListener::bind(bind) {
        Ok(_) => report.passed(format!("{path}: {bind} is free")),
        Err(error) => match error.kind() {
            ErrorKind::AddrInUse => report.note(format!(
                "{path}: {bind} is in use: the server runs, or another program has its port"
            )),
            ErrorKind::PermissionDenied => {
                report.warning(format!("{path}: {bind}: {error}; ports below 1024 need root"));
            }
            ErrorKind::AddrNotAvailable => {
                report.error(format!(
                    "{path}: {bind}: this machine has no such address: set bind_ip"
                ));
            }
            _ => report.error(format!("{path}: {bind}: {error}")),
        },
    }
}

/// The devices that the rings give to the server of a file.
fn check_devices(
    file: &ConfigFile,
    server: Server,
    bind: SocketAddr,
    rings: &ClusterRings,
    report: &mut Report,
) {
    let section = file.conf.section(&format!("app:{}-server", server.name()));
    let Ok(options) = DeviceOptions::read(&section) else { return };
    let local = Local::new(addresses::of(bind.ip()), bind.port());
    let mut devices: Vec<String> = Vec::new();
    for (_, ring) in rings.0.iter().filter(|(kind, _)| *kind == server.name()) {
        let ring = ring.get();
        let ours = ring.devices().iter().flatten().filter(|device| local.owns(device));
        devices.extend(ours.map(|device| device.device.clone()));
    }
    devices.sort_unstable();
    devices.dedup();
    if devices.is_empty() {
        report.warning(format!(
            "{}: no {} ring has a device at {bind}: check bind_ip and bind_port",
            file.path.display(),
            server.name()
        ));
    }
    for device in devices {
        let path = options.devices.join(&device);
        if !path.is_dir() {
            report.error(format!("{}: not a directory", path.display()));
        } else if options.mount_check && !is_mount(&path) {
            report.error(format!("{}: not a mount point, and mount_check is on", path.display()));
        } else if server == Server::Object {
            check_disk(&path, report);
        } else {
            report.passed(format!("{}: a device of the {} server", path.display(), server.name()));
        }
    }
}

/// Attributes and syncs of a device, with an unnamed file.
fn check_disk(device: &Path, report: &mut Report) {
    let counters = Arc::new(Counters::default());
    let mut file = match AtomicFile::create(device, &device.join("tmp"), &counters) {
        Ok(file) => file,
        Err(error) => {
            report.warning(format!("{}: not writable for this user: {error}", device.display()));
            return;
        }
    };
    let largest = ATTRIBUTE_BYTES
        .into_iter()
        .find(|bytes| file.set_attribute("user.apus.check", &vec![b'x'; *bytes]).is_ok());
    let begun = Instant::now();
    let synced = file.append(b"check").and_then(|()| file.sync());
    let took = begun.elapsed();
    match largest {
        None => report.error(format!(
            "{}: extended attributes of 3000 bytes do not fit: the file system cannot keep the metadata of objects",
            device.display()
        )),
        Some(bytes) if bytes < METADATA_BYTES => report.warning(format!(
            "{}: extended attributes are limited to a few KiB: objects with much metadata are refused; use XFS",
            device.display()
        )),
        Some(_) => {}
    }
    let ms = took.as_secs_f64() * 1000.0;
    match (synced, largest) {
        (Err(error), _) => report.error(format!("{}: sync: {error}", device.display())),
        (Ok(()), _) if took > SYNC_MAX => {
            report.warning(format!("{}: a sync takes {ms:.0} ms", device.display()));
        }
        (Ok(()), Some(bytes)) => report.passed(format!(
            "{}: attributes of {bytes} bytes, a sync takes {ms:.1} ms",
            device.display()
        )),
        (Ok(()), None) => {}
    }
}

fn check_clock(configuration: &Configuration, report: &mut Report) {
    let now = SystemTime::UNIX_EPOCH + SystemClock.now();
    let entries = std::fs::read_dir(configuration.swift_dir()).into_iter().flatten();
    let times = entries.filter_map(|entry| {
        let entry = entry.ok()?;
        Some((entry.metadata().ok()?.modified().ok()?, entry.path()))
    });
    if let Some((changed, path)) = times.max()
        && let Ok(ahead) = changed.duration_since(now)
        && !ahead.is_zero()
    {
        report.error(format!(
            "the clock is {:.0} s behind the time of {}",
            ahead.as_secs_f64(),
            path.display()
        ));
    }
    let programs = std::fs::read_dir("/proc").into_iter().flatten().filter_map(|entry| {
        let name = std::fs::read_to_string(entry.ok()?.path().join("comm")).ok()?;
        TIME_PROGRAMS.into_iter().find(|program| *program == name.trim())
    });
    match programs.into_iter().next() {
        Some(program) => report.passed(format!("the clock is kept by {program}")),
        None => report.warning(
            "no program keeps the clock (chronyd, ntpd, systemd-timesyncd): writes of nodes with wrong clocks lose",
        ),
    }
}

fn check_descriptors(report: &mut Report) {
    let limit = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    if limit < DESCRIPTORS_LEAST {
        report.warning(format!(
            "at most {limit} open files, and so {} connections of clients: raise the hard limit (LimitNOFILE)",
            limit / 4
        ));
    } else {
        report.passed(format!("at most {limit} open files"));
    }
}
