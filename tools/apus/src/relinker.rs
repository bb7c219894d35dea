//! `apus object-relinker`: command line of the relinker, for increases of the part power.
//!
//! Source: `swift/cli/relinker.py`, with the same options, configuration and exit codes: 0 done, 1
//! something failed, 2 no policy's ring is at this step. The work is in `apus_object::relinker`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use apus_cluster::policy::{Policy, PolicyType};
use apus_cluster::{Policies, PolicyIndex};
use apus_daemon::ReconCache;
use apus_daemon::clock::SystemClock;
use apus_daemon::config::{Conf, Section};
use apus_daemon::log;
use apus_daemon::syslog::Syslog;
use apus_membership::swift_conf;
use apus_node::{Place, Roles, Server, become_named};
use apus_object::relinker::{self, Doubling, Step};
use apus_ring::SharedRing;

/// Exit code when the relinker could not start; 2 means that there is nothing to do.
pub(crate) const FAILED: u8 = 1;
/// Section of its options.
const SECTION: &str = "object-relinker";
/// Swift's defaults.
const SWIFT_DIR: &str = "/etc/swift";
const DEVICES: &str = "/srv/node";
const RECON_CACHE_PATH: &str = "/var/cache/swift";
const STATS_INTERVAL: f64 = 300.0;

/// Options of `apus object-relinker`; those that Swift's has are the same.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// `relink` after the increase was prepared, `cleanup` after it was done or cancelled
    #[arg(value_parser = ["relink", "cleanup"])]
    action: String,
    /// Configuration with a section [object-relinker], or a directory with object-server.conf
    conf_file: Option<PathBuf>,
    /// Directory with swift.conf and rings
    #[arg(long, value_name = "DIR")]
    swift_dir: Option<PathBuf>,
    /// Only this policy, by name or index; may be given several times
    #[arg(long = "policy", value_name = "POLICY")]
    policies: Vec<String>,
    /// Directory of the devices
    #[arg(long, value_name = "DIR")]
    devices: Option<PathBuf>,
    /// Run as this user
    #[arg(long)]
    user: Option<String>,
    /// Only this device; may be given several times
    #[arg(long = "device", value_name = "NAME")]
    device_list: Vec<String>,
    /// Only this partition; may be given several times
    #[arg(short, long = "partition", value_name = "NUMBER")]
    partitions: Vec<u32>,
    /// Also devices that are not mount points
    #[arg(long)]
    skip_mount_check: bool,
    /// Hash directories of a worker in a second; 0 means unlimited
    #[arg(long, value_name = "NUMBER")]
    files_per_second: Option<f64>,
    /// Seconds between recon reports [default: 300]
    #[arg(long, value_name = "SECONDS")]
    stats_interval: Option<f64>,
    /// Devices at the same time [default: auto, all]
    #[arg(long, value_name = "NUMBER|auto")]
    workers: Option<String>,
    /// Directory of recon reports
    #[arg(long, value_name = "DIR")]
    recon_cache_path: Option<PathBuf>,
    /// Log to this file, unless there is a configuration
    #[arg(long, value_name = "FILE")]
    logfile: Option<PathBuf>,
    /// Log more
    #[arg(long)]
    debug: bool,
    /// Where another file has the new name: when relinking, quarantine it; when cleaning up, keep it
    /// and remove the old one
    #[arg(long)]
    clobber_hardlink_collisions: bool,
    /// Also partitions that are complete
    #[arg(long)]
    again: bool,
}

/// A rate or an interval, at least 0.
fn positive(
    name: &str,
    given: Option<f64>,
    section: &Section<'_>,
    default: f64,
) -> Result<f64, String> {
    const EXPECTED: &str = "a number from 0";
    let is_good = |number: f64| number.is_finite() && number >= 0.0;
    match given {
        Some(number) if is_good(number) => Ok(number),
        Some(number) => Err(format!("{name} {number}: expected {EXPECTED}")),
        None => match section.parse(name, default, EXPECTED)? {
            number if is_good(number) => Ok(number),
            number => Err(section.refuse(name, &number.to_string(), EXPECTED).into()),
        },
    }
}

/// Number of workers; `None` is one for each device.
fn workers(given: Option<&str>, section: &Section<'_>) -> Result<Option<usize>, String> {
    match given.or(section.get("workers")) {
        None | Some("auto") => Ok(None),
        Some(text) => match text.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(section.refuse("workers", text, "a whole number, or auto").into()),
        },
    }
}

/// The selected policies; all by default.
fn chosen<'a>(policies: &'a Policies, named: &[String]) -> Result<Vec<&'a Policy>, String> {
    let find = |text: &String| {
        let by_index = || policies.get(PolicyIndex(text.parse().ok()?));
        let found = policies.by_name(text).or_else(by_index);
        found.ok_or_else(|| format!("policy {text:?}: expected a policy's name or index"))
    };
    if named.is_empty() { Ok(policies.iter().collect()) } else { named.iter().map(find).collect() }
}

