//! The database rows that each object server of a write has to send.
//!
//! These are the rows of the listing, and those of the expirer's queue when the object expires. The
//! replicas of a database are distributed over the requests, so that together they name every
//! replica, and some more than once where losing a request could leave too few.
//! Source: `swift/proxy/controllers/obj.py`, `_backend_requests`.

use apus_cluster::policy::write_quorum;
use apus_cluster::{ObjectPath, expirer};
use apus_ring::{Device, SharedRing};
use apus_wire::message::RowTargets;
use apus_wire::message::object::{ObjectRowTargets, QueueTargets};

use super::Quorum;

/// Number of object servers that are asked to remove the task of an expiry that no longer holds. The
/// expirer finds a task that is left over, so this need not succeed.
const CLEANERS: usize = 2;

/// The number of rows that are sent so that a write accepted by a quorum reaches a quorum of
/// databases.
fn updates_needed(databases: usize, requests: usize) -> usize {
    let certain = (write_quorum(databases) + requests).saturating_sub(write_quorum(requests));
    certain.max(databases)
}

/// Distributes the replicas of a database over `requests` requests, so that `updates` rows are sent.
fn distribute(
    partition: u32,
    replicas: &[&Device],
    requests: usize,
    updates: usize,
) -> Vec<RowTargets> {
    let mut shares = vec![RowTargets { partition, nodes: Vec::new() }; requests];
    for update in 0..updates {
        let node = replicas.get(update % replicas.len().max(1));
        let share = shares.get_mut(update % requests.max(1));
        if let (Some(node), Some(share)) = (node, share) {
            share.nodes.push((*node).clone());
        }
    }
    shares
}

/// The shares of `requests` requests in a database: each replica once, or with `is_object` as often
/// as the rows of an object need.
fn shares(
    quorum: &Quorum,
    ring: &SharedRing,
    names: &[&str],
    requests: usize,
    is_object: bool,
) -> Vec<RowTargets> {
    let ring = ring.get();
    let partition = ring.partition_of(&quorum.hash, names);
    let replicas = ring.primaries(partition);
    let updates = match is_object {
        true => updates_needed(replicas.len(), requests),
        false => replicas.len(),
    };
    distribute(partition, &replicas, requests, updates)
}

/// The account databases to which each of `requests` requests of a container sends its row.
pub(super) fn account_rows(quorum: &Quorum, account: &str, requests: usize) -> Vec<RowTargets> {
    shares(quorum, &quorum.rings.account, &[account], requests, false)
}

/// The rows of one write, by the request that sends them.
pub(super) struct ObjectRows {
    requests: Vec<ObjectRowTargets>,
    /// The rows of a request beyond the replicas: none.
    none: ObjectRowTargets,
}

impl ObjectRows {
    /// The rows of a write of `object` in `requests` requests; `delete_at` is in seconds since 1970.
    pub(super) fn new(
        quorum: &Quorum,
        object: &ObjectPath,
        delete_at: Option<u64>,
        requests: usize,
    ) -> Self {
        let ring = &quorum.rings.container;
        let container = &object.container;
        let names = [container.account.as_str(), container.container.as_str()];
        let listing = shares(quorum, ring, &names, requests, true);
        let queue = delete_at.map(|delete_at| {
            let hash = quorum.hash.hash_joined(&object.to_string());
            let name = expirer::task_container(&hash, delete_at);
            let shares = shares(quorum, ring, &[expirer::ACCOUNT, &name], requests, true);
            (name, shares)
        });
        Self::combine(listing, queue)
    }

    fn combine(listing: Vec<RowTargets>, queue: Option<(String, Vec<RowTargets>)>) -> Self {
        let (name, shares) = queue.map_or((None, Vec::new()), |(name, rows)| (Some(name), rows));
        // From the other end, so that no server gets all additional rows.
        let mut shares = shares.into_iter().rev();
        let requests = listing.into_iter().enumerate().map(|(index, listing)| {
            let targets = shares.next().filter(|targets| !targets.is_empty());
            let queue = targets.map(|targets| QueueTargets { container: name.clone(), targets });
            let cleans_queue = Some(index < CLEANERS);
            ObjectRowTargets { listing, queue, cleans_queue, ..ObjectRowTargets::default() }
        });
        let none = ObjectRowTargets { cleans_queue: Some(false), ..ObjectRowTargets::default() };
        Self { requests: requests.collect(), none }
    }

    /// The same rows without the removal of tasks.
    pub(super) fn keeping_tasks(mut self) -> Self {
        for rows in &mut self.requests {
            rows.cleans_queue = Some(false);
        }
        self
    }

    /// The rows that the request of this index sends.
    pub(super) fn of(&self, index: usize) -> &ObjectRowTargets {
        self.requests.get(index).unwrap_or(&self.none)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(partition: u32, names: &[&str], requests: usize) -> Vec<RowTargets> {
        let node = |name: &&str| Device::at("127.0.0.1:6201", name).unwrap();
        let nodes: Vec<Device> = names.iter().map(node).collect();
        let nodes: Vec<&Device> = nodes.iter().collect();
        distribute(partition, &nodes, requests, updates_needed(nodes.len(), requests))
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
        let rows = |requests: usize| {
            let queue = database(7, &["q1", "q2", "q3"], requests);
            let listing = database(5, &["c1", "c2", "c3"], requests);
            ObjectRows::combine(listing, Some(("1699919962".to_owned(), queue)))
        };
        let devices = |targets: &RowTargets| {
            targets.nodes.iter().map(|node| node.device.clone()).collect::<Vec<_>>().join(",")
        };
        let two = rows(2);
        assert_eq!([0, 1].map(|index| devices(&two.of(index).listing)), ["c1,c3", "c2"]);
        let queue = |index: usize| two.of(index).queue.as_ref().unwrap();
        assert_eq!([0, 1].map(|index| devices(&queue(index).targets)), ["q2", "q1,q3"]);
        assert_eq!([0, 1].map(|index| queue(index).targets.partition), [7, 7]);
        assert_eq!(queue(0).container.as_deref(), Some("1699919962"));
        let cleans = |rows: &ObjectRows| [0, 1, 2].map(|index| rows.of(index).cleans_queue());
        assert_eq!(cleans(&rows(3)), [true, true, false]);
        assert_eq!(cleans(&rows(3).keeping_tasks()), [false; 3]);
    }
}
