//! The nodes of a partition in the order in which they are asked, and the rules of a quorum.
//!
//! Primaries come first, then handoffs; nodes that are being avoided come last of their kind.
//!
//! A new ring reaches the proxies one after another, and moves one replica of a partition. A
//! majority of the old primaries and a majority of the new ones may then have no node in common, and
//! a reader would miss a write. For some time after a change, operations that need a majority
//! therefore need one of the old primaries *and* one of the new ones: it overlaps with the
//! majorities of proxies that still use the old ring, and of those that use the new one alone (as
//! in Raft's joint consensus).
//!
//! While the number of partitions is being doubled, an object has a path in each of two partitions of
//! the same nodes. A write goes to both as long as another process may read either: to the next
//! partition once the change is announced, and to the previous one as long as others may use that
//! ring.

use apus_cluster::policy::majority;
use apus_cluster::{HashConf, PartPower};
use apus_ring::{Device, Ring, SharedRing};
use apus_wire::Client;

/// The nodes of one partition.
#[derive(Debug, Clone)]
pub(crate) struct Nodes {
    pub(crate) partition: u32,
    pub(crate) primaries: Vec<Device>,
    /// The handoffs, without the former primaries.
    pub(crate) handoffs: Vec<Device>,
    /// Primaries of the previous ring that the current ring has replaced.
    pub(crate) former: Vec<Device>,
    /// All primaries of the previous ring, as indices of voters; empty when nothing was moved.
    before: Vec<usize>,
    /// The part power of the second path of a written object.
    pub(crate) other_power: Option<PartPower>,
}

/// Maximum number of handoffs that are asked, per primary (Swift's `request_node_count = 2 * replicas`).
const HANDOFFS_PER_PRIMARY: usize = 1;

/// Which nodes together are a quorum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum QuorumRule {
    /// This number of any nodes.
    Any(usize),
    /// Of each of these sets of voters this number.
    OfEach(Vec<(Vec<usize>, usize)>),
}

impl QuorumRule {
    /// Whether these nodes are a quorum; `None` stands for a node that is not a voter.
    pub(crate) fn is_met(&self, by: impl Iterator<Item = Option<usize>> + Clone) -> bool {
        match self {
            Self::Any(needed) => by.count() >= *needed,
            Self::OfEach(sets) => sets.iter().all(|(set, needed)| {
                by.clone().flatten().filter(|voter| set.contains(voter)).count() >= *needed
            }),
        }
    }
}

/// The part power of the second path of a written object. Swift's proxies send only the next part
/// power, as long as it is in the ring, and its servers accept any.
fn other_power(
    power: PartPower,
    next: Option<PartPower>,
    former: Option<PartPower>,
) -> Option<PartPower> {
    let next = next?;
    Some(former.filter(|former| *former < power && next == power).unwrap_or(next))
}

fn is_same(one: &Device, other: &Device) -> bool {
    // Not the id: a builder gives the id of a removed device to the next new one.
    one.device == other.device && one.address() == other.address()
}

/// The multiplier of Fibonacci hashing: 2^64 over the golden ratio.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

impl Nodes {
    /// The nodes by one ring alone.
    pub(crate) fn new(ring: &Ring, partition: u32) -> Self {
        let primaries: Vec<Device> = ring.primaries(partition).into_iter().cloned().collect();
        let handoffs = ring
            .handoffs(partition)
            .take(primaries.len() * HANDOFFS_PER_PRIMARY)
            .cloned()
            .collect();
        Self { handoffs, ..Self::only(partition, primaries) }
    }

    /// These nodes alone.
    pub(crate) fn only(partition: u32, primaries: Vec<Device>) -> Self {
        let (handoffs, former, before) = (Vec::new(), Vec::new(), Vec::new());
        Self { partition, primaries, handoffs, former, before, other_power: None }
    }

    /// The nodes by the current ring, and by the previous one as long as others may use that.
    pub(crate) fn of(rings: &SharedRing, hash: &HashConf, names: &[&str]) -> Self {
        // In this order, since a change stores the old ring first.
        let ring = rings.get();
        let own = hash.hash(names);
        let former = rings.former();
        let mut nodes = Self::new(&ring, ring.partition(&own));
        let before = former.as_ref().map(|former| former.part_power());
        nodes.other_power = other_power(ring.part_power(), ring.next_part_power(), before);
        match former {
            Some(former) => nodes.with_former(&former.primaries(former.partition(&own))),
            None => nodes,
        }
    }

