//! `apus recon`: the state of a cluster's servers, summed up as `swift-recon` does.
//!
//! Source: `swift/cli/recon.py`. One file per check. Checks only read, from the addresses in the
//! rings, and trust no response: a field that a server of another version leaves out is reported as
//! missing. Unlike Swift's program it exits with 1 when a host did not respond or a check failed,
//! and with 2 when it could not start.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

mod async_pending;
mod auditor;
mod disk_usage;
mod disks;
mod driveaudit;
mod expirer;
mod hosts;
mod load;
mod md5_sums;
mod object_auditor;
mod options;
mod quarantined;
mod reconstruction;
mod redundancy;
mod replication;
mod report;
mod scout;
mod sharding;
mod sockstat;
mod time;
mod unmounted;
mod updater;
mod validate_servers;
mod versions;

use std::process::ExitCode;
use std::time::Duration;

use apus_cluster::Policy;
use apus_cluster::policy::PolicyType;
use apus_daemon::runtime;
use apus_wire::Transport;
use serde_json::{Map, Value, json};

pub use self::disks::{Disk, disks};
use self::hosts::Host;
pub use self::options::Options;
use self::options::ServerType;
use self::report::CheckReport;
use self::scout::{Answer, Scout};

/// Context of the checks of one server type.
#[derive(Debug)]
struct Session<'a> {
    options: &'a Options,
    scout: &'a Scout,
    server: ServerType,
    hosts: &'a [Host],
    /// The selected policies.
    policies: &'a [Policy],
}

impl Session<'_> {
    fn begin(&self, title: &str) -> CheckReport {
        CheckReport::begin(self.scout.now(), title)
    }

    async fn ask(&self, check: &str, report: &mut CheckReport) -> Vec<Answer> {
        self.scout.ask(self.hosts, check, report).await
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    Async,
    Unmounted,
    Replication,
    Auditor,
    Updater,
    Expirer,
    Sharding,
    Reconstruction,
    ValidateServers,
    Load,
    DiskUsage,
    RingMd5,
    SwiftConfMd5,
    Quarantined,
    Sockstat,
    DriveAudit,
    Time,
    Versions,
    Redundancy,
}

impl Check {
    /// Its key in `--json`.
    fn name(self) -> &'static str {
        match self {
            Self::Async => "async",
            Self::Unmounted => "unmounted",
            Self::Replication => "replication",
            Self::Auditor => "auditor",
            Self::Updater => "updater",
            Self::Expirer => "expirer",
            Self::Sharding => "sharding",
            Self::Reconstruction => "reconstruction",
            Self::ValidateServers => "validate_servers",
            Self::Load => "load",
            Self::DiskUsage => "diskusage",
            Self::RingMd5 => "ring_md5",
            Self::SwiftConfMd5 => "swift_conf_md5",
            Self::Quarantined => "quarantined",
            Self::Sockstat => "sockstat",
            Self::DriveAudit => "driveaudit",
            Self::Time => "time",
            Self::Versions => "versions",
            Self::Redundancy => "redundancy",
        }
    }

    /// Why the check does not apply to a server type.
    fn refusal(self, session: &Session<'_>) -> Option<&'static str> {
        use ServerType::{Account, Container, Object};
        let has_fragments = || {
            let mut policies = session.policies.iter();
            policies.any(|policy| matches!(policy.policy_type, PolicyType::ErasureCoding(_)))
        };
        match (self, session.server) {
            (Self::Async, Account | Container) => Some("Can't check asyncs on non object servers."),
            (Self::Updater, Account) => Some("Can't check updaters on account servers."),
            (Self::Expirer, Account | Container) => {
                Some("Can't check expirer on non object servers.")
            }
            (Self::Sharding, Account | Object) => {
                Some("Can't check sharding on non container servers.")
            }
            (Self::Reconstruction, Account | Container) => {
                Some("Can't check reconstruction stats on non object servers.")
            }
            (Self::Reconstruction, Object) if !session.options.all && !has_fragments() => Some(
                "Can't check reconstruction stats: no policy has policy_type = erasure_coding.",
            ),
            _ => None,
        }
    }

    async fn run(self, session: &Session<'_>) -> CheckReport {
        if let Some(refusal) = self.refusal(session) {
            return CheckReport::refuse(refusal);
        }
        match self {
            Self::Async => async_pending::check(session).await,
            Self::Unmounted => unmounted::check(session).await,
            Self::Replication => replication::check(session).await,
            Self::Auditor if session.server == ServerType::Object => {
                object_auditor::check(session).await
            }
            Self::Auditor => auditor::check(session).await,
            Self::Updater => updater::check(session).await,
            Self::Expirer => expirer::check(session).await,
            Self::Sharding => sharding::check(session).await,
            Self::Reconstruction => reconstruction::check(session).await,
            Self::ValidateServers => validate_servers::check(session).await,
            Self::Load => load::check(session).await,
            Self::DiskUsage => disk_usage::check(session).await,
            Self::RingMd5 => md5_sums::rings(session).await,
            Self::SwiftConfMd5 => md5_sums::swift_conf(session).await,
            Self::Quarantined => quarantined::check(session).await,
            Self::Sockstat => sockstat::check(session).await,
            Self::DriveAudit => driveaudit::check(session).await,
            Self::Time => time::check(session).await,
            Self::Versions => versions::check(session).await,
            Self::Redundancy => redundancy::check(session).await,
        }
    }
}

