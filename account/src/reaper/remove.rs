//! Removes one container of a deleted account: its objects from every replica, then itself.
//!
//! Each server that removes something reports it to the listing above, as for a client's deletion. A
//! container that still has objects refuses the deletion, so no object loses its listing here.

use apus_cluster::name::NameError;
use apus_cluster::{
    AccountName, ContainerName, ContainerPath, ObjectName, PolicyIndex, Timestamp, percent,
};
use apus_daemon::http::empty;
use apus_ring::Device;
use apus_wire::NodeRequest;
use apus_wire::message::RowTargets;
use apus_wire::message::container::{
    ContainerAddress, ContainerTimes, DeleteContainerRequest, ReadContainerRequest,
};
use apus_wire::message::object::{
    DeleteObjectRequest, ObjectAddress, ObjectRowTargets, WriteFence,
};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use serde::Deserialize;

use super::PAGE;
use super::locks::may_have_locks;
use super::report::{Reaped, Removal};
use crate::server::Server;
use crate::units::DaemonParts;

/// Bytes of a page of a listing at most.
const LISTING_BYTES_MAX: usize = 128 * 1024 * 1024;

/// A deleted account and the devices that hold it.
pub(super) struct ReapedAccount {
    pub(super) name: AccountName,
    pub(super) partition: u32,
    pub(super) nodes: Vec<Device>,
}

/// Removes containers of deleted accounts.
#[derive(Clone, Copy)]
pub(super) struct Remover<'a> {
    pub(super) server: &'a Server,
    pub(super) parts: &'a DaemonParts,
    /// Objects of a container that are removed at the same time.
    pub(super) at_once: usize,
}

/// A container and the devices that hold it.
pub(super) struct ReapedContainer {
    path: ContainerPath,
    partition: u32,
    pub(super) nodes: Vec<Device>,
}

impl ReapedContainer {
    pub(super) fn address(&self) -> ContainerAddress {
        let (container, partition) = (self.path.clone(), self.partition);
        ContainerAddress { container, partition, trans_id: None }
    }
}

/// A page of a container.
struct ListedPage {
    policy: PolicyIndex,
    /// Whether objects of the container may be locked.
    may_have_locks: bool,
    rows: Vec<ListedName>,
}

#[derive(Deserialize)]
struct ListedName {
    name: String,
}

/// Those of `nodes` that request `index` of `requests` names, so that all requests together name every
/// node and each names at least one.
fn dealt(nodes: &[Device], index: usize, requests: usize) -> Vec<&Device> {
    let mine = nodes.iter().enumerate().filter(|(at, _)| at % requests.max(1) == index);
    let mine: Vec<&Device> = mine.map(|(_, node)| node).collect();
    match mine.is_empty() {
        true => nodes.get(index % nodes.len().max(1)).into_iter().collect(),
        false => mine,
    }
}

/// The servers of a listing that one request names.
fn targets(partition: u32, nodes: &[&Device]) -> RowTargets {
    RowTargets { partition, nodes: nodes.iter().map(|node| node.for_replication()).collect() }
}

