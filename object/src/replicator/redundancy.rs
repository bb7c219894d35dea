//! Counts objects below full redundancy: at least one primary lacks their newest state.
//!
//! An object is counted as a sweep finds it, before the sweep repairs it, by one node of the
//! cluster: the first primary in the ring's order that has it, of those that answer; by its handoff
//! when no primary that answers has it. Tombstones count as long as they are kept, and so do
//! objects that are held back as suspect. An object is `unknown` when no primary is known to lack
//! it, but one could not be asked. An object that another node repairs before its counting node
//! sees it is not counted; one that the counting node repairs itself counts until its next sweep.
//!
//! Some objects are counted more than once, never less: one of which primaries have three different
//! states; one that only handoffs have, by each of them, while no primary answers; one whose
//! primary answers some nodes and not others; and, until the next sweep of a node, one that another
//! node has counted since. Objects beyond [`DOUBTS_MAX`] of a partition are counted by each primary
//! that lacks them.

use std::collections::BTreeMap;

use apus_cluster::PathHash;

/// Objects of one partition that are distinguished. They are held in memory.
const DOUBTS_MAX: usize = 1_000_000;

/// Objects of one policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub(crate) struct Redundancy {
    /// A primary lacks their newest state.
    pub(crate) below: u64,
    /// A primary could not be asked.
    pub(crate) unknown: u64,
}

impl Redundancy {
    pub(crate) fn add(&mut self, other: Self) {
        self.below += other.below;
        self.unknown += other.unknown;
    }
}

/// State of an object that some primary may lack.
#[derive(Debug, Clone, Copy, Default)]
struct Doubt {
    /// Primaries before this one that are not known to have it.
    earlier: u8,
    /// Some primary lacks it.
    is_lacked: bool,
}

/// Comparison of a partition with its other primaries.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    /// Primaries before this one that answered: they count the objects that they have.
    earlier: u8,
    /// A primary's device is not mounted: it lacks everything.
    is_unmounted: bool,
    /// A primary did not answer at all.
    is_silent: bool,
    doubts: BTreeMap<PathHash, Doubt>,
    /// Lacked objects that are not in `doubts`.
    beyond: u64,
}

impl Comparison {
    /// Records that a primary returned its hashes.
    pub(super) fn answered(&mut self, is_earlier: bool) {
        self.earlier = self.earlier.saturating_add(u8::from(is_earlier));
    }

    /// Records that a primary's device is not mounted.
    pub(super) fn unmounted(&mut self) {
        self.is_unmounted = true;
    }

    /// Records that a primary could not be asked.
    pub(super) fn silent(&mut self) {
        self.is_silent = true;
    }

    /// Records that a primary lacks an object, or (`is_lacked` false) may lack it.
    pub(super) fn doubt(&mut self, hash: PathHash, is_earlier: bool, is_lacked: bool) {
        if self.doubts.len() >= DOUBTS_MAX && !self.doubts.contains_key(&hash) {
            self.beyond += 1;
            return;
        }
        let doubt = self.doubts.entry(hash).or_default();
        doubt.earlier = doubt.earlier.saturating_add(u8::from(is_earlier));
        doubt.is_lacked |= is_lacked;
    }

    /// Whether [`Comparison::count`] needs the total number of objects.
    pub(super) fn needs_total(&self) -> bool {
        self.earlier == 0 && (self.is_unmounted || self.is_silent)
    }

    /// What this primary counts of a partition with `total` objects.
    pub(super) fn count(&self, total: u64) -> Redundancy {
        let own = || self.doubts.values().filter(|doubt| doubt.earlier == self.earlier);
        let lacked = own().filter(|doubt| doubt.is_lacked).count() as u64 + self.beyond;
        let unsure = own().filter(|doubt| !doubt.is_lacked).count() as u64;
        match (self.earlier, self.is_unmounted) {
            // Everything here is for this primary to count.
            (0, true) => Redundancy { below: total.max(lacked), unknown: 0 },
            (0, false) if self.is_silent => {
                Redundancy { below: lacked, unknown: total.saturating_sub(lacked).max(unsure) }
            }
            (_, true) => Redundancy { below: lacked + unsure, unknown: 0 },
            (_, false) => Redundancy { below: lacked, unknown: unsure },
        }
    }
}

