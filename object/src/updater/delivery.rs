//! Delivers one update to the primaries of its container, or to a shard.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use apus_cluster::PolicyIndex;
use apus_daemon::http::empty;
use apus_disk::Priority;
use apus_ring::{Device, SharedRing};
use apus_wire::message::container::{RowHeaders, RowRedirect};
use apus_wire::{Client, NodeRequest};

use super::container_pace::ContainerPace;
use crate::rows::pending::{self as row_updates, PendingUpdate};
use crate::store::ObjectStore;

/// Sends the updates on the devices of `store`.
#[derive(Debug)]
pub(super) struct UpdateSender {
    pub(super) store: Arc<ObjectStore>,
    pub(super) client: Arc<Client>,
    pub(super) containers: Arc<SharedRing>,
}

/// Result of delivering an update.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum DeliveryOutcome {
    /// Every primary has it, and the file is gone.
    Delivered,
    /// A primary of this account and container does not have it.
    Left(String, String),
    /// The rate limit of its container was reached.
    Skipped,
    /// Another process delivered it.
    Gone,
    /// It could not be read, or its file could not be changed.
    Unreadable,
}

/// Result of delivering an update, and how often it was redirected.
#[derive(Debug)]
pub(super) struct Delivered {
    pub(super) outcome: DeliveryOutcome,
    pub(super) redirects: u64,
}

/// Result of one round of sending.
enum RoundOutcome {
    Complete,
    Redirected,
    Incomplete { new_successes: bool },
}

impl UpdateSender {
    /// Sends one update, and again when it is redirected.
    pub(super) async fn deliver(
        &self,
        device: &str,
        policy: PolicyIndex,
        path: PathBuf,
        pace: &ContainerPace,
    ) -> Delivered {
        let mut redirects = 0;
        let outcome = match self.try_deliver(device, policy, &path, pace, &mut redirects).await {
            Ok(outcome) => outcome,
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "Failed to deliver a row update");
                DeliveryOutcome::Unreadable
            }
        };
        Delivered { outcome, redirects }
    }

    /// Runs file work in the background of a device.
    async fn run<T: Send + 'static>(
        &self,
        device: &str,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        self.store.devices.run(device, Priority::Background, work).await?
    }

    async fn try_deliver(
        &self,
        device: &str,
        policy: PolicyIndex,
        path: &Path,
        pace: &ContainerPace,
        redirects: &mut u64,
    ) -> io::Result<DeliveryOutcome> {
        let read = path.to_owned();
        let Some(mut pending) = self.run(device, move || row_updates::read(&read)).await? else {
            return Ok(DeliveryOutcome::Gone);
        };
        let names = |pending: &PendingUpdate| {
            let invalid = || io::Error::new(io::ErrorKind::InvalidData, "the update lacks names");
            pending.names().ok_or_else(invalid)
        };
        let [account, container, _] = names(&pending)?;
        if !pace.allows(&self.store.hash.hash(&[&account, &container])) {
            return Ok(DeliveryOutcome::Skipped);
        }
        let mut round = self.send(policy, &mut pending).await?;
        let mut changed = false;
        if matches!(round, RoundOutcome::Redirected) {
            *redirects += 1;
            changed = true;
            round = self.send(policy, &mut pending).await?;
        }
        let path = path.to_owned();
        match round {
            RoundOutcome::Complete => {
                apus_fault::point("update.row.sent");
                self.run(device, move || row_updates::remove(&path)).await?;
                apus_fault::point("update.pending.removed");
                return Ok(DeliveryOutcome::Delivered);
            }
            RoundOutcome::Redirected => {
                *redirects += 1;
                changed = true;
            }
            RoundOutcome::Incomplete { new_successes } => changed |= new_successes,
        }
        let [account, container, _] = names(&pending)?;
        if changed {
            let counters = self.store.counters.clone();
            self.run(device, move || row_updates::replace(&path, &pending, &counters)).await?;
            apus_fault::point("update.pending.rewritten");
        }
        Ok(DeliveryOutcome::Left(account, container))
    }

    /// Sends to each primary that does not have it, and notes in `pending` which have it now, or the
    /// shard to which it belongs.
    async fn send(
        &self,
        policy: PolicyIndex,
        pending: &mut PendingUpdate,
    ) -> io::Result<RoundOutcome> {
        let invalid = |text: &str| io::Error::new(io::ErrorKind::InvalidData, text.to_owned());
        let names = pending.names().ok_or_else(|| invalid("the update lacks names"))?;
        let verb = pending.verb().ok_or_else(|| invalid("neither PUT nor DELETE"))?;
        let mut row = RowHeaders::default();
        row.set_origin(policy, None);
        row.accept_redirects();
        // Swift spells them in title case.
        let stored = pending.headers().0.into_iter();
        row.0.extend(stored.map(|(name, value)| (name.to_ascii_lowercase(), value)));
        row.set_user_agent(&format!("object-updater {}", std::process::id()));
        let (partition, mut nodes): (u32, Vec<Device>) = {
            let ring = self.containers.get();
            let [account, container, _] = &names;
            let partition = ring.partition_of(&self.store.hash, &[account, container]);
            (partition, ring.primaries(partition).into_iter().cloned().collect())
        };
        let known = pending.successes();
        nodes.retain(|node| !known.contains(&i64::from(node.id)));
        let request = row.encode(verb, partition, names.to_vec());
        let sent = nodes.iter().map(|node| self.send_to(node, &request));
        let answers = futures_util::future::join_all(sent).await;
        if answers.iter().all(|answer| matches!(answer, NodeAnswer::Taken)) {
            return Ok(RoundOutcome::Complete);
        }
        let mut newest: Option<RowRedirect> = None;
        let mut new_successes = false;
        for (node, answer) in nodes.iter().zip(answers) {
            match answer {
                NodeAnswer::Taken => {
                    pending.succeeded(i64::from(node.id));
                    new_successes = true;
                }
                NodeAnswer::SentOn(redirect) => {
                    newest = newest.into_iter().chain([redirect]).max_by_key(|one| one.time);
                }
                NodeAnswer::Refused => {}
            }
        }
        Ok(match newest {
            Some(redirect) => {
                pending.redirect(&redirect.path);
                RoundOutcome::Redirected
            }
            None => RoundOutcome::Incomplete { new_successes },
        })
    }

    async fn send_to(&self, node: &Device, request: &NodeRequest) -> NodeAnswer {
        match self.client.send(&node.for_replication(), request, empty()).await {
            Ok(response) if response.status().is_success() => NodeAnswer::Taken,
            Ok(response) => {
                let status = response.status();
                tracing::debug!(%status, node = node.address(), "A container server refused a row update");
                RowRedirect::decode(status, response.headers())
                    .map_or(NodeAnswer::Refused, NodeAnswer::SentOn)
            }
            Err(error) => {
                tracing::debug!(%error, node = node.address(), "Failed to send a row update");
                NodeAnswer::Refused
            }
        }
    }
}

/// Answer of one node.
enum NodeAnswer {
    Taken,
    SentOn(RowRedirect),
    Refused,
}
