//! Which policy a container has, as its primary servers say together.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use apus_broker::replication::{ReplicaInfo, policy_order};
use apus_cluster::policy::majority;
use apus_cluster::{ContainerPath, HashConf, PolicyIndex, Timestamp};
use apus_daemon::Clock;
use apus_daemon::http::{empty, new_trans_id};
use apus_ring::{Device, SharedRing};
use apus_wire::Client;
use apus_wire::message::container::{ContainerAddress, ContainerTimes, ReadContainerRequest};
use futures_util::future::join_all;
use http::StatusCode;

/// How long an answer is believed (Swift's `CONTAINER_POLICY_TTL`).
const BELIEVED: Duration = Duration::from_secs(30);
/// Containers that are remembered at most.
const KNOWN_MAX: usize = 1000;

/// Asks container servers.
#[derive(Debug)]
pub(super) struct Placements {
    pub(super) client: Arc<Client>,
    pub(super) containers: Arc<SharedRing>,
    pub(super) hash: HashConf,
    known: Mutex<HashMap<ContainerPath, (Duration, Placement)>>,
}

/// Where the objects of a container belong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placement {
    pub(super) policy: PolicyIndex,
    /// Whether the container is there, or was deleted.
    pub(super) exists: bool,
    /// Whether all primaries say so: until then it may yet be the other policy.
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

/// What they say together: the one that replicators will make of them. There are `primaries`.
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
        Self { client, containers, hash, known: Mutex::default() }
    }

    /// Where objects of a container belong; `None` when less than a majority of its primaries
    /// answers, or none of them knows the container.
    pub(super) async fn of(
        &self,
        container: &ContainerPath,
        clock: &dyn Clock,
    ) -> Option<Placement> {
        let now = clock.now();
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, placement)) = known().get(container)
            && now.saturating_sub(*at) < BELIEVED
        {
            return Some(*placement);
        }
        let placement = self.ask(container, clock).await?;
        let mut known = known();
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(container.clone(), (now, placement));
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
                    tracing::debug!(status = %answer.status(), node = node.address(), "policy");
                    None
                }
                Err(error) => {
                    tracing::debug!(%error, node = node.address(), "policy");
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
