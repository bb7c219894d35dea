//! Sizes and use of the disks of given servers, for the ring builder.

use std::collections::BTreeSet;
use std::time::Duration;

use apus_daemon::runtime;
use apus_wire::Transport;
use serde_json::Value;

use super::hosts::Host;
use super::scout::{Answer, Scout};
use super::told::Told;

/// A mounted disk, as its server tells it; all in bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct Disk {
    /// `ip:port` of the server that told.
    pub address: String,
    /// Name of the directory.
    pub device: String,
    /// Size, without what the file system keeps for root.
    pub size: u64,
    /// What is on it, of whatever ring.
    pub used: u64,
}

/// Asks servers (`ip`, `ip:port`) for `/recon/diskusage`. Gives the disks, and what went wrong.
pub fn disks(
    servers: BTreeSet<(String, String)>,
    timeout: Duration,
) -> Result<(Vec<Disk>, Vec<String>), String> {
    // Checks are open to everybody, with signed backends, too.
    let scout = Scout { transport: Transport::new(None), timeout, verbose: false, suppress: false };
    let hosts: Vec<Host> = servers.into_iter().map(|(ip, address)| Host { ip, address }).collect();
    let mut told = Told::default();
    let runtime = runtime::multi_thread().map_err(|error| error.to_string())?;
    let answers = runtime.block_on(scout.ask(&hosts, "diskusage", &mut told));
    let mut failures = told.lines;
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
