//! Removes one container of a deleted account over the wire: its objects from every replica, then
//! the container itself.
//!
//! Each server that removes something tells the listing above it, as for a client's deletion. A
//! container that still has objects refuses to go, so nothing can be lost from sight here.

use apus_cluster::{PolicyIndex, Timestamp, percent};
use apus_daemon::http::{empty, header, set};
use apus_ring::Device;
use apus_wire::{NodeRequest, headers};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use http::{HeaderMap, Method, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use serde::Deserialize;

use super::PAGE;
use super::report::{Reaped, Removal};
use crate::server::Server;
use crate::units::DaemonParts;

/// Longest page of a listing that a container server may answer, in bytes.
const LISTING_BYTES_MAX: usize = 128 * 1024 * 1024;

/// A deleted account and who holds it.
pub(super) struct Account {
    pub(super) name: String,
    pub(super) partition: u32,
    pub(super) nodes: Vec<Device>,
}

/// Removes containers.
#[derive(Clone, Copy)]
pub(super) struct Remover<'a> {
    pub(super) server: &'a Server,
    pub(super) parts: &'a DaemonParts,
    /// Objects of a container at the same time.
    pub(super) at_once: usize,
}

/// A container and who holds it.
struct Container<'a> {
    account: &'a str,
    name: &'a str,
    partition: u32,
    nodes: Vec<Device>,
}

#[derive(Deserialize)]
struct ListedName {
    name: String,
}

/// Those of `nodes` that request `index` of `requests` is to name, so that all of them together
/// name every node and each names one.
fn dealt(nodes: &[Device], index: usize, requests: usize) -> Vec<&Device> {
    let mine = nodes.iter().enumerate().filter(|(at, _)| at % requests.max(1) == index);
    let mine: Vec<&Device> = mine.map(|(_, node)| node).collect();
    match mine.is_empty() {
        true => nodes.get(index % nodes.len().max(1)).into_iter().collect(),
        false => mine,
    }
}

/// Names the servers of a listing in a request, as comma lists.
fn name_servers(
    request: &mut HeaderMap,
    [host, partition, device]: [&str; 3],
    number: u32,
    nodes: &[&Device],
) {
    let join = |each: fn(&Device) -> String| {
        nodes.iter().map(|node| each(node)).collect::<Vec<_>>().join(",")
    };
    set(request, host, &join(Device::replication_address));
    set(request, device, &join(|node| node.device.clone()));
    set(request, partition, &number.to_string());
}

