//! `apus ring pending`, `apus ring approve` and `apus drain`: clients of the ring manager.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use apus_daemon::runtime;
use http::Method;
use serde_json::{Value, json};

use super::ask::SignedClient;

const TIMEOUT: Duration = Duration::from_secs(60);
const WAIT_INTERVAL: Duration = Duration::from_secs(2);

/// Arguments that locate the ring manager.
#[derive(Debug, clap::Args)]
pub struct ManagerArgs {
    /// Directory with swift.conf, which has the cluster key and `ring_manager`
    #[arg(long, default_value = "/etc/swift", value_name = "DIR")]
    swift_dir: PathBuf,
    /// Print the result as one line of JSON
    #[arg(long)]
    json: bool,
}

impl ManagerArgs {
    fn manager(&self) -> Result<Manager, String> {
        let cluster = super::swift_conf(&self.swift_dir)?;
        let address = cluster.rings.manager.ok_or_else(|| {
            format!("{}/swift.conf: [apus] has no ring_manager", self.swift_dir.display())
        })?;
        Ok(Manager {
            client: SignedClient::new(&cluster.backend_auth, TIMEOUT),
            address: address.to_string(),
        })
    }
}

struct Manager {
    client: SignedClient,
    address: String,
}

impl Manager {
    async fn get(&self, word: &str) -> Result<Value, String> {
        self.client.get(&self.address, &format!("/apus/manager/{word}")).await
    }

    async fn post(&self, word: &str, body: &Value) -> Result<Value, String> {
        let path = format!("/apus/manager/{word}");
        self.client.json(&self.address, Method::POST, &path, Some(body)).await
    }
}

/// Options of `apus ring approve`.
#[derive(Debug, clap::Args)]
pub struct Approve {
    /// Show what would move next, and approve nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    at: ManagerArgs,
}

/// Options of `apus drain`.
#[derive(Debug, clap::Args)]
pub struct Drain {
    /// A node's address, or a search value of ring-builder, such as r1z1-10.0.0.1/sdb1
    #[arg(value_name = "NODE|DEVICE")]
    search: String,
    /// Wait until it is safe to pull
    #[arg(long)]
    wait: bool,
    /// Show which devices these are, and do nothing
    #[arg(long, conflicts_with_all = ["wait", "cancel", "remove"])]
    dry_run: bool,
    /// Cancel the drain: the devices get their weight back
    #[arg(long, conflicts_with = "remove")]
    cancel: bool,
    /// Remove the devices, which must be safe to pull, from the rings
    #[arg(long, conflicts_with = "wait")]
    remove: bool,
    #[command(flatten)]
    at: ManagerArgs,
}

fn texts<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a str> {
    value.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

fn entries<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn word<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or("?")
}

fn number(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or(0)
}

/// Shows pending changes and what they wait for.
///
/// # Errors
/// The ring manager cannot be asked.
pub async fn pending(at: &ManagerArgs) -> Result<bool, String> {
    let manager = at.manager()?;
    let status = manager.get("status").await?;
    if at.json {
        println!("{status}");
        return Ok(true);
    }
    println!("Rebalancing: {}", word(&status, "rebalance"));
    for pending in entries(&status, "pending") {
        println!("{}:", word(pending, "ring"));
        for what in ["new", "draining", "leaving"] {
            texts(pending, what).for_each(|device| println!("  {what}: {device}"));
        }
        if pending.get("is_uneven") == Some(&Value::Bool(true)) {
            println!("  partitions are not where they should be yet");
        }
    }
    if entries(&status, "pending").next().is_none() {
        println!("Nothing is pending.");
    }
    texts(&status, "waits_for").for_each(|text| println!("Waiting for {text}"));
    if let Some(error) = status.get("error").and_then(Value::as_str) {
        println!("Error: {error}");
    }
    entries(&status, "drains").for_each(show_drain);
    Ok(true)
}

