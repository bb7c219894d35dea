//! The database rows that each object server of a write has to send.
//!
//! These are the rows of the listing, and those of the expirer's queue when the object expires. The
//! replicas of a database are distributed over the requests, so that together they name every
//! replica, and some more than once where losing a request could leave too few.
//! Source: `swift/proxy/controllers/obj.py`, `_backend_requests`.

use apus_cluster::policy::write_quorum;
use apus_cluster::{ObjectPath, expirer};
use apus_daemon::http::set;
use apus_ring::{Device, SharedRing};
use apus_wire::headers;
use http::HeaderMap;

use super::Quorum;

/// Number of object servers that are asked to remove the task of an expiry that no longer holds. The
/// expirer finds a task that is left over, so this need not succeed.
const CLEANERS: usize = 2;

/// The replicas of a database, distributed over the requests of a write.
pub(super) struct RowTargets {
    pub(super) partition: u32,
    nodes: Vec<Device>,
}

impl RowTargets {
    /// The database of these names by a ring.
    pub(super) fn of(quorum: &Quorum, ring: &SharedRing, names: &[&str]) -> Self {
        let ring = ring.get();
        let partition = ring.partition_of(&quorum.hash, names);
        Self { partition, nodes: ring.primaries(partition).into_iter().cloned().collect() }
    }

    /// Number of replicas.
    pub(super) fn replicas(&self) -> usize {
        self.nodes.len()
    }

    /// Comma lists of the hosts and devices to which the request of this index sends a row, when
    /// `updates` rows are sent in `requests` requests.
    pub(super) fn share(
        &self,
        updates: usize,
        requests: usize,
        index: usize,
    ) -> Option<(String, String)> {
        let mine: Vec<&Device> = (0..updates)
            .filter(|update| update % requests.max(1) == index)
            .filter_map(|update| self.nodes.get(update % self.nodes.len().max(1)))
            .collect();
        let join = |each: fn(&Device) -> String| {
            mine.iter().map(|node| each(node)).collect::<Vec<_>>().join(",")
        };
        (!mine.is_empty()).then(|| (join(Device::address), join(|node| node.device.clone())))
    }
}

/// The rows of one write.
pub(super) struct ObjectRows {
    listing: RowTargets,
    /// The container of the queue, by name.
    queue: Option<(String, RowTargets)>,
    requests: usize,
    updates: usize,
}

/// The number of rows that are sent so that a write accepted by a quorum reaches a quorum of
/// databases.
fn updates_needed(databases: usize, requests: usize) -> usize {
    let certain = (write_quorum(databases) + requests).saturating_sub(write_quorum(requests));
    certain.max(databases)
}

impl ObjectRows {
    /// For a write of `object` in `requests` requests; `delete_at` is in seconds since 1970.
    pub(super) fn new(
        quorum: &Quorum,
        object: &ObjectPath,
        delete_at: Option<u64>,
        requests: usize,
    ) -> Self {
        let ring = &quorum.rings.container;
        let container = &object.container;
        let names = [container.account.as_str(), container.container.as_str()];
        let listing = RowTargets::of(quorum, ring, &names);
        let queue = delete_at.map(|delete_at| {
            let hash = quorum.hash.hash_joined(&object.to_string());
            let name = expirer::task_container(&hash, delete_at);
            let database = RowTargets::of(quorum, ring, &[expirer::ACCOUNT, &name]);
            (name, database)
        });
        let updates = updates_needed(listing.nodes.len(), requests);
        Self { listing, queue, requests, updates }
    }

    fn share(&self, database: &RowTargets, index: usize) -> Option<(String, String)> {
        database.share(self.updates, self.requests, index)
    }

    /// Adds the share of the request of this index.
    pub(super) fn deal(&self, index: usize, request: &mut HeaderMap) {
        if let Some((hosts, devices)) = self.share(&self.listing, index) {
            set(request, headers::CONTAINER_HOST, &hosts);
            set(request, headers::CONTAINER_DEVICE, &devices);
            set(request, headers::CONTAINER_PARTITION, &self.listing.partition.to_string());
        }
        // From the other end, so that no server gets all additional rows.
        let reversed = self.requests.checked_sub(index + 1);
        if let Some((name, queue)) = &self.queue
            && let Some(reversed) = reversed
            && let Some((hosts, devices)) = self.share(queue, reversed)
        {
            set(request, headers::DELETE_AT_CONTAINER, name);
            set(request, headers::DELETE_AT_HOST, &hosts);
            set(request, headers::DELETE_AT_DEVICE, &devices);
            set(request, headers::DELETE_AT_PARTITION, &queue.partition.to_string());
        }
        if !request.contains_key(headers::CLEAN_QUEUE) {
            set(request, headers::CLEAN_QUEUE, if index < CLEANERS { "t" } else { "f" });
        }
    }
}

#[cfg(test)]
mod tests {
    use apus_daemon::http::header;

    use super::*;

    fn database(partition: u32, names: &[&str]) -> RowTargets {
        let node = |name: &&str| Device::at("127.0.0.1:6201", name).unwrap();
        RowTargets { partition, nodes: names.iter().map(node).collect() }
    }

    #[test]
    fn as_many_rows_are_sent_as_swift_sends() {
        let row =
            |databases| [1, 2, 3, 4, 5, 6].map(|requests| updates_needed(databases, requests));
        assert_eq!(row(1), [1, 2, 2, 3, 3, 4]);
        assert_eq!(row(2), [2, 2, 2, 3, 3, 4]);
        assert_eq!(row(3), [3, 3, 3, 4, 4, 5]);
        assert_eq!(row(4), [4, 4, 4, 4, 4, 5]);
    }

    #[test]
    fn tasks_are_distributed_from_the_other_end_and_two_servers_clean_up() {
        let queue = ("1699919962".to_owned(), database(7, &["q1", "q2", "q3"]));
        let rows = ObjectRows {
            listing: database(5, &["c1", "c2", "c3"]),
            queue: Some(queue),
            requests: 2,
            updates: updates_needed(3, 2),
        };
        let dealt = [0, 1].map(|index| {
            let mut request = HeaderMap::new();
            rows.deal(index, &mut request);
            request
        });
        let devices = |name| [0, 1].map(|index: usize| header(&dealt[index], name).unwrap());
        assert_eq!(devices(headers::CONTAINER_DEVICE), ["c1,c3", "c2"]);
        assert_eq!(devices(headers::DELETE_AT_DEVICE), ["q2", "q1,q3"]);
        assert_eq!(devices(headers::DELETE_AT_PARTITION), ["7", "7"]);
        assert_eq!(devices(headers::DELETE_AT_CONTAINER), ["1699919962", "1699919962"]);
        assert_eq!(devices(headers::CLEAN_QUEUE), ["t", "t"]);
        let mut request = HeaderMap::new();
        set(&mut request, headers::CLEAN_QUEUE, "no");
        rows.deal(0, &mut request);
        assert_eq!(header(&request, headers::CLEAN_QUEUE), Some("no"));
        let mut third = HeaderMap::new();
        ObjectRows { requests: 3, ..rows }.deal(2, &mut third);
        assert_eq!(header(&third, headers::CLEAN_QUEUE), Some("f"));
    }
}
