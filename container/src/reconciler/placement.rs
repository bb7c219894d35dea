//! Which policy a container has, as its primary servers say together.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use apus_broker::replication::{ReplicaInfo, policy_order};
use apus_cluster::policy::majority;
use apus_cluster::{ContainerPath, HashConf, PolicyIndex};
use apus_daemon::Clock;
use apus_daemon::http::{empty, header, new_trans_id, set};
use apus_ring::{Device, SharedRing};
use apus_wire::{Client, NodeRequest, headers};
use futures_util::future::join_all;
use http::{HeaderMap, Method, StatusCode};

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

/// What one server says; `None` for one that never heard of the container.
fn told(status: StatusCode, answer: &HeaderMap) -> Option<(ReplicaInfo, bool)> {
    let text = |name| header(answer, name).unwrap_or_default().to_owned();
    let info = ReplicaInfo {
        storage_policy_index: Some(text(headers::POLICY_INDEX).parse().ok()?),
        put_timestamp: text("x-backend-put-timestamp"),
        delete_timestamp: text("x-backend-delete-timestamp"),
        status_changed_at: text("x-backend-status-changed-at"),
        ..ReplicaInfo::default()
    };
    Some((info, status.is_success()))
}

/// What they say together: the one that replicators will make of them. There are `primaries`.
fn best(told: &[(ReplicaInfo, bool)], primaries: usize) -> Option<Placement> {
    let (info, exists) = told.iter().min_by(|one, other| policy_order(&one.0, &other.0))?;
    let policy = u32::try_from(info.storage_policy_index?).ok()?;
    let same =
        |other: &&(ReplicaInfo, bool)| other.0.storage_policy_index == info.storage_policy_index;
    let agreed = told.iter().filter(same).count() >= primaries;
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
        let mut request_headers = HeaderMap::new();
        set(&mut request_headers, headers::TRANS_ID, &new_trans_id(clock, ""));
        let request = NodeRequest {
            method: Method::HEAD,
            partition,
            names: names.map(str::to_owned).to_vec(),
            query: String::new(),
            headers: request_headers,
        };
        let asked = nodes.iter().map(|node| async {
            match self.client.send(&node.for_replication(), &request, empty()).await {
                Ok(answer)
                    if answer.status().is_success() || answer.status() == StatusCode::NOT_FOUND =>
                {
                    Some(told(answer.status(), answer.headers()))
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

    fn answer(policy: &str, put: &str, delete: &str, changed: &str) -> HeaderMap {
        let mut head = HeaderMap::new();
        set(&mut head, headers::POLICY_INDEX, policy);
        set(&mut head, "x-backend-put-timestamp", put);
        set(&mut head, "x-backend-delete-timestamp", delete);
        set(&mut head, "x-backend-status-changed-at", changed);
        head
    }

    fn of(answers: &[(u16, HeaderMap)]) -> Option<(u32, bool, bool)> {
        let status = |code| StatusCode::from_u16(code).unwrap();
        let told: Vec<_> =
            answers.iter().filter_map(|(code, head)| told(status(*code), head)).collect();
        let best = best(&told, answers.len())?;
        Some((best.policy.0, best.exists, best.agreed))
    }

    #[test]
    fn the_oldest_policy_is_the_containers_until_it_is_made_again() {
        let old = answer("0", "0000000001.00000", "0", "0000000001.00000");
        let new = answer("1", "0000000002.00000", "0", "0000000002.00000");
        let again = answer("2", "0000000009.00000", "0000000005.00000", "0000000009.00000");
        let gone = answer("3", "0000000001.00000", "0000000007.00000", "0000000007.00000");
        let one_of = |policy| Some((policy, true, false));
        assert_eq!(of(&[(204, new.clone()), (204, old.clone())]), one_of(0));
        assert_eq!(of(&[(204, old.clone()), (204, new.clone()), (204, again)]), one_of(2));
        assert_eq!(of(&[(404, gone.clone()), (204, new.clone())]), one_of(1));
        assert_eq!(of(&[(404, HeaderMap::new()), (204, old)]), one_of(0));
        assert_eq!(of(&[(204, new.clone()), (204, new)]), Some((1, true, true)));
        assert_eq!(of(&[(404, gone)]), Some((3, false, true)));
        assert_eq!(of(&[(404, HeaderMap::new())]), None);
    }
}
