//! Read repair: a strong read that met a primary without the newest version has it brought there.
//!
//! The node with the newest version is asked to send it (data, metadata or tombstone, as its
//! replicator would); nobody waits for it, and what is not done here the replicators do. Swift's
//! servers do not know the verb, and theirs do it then.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use apus_cluster::Timestamp;
use apus_daemon::http::{empty, set};
use apus_daemon::task::{TaskKind, spawn};
use apus_ring::Device;
use apus_wire::{NodeRequest, headers, methods};
use http::Method;
use tokio::sync::Semaphore;

use super::Quorum;

/// Repairs that go on at the same time; more are left to the replicators.
const AT_ONCE: usize = 8;
/// A version younger than this may still be on its way to all primaries.
const SETTLED: Duration = Duration::from_millis(500);
/// The same object is not repaired again within this time.
const AGAIN: Duration = Duration::from_secs(10);
/// Objects whose repair is remembered.
const REMEMBERED_MAX: usize = 1024;
/// How long a repair may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// What is being repaired.
#[derive(Debug)]
pub(crate) struct Repairs {
    free: Arc<Semaphore>,
    /// When each object was last repaired.
    last: Mutex<HashMap<Vec<String>, Duration>>,
}

impl Default for Repairs {
    fn default() -> Self {
        Self { free: Arc::new(Semaphore::new(AT_ONCE)), last: Mutex::default() }
    }
}

impl Repairs {
    /// Whether an object's turn has come; notes that it is repaired now.
    fn begins(&self, names: &[String], now: Duration) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.get(names).is_some_and(|last| now.saturating_sub(*last) < AGAIN) {
            return false;
        }
        if last.len() >= REMEMBERED_MAX {
            last.retain(|_, last| now.saturating_sub(*last) < AGAIN);
        }
        if last.len() >= REMEMBERED_MAX {
            return false;
        }
        last.insert(names.to_vec(), now);
        true
    }
}

impl Quorum {
    /// Has the version that `source` holds brought to the primaries that are behind. `request` is
    /// the read that found them so.
    pub(super) fn repair(
        &self,
        request: &NodeRequest,
        source: &Device,
        version: Timestamp,
        behind: &[Device],
    ) {
        let now = self.clock.now();
        let settled = Timestamp::from_duration(now.saturating_sub(SETTLED));
        if behind.is_empty() || version > settled || apus_fault::planted("bug.repair-nothing") {
            return;
        }
        let Ok(permit) = self.repairs.free.clone().try_acquire_owned() else { return };
        if !self.repairs.begins(&request.names, now) {
            return;
        }
        let Ok(method) = Method::from_bytes(methods::REPAIR.as_bytes()) else { return };
        let targets: Vec<String> = behind
            .iter()
            .map(|node| format!("{}/{}", node.replication_address(), node.device))
            .collect();
        let mut repair = NodeRequest {
            method,
            partition: request.partition,
            names: request.names.clone(),
            query: String::new(),
            headers: http::HeaderMap::new(),
        };
        for name in [headers::POLICY_INDEX, headers::TRANS_ID, headers::NEXT_PART_POWER] {
            if let Some(value) = request.headers.get(name) {
                repair.headers.insert(name, value.clone());
            }
        }
        set(&mut repair.headers, headers::REPAIR_TO, &targets.join(","));
        let (client, source) = (self.client.clone(), source.clone());
        spawn(TaskKind::Request, async move {
            let _permit = permit;
            let sent = client.send_within(&source, &repair, empty(), DEADLINE).await;
            match sent {
                Ok(answer) => {
                    tracing::info!(status = %answer.status(), object = ?repair.names, to = ?targets, "read repair");
                }
                Err(error) => tracing::info!(%error, object = ?repair.names, "read repair"),
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_repaired_again_only_after_a_while_and_memory_is_bounded() {
        let repairs = Repairs::default();
        let name = |number: usize| vec![number.to_string()];
        let now = Duration::from_secs(100);
        assert!(repairs.begins(&name(0), now));
        assert!(!repairs.begins(&name(0), now + AGAIN / 2));
        assert!(repairs.begins(&name(0), now + AGAIN));
        for number in 1..2 * REMEMBERED_MAX {
            repairs.begins(&name(number), now + AGAIN);
        }
        assert_eq!(repairs.last.lock().unwrap().len(), REMEMBERED_MAX);
        assert!(repairs.begins(&name(5000), now + AGAIN * 3));
    }
}