/// Those of them whose rings are at this step.
fn doublings(policies: &[&Policy], rings: &Path, step: Step) -> Result<Vec<Doubling>, String> {
    let mut found = Vec::new();
    for policy in policies {
        let ring = rings.join(format!("{}.ring.gz", policy.index.suffixed("object")));
        let ring = Arc::new(SharedRing::load(&ring).map_err(|error| error.to_string())?);
        let Some(doubling) = Doubling::of(policy.index, &policy.name, ring, step) else { continue };
        if policy.policy_type != PolicyType::Replication {
            return Err(format!(
                "policy {}: objects of erasure-coded policies are not linked yet",
                policy.name
            ));
        }
        found.push(doubling);
    }
    Ok(found)
}

/// Runs one step; returns the exit code.
pub(crate) fn main(options: &Options) -> Result<u8, String> {
    let roles = Roles { servers: vec![Server::Object], daemons: Vec::new() };
    let place = options.conf_file.as_deref().map(|path| Place::find(path, &roles)).transpose()?;
    let conf = match &place {
        Some(place) => place.server_conf(Server::Object)?,
        None => Conf::parse("")?,
    };
    let section = conf.section(SECTION);
    if let Some(user) = options.user.as_deref().or(section.get("user")) {
        become_named(user, || Err(section.refuse("user", user, "a user of /etc/passwd").into()))?;
    }
    let level = if options.debug { "debug" } else { log::level(&section)? };
    match &options.logfile {
        _ if place.is_some() && crate::cli::is_swifts_name() => {
            log::start_syslog(level, Syslog::from_options(&section, SECTION)?);
        }
        Some(file) if place.is_none() => log::start_file(level, file)?,
        _ => log::start(level),
    }
    let swift_dir = options.swift_dir.clone();
    let swift_dir = swift_dir.or_else(|| section.get("swift_dir").map(PathBuf::from));
    let swift_dir = swift_dir.or(place.map(|place| place.swift_dir().to_owned()));
    let swift_dir = swift_dir.unwrap_or_else(|| SWIFT_DIR.into());
    let cluster = swift_conf(&swift_dir)?;
    let step = if options.action == "cleanup" { Step::Cleanup } else { Step::Relink };
    let policies = chosen(&cluster.policies, &options.policies)?;
    let doublings = doublings(&policies, &swift_dir, step)?;
    let directory = |given: &Option<PathBuf>, name: &str, default: &str| match given {
        Some(given) => given.clone(),
        None => PathBuf::from(section.get(name).unwrap_or(default)),
    };
    let seconds = positive("stats_interval", options.stats_interval, &section, STATS_INTERVAL)?;
    let options = relinker::Options {
        step,
        devices: directory(&options.devices, "devices", DEVICES),
        mount_check: section.flag("mount_check", true)? && !options.skip_mount_check,
        only_devices: options.device_list.clone(),
        partitions: BTreeSet::from_iter(options.partitions.iter().copied()),
        files_per_second: positive("files_per_second", options.files_per_second, &section, 0.0)?,
        workers: workers(options.workers.as_deref(), &section)?,
        again: options.again,
        clobber_hardlink_collisions: options.clobber_hardlink_collisions
            || section.flag("clobber_hardlink_collisions", false)?,
        stats_interval: Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX),
        recon: ReconCache::new(&directory(
            &options.recon_cache_path,
            "recon_cache_path",
            RECON_CACHE_PATH,
        )),
        clock: Arc::new(SystemClock),
    };
    Ok(relinker::run(&options, &doublings).code())
}

#[cfg(test)]
mod tests {
    use apus_cluster::SwiftConf;

    use super::*;

    #[test]
    fn invalid_options_are_named() {
        let conf =
            Conf::parse("[object-relinker]\nworkers = some\nfiles_per_second = -1\n").unwrap();
        let section = conf.section(SECTION);
        assert!(workers(None, &section).unwrap_err().contains("workers = \"some\""));
        assert_eq!(workers(Some("3"), &section), Ok(Some(3)));
        assert_eq!(workers(Some("auto"), &section), Ok(None));
        let rate = |given| positive("files_per_second", given, &section, 0.0);
        assert!(rate(None).unwrap_err().contains("files_per_second"));
        assert!(rate(Some(f64::NAN)).is_err());
        assert_eq!(rate(Some(10.0)), Ok(10.0));
    }

    #[test]
    fn policies_are_chosen_by_name_or_index() {
        let text = "[swift-hash]\nswift_hash_path_suffix = x\n[storage-policy:0]\nname = gold\n\
                    default = yes\n[storage-policy:3]\nname = silver\n";
        let conf = Conf::parse(text).unwrap();
        let cluster = SwiftConf::from_sections(conf.sections()).unwrap();
        let names = |named: &[&str]| {
            let named: Vec<String> = named.iter().map(|name| (*name).to_owned()).collect();
            let found = chosen(&cluster.policies, &named)?;
            Ok::<_, String>(found.iter().map(|policy| policy.index.0).collect::<Vec<_>>())
        };
        assert_eq!(names(&[]), Ok(vec![0, 3]));
        assert_eq!(names(&["silver", "0"]), Ok(vec![3, 0]));
        assert!(names(&["bronze"]).unwrap_err().contains("bronze"));
    }
}
