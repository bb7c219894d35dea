//! `apus join HOST`: makes this machine a node of a cluster.
//!
//! It gets `swift.conf` and the rings from a node of the cluster, writes missing files in
//! `--swift-dir`, and registers its devices at the ring manager. Existing files are never
//! overwritten: a `swift.conf` that differs is an error. The command can be repeated at any time.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use apus_cluster::SwiftConf;
use apus_cluster::backend_auth::{BackendAuth, ClusterKey, Mode};
use apus_daemon::clock::SystemClock;
use apus_daemon::config::{BindOptions, Conf, DeviceOptions};
use apus_daemon::runtime;
use apus_disk::{is_mount, write_durably};
use apus_membership::Facts;
use apus_wire::Transport;
use apus_wire::rings::{Fetched, RingClient, RingClientError, RingFolder, RingKeys, fetch_from};
use apus_wire::signed::Signer;
use http::Method;
use serde_json::{Value, json};

use super::ask::SignedClient;
use super::joining::{Joining, JoiningDevice};
use super::samples::{self, KINDS};
use super::{FILE_MODE, SECRET_FILE_MODE};

/// Default port of HOST: that of object servers.
const HOST_PORT: u16 = 6200;
/// Default directory of the configuration.
const SWIFT_DIR: &str = "/etc/swift";
const TIMEOUT: Duration = Duration::from_secs(30);
const WAIT_INTERVAL: Duration = Duration::from_secs(1);

/// Options of `apus join`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// A storage server of any node of the cluster [default port: 6200]
    #[arg(value_name = "HOST[:PORT]")]
    host: String,
    /// Directory where a disk is mounted, and its weight [default: by its size]
    #[arg(long, required = true, value_name = "PATH[:WEIGHT]")]
    device: Vec<String>,
    /// Address of this node in rings [default: the one from which it reaches HOST]
    #[arg(long)]
    ip: Option<std::net::IpAddr>,
    /// Region
    #[arg(long)]
    region: Option<u32>,
    /// Zone [default: a new one if every node has its own]
    #[arg(long)]
    zone: Option<u32>,
    /// Only object rings of these policies
    #[arg(long, value_name = "N")]
    policy: Vec<u32>,
    /// File with the cluster key in hexadecimal digits [default: the key in swift.conf]
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Directory of swift.conf, rings and servers' configuration
    #[arg(long, default_value = SWIFT_DIR, value_name = "DIR")]
    swift_dir: PathBuf,
    /// Show what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the result as one line of JSON
    #[arg(long)]
    json: bool,
    /// Wait until all nodes run rings in which the devices hold partitions
    #[arg(long)]
    wait: bool,
}

/// A device of this node.
#[derive(Debug, Clone, PartialEq)]
struct Device {
    path: PathBuf,
    weight: Option<f64>,
}

impl Device {
    fn parse(text: &str) -> Self {
        let weighed = text.rsplit_once(':').and_then(|(path, weight)| {
            Some(Self { path: PathBuf::from(path), weight: Some(weight.parse().ok()?) })
        });
        weighed.unwrap_or_else(|| Self { path: PathBuf::from(text), weight: None })
    }

    fn name(&self) -> Result<String, String> {
        let name = self.path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        name.ok_or_else(|| format!("--device {}: expected a path with a name", self.path.display()))
    }

    /// Bytes of the file system.
    fn size(&self) -> Result<u64, String> {
        let at =
            |error: &dyn std::fmt::Display| format!("--device {}: {error}", self.path.display());
        if !self.path.is_dir() {
            return Err(at(&"expected a directory"));
        }
        let disk = rustix::fs::statvfs(&self.path).map_err(|error| at(&error))?;
        Ok(disk.f_frsize.saturating_mul(disk.f_blocks))
    }
}

/// The directory of all devices.
fn root(devices: &[Device]) -> Result<PathBuf, String> {
    let mut root: Option<PathBuf> = None;
    for device in devices {
        let path = std::path::absolute(&device.path).map_err(|error| error.to_string())?;
        let parent = path.parent().unwrap_or(Path::new("/")).to_owned();
        match &root {
            Some(known) if *known != parent => {
                return Err(format!(
                    "--device {}: expected in {}, as the others",
                    device.path.display(),
                    known.display()
                ));
            }
            _ => root = Some(parent),
        }
    }
    root.ok_or_else(|| "--device: expected at least one".to_owned())
}

