//! The order of nodes: primaries, then handoffs, the avoided ones last of their kind; and which of
//! them together are enough.
//!
//! A new ring reaches the proxies one after another, and moves one replica of a partition: a
//! majority of the old primaries and one of the new ones may then have no node in common, and a
//! reader would not meet a writer. So for a while after a change whoever must meet everybody needs
//! a majority of the old primaries *and* one of the new: that meets those who still go by the old
//! ring, and those who go by the new one alone (as in Raft's joint consensus).
//!
//! While the number of partitions is being doubled, an object has a path in each of two partitions of
//! the same nodes. What is written is to be in both for as long as somebody may look there: in the
//! next one from the announcement on, and in the one before as long as others may go by that ring.

use apus_cluster::HashConf;
use apus_cluster::policy::majority;
use apus_ring::{Device, Ring, SharedRing};
use apus_wire::Client;

/// The nodes of one partition.
#[derive(Debug, Clone)]
pub(crate) struct Nodes {
    pub(crate) partition: u32,
    pub(crate) primaries: Vec<Device>,
    /// The others, without the former primaries.
    pub(crate) handoffs: Vec<Device>,
    /// Primaries by the ring before that are none any more.
    pub(crate) former: Vec<Device>,
    /// All primaries by the ring before, as indices of voters; empty when nothing was moved.
    before: Vec<usize>,
    /// The part power by which a written object has its other path.
    pub(crate) other_power: Option<u32>,
}

/// Handoffs that are asked at most, per primary (Swift's `request_node_count = 2 * replicas`).
const HANDOFFS_PER_PRIMARY: usize = 1;

/// Which nodes are enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Enough {
    /// So many, whoever they are.
    Any(usize),
    /// Of each of these sets of voters so many.
    OfEach(Vec<(Vec<usize>, usize)>),
}

impl Enough {
    /// Whether these are; `None` stands for somebody who is no voter.
    pub(crate) fn is_met(&self, by: &[Option<usize>]) -> bool {
        match self {
            Self::Any(needed) => by.len() >= *needed,
            Self::OfEach(sets) => sets.iter().all(|(set, needed)| {
                let of_set = |voter: &&Option<usize>| voter.is_some_and(|one| set.contains(&one));
                by.iter().filter(of_set).count() >= *needed
            }),
        }
    }
}

/// Where what is written is also to be found. Swift's proxies tell the next part power only, as long
/// as it is in the ring, and its servers take any.
fn other_power(power: u32, next: Option<u32>, former: Option<u32>) -> Option<u32> {
    let next = next?;
    Some(former.filter(|former| *former < power && next == power).unwrap_or(next))
}

fn is_same(one: &Device, other: &Device) -> bool {
    // Not the id: a builder gives that of a device which went to the next one that comes.
    one.device == other.device && one.address() == other.address()
}

impl Nodes {
    /// By one ring alone.
    pub(crate) fn new(ring: &Ring, partition: u32) -> Self {
        let primaries: Vec<Device> = ring.primaries(partition).into_iter().cloned().collect();
        let handoffs = ring
            .handoffs(partition)
            .take(primaries.len() * HANDOFFS_PER_PRIMARY)
            .cloned()
            .collect();
        Self { handoffs, ..Self::only(partition, primaries) }
    }

    /// These alone.
    pub(crate) fn only(partition: u32, primaries: Vec<Device>) -> Self {
        let (handoffs, former, before) = (Vec::new(), Vec::new(), Vec::new());
        Self { partition, primaries, handoffs, former, before, other_power: None }
    }

    /// By the current ring, and by the one before as long as others may go by that.
    pub(crate) fn of(rings: &SharedRing, hash: &HashConf, names: &[&str]) -> Self {
        // In this order: whoever changes them remembers the old one first.
        let ring = rings.get();
        let own = hash.hash(names);
        let former = rings.former();
        let mut nodes = Self::new(&ring, ring.partition(&own));
        let before = former.as_ref().map(|former| former.part_power());
        nodes.other_power = other_power(ring.part_power(), ring.next_part_power(), before);
        match former {
            Some(former) => nodes.beside(&former.primaries(former.partition(&own))),
            None => nodes,
        }
    }

    fn beside(mut self, before: &[&Device]) -> Self {
        let known = |device: &Device| self.primaries.iter().position(|own| is_same(own, device));
        let mut moved = Vec::new();
        let mut set = Vec::new();
        for device in before {
            set.push(known(device).unwrap_or_else(|| {
                moved.push((*device).clone());
                self.primaries.len() + moved.len() - 1
            }));
        }
        if !moved.is_empty() {
            self.handoffs.retain(|handoff| !moved.iter().any(|device| is_same(device, handoff)));
            (self.former, self.before) = (moved, set);
        }
        self
    }

    /// Who counts where majorities must meet: the primaries, and those of the ring before.
    pub(crate) fn voters(&self) -> impl Iterator<Item = &Device> {
        self.primaries.iter().chain(&self.former)
    }

    /// The index of a node among the voters.
    pub(crate) fn voter(&self, node: &Device) -> Option<usize> {
        self.voters().position(|voter| is_same(voter, node))
    }