impl Remover<'_> {
    pub(super) fn now(&self) -> Timestamp {
        Timestamp::from_duration(self.server.databases.deps.clock.now())
    }

    pub(super) async fn send(
        &self,
        node: &Device,
        request: &NodeRequest,
        reaped: &mut Reaped,
    ) -> Option<Response<apus_daemon::Body>> {
        match self.parts.client.send(&node.for_replication(), request, empty()).await {
            Ok(response) => {
                reaped.count_response(response.status());
                Some(response)
            }
            Err(error) => {
                let (node, device) = (node.address(), &node.device);
                tracing::debug!(%error, node, device, "A request of the account reaper failed");
                None
            }
        }
    }

    /// Removes a container of the account with all its objects.
    pub(super) async fn container(self, account: &ReapedAccount, name: String) -> Reaped {
        let mut reaped = Reaped::default();
        let container = match self.locate(account, &name) {
            Ok(container) => container,
            Err(error) => {
                tracing::error!(%error, container = name, "Failed to reap an invalid container");
                reaped.container(Removal::Remaining);
                return reaped;
            }
        };
        if self.has_parts_of_versions(account, &name, &mut reaped).await {
            reaped.container(Removal::Remaining);
            return reaped;
        }
        let mut marker = String::new();
        while let Some(page) = self.list(&container, &marker, &mut reaped).await {
            let Some(last) = page.rows.last().map(|row| row.name.clone()) else { break };
            self.objects(&container, page, &mut reaped).await;
            // A server that ignores the marker would make this loop endless.
            if last <= marker {
                break;
            }
            marker = last;
        }
        apus_fault::point("reap.objects.deleted");
        self.delete_container(account, &container, &mut reaped).await;
        apus_fault::point("reap.container.deleted");
        reaped
    }

    pub(super) fn locate(
        &self,
        account: &ReapedAccount,
        name: &str,
    ) -> Result<ReapedContainer, NameError> {
        let path = ContainerPath::new(account.name.clone(), ContainerName::parse(name)?);
        let ring = self.parts.containers.get();
        let names = [account.name.as_str(), name];
        let partition = ring.partition_of(&self.server.databases.deps.hash, &names);
        let nodes = ring.primaries(partition).into_iter().cloned().collect();
        Ok(ReapedContainer { path, partition, nodes })
    }

    /// A page of the container, from the first server that has it.
    async fn list(
        &self,
        container: &ReapedContainer,
        marker: &str,
        reaped: &mut Reaped,
    ) -> Option<ListedPage> {
        let mut query = format!("format=json&limit={PAGE}&marker=");
        percent::encode_into(&mut query, marker.as_bytes(), b"");
        let mut request = ReadContainerRequest::list(container.address(), query);
        request.allow_reserved = true;
        let request = request.encode();
        for node in container.nodes.iter().rev() {
            let Some(response) = self.send(node, &request, reaped).await else { continue };
            if !response.status().is_success() {
                continue;
            }
            let (head, body) = response.into_parts();
            let policy = ContainerTimes::decode(&head.headers).policy.unwrap_or(PolicyIndex(0));
            let may_have_locks = may_have_locks(&head);
            let deadline = self.parts.client.deadlines().answer;
            // Boxed, since the compiler does not see that its error outlives a request.
            let listing = Limited::new(body, LISTING_BYTES_MAX).collect().boxed();
            let Ok(Ok(body)) = tokio::time::timeout(deadline, listing).await else {
                tracing::debug!(
                    node = node.address(),
                    "A listing for the account reaper broke off"
                );
                continue;
            };
            let body = body.to_bytes();
            if body.is_empty() {
                return Some(ListedPage { policy, may_have_locks, rows: Vec::new() });
            }
            match serde_json::from_slice(&body) {
                Ok(rows) => return Some(ListedPage { policy, may_have_locks, rows }),
                Err(error) => {
                    let node = node.address();
                    tracing::error!(%error, node, "Invalid listing for the account reaper");
                }
            }
        }
        None
    }

    async fn objects(&self, container: &ReapedContainer, page: ListedPage, reaped: &mut Reaped) {
        let ListedPage { policy, may_have_locks, rows } = page;
        let mut running = FuturesUnordered::new();
        for row in rows {
            if running.len() >= self.at_once
                && let Some(one) = running.next().await
            {
                reaped.add(&one);
            }
            running.push(self.object(container, (policy, may_have_locks), row.name));
        }
        while let Some(one) = running.next().await {
            reaped.add(&one);
        }
    }

    /// Removes an object from each of its primaries, at one time for all.
    async fn object(
        &self,
        container: &ReapedContainer,
        (policy, may_have_locks): (PolicyIndex, bool),
        name: String,
    ) -> Reaped {
        let mut reaped = Reaped::default();
        let Some(ring) = self.parts.objects.get(&policy).map(|ring| ring.get()) else {
            let container = &container.path;
            tracing::error!(%policy, %container, "Failed to reap objects: the policy has no ring");
            reaped.object(Removal::Remaining);
            return reaped;
        };
        let object = match ObjectName::parse(&name) {
            Ok(object) => container.path.object(object),
            Err(error) => {
                tracing::error!(%error, object = name, "Failed to reap an invalid object");
                reaped.object(Removal::Remaining);
                return reaped;
            }
        };
        let names = [object.account().as_str(), container.path.container.as_str(), &name];
        let partition = ring.partition_of(&self.server.databases.deps.hash, &names);
        let nodes: Vec<Device> = ring.primaries(partition).into_iter().cloned().collect();
        let address =
            ObjectAddress { object, partition, policy, next_part_power: None, trans_id: None };
        if may_have_locks && self.is_locked(&nodes, &address, &mut reaped).await {
            reaped.object(Removal::Remaining);
            return reaped;
        }
        let request = DeleteObjectRequest {
            address,
            timestamp: self.now(),
            if_delete_at: None,
            fence: WriteFence::default(),
            is_replication: false,
            rows: ObjectRowTargets::default(),
        };
        let request = request.encode();
        let mut successes = 0;
        for (index, node) in nodes.iter().enumerate() {
            let named = dealt(&container.nodes, index, nodes.len());
            let listing = targets(container.partition, &named);
            let rows = ObjectRowTargets { listing, ..ObjectRowTargets::default() };
            let request = request.clone().with_rows(&rows);
            let response = self.send(node, &request, &mut reaped).await;
            // 404: it did not exist there, and has a tombstone now.
            let removed =
                |status: StatusCode| status.is_success() || status == StatusCode::NOT_FOUND;
            successes += usize::from(response.is_some_and(|response| removed(response.status())));
            apus_fault::point("reap.object.deleted");
        }
        reaped.object(Removal::of(successes, nodes.len() - successes));
        reaped
    }

    /// Removes the container from each of its primaries, at one time for all.
    async fn delete_container(
        &self,
        account: &ReapedAccount,
        container: &ReapedContainer,
        reaped: &mut Reaped,
    ) {
        let request = DeleteContainerRequest {
            address: container.address(),
            timestamp: self.now(),
            account_rows: RowTargets::default(),
        };
        let request = request.encode().with_deleted_account();
        let mut successes = 0;
        for (index, node) in container.nodes.iter().enumerate() {
            let named = dealt(&account.nodes, index, container.nodes.len());
            let rows = targets(account.partition, &named);
            let request = request.clone().with_account_rows(&rows);
            let response = self.send(node, &request, reaped).await;
            successes +=
                usize::from(response.is_some_and(|response| response.status().is_success()));
        }
        reaped.container(Removal::of(successes, container.nodes.len() - successes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_server_of_the_listing_is_named_and_every_request_names_one() {
        let node = |name: &str| Device::at("127.0.0.1:6201", name).unwrap();
        let nodes = ["a", "b", "c"].map(node);
        let names = |requests: usize| -> Vec<String> {
            let of =
                |index| dealt(&nodes, index, requests).iter().map(|n| n.device.clone()).collect();
            (0..requests).map(of).collect()
        };
        assert_eq!(names(2), ["ac", "b"]);
        assert_eq!(names(3), ["a", "b", "c"]);
        assert_eq!(names(4), ["a", "b", "c", "a"]);
        assert!(dealt(&[], 0, 3).is_empty());
    }
}