/// Counts some objects of a handoff. `lacked`: how many primaries lack each, of those
/// `answered`.
pub(super) fn of_handoff(lacked: &[usize], answered: usize) -> Redundancy {
    if answered == 0 {
        return Redundancy { below: 0, unknown: lacked.len() as u64 };
    }
    let alone = lacked.iter().filter(|lacked| **lacked == answered).count();
    Redundancy { below: alone as u64, unknown: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u8) -> PathHash {
        PathHash::parse(&format!("{number:032x}")).unwrap()
    }

    /// Redundancy in a cluster whose primaries have the given states (0: nothing) of object after
    /// object; primaries of `silent` do not answer, and do not count.
    fn cluster(objects: &[[u8; 3]], silent: &[usize], unmounted: &[usize]) -> Redundancy {
        let mut sum = Redundancy::default();
        for own in 0..3 {
            if silent.contains(&own) || unmounted.contains(&own) {
                continue;
            }
            let mut comparison = Comparison::default();
            let here = objects.iter().enumerate().filter(|(_, states)| states[own] > 0);
            for other in (0..3).filter(|other| *other != own) {
                if silent.contains(&other) {
                    comparison.silent();
                } else if unmounted.contains(&other) {
                    comparison.unmounted();
                } else {
                    comparison.answered(other < own);
                    for (number, states) in here.clone() {
                        if states[other] < states[own] {
                            let hash = hash(u8::try_from(number).unwrap());
                            comparison.doubt(hash, other < own, true);
                        }
                    }
                }
            }
            sum.add(comparison.count(here.count() as u64));
        }
        sum
    }

    fn counts(below: u64, unknown: u64) -> Redundancy {
        Redundancy { below, unknown }
    }

    #[test]
    fn each_object_is_counted_once_wherever_it_is() {
        assert_eq!(cluster(&[[1, 1, 1]; 4], &[], &[]), counts(0, 0));
        // All ways in which up to two states can lie on three nodes.
        for states in [
            [1, 0, 0],
            [0, 1, 0],
            [0, 0, 1],
            [1, 1, 0],
            [1, 0, 1],
            [0, 1, 1],
            [2, 1, 1],
            [1, 2, 1],
            [1, 1, 2],
            [2, 2, 1],
            [2, 1, 2],
            [1, 2, 2],
        ] {
            assert_eq!(cluster(&[states, [1, 1, 1]], &[], &[]), counts(1, 0), "{states:?}");
        }
        assert_eq!(cluster(&[[1, 0, 0], [0, 1, 0], [1, 1, 0], [1, 1, 1]], &[], &[]), counts(3, 0));
        // Three different states may be counted twice, never less than once.
        assert_eq!(cluster(&[[2, 3, 1]], &[], &[]), counts(2, 0));
        assert_eq!(cluster(&[[3, 2, 1]], &[], &[]), counts(1, 0));
    }

    #[test]
    fn while_a_node_is_silent_all_of_its_objects_are_unknown_unless_known_to_be_lacked() {
        for silent in 0..3 {
            assert_eq!(cluster(&[[1, 1, 1]; 5], &[silent], &[]), counts(0, 5), "{silent}");
        }
        assert_eq!(cluster(&[[1, 1, 1], [1, 1, 0], [1, 0, 1]], &[0], &[]), counts(2, 1));
        assert_eq!(cluster(&[[1, 1, 1]; 5], &[0, 2], &[]), counts(0, 5));
    }

    #[test]
    fn a_device_that_is_not_mounted_lacks_everything() {
        for gone in 0..3 {
            assert_eq!(cluster(&[[1, 1, 1]; 5], &[], &[gone]), counts(5, 0), "{gone}");
        }
        assert_eq!(cluster(&[[1, 1, 1]; 5], &[1], &[2]), counts(5, 0));
        assert_eq!(cluster(&[[1, 1, 0], [0, 1, 1]], &[], &[0]), counts(2, 0));
    }

    #[test]
    fn objects_that_a_node_did_not_compare_are_unknown() {
        let mut first = Comparison::default();
        first.answered(false);
        first.doubt(hash(1), false, false);
        first.answered(false);
        first.doubt(hash(2), false, true);
        assert_eq!(first.count(0), counts(1, 1));
        let mut last = Comparison::default();
        last.answered(true);
        last.doubt(hash(1), true, false);
        last.answered(true);
        assert_eq!(last.count(0), counts(0, 0), "the other one has it, and counts");
        last.doubt(hash(1), true, false);
        assert_eq!(last.count(0), counts(0, 1));
    }

    #[test]
    fn a_handoff_counts_what_no_primary_has() {
        assert_eq!(of_handoff(&[3, 2, 0, 3], 3), counts(2, 0));
        assert_eq!(of_handoff(&[1, 0], 1), counts(1, 0));
        assert_eq!(of_handoff(&[0, 0], 0), counts(0, 2));
    }
}