    /// Who takes what others cannot take: in their place as voters nobody.
    pub(crate) fn fallbacks(&self, strict: bool) -> Vec<Device> {
        let former = if strict { &[][..] } else { self.former.as_slice() };
        former.iter().chain(&self.handoffs).cloned().collect()
    }

    /// Whether those that are not being avoided can be enough.
    pub(crate) fn can_avoid(&self, client: &Client, enough: &Enough) -> bool {
        let strict = matches!(enough, Enough::OfEach(_));
        let fallbacks = self.fallbacks(strict);
        let voters = self.voters().take(if strict { usize::MAX } else { self.primaries.len() });
        let voters = voters.enumerate().map(|(index, node)| (Some(index), node));
        let others = fallbacks.iter().map(|node| (None, node));
        let free = voters.chain(others).filter(|(_, node)| !client.is_limited(node));
        enough.is_met(&free.map(|(voter, _)| voter).collect::<Vec<_>>())
    }

    /// So many of the primaries, and a majority of those before.
    pub(crate) fn enough(&self, needed: usize) -> Enough {
        let mut sets = vec![((0..self.primaries.len()).collect(), needed)];
        if !self.before.is_empty() {
            sets.push((self.before.clone(), needed.min(majority(self.before.len()))));
        }
        Enough::OfEach(sets)
    }

    /// Primaries for reading: in a different order for every request, so that load spreads; those
    /// that are new come last. Then those that are being avoided, for whoever cannot do without.
    pub(crate) fn shuffled_primaries(
        &self,
        client: &Client,
        turn: u64,
    ) -> (Vec<Device>, Vec<Device>) {
        let mut nodes: Vec<(usize, Device)> = self.primaries.iter().cloned().enumerate().collect();
        if !nodes.is_empty() {
            let by = usize::try_from(turn).unwrap_or(0) % nodes.len();
            nodes.rotate_left(by);
        }
        let is_new = |index: &usize| !self.before.is_empty() && !self.before.contains(index);
        nodes.sort_by_key(|(index, _)| is_new(index));
        nodes.into_iter().map(|(_, node)| node).partition(|node| !client.is_limited(node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(name: &str) -> Device {
        Device::at("127.0.0.1:6200", name).unwrap()
    }

    fn nodes(primaries: &[&str], handoffs: &[&str], before: &[&str]) -> Nodes {
        let all = |names: &[&str]| names.iter().map(|name| device(name)).collect::<Vec<_>>();
        let (primaries, handoffs) = (all(primaries), all(handoffs));
        let alone = Nodes { handoffs, ..Nodes::only(0, primaries) };
        alone.beside(&all(before).iter().collect::<Vec<_>>())
    }

    #[test]
    fn what_is_enough_meets_every_majority_of_either_ring() {
        let nodes = nodes(&["b", "c", "d"], &["a", "e"], &["a", "b", "c"]);
        let names =
            |devices: &[Device]| devices.iter().map(|d| d.device.clone()).collect::<Vec<_>>();
        assert_eq!(names(&nodes.former), ["a"]);
        assert_eq!(
            (names(&nodes.fallbacks(true)), names(&nodes.fallbacks(false))),
            (vec!["e".into()], vec!["a".into(), "e".into()])
        );
        let enough = nodes.enough(2);
        let sets = |count: usize| {
            (0..1usize << count)
                .map(move |bits| (0..count).filter(|at| bits >> at & 1 == 1).collect::<Vec<_>>())
        };
        let met: Vec<_> = sets(4)
            .filter(|set| enough.is_met(&set.iter().copied().map(Some).collect::<Vec<_>>()))
            .collect();
        assert!(met.contains(&vec![0, 1]), "the two that stay");
        assert!(!met.contains(&vec![1, 2]), "the new one and one that stays");
        for set in &met {
            for majority in [[0, 1], [0, 2], [1, 2], [0, 3], [1, 3]] {
                assert!(majority.iter().any(|voter| set.contains(voter)), "{set:?} {majority:?}");
            }
        }
        assert!(!enough.is_met(&[Some(0), None, None]), "handoffs are no voters");
    }

    #[test]
    fn writes_go_to_the_next_partition_and_to_the_one_before_while_others_may_look_there() {
        assert_eq!(other_power(4, None, None), None);
        assert_eq!(other_power(4, Some(5), None), Some(5), "announced");
        assert_eq!(other_power(5, Some(5), Some(4)), Some(4), "doubled a moment ago");
        assert_eq!(other_power(5, Some(5), None), Some(5), "everybody knows it");
        assert_eq!(other_power(5, None, Some(4)), None, "finished");
        assert_eq!(other_power(4, Some(4), Some(4)), Some(4), "cancelled");
        assert_eq!(other_power(5, Some(6), Some(4)), Some(6), "announced again");
    }

    #[test]
    fn when_nothing_was_moved_a_majority_is_enough() {
        let nodes = nodes(&["b", "c", "a"], &["d"], &["a", "b", "c"]);
        assert_eq!(nodes.enough(2), Enough::OfEach(vec![(vec![0, 1, 2], 2)]));
        assert_eq!((nodes.voters().count(), nodes.voter(&device("d"))), (3, None));
    }
}