impl Remover<'_> {
    fn now(&self) -> Timestamp {
        Timestamp::from_duration(self.server.databases.deps.clock.now())
    }

    async fn send(
        &self,
        node: &Device,
        request: &NodeRequest,
        reaped: &mut Reaped,
    ) -> Option<Response<apus_daemon::Body>> {
        match self.parts.client.send(&node.for_replication(), request, empty()).await {
            Ok(response) => {
                reaped.answered(response.status());
                Some(response)
            }
            Err(error) => {
                tracing::debug!(%error, node = node.address(), device = node.device, "reaper");
                None
            }
        }
    }

    /// Removes a container of the account with all its objects.
    pub(super) async fn container(self, account: &Account, name: String) -> Reaped {
        let mut reaped = Reaped::default();
        let container = {
            let ring = self.parts.containers.get();
            let partition =
                ring.partition_of(&self.server.databases.deps.hash, &[&account.name, &name]);
            let nodes = ring.primaries(partition).into_iter().cloned().collect();
            Container { account: &account.name, name: &name, partition, nodes }
        };
        let mut marker = String::new();
        while let Some((policy, objects)) = self.list(&container, &marker, &mut reaped).await {
            let Some(last) = objects.last().map(|row| row.name.clone()) else { break };
            self.objects(&container, policy, objects, &mut reaped).await;
            // A server that does not heed the marker would keep us here for ever.
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

    /// A page of the container, from the first server that has it.
    async fn list(
        &self,
        container: &Container<'_>,
        marker: &str,
        reaped: &mut Reaped,
    ) -> Option<(PolicyIndex, Vec<ListedName>)> {
        let mut query = format!("format=json&limit={PAGE}&marker=");
        percent::encode_into(&mut query, marker.as_bytes(), b"");
        let mut allow_reserved = HeaderMap::new();
        set(&mut allow_reserved, headers::ALLOW_RESERVED_NAMES, "true");
        let request = NodeRequest {
            method: Method::GET,
            partition: container.partition,
            names: vec![container.account.to_owned(), container.name.to_owned()],
            query,
            headers: allow_reserved,
        };
        for node in container.nodes.iter().rev() {
            let Some(response) = self.send(node, &request, reaped).await else { continue };
            if !response.status().is_success() {
                continue;
            }
            let (head, body) = response.into_parts();
            let policy = header(&head.headers, headers::POLICY_INDEX);
            let policy = PolicyIndex(policy.and_then(|text| text.parse().ok()).unwrap_or(0));
            let deadline = self.parts.client.deadlines().answer;
            // Boxed, since the compiler does not see that its error outlives a request.
            let listing = Limited::new(body, LISTING_BYTES_MAX).collect().boxed();
            let Ok(Ok(body)) = tokio::time::timeout(deadline, listing).await else {
                tracing::debug!(node = node.address(), "reaper: a listing broke off");
                continue;
            };
            let body = body.to_bytes();
            if body.is_empty() {
                return Some((policy, Vec::new()));
            }
            match serde_json::from_slice(&body) {
                Ok(rows) => return Some((policy, rows)),
                Err(error) => tracing::error!(%error, node = node.address(), "reaper: listing"),
            }
        }
        None
    }

    async fn objects(
        &self,
        container: &Container<'_>,
        policy: PolicyIndex,
        objects: Vec<ListedName>,
        reaped: &mut Reaped,
    ) {
        let mut running = FuturesUnordered::new();
        for row in objects {
            if running.len() >= self.at_once
                && let Some(one) = running.next().await
            {
                reaped.add(&one);
            }
            running.push(self.object(container, policy, row.name));
        }
        while let Some(one) = running.next().await {
            reaped.add(&one);
        }
    }

    /// Removes an object from each of its primaries, at one time for all.
    async fn object(&self, container: &Container<'_>, policy: PolicyIndex, name: String) -> Reaped {
        let mut reaped = Reaped::default();
        let Some(ring) = self.parts.objects.get(&policy).map(|ring| ring.get()) else {
            tracing::error!(%policy, container = container.name, "reaper: no ring of this policy");
            reaped.object(Removal::Remaining);
            return reaped;
        };
        let names = [container.account, container.name, &name];
        let partition = ring.partition_of(&self.server.databases.deps.hash, &names);
        let nodes: Vec<Device> = ring.primaries(partition).into_iter().cloned().collect();
        let time = self.now().to_string();
        let mut successes = 0;
        for (index, node) in nodes.iter().enumerate() {
            let mut request_headers = HeaderMap::new();
            set(&mut request_headers, headers::TIMESTAMP, &time);
            set(&mut request_headers, headers::POLICY_INDEX, &policy.to_string());
            name_servers(
                &mut request_headers,
                [headers::CONTAINER_HOST, headers::CONTAINER_PARTITION, headers::CONTAINER_DEVICE],
                container.partition,
                &dealt(&container.nodes, index, nodes.len()),
            );
            let request = NodeRequest {
                method: Method::DELETE,
                partition,
                names: names.map(str::to_owned).to_vec(),
                query: String::new(),
                headers: request_headers,
            };
            let answer = self.send(node, &request, &mut reaped).await;
            // 404: it was gone there, and has a tombstone now.
            let removed =
                |status: StatusCode| status.is_success() || status == StatusCode::NOT_FOUND;
            successes += usize::from(answer.is_some_and(|answer| removed(answer.status())));
            apus_fault::point("reap.object.deleted");
        }
        reaped.object(Removal::of(successes, nodes.len() - successes));
        reaped
    }

    /// Removes the container from each of its primaries, at one time for all.
    async fn delete_container(
        &self,
        account: &Account,
        container: &Container<'_>,
        reaped: &mut Reaped,
    ) {
        let time = self.now().to_string();
        let mut successes = 0;
        for (index, node) in container.nodes.iter().enumerate() {
            let mut request_headers = HeaderMap::new();
            set(&mut request_headers, headers::TIMESTAMP, &time);
            set(&mut request_headers, headers::ACCOUNT_OVERRIDE_DELETED, "yes");
            name_servers(
                &mut request_headers,
                [headers::ACCOUNT_HOST, headers::ACCOUNT_PARTITION, headers::ACCOUNT_DEVICE],
                account.partition,
                &dealt(&account.nodes, index, container.nodes.len()),
            );
            let request = NodeRequest {
                method: Method::DELETE,
                partition: container.partition,
                names: vec![account.name.clone(), container.name.to_owned()],
                query: String::new(),
                headers: request_headers,
            };
            let answer = self.send(node, &request, reaped).await;
            successes += usize::from(answer.is_some_and(|answer| answer.status().is_success()));
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
