//! Read repair: copies the newest version to primaries that a strong read found outdated.
//!
//! The node with the newest version is asked to send it (data, metadata or tombstone, as its
//! replicator would). The read waits for it only where a minority has the version; the replicators do
//! what is not done here.
//! Swift's servers do not know the verb and leave it to their replicators.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use apus_cluster::{ObjectPath, Timestamp};
use apus_daemon::http::empty;
use apus_daemon::task::{TaskKind, spawn};
use apus_ring::Device;
use apus_wire::NodeRequest;
use apus_wire::message::object::{ObjectAddress, ObjectRowTargets, RepairRequest};
use tokio::sync::Semaphore;

use super::Quorum;

/// Maximum number of simultaneous repairs; others are left to the replicators.
const AT_ONCE: usize = 8;
/// A version younger than this may still be in transit to the primaries.
const SETTLED: Duration = Duration::from_millis(500);
/// The same object is not repaired again within this time.
const AGAIN: Duration = Duration::from_secs(10);
/// Maximum number of objects whose last repair is recorded.
const REMEMBERED_MAX: usize = 1024;
/// Deadline of a repair.
const DEADLINE: Duration = Duration::from_secs(60);
/// Deadline of a repair that a read waits for.
const READ_DEADLINE: Duration = Duration::from_secs(2);

/// Limits of read repair, and the objects that were repaired last.
#[derive(Debug)]
pub(crate) struct Repairs {
    free: Arc<Semaphore>,
    /// When each object was last repaired.
    last: Mutex<HashMap<ObjectPath, Duration>>,
}

impl Default for Repairs {
    fn default() -> Self {
        Self { free: Arc::new(Semaphore::new(AT_ONCE)), last: Mutex::default() }
    }
}

impl Repairs {
    /// Whether an object may be repaired now; records the repair if so.
    fn try_start(&self, object: &ObjectPath, now: Duration) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.get(object).is_some_and(|last| now.saturating_sub(*last) < AGAIN) {
            return false;
        }
        if last.len() >= REMEMBERED_MAX {
            last.retain(|_, last| now.saturating_sub(*last) < AGAIN);
        }
        if last.len() >= REMEMBERED_MAX {
            return false;
        }
        last.insert(object.clone(), now);
        true
    }
}

/// The request to copy what a node has of an object to others.
fn copy_request(address: ObjectAddress, nodes: Vec<Device>) -> NodeRequest {
    RepairRequest { address, nodes, rows: ObjectRowTargets::default() }.encode()
}

impl Quorum {
    /// Copies the version that `source` has to the primaries that are behind; whether all have it
    /// then.
    pub(super) async fn write_back(
        &self,
        address: ObjectAddress,
        source: &Device,
        behind: Vec<Device>,
    ) -> bool {
        if behind.is_empty() || apus_fault::planted("bug.repair-nothing") {
            return false;
        }
        let Ok(_permit) = self.repairs.free.try_acquire() else { return false };
        let repair = copy_request(address, behind);
        let sent = self.client.send_within(source, &repair, empty(), READ_DEADLINE).await;
        sent.is_ok_and(|answer| answer.status().is_success())
    }

    /// Starts to copy the version that `source` has to the primaries that are behind.
    pub(super) fn repair(
        &self,
        address: ObjectAddress,
        source: &Device,
        version: Timestamp,
        behind: Vec<Device>,
    ) {
        let now = self.clock.now();
        let settled = Timestamp::from_duration(now.saturating_sub(SETTLED));
        if behind.is_empty() || version > settled || apus_fault::planted("bug.repair-nothing") {
            return;
        }
        let Ok(permit) = self.repairs.free.clone().try_acquire_owned() else { return };
        if !self.repairs.try_start(&address.object, now) {
            return;
        }
        let targets: Vec<String> = behind
            .iter()
            .map(|node| format!("{}/{}", node.replication_address(), node.device))
            .collect();
        let object = address.object.clone();
        let repair = copy_request(address, behind);
        let (client, source) = (self.client.clone(), source.clone());
        spawn(TaskKind::Request, async move {
            let _permit = permit;
            let sent = client.send_within(&source, &repair, empty(), DEADLINE).await;
            match sent {
                Ok(answer) => {
                    tracing::info!(status = %answer.status(), %object, to = ?targets, "read repair was answered");
                }
                Err(error) => {
                    tracing::info!(%error, %object, to = ?targets, "read repair failed")
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use apus_cluster::{AccountName, ContainerName, ContainerPath, ObjectName};

    use super::*;

    #[test]
    fn an_object_is_repaired_again_only_after_a_while_and_memory_is_bounded() {
        let repairs = Repairs::default();
        let name = |number: usize| {
            let account = AccountName::parse("a").unwrap();
            let container = ContainerPath::new(account, ContainerName::parse("c").unwrap());
            container.object(ObjectName::parse(&number.to_string()).unwrap())
        };
        let now = Duration::from_secs(100);
        assert!(repairs.try_start(&name(0), now));
        assert!(!repairs.try_start(&name(0), now + AGAIN / 2));
        assert!(repairs.try_start(&name(0), now + AGAIN));
        for number in 1..2 * REMEMBERED_MAX {
            repairs.try_start(&name(number), now + AGAIN);
        }
        assert_eq!(repairs.last.lock().unwrap().len(), REMEMBERED_MAX);
        assert!(repairs.try_start(&name(5000), now + AGAIN * 3));
    }
}
