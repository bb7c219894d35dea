//! Which node does what all replicas of a container could do: that of the first primary that answers.
//!
//! Each primary asks those before it in the ring's order. Two that cannot reach each other may both do
//! the work, which must be correct then.

use apus_broker::LocalClient;
use apus_cluster::ContainerPath;
use apus_daemon::http::empty;
use apus_ring::Device;
use apus_wire::message::container::{ContainerAddress, ReadContainerRequest};

/// Whether this node's `device` is the first primary that has the container.
pub(crate) async fn is_first_primary(
    local: &LocalClient,
    container: &ContainerPath,
    partition: u32,
    device: &str,
) -> bool {
    let primaries: Vec<Device> =
        local.ring.get().primaries(partition).into_iter().cloned().collect();
    let is_own = |node: &Device| node.device == device && local.local.owns(node);
    let Some(own) = primaries.iter().position(is_own) else { return false };
    for node in primaries.iter().take(own) {
        let address = ContainerAddress { container: container.clone(), partition, trans_id: None };
        let request = ReadContainerRequest::head(address).encode();
        let answer = local.client.send(&node.for_replication(), &request, empty()).await;
        if answer.is_ok_and(|answer| answer.status().is_success()) {
            return false;
        }
    }
    true
}