fn resolve(host: &str) -> Result<SocketAddr, String> {
    let refuse = |error: &dyn std::fmt::Display| format!("{host:?}: {error}");
    if let Ok(ip) = host.parse::<std::net::IpAddr>() {
        return Ok(SocketAddr::new(ip, HOST_PORT));
    }
    let is_bare = host.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err());
    let with_port = if is_bare { format!("{host}:{HOST_PORT}") } else { host.to_owned() };
    let mut found = with_port.to_socket_addrs().map_err(|error| refuse(&error))?;
    found.next().ok_or_else(|| refuse(&"has no address"))
}

/// The address from which this machine reaches another; nothing is sent.
fn own_address(host: SocketAddr) -> Result<std::net::IpAddr, String> {
    let any: SocketAddr = match host {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0u16; 8], 0).into(),
    };
    let found = UdpSocket::bind(any).and_then(|socket| {
        socket.connect(host)?;
        socket.local_addr()
    });
    found.map(|address| address.ip()).map_err(|error| format!("own address: {error}; use --ip"))
}

/// The digits of the cluster key.
fn key(options: &Options, known: Option<&Conf>) -> Result<String, String> {
    if let Some(path) = &options.key_file {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("--key-file {}: {error}", path.display()))?;
        return Ok(text.trim().to_owned());
    }
    let key = known.and_then(|conf| conf.section("apus").text("cluster_key").map(str::to_owned));
    key.ok_or_else(|| {
        format!(
            "no cluster_key in {}: use --key-file",
            options.swift_dir.join("swift.conf").display()
        )
    })
}

/// Ports of the servers, and their missing configuration files.
struct Confs {
    ports: BTreeMap<String, u16>,
    missing: Vec<(PathBuf, String)>,
}

fn confs(swift_dir: &Path, place: &samples::Place<'_>) -> Result<Confs, String> {
    let root = place.devices;
    let (mut ports, mut missing) = (BTreeMap::new(), Vec::new());
    for (kind, port, daemons) in KINDS {
        let path = swift_dir.join(format!("{kind}-server.conf"));
        let folder = swift_dir.join(format!("{kind}-server.conf.d"));
        let found = [&path, &folder].into_iter().find(|path| path.exists());
        let Some(found) = found else {
            ports.insert(kind.to_owned(), port);
            missing.push((path, samples::conf(kind, port, daemons, place)));
            continue;
        };
        let conf = Conf::read(found)?;
        let section = conf.section(&format!("app:{kind}-server"));
        let devices = DeviceOptions::read(&section)?.devices;
        if devices != root {
            let (devices, root) = (devices.display().to_string(), root.display().to_string());
            return Err(section.refuse("devices", &devices, &root).into());
        }
        ports.insert(kind.to_owned(), BindOptions::read(&section)?.address(port).port());
    }
    Ok(Confs { ports, missing })
}

/// Output of the command: lines on the way, or one JSON object at the end.
struct Report {
    json: bool,
    facts: serde_json::Map<String, Value>,
}

impl Report {
    fn say(&self, text: &str) {
        if !self.json {
            println!("{text}");
        }
    }

    fn end(self) {
        if self.json {
            println!("{}", Value::Object(self.facts));
        }
    }
}