    /// Adds the primaries of the previous ring.
    fn with_former(mut self, before: &[&Device]) -> Self {
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

    /// The nodes that count where majorities must overlap: the primaries, and those of the previous
    /// ring.
    pub(crate) fn voters(&self) -> impl Iterator<Item = &Device> {
        self.primaries.iter().chain(&self.former)
    }

    /// The index of a node among the voters.
    pub(crate) fn voter(&self, node: &Device) -> Option<usize> {
        self.voters().position(|voter| is_same(voter, node))
    }

    /// The nodes that replace failed ones, in order. None of them replaces a voter as a voter.
    pub(crate) fn fallbacks(&self, strict: bool) -> Vec<Device> {
        let former = if strict { &[][..] } else { self.former.as_slice() };
        former.iter().chain(&self.handoffs).cloned().collect()
    }

    /// Whether the nodes that are not being avoided can be a quorum.
    pub(crate) fn can_avoid(&self, client: &Client, rule: &QuorumRule) -> bool {
        let strict = matches!(rule, QuorumRule::OfEach(_));
        let fallbacks = self.fallbacks(strict);
        let voters = self.voters().take(if strict { usize::MAX } else { self.primaries.len() });
        let voters = voters.enumerate().map(|(index, node)| (Some(index), node));
        let others = fallbacks.iter().map(|node| (None, node));
        let free = voters.chain(others).filter(|(_, node)| !client.is_limited(node));
        let free: Vec<_> = free.map(|(voter, _)| voter).collect();
        rule.is_met(free.iter().copied())
    }

    /// The rule of this number of primaries, and a majority of those of the previous ring.
    pub(crate) fn voter_rule(&self, needed: usize) -> QuorumRule {
        let mut sets = vec![((0..self.primaries.len()).collect(), needed)];
        if !self.before.is_empty() {
            sets.push((self.before.clone(), needed.min(majority(self.before.len()))));
        }
        QuorumRule::OfEach(sets)
    }

    /// Primaries for reading: in a different order for every request, so that load spreads; new ones
    /// come last. The second list has those that are being avoided, for reads that need them. `turn` is
    /// spread, so that reads that are repeated after a fixed number of turns ask other nodes as well.
    pub(crate) fn shuffled_primaries(
        &self,
        client: &Client,
        turn: u64,
    ) -> (Vec<Device>, Vec<Device>) {
        let mut nodes: Vec<(usize, Device)> = self.primaries.iter().cloned().enumerate().collect();
        if !nodes.is_empty() {
            let by = usize::try_from(turn.wrapping_mul(SPREAD) >> 32).unwrap_or(0) % nodes.len();
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
        alone.with_former(&all(before).iter().collect::<Vec<_>>())
    }

    #[test]
    fn a_joint_quorum_overlaps_with_every_majority_of_either_ring() {
        let nodes = nodes(&["b", "c", "d"], &["a", "e"], &["a", "b", "c"]);
        let names =
            |devices: &[Device]| devices.iter().map(|d| d.device.clone()).collect::<Vec<_>>();
        assert_eq!(names(&nodes.former), ["a"]);
        assert_eq!(
            (names(&nodes.fallbacks(true)), names(&nodes.fallbacks(false))),
            (vec!["e".into()], vec!["a".into(), "e".into()])
        );
        let rule = nodes.voter_rule(2);
        let sets = |count: usize| {
            (0..1usize << count)
                .map(move |bits| (0..count).filter(|at| bits >> at & 1 == 1).collect::<Vec<_>>())
        };
        let met: Vec<_> =
            sets(4).filter(|set| rule.is_met(set.iter().copied().map(Some))).collect();
        assert!(met.contains(&vec![0, 1]), "the two old ones");
        assert!(!met.contains(&vec![1, 2]), "the new one and one old one");
        for set in &met {
            for majority in [[0, 1], [0, 2], [1, 2], [0, 3], [1, 3]] {
                assert!(majority.iter().any(|voter| set.contains(voter)), "{set:?} {majority:?}");
            }
        }
        assert!(!rule.is_met([Some(0), None, None].into_iter()), "handoffs are not voters");
    }

    #[test]
    fn writes_go_to_the_next_and_the_previous_partition_while_others_may_read_them() {
        let other = |power: u32, next: Option<u32>, former: Option<u32>| {
            let of = |power: u32| PartPower::new(power).unwrap();
            other_power(of(power), next.map(of), former.map(of)).map(PartPower::get)
        };
        assert_eq!(other(4, None, None), None);
        assert_eq!(other(4, Some(5), None), Some(5), "announced");
        assert_eq!(other(5, Some(5), Some(4)), Some(4), "doubled a moment ago");
        assert_eq!(other(5, Some(5), None), Some(5), "all processes have it");
        assert_eq!(other(5, None, Some(4)), None, "finished");
        assert_eq!(other(4, Some(4), Some(4)), Some(4), "cancelled");
        assert_eq!(other(5, Some(6), Some(4)), Some(6), "announced again");
    }

    #[test]
    fn when_nothing_was_moved_a_majority_is_enough() {
        let nodes = nodes(&["b", "c", "a"], &["d"], &["a", "b", "c"]);
        assert_eq!(nodes.voter_rule(2), QuorumRule::OfEach(vec![(vec![0, 1, 2], 2)]));
        assert_eq!((nodes.voters().count(), nodes.voter(&device("d"))), (3, None));
    }
}
