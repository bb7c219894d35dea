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
use apus_daemon::config::{Conf, DeviceOptions, ReconCacheOptions};
use apus_daemon::log;
use apus_daemon::syslog::Syslog;
use apus_membership::swift_conf;
use apus_node::{Place, ProcessOptions, Roles, Server, become_named};
use apus_object::relinker::{self, Doubling, RelinkerFileOptions, Step};
use apus_options::OptionValue;
use apus_ring::SharedRing;

/// Exit code when the relinker could not start; 2 means that there is nothing to do.
pub(crate) const FAILED: u8 = 1;
/// Section of its options.
const SECTION: &str = "object-relinker";
/// Swift's default.
const SWIFT_DIR: &str = "/etc/swift";

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

/// A rate or an interval of the command line, at least 0, or that of the file.
fn positive(name: &str, given: Option<f64>, of_file: f64) -> Result<f64, String> {
    match given {
        Some(number) if number.is_finite() && number >= 0.0 => Ok(number),
        Some(number) => Err(format!("{name} {number}: expected a number from 0")),
        None => Ok(of_file),
    }
}

/// Number of workers; `None` is one for each device.
fn workers(given: Option<&str>, of_file: &str) -> Result<Option<usize>, String> {
    match given.unwrap_or(of_file) {
        text if text.eq_ignore_ascii_case("auto") => Ok(None),
        text => match usize::from_text(text) {
            Some(number) => Ok(Some(number)),
            None => Err(format!("workers {text:?}: expected a whole number, or auto")),
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
    let process = ProcessOptions::read(&section)?;
    let given = RelinkerFileOptions::read(&section)?;
    if let Some(user) = options.user.clone().or(process.user) {
        let unknown = section.refuse("user", &user, "a user of /etc/passwd");
        become_named(&user, || Err(unknown.into()))?;
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
    let swift_dir = swift_dir.or(process.swift_dir);
    let swift_dir = swift_dir.or(place.map(|place| place.swift_dir().to_owned()));
    let swift_dir = swift_dir.unwrap_or_else(|| SWIFT_DIR.into());
    let cluster = swift_conf(&swift_dir)?;
    let step = if options.action == "cleanup" { Step::Cleanup } else { Step::Relink };
    let policies = chosen(&cluster.policies, &options.policies)?;
    let doublings = doublings(&policies, &swift_dir, step)?;
    let seconds = positive("stats_interval", options.stats_interval, given.stats_interval)?;
    let devices = DeviceOptions::read(&section)?;
    let recon = ReconCacheOptions::read(&section)?.recon_cache_path;
    let recon = options.recon_cache_path.clone().unwrap_or(recon);
    let options = relinker::Options {
        step,
        devices: options.devices.clone().unwrap_or(devices.devices),
        mount_check: devices.mount_check && !options.skip_mount_check,
        only_devices: options.device_list.clone(),
        partitions: BTreeSet::from_iter(options.partitions.iter().copied()),
        files_per_second: positive(
            "files_per_second",
            options.files_per_second,
            given.files_per_second,
        )?,
        workers: workers(options.workers.as_deref(), &given.workers)?,
        again: options.again,
        clobber_hardlink_collisions: options.clobber_hardlink_collisions
            || given.clobber_hardlink_collisions,
        stats_interval: Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX),
        recon: ReconCache::new(&recon),
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
        let conf = Conf::parse("[object-relinker]\nworkers = some\n").unwrap();
        let error = RelinkerFileOptions::read(&conf.section(SECTION)).unwrap_err().to_string();
        assert!(error.contains("workers = \"some\""), "{error}");
        let conf = Conf::parse("[object-relinker]\nfiles_per_second = -1\n").unwrap();
        assert!(RelinkerFileOptions::read(&conf.section(SECTION)).is_err());
        assert_eq!(workers(Some("3"), "auto"), Ok(Some(3)));
        assert_eq!(workers(Some("auto"), "2"), Ok(None));
        assert_eq!(workers(None, "2"), Ok(Some(2)));
        let rate = |given| positive("files_per_second", given, 5.0);
        assert!(rate(Some(f64::NAN)).unwrap_err().contains("files_per_second"));
        assert_eq!((rate(Some(10.0)), rate(None)), (Ok(10.0), Ok(5.0)));
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