async fn join(options: &Options, report: &mut Report) -> Result<ExitCode, String> {
    let devices: Vec<Device> = options.device.iter().map(|text| Device::parse(text)).collect();
    let root = root(&devices)?;
    let path = options.swift_dir.join("swift.conf");
    let known = if path.exists() { Some(Conf::read(&path)?) } else { None };
    let key = key(options, known.as_ref())?;
    if ClusterKey::parse(&key).is_none() {
        return Err("the cluster key: expected at least 64 hexadecimal digits".to_owned());
    }
    let auth =
        BackendAuth::from_options(&[("cluster_key", &key)]).map_err(|error| error.to_string())?;
    let client = SignedClient::new(&auth, TIMEOUT);
    let host = resolve(&options.host)?;
    let ip = options.ip.map_or_else(|| own_address(host), Ok)?.to_string();
    let plain = devices.iter().find(|device| !is_mount(&device.path));
    // With Swift's directory of configuration, recon reports are in Swift's default directory.
    let recon = options.swift_dir.join("cache");
    let place = samples::Place {
        ip: &ip,
        devices: &root,
        mount_check: plain.is_none(),
        recon: (options.swift_dir != Path::new(SWIFT_DIR)).then_some(recon.as_path()),
    };
    let confs = confs(&options.swift_dir, &place)?;
    if let Some(plain) = plain.filter(|_| !confs.missing.is_empty()) {
        report.say(&format!(
            "{} is not a mount point: the files will have mount_check = false.",
            plain.path.display()
        ));
    }
    let mut joining = Joining {
        ip: ip.clone(),
        region: options.region,
        zone: options.zone,
        ports: confs.ports,
        devices: Vec::new(),
        policies: options.policy.clone(),
        dry_run: options.dry_run,
    };
    for device in &devices {
        let (name, size) = (device.name()?, Some(device.size()?));
        joining.devices.push(JoiningDevice { name, weight: device.weight, size });
    }

    let response = client.get(&host.to_string(), "/apus/join").await?;
    let facts: Facts = serde_json::from_value(response.get("facts").cloned().unwrap_or_default())
        .map_err(|error| format!("{host}: facts: {error}"))?;
    let text = facts.text(&key);
    // A text that cannot be parsed is not written.
    let conf = Conf::parse(&text)?;
    let cluster = SwiftConf::from_sections(conf.sections());
    if cluster.map_err(|error| format!("{host}: {error}"))?.backend_auth.mode != Mode::Signed {
        return Err(format!(
            "{host}: its cluster is open (backend_auth), so nothing can be joined"
        ));
    }
    let differing = known.as_ref().map(|conf| Facts::of(conf).differences(&facts));
    if let Some(differing) = differing.filter(|differing| !differing.is_empty()) {
        return Err(format!(
            "{} differs from the cluster's in {}; nothing was done",
            path.display(),
            differing.join(", ")
        ));
    }
    let manager = facts.manager().ok_or_else(|| {
        format!("{host}: the cluster has no ring manager (swift.conf: [apus] ring_manager)")
    })?;
    write(options, report, known.is_none().then_some(text.as_str()), &confs.missing)?;
    rings(options, report, &auth, host).await?;

    let body = json!(joining);
    let registered = client.json(manager, Method::POST, "/apus/manager/join", Some(&body)).await?;
    show(report, &registered, manager, options);
    if options.wait && !options.dry_run {
        wait(&client, manager, &joining, report).await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes the missing ones of `swift.conf` and the servers' files.
fn write(
    options: &Options,
    report: &mut Report,
    swift_conf: Option<&str>,
    confs: &[(PathBuf, String)],
) -> Result<(), String> {
    let mut written = Vec::new();
    let folder = &options.swift_dir;
    if !options.dry_run {
        std::fs::create_dir_all(folder)
            .map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    if let Some(text) = swift_conf {
        // The key is in it.
        if !options.dry_run {
            write_durably(&folder.join("swift.conf"), text.as_bytes(), SECRET_FILE_MODE)
                .map_err(|error| error.to_string())?;
        }
        written.push("swift.conf".to_owned());
    }
    for (path, text) in confs {
        if !options.dry_run {
            write_durably(path, text.as_bytes(), FILE_MODE).map_err(|error| error.to_string())?;
        }
        written.extend(path.file_name().map(|name| name.to_string_lossy().into_owned()));
    }
    let what = if options.dry_run { "Would write" } else { "Wrote" };
    if !written.is_empty() {
        report.say(&format!("{what} {} in {}.", written.join(", "), folder.display()));
    }
    report.facts.insert("written".to_owned(), json!(written));
    Ok(())
}

/// Fetches the signed rings of the node.
async fn rings(
    options: &Options,
    report: &mut Report,
    auth: &BackendAuth,
    host: SocketAddr,
) -> Result<(), String> {
    let keys = RingKeys::new(auth)?;
    let transport = Transport::new(Signer::new(auth, Arc::new(SystemClock)));
    let courier = RingClient::new(Arc::new(transport), TIMEOUT);
    let failed = |failure: RingClientError| format!("{host}: its rings: {failure}");
    if options.dry_run {
        let manifest = courier.manifest(&host.to_string()).await.map_err(failed)?;
        let names: Vec<String> =
            manifest.rings.iter().map(|entry| entry.name.to_string()).collect();
        report.say(&format!("Would take {} from {host}.", names.join(", ")));
        return Ok(());
    }
    let folder = Arc::new(RingFolder::new(&options.swift_dir, keys, Vec::new()));
    let results = fetch_from(&courier, &folder, &host.to_string()).await.map_err(failed)?;
    for (name, fetched) in results {
        let why = match fetched {
            Fetched::Installed(_) | Fetched::HasIt(_) => continue,
            Fetched::NotSigned(why) => {
                format!("{why}; the ring manager signs and pushes rings, or `apus ring push`")
            }
            Fetched::Refused(refusal) => refusal.to_string(),
            Fetched::Failed(failure) => failure.to_string(),
        };
        return Err(format!("{host}: {name}: {why}"));
    }
    report.say(&format!("The rings of {host} are here."));
    Ok(())
}

fn show(report: &mut Report, registered: &Value, manager: &str, options: &Options) {
    let (dry_run, swift_dir) = (options.dry_run, &options.swift_dir);
    let text = |value: &Value, key: &str| {
        let found = value.get(key).unwrap_or(&Value::Null);
        found.as_str().map_or_else(|| found.to_string(), str::to_owned)
    };
    let devices = registered.get("devices").and_then(Value::as_array);
    for device in devices.into_iter().flatten() {
        let is_added = device.get("added") == Some(&Value::Bool(true));
        let what = match (is_added, dry_run) {
            (false, _) => "is there already",
            (true, false) => "registered",
            (true, true) => "would be registered",
        };
        report.say(&format!(
            "{}: {} with weight {} {what}.",
            text(device, "ring"),
            text(device, "device"),
            text(device, "weight")
        ));
    }
    if registered.get("rebalance") == Some(&json!("ask")) {
        report.say(&format!(
            "The ring manager at {manager} waits for the operator: `apus ring pending`, `apus ring approve`."
        ));
    } else {
        report.say(&format!(
            "The ring manager at {manager} rebalances as soon as this node's servers answer and min_part_hours allow."
        ));
    }
    report.say(&format!(
        "Start the servers and daemons of this node now: `apus all {}`, or each by itself.",
        swift_dir.display()
    ));
    report.facts.insert("manager".to_owned(), json!(manager));
    report.facts.insert("registered".to_owned(), registered.clone());
}

/// Waits until every device holds partitions in rings that all nodes run.
async fn wait(
    client: &SignedClient,
    manager: &str,
    joining: &Joining,
    report: &mut Report,
) -> Result<(), String> {
    let body = json!({ "search": joining.ip });
    let mut last = String::new();
    loop {
        // The manager may be restarting.
        if let Ok(response) =
            client.json(manager, Method::POST, "/apus/manager/parts", Some(&body)).await
        {
            let holds = |device: &JoiningDevice| {
                let place = format!("{}/{}", joining.ip, device.name);
                let parts = response.get("partitions").and_then(|all| all.get(&place)?.as_u64());
                parts.is_some_and(|parts| parts > 0)
            };
            let run = response.get("all_run_the_rings_since").is_some_and(Value::is_number);
            if joining.devices.iter().all(holds) && run {
                report.say("Its devices hold partitions, and all nodes run these rings.");
                report.facts.insert(
                    "partitions".to_owned(),
                    response.get("partitions").cloned().unwrap_or_default(),
                );
                return Ok(());
            }
            let waits = response.get("waits_for").and_then(Value::as_array);
            let waits = waits.into_iter().flatten().filter_map(Value::as_str).next();
            let now = waits.unwrap_or("all nodes to have the rings").to_owned();
            if now != last {
                report.say(&format!("Waiting for {now}"));
                last = now;
            }
        }
        tokio::time::sleep(WAIT_INTERVAL).await;
    }
}

/// Runs `apus join`.
///
/// # Errors
/// What cannot be done, in one line.
pub fn main(options: &Options) -> Result<ExitCode, String> {
    apus_daemon::log::start("warn");
    let mut report = Report { json: options.json, facts: serde_json::Map::new() };
    let code = runtime::multi_thread()
        .map_err(|error| error.to_string())?
        .block_on(join(options, &mut report))?;
    report.end();
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_a_path_with_or_without_a_weight() {
        let device = |path: &str, weight| Device { path: PathBuf::from(path), weight };
        assert_eq!(Device::parse("/srv/node/sdb1:100"), device("/srv/node/sdb1", Some(100.0)));
        assert_eq!(Device::parse("/srv/node/sdb1"), device("/srv/node/sdb1", None));
        assert_eq!(Device::parse("/srv/a:b/sdb1"), device("/srv/a:b/sdb1", None));
        let both = [device("/srv/node/a", None), device("/srv/node/b", None)];
        assert_eq!(root(&both), Ok(PathBuf::from("/srv/node")));
        let error = root(&[device("/srv/node/a", None), device("/mnt/b", None)]).unwrap_err();
        assert!(error.contains("/mnt/b") && error.contains("/srv/node"), "{error}");
    }

    #[test]
    fn a_host_is_a_name_or_an_address_with_or_without_a_port() {
        assert_eq!(resolve("10.0.0.1"), Ok("10.0.0.1:6200".parse().unwrap()));
        assert_eq!(resolve("10.0.0.1:6203"), Ok("10.0.0.1:6203".parse().unwrap()));
        assert_eq!(resolve("::1"), Ok("[::1]:6200".parse().unwrap()));
        assert!(resolve("no such host").is_err());
    }
}