/// The checks to make, in Swift's order; ours come last.
fn plan(options: &Options, server: ServerType) -> Vec<Check> {
    use Check::{
        Async, Auditor, DiskUsage, DriveAudit, Expirer, Load, Quarantined, Reconstruction,
        Redundancy, Replication, RingMd5, Sharding, Sockstat, SwiftConfMd5, Time, Unmounted,
        Updater, ValidateServers, Versions,
    };
    if options.all {
        let own = match server {
            ServerType::Object => vec![Async, Auditor, Updater, Expirer, Reconstruction],
            ServerType::Container => vec![Auditor, Updater, Sharding],
            ServerType::Account => vec![Auditor],
        };
        let shared = [
            Replication,
            Unmounted,
            Load,
            DiskUsage,
            RingMd5,
            SwiftConfMd5,
            Quarantined,
            Sockstat,
            ValidateServers,
            DriveAudit,
            Time,
            Versions,
            Redundancy,
        ];
        return own.into_iter().chain(shared).collect();
    }
    let asked = [
        (options.async_pending, Async),
        (options.unmounted, Unmounted),
        (options.replication, Replication),
        (options.auditor, Auditor),
        (options.updater, Updater),
        (options.expirer, Expirer),
        (options.sharding, Sharding),
        (options.reconstruction, Reconstruction),
        (options.validate_servers, ValidateServers),
        (options.loadstats, Load),
        (options.diskusage, DiskUsage),
        (options.md5, RingMd5),
        (options.md5, SwiftConfMd5),
        (options.quarantined, Quarantined),
        (options.sockstat, Sockstat),
        (options.driveaudit, DriveAudit),
        (options.time, Time),
        (options.swift_versions, Versions),
        (options.redundancy, Redundancy),
    ];
    asked.into_iter().filter(|(is_asked, _)| *is_asked).map(|(_, check)| check).collect()
}

fn rule() -> String {
    "=".repeat(79)
}

/// Runs all checks; returns their reports as JSON, and whether one failed. `print` gets the lines
/// as they come.
async fn survey(
    options: &Options,
    scout: &Scout,
    mut print: impl FnMut(&str),
) -> Result<(Value, bool), String> {
    let policies = hosts::policies(&options.swiftdir)?;
    let policies = hosts::chosen(&policies, options.policy.as_deref())?;
    let mut servers = options.servers.clone();
    if servers.is_empty() {
        servers.push(ServerType::Object);
    }
    servers.sort_unstable();
    servers.dedup();
    if servers.iter().all(|server| plan(options, *server).is_empty()) {
        return Err("no check was selected; `apus recon --help` lists them".to_owned());
    }
    print(&rule());
    let (mut all, mut failed) = (Map::new(), false);
    for server in servers {
        let hosts = hosts::hosts(options, server, &policies)?;
        print(&format!("--> Starting reconnaissance on {} hosts ({})", hosts.len(), server.name()));
        print(&rule());
        let session = Session { options, scout, server, hosts: &hosts, policies: &policies };
        let addresses: Vec<_> = hosts.iter().map(|host| host.address.clone()).collect();
        let mut results = Map::from_iter([("hosts".to_owned(), json!(addresses))]);
        for check in plan(options, server) {
            let report = check.run(&session).await;
            report.lines.iter().for_each(|line| print(line));
            print(&rule());
            report.after.iter().for_each(|line| print(line));
            failed |= report.failed;
            results.insert(check.name().to_owned(), Value::Object(report.values));
        }
        all.insert(server.name().to_owned(), Value::Object(results));
    }
    Ok((Value::Object(all), failed))
}

/// Runs `apus recon`.
pub fn main(options: &Options) -> Result<ExitCode, String> {
    let scout = Scout {
        // Recon requests need no signature.
        transport: Transport::new(None),
        timeout: Duration::from_secs(options.timeout),
        verbose: options.verbose,
        suppress: options.suppress,
    };
    let print = |line: &str| {
        if !options.json {
            println!("{line}");
        }
    };
    let runtime = runtime::multi_thread().map_err(|error| error.to_string())?;
    let (all, failed) = runtime.block_on(survey(options, &scout, print))?;
    if options.json {
        println!("{all:#}");
    }
    Ok(if failed { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

#[cfg(test)]
mod tests;
