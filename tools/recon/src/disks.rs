//! Size and usage of the disks of given servers.

use std::collections::BTreeSet;
use std::time::Duration;

use apus_daemon::runtime;
use apus_wire::Transport;
use serde_json::Value;

use super::hosts::Host;
use super::report::CheckReport;
use super::scout::{Answer, Scout};

/// A mounted disk as its server reports it.
#[derive(Debug, Clone, PartialEq)]
pub struct Disk {
    /// `ip:port` of the server.
    pub address: String,
    /// Name of the directory.
    pub device: String,
    /// Size in bytes, without the space that the file system reserves for root.
    pub size: u64,
    /// Bytes in use, by any ring.
    pub used: u64,
}

/// Asks servers (`ip`, `ip:port`) for `/recon/diskusage`. Returns the disks, and a line per failure.
///
/// # Errors
/// The runtime cannot be started.
pub fn disks(
    servers: BTreeSet<(String, String)>,
    timeout: Duration,
) -> Result<(Vec<Disk>, Vec<String>), String> {
    // Recon requests need no signature, even in a cluster with signed ones.
    let scout = Scout { transport: Transport::new(None), timeout, verbose: false, suppress: false };
    let hosts: Vec<Host> = servers.into_iter().map(|(ip, address)| Host { ip, address }).collect();
    let mut report = CheckReport::default();
    let runtime = runtime::multi_thread().map_err(|error| error.to_string())?;
    let answers = runtime.block_on(scout.ask(&hosts, "diskusage", &mut report));
    let mut failures = report.lines;
    let mut disks = Vec::new();
    for answer in &answers {
        for entry in answer.content.as_array().into_iter().flatten() {
            match disk(answer, entry) {
                Ok(disk) => disks.push(disk),
                Err(error) => failures.push(error),
            }
        }
    }
    Ok((disks, failures))
}

fn disk(answer: &Answer, entry: &Value) -> Result<Disk, String> {
    let device = entry.get("device").and_then(Value::as_str).unwrap_or("?").to_owned();
    let number = |key: &str| entry.get(key).and_then(Value::as_u64);
    match (entry.get("mounted"), number("used"), number("avail")) {
        (Some(Value::Bool(true)), Some(used), Some(avail)) => Ok(Disk {
            address: answer.address.clone(),
            device,
            size: used.saturating_add(avail),
            used,
        }),
        (Some(Value::Bool(false)), ..) => {
            Err(format!("-> {}/{device}: is not mounted", answer.url))
        }
        _ => Err(format!("-> {}/{device}: no numbers", answer.url)),
    }
}
