//! Takes newer rings from other nodes: once, or now and then as long as a process runs.
//!
//! So a node that was away while a ring was pushed, and a proxy, to which nobody pushes, come by it. What
//! is taken was signed by whoever pushed it, whichever node it comes from.

use std::sync::Arc;
use std::time::Duration;

use apus_daemon::{Drain, seed};

use super::{Courier, Failure, Refusal, RingFolder, RingName, Statement, Step};

/// Servers that are asked at a time.
const PEERS: usize = 3;

/// What came of one ring of a node that was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    /// It is in force here now.
    Installed(Statement),
    /// Here it is, or a newer one.
    HasIt(Statement),
    /// The node cannot pass it on, for what it says.
    NotSigned(String),
    /// It is not taken.
    Refused(Refusal),
    /// It did not come.
    Failed(Failure),
}

/// Takes what is newer at the server at `ip:port`, and tells of each of its rings.
///
/// # Errors
/// When the server does not tell what it has.
pub async fn fetch_from(
    courier: &Courier,
    folder: &Arc<RingFolder>,
    address: &str,
) -> Result<Vec<(RingName, Fetched)>, Failure> {
    let manifest = courier.manifest(address).await?;
    let mut told = Vec::new();
    for entry in manifest.rings {
        let fetched = match entry.signed() {
            Some(statement) => ring(courier, folder, address, statement).await,
            None => Fetched::NotSigned(entry.fault.unwrap_or_else(|| "not signed".to_owned())),
        };
        told.push((entry.name, fetched));
    }
    Ok(told)
}

async fn ring(
    courier: &Courier,
    folder: &Arc<RingFolder>,
    address: &str,
    offered: &Statement,
) -> Fetched {
    let there = || Fetched::HasIt(offered.clone());
    let (asked, statement) = (folder.clone(), offered.clone());
    let judged = on_a_thread(move || match asked.judge(&statement) {
        Ok(Step::Sign) => asked.keep_statement(&statement).map(|_| Step::Nothing),
        other => other,
    });
    match judged.await {
        Ok(Step::Install) => {}
        Ok(_) => return there(),
        Err(refusal @ Refusal::NotNewer { .. }) => {
            return if is_rival(&refusal) { Fetched::Refused(refusal) } else { there() };
        }
        Err(refusal) => return Fetched::Refused(refusal),
    }
    // It may be a newer one by now.
    let (statement, bytes) = match courier.get(address, &offered.name).await {
        Ok(got) if got.0.name == offered.name => got,
        Ok(_) => {
            return Fetched::Failed(Failure::Nonsense("another ring than asked for".to_owned()));
        }
        Err(failure) => return Fetched::Failed(failure),
    };
    let (installer, said) = (folder.clone(), statement.clone());
    let installed = on_a_thread(move || {
        installer.judge(&said)?;
        installer.install(&said.file(&bytes)?, &said)
    });
    match installed.await {
        Ok(Step::Install) => Fetched::Installed(statement),
        Ok(_) => Fetched::HasIt(statement),
        Err(refusal) => Fetched::Refused(refusal),
    }
}

/// Whether another ring of the same rank is here: only people can decide between these.
fn is_rival(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::NotNewer { offered, held, .. } if offered == held)
}

async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(Refusal::Disk("reading rings failed".to_owned())))
}

/// Asks some of the servers that `peers` names now and then, at once and about every `interval`,
/// until a stop.
pub async fn keep_fetching(
    courier: Courier,
    folder: Arc<RingFolder>,
    peers: impl Fn() -> Vec<String> + Send,
    interval: Duration,
    drain: Drain,
) {
    let mut told = Told::default();
    loop {
        let renewed = folder.clone();
        if let Err(refusal) = on_a_thread(move || renewed.renew_statements()).await {
            tracing::debug!("rings are not signed anew: {refusal}");
        }
        for address in chosen(peers()) {
            tokio::select! {
                fetched = fetch_from(&courier, &folder, &address) => told.tell(&address, fetched),
                () = drain.begun() => return,
            }
        }
        // Not all nodes at the same moment.
        let wait = interval.mul_f64(0.75 + seed::share() / 2.0);
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = drain.begun() => return,
        }
    }
}

/// Some of them, by chance.
fn chosen(mut peers: Vec<String>) -> Vec<String> {
    let mut chosen = Vec::new();
    while chosen.len() < PEERS && !peers.is_empty() {
        let at = usize::try_from(u64::from_le_bytes(seed::bytes())).unwrap_or_default();
        chosen.push(peers.swap_remove(at % peers.len()));
    }
    chosen
}

/// Tells each trouble once, until it is another.
#[derive(Default)]
struct Told {
    last: std::collections::BTreeMap<RingName, String>,
}

impl Told {
    fn tell(&mut self, address: &str, fetched: Result<Vec<(RingName, Fetched)>, Failure>) {
        let fetched = match fetched {
            Ok(fetched) => fetched,
            // A node that is away is nothing new: others tell of it.
            Err(failure) => return tracing::debug!(address, "asked for rings: {failure}"),
        };
        for (name, fetched) in fetched {
            let trouble = match fetched {
                Fetched::Installed(said) => {
                    self.last.remove(&name);
                    tracing::info!(ring = %name, from = address, "fetched {}", said.rank());
                    continue;
                }
                Fetched::HasIt(_) | Fetched::NotSigned(_) => continue,
                Fetched::Refused(refusal) => refusal.to_string(),
                Fetched::Failed(failure) => failure.to_string(),
            };
            if self.last.get(&name) != Some(&trouble) {
                tracing::warn!(ring = %name, from = address, "not fetched: {trouble}");
                self.last.insert(name, trouble);
            }
        }
    }
}