/// Approves pending changes.
///
/// # Errors
/// The ring manager cannot be asked.
pub async fn approve(options: &Approve) -> Result<bool, String> {
    let manager = options.at.manager()?;
    let foresight = manager.get("foresight").await?;
    let approved = match options.dry_run {
        true => json!({}),
        false => manager.post("approve", &json!({})).await?,
    };
    if options.at.json {
        let approved = approved.get("approved").cloned().unwrap_or_else(|| json!([]));
        println!("{}", json!({ "foresight": foresight, "approved": approved }));
        return Ok(true);
    }
    for (ring, moves) in foresight.as_object().into_iter().flatten() {
        println!(
            "{ring}: {} partition replicas of {} partitions move in the next step.",
            number(moves, "replicas"),
            number(moves, "partitions")
        );
        let devices = entries(moves, "tiers").filter(|tier| word(tier, "tier") == "device");
        for tier in devices.filter(|tier| number(tier, "in") + number(tier, "out") > 0) {
            println!(
                "  {}: {} partitions now, then {}",
                word(tier, "name"),
                number(tier, "before"),
                number(tier, "after")
            );
        }
    }
    match texts(&approved, "approved").collect::<Vec<_>>().join(", ") {
        _ if options.dry_run => println!("Nothing was approved."),
        rings if rings.is_empty() => println!("Nothing is pending."),
        rings => println!("Approved: {rings}."),
    }
    Ok(true)
}

fn show_drain(drain: &Value) {
    let device = word(drain, "device");
    if drain.get("safe_to_pull") == Some(&Value::Bool(true)) {
        println!("{device}: safe to pull");
        return;
    }
    println!("{device}: not yet");
    texts(drain, "not_yet").for_each(|blocker| println!("  {blocker}"));
}

/// Drains devices. The exit code is 0 when all are safe to pull, and 1 otherwise.
///
/// # Errors
/// The ring manager cannot be asked, or refuses.
pub fn drain(options: &Drain) -> Result<ExitCode, String> {
    let manager = options.at.manager()?;
    runtime::multi_thread().map_err(|error| error.to_string())?.block_on(async {
        let body = json!({ "search": options.search, "dry_run": options.dry_run });
        let verb = match (options.cancel, options.remove) {
            (true, _) => "cancel",
            (_, true) => "remove",
            _ => "drain",
        };
        let reply = manager.post(verb, &body).await?;
        let devices: BTreeSet<&str> = texts(&reply, "devices").collect();
        if verb != "drain" || options.dry_run {
            if options.at.json {
                println!("{reply}");
            } else {
                let what = match verb {
                    "cancel" => "has its weight back",
                    "remove" => "leaves the rings at the next rebalance",
                    _ => "would be drained",
                };
                devices.iter().for_each(|device| println!("{device}: {what}"));
            }
            return Ok(ExitCode::SUCCESS);
        }
        let mut last = Vec::new();
        loop {
            let status = match manager.get("status").await {
// The manager may be restarting.
                Err(_) if options.wait => {
                    tokio::time::sleep(WAIT_INTERVAL).await;
                    continue;
                }
                status => status?,
            };
            let drains = entries(&status, "drains");
            let drains: Vec<Value> =
                drains.filter(|drain| devices.contains(word(drain, "device"))).cloned().collect();
            let is_safe = drains.len() == devices.len()
                && drains.iter().all(|drain| drain.get("safe_to_pull") == Some(&Value::Bool(true)));
            let is_last = is_safe || !options.wait;
            if options.at.json && is_last {
                println!("{}", json!({ "drains": drains, "safe_to_pull": is_safe, "waits_for": status.get("waits_for") }));
            } else if !options.at.json && drains != last {
                drains.iter().for_each(show_drain);
                texts(&status, "waits_for").for_each(|text| println!("Waiting for {text}"));
            }
            if is_last {
                return Ok(if is_safe { ExitCode::SUCCESS } else { ExitCode::from(1) });
            }
            last = drains;
            tokio::time::sleep(WAIT_INTERVAL).await;
        }
    })
}
