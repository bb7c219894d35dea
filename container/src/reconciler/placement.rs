//! Finds the policy of a container by the state of its primary servers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use apus_broker::replication::policy_order;
use apus_cluster::policy::majority;
use apus_cluster::{ContainerPath, HashConf, PolicyIndex, Timestamp};
use apus_daemon::Clock;
use apus_daemon::http::{empty, new_trans_id};
use apus_ring::{Device, SharedRing};
use apus_wire::Client;
use apus_wire::message::container::{ContainerAddress, ContainerTimes, ReadContainerRequest};
use apus_wire::message::database::ReplicaInfo;
use futures_util::future::join_all;
use http::StatusCode;

/// How long a result is cached (Swift's `CONTAINER_POLICY_TTL`).
const CACHED_FOR: Duration = Duration::from_secs(30);
/// Containers in the cache at most.
const CACHE_MAX: usize = 1000;

/// Finds the policies of containers, with a cache.
#[derive(Debug)]
pub(super) struct Placements {
    pub(super) client: Arc<Client>,
    pub(super) containers: Arc<SharedRing>,
    pub(super) hash: HashConf,
    cache: Mutex<HashMap<ContainerPath, (Duration, Placement)>>,
}

/// The policy that the objects of a container belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placement {
    pub(super) policy: PolicyIndex,
    /// Whether the container exists, or was deleted.
    pub(super) exists: bool,
    /// Whether all primaries have this policy: until then it may still become the other one.
    pub(super) agreed: bool,
}

/// The state that one server returned; `None` if it never had the container.
fn state(exists: bool, times: ContainerTimes) -> Option<(ReplicaInfo, bool)> {
    let text = |time: Option<Timestamp>| time.map(|time| time.to_string()).unwrap_or_default();
    let info = ReplicaInfo {
        storage_policy_index: Some(i64::from(times.policy?.0)),
        put_timestamp: text(times.put),
        delete_timestamp: text(times.deleted),
        status_changed_at: text(times.status_changed),
        ..ReplicaInfo::default()
    };
    Some((info, exists))
}

/// The policy that replication will agree on. There are `primaries`.
fn best(states: &[(ReplicaInfo, bool)], primaries: usize) -> Option<Placement> {
    let (info, exists) = states.iter().min_by(|one, other| policy_order(&one.0, &other.0))?;
    let policy = u32::try_from(info.storage_policy_index?).ok()?;
    let same =
        |other: &&(ReplicaInfo, bool)| other.0.storage_policy_index == info.storage_policy_index;
    let agreed = states.iter().filter(same).count() >= primaries;
    Some(Placement { policy: PolicyIndex(policy), exists: *exists, agreed })
}

impl Placements {
    pub(super) fn new(client: Arc<Client>, containers: Arc<SharedRing>, hash: HashConf) -> Self {
        Self { client, containers, hash, cache: Mutex::default() }
    }

    /// The policy of a container; `None` when less than a majority of its primaries responds, or none
    /// of them has the container.
    pub(super) async fn of(
        &self,
        container: &ContainerPath,
        clock: &dyn Clock,
    ) -> Option<Placement> {
        let now = clock.now();
        let cache = || self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, placement)) = cache().get(container)
            && now.saturating_sub(*at) < CACHED_FOR
        {
            return Some(*placement);
        }
        let placement = self.ask(container, clock).await?;
        let mut cache = cache();
        if cache.len() >= CACHE_MAX {
            cache.clear();
        }
        cache.insert(container.clone(), (now, placement));
        Some(placement)
    }

    async fn ask(&self, container: &ContainerPath, clock: &dyn Clock) -> Option<Placement> {
        let names = [container.account.as_str(), container.container.as_str()];
        let (partition, nodes): (u32, Vec<Device>) = {
            let ring = self.containers.get();
            let partition = ring.partition_of(&self.hash, &names);
            (partition, ring.primaries(partition).into_iter().cloned().collect())
        };
        let address = ContainerAddress {
            container: container.clone(),
            partition,
            trans_id: Some(new_trans_id(clock, "")),
        };
        let request = ReadContainerRequest::head(address).encode();
        let asked = nodes.iter().map(|node| async {
            match self.client.send(&node.for_replication(), &request, empty()).await {
                Ok(answer)
                    if answer.status().is_success() || answer.status() == StatusCode::NOT_FOUND =>
                {
                    let exists = answer.status().is_success();
                    Some(state(exists, ContainerTimes::decode(answer.headers())))
                }
                Ok(answer) => {
                    let (status, node) = (answer.status(), node.address());
                    tracing::debug!(%status, node, "A server did not return a container's policy");
                    None
                }
                Err(error) => {
                    let node = node.address();
                    tracing::debug!(%error, node, "Failed to ask for a container's policy");
                    None
                }
            }
        });
        let answers: Vec<_> = join_all(asked).await.into_iter().flatten().collect();
        if answers.len() < majority(nodes.len()) {
            return None;
        }
        best(&answers.into_iter().flatten().collect::<Vec<_>>(), nodes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(policy: u32, put: u64, deleted: u64, changed: u64) -> ContainerTimes {
        let time = |seconds| Some(Timestamp::from_seconds(seconds));
        ContainerTimes {
            created: None,
            put: time(put),
            deleted: time(deleted),
            status_changed: time(changed),
            policy: Some(PolicyIndex(policy)),
        }
    }

    fn of(replies: &[(bool, ContainerTimes)]) -> Option<(u32, bool, bool)> {
        let states: Vec<_> =
            replies.iter().filter_map(|(exists, times)| state(*exists, *times)).collect();
        let best = best(&states, replies.len())?;
        Some((best.policy.0, best.exists, best.agreed))
    }

    #[test]
    fn the_oldest_policy_is_the_containers_until_it_is_made_again() {
        let (old, new) = (times(0, 1, 0, 1), times(1, 2, 0, 2));
        let (again, gone) = (times(2, 9, 5, 9), times(3, 1, 7, 7));
        let unknown = ContainerTimes::default();
        let one_of = |policy| Some((policy, true, false));
        assert_eq!(of(&[(true, new), (true, old)]), one_of(0));
        assert_eq!(of(&[(true, old), (true, new), (true, again)]), one_of(2));
        assert_eq!(of(&[(false, gone), (true, new)]), one_of(1));
        assert_eq!(of(&[(false, unknown), (true, old)]), one_of(0));
        assert_eq!(of(&[(true, new), (true, new)]), Some((1, true, true)));
        assert_eq!(of(&[(false, gone)]), Some((3, false, true)));
        assert_eq!(of(&[(false, unknown)]), None);
    }
}
