//! Holds back objects of a device that returned after their tombstones were reclaimed.
//!
//! When a device was away for longer than tombstones are kept ([`crate::store::presence`]), objects
//! that are older than the gap may have been deleted meanwhile. Such an object is not pushed but
//! counted as suspect, until an operator removes the note, unless another primary confirms it.
//!
//! A primary that was present all the time is a witness: it would have received the object's
//! tombstone, so an object that it has was not deleted, and one that it lacks was. A primary that
//! returned as well, or is new, proves no more than this device: its copy counts only if no witness
//! lacks the object, and if every primary answered. Each receiver reports since when it is present.

use std::collections::{BTreeMap, BTreeSet};

use apus_cluster::{PathHash, Timestamp};

use super::job::{Batch, PartitionJob};
use super::sender::{ObjectSelection, exchange};

/// Evidence on an object that may have been deleted.
#[derive(Debug, Clone, Copy, Default)]
struct ObjectEvidence {
    a_witness_has: bool,
    a_witness_lacks: bool,
    another_has: bool,
}

/// Evidence of other primaries on objects that may have been deleted since a time.
struct Evidence {
    since: Timestamp,
    doubts: BTreeMap<PathHash, ObjectEvidence>,
    any_silent: bool,
}

impl Evidence {
    fn of(since: Timestamp, objects: impl Iterator<Item = PathHash>) -> Self {
        let doubts = objects.map(|hash| (hash, ObjectEvidence::default())).collect();
        Self { since, doubts, any_silent: false }
    }

    /// Adds the objects that a primary lacks, and since when it is present, if it reported that.
    fn add(&mut self, present: Option<Timestamp>, lacking: &BTreeSet<PathHash>) {
        let is_witness = present.is_some_and(|present| present <= self.since);
        for (hash, doubt) in &mut self.doubts {
            match (is_witness, lacking.contains(hash)) {
                (true, true) => doubt.a_witness_lacks = true,
                (true, false) => doubt.a_witness_has = true,
                (false, true) => {}
                (false, false) => doubt.another_has = true,
            }
        }
    }

    fn held(self) -> BTreeSet<PathHash> {
        let any_silent = self.any_silent;
        let is_held = |doubt: &ObjectEvidence| {
            let confirmed = doubt.another_has && !doubt.a_witness_lacks && !any_silent;
            !doubt.a_witness_has && !confirmed
        };
        self.doubts.into_iter().filter(|(_, doubt)| is_held(doubt)).map(|(hash, _)| hash).collect()
    }
}

/// Objects that may have been deleted while the device was away, and that no other primary confirms.
pub(super) async fn held(job: &PartitionJob, batch: &Batch) -> BTreeSet<PathHash> {
    let Some(since) = job.away_since else { return BTreeSet::new() };
    let old: Vec<_> = batch.offers.iter().filter(|offer| offer.data < since).copied().collect();
    let mut evidence = Evidence::of(since, old.iter().map(|offer| offer.hash));
    if old.is_empty() {
        return BTreeSet::new();
    }
    for node in job.other_primaries() {
        match exchange(&job.source(), &node, &old, ObjectSelection::Nothing).await {
            Ok(done) => {
                let lacking = done.wanted.iter().filter(|(_, parts)| parts.data);
                let lacking = lacking.map(|(hash, _)| *hash).collect();
                evidence.add(done.present_since, &lacking);
            }
            Err(_) => evidence.any_silent = true,
        }
    }
    evidence.held()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_returned_primary_confirms_only_what_no_witness_may_lack() {
        let [x, y] = [1, 2].map(|number| PathHash::parse(&format!("{number:032x}")).unwrap());
        let at = Timestamp::from_seconds;
        let (witness, returned, unknown) = (Some(at(500)), Some(at(2000)), None);
        // Of two objects, each answering primary lacks the first or none.
        let held = |answers: &[(Option<Timestamp>, bool)], any_silent| {
            let mut evidence = Evidence::of(at(1000), [x, y].into_iter());
            for (present, lacks) in answers {
                evidence.add(*present, &BTreeSet::from_iter(lacks.then_some(x)));
            }
            evidence.any_silent = any_silent;
            evidence.held().into_iter().collect::<Vec<_>>()
        };
        assert_eq!(held(&[], false), [x, y], "no primary confirms them");
        assert_eq!(held(&[(witness, true)], false), [x]);
        assert_eq!(held(&[(witness, false)], true), []);
        assert_eq!(held(&[(witness, true), (witness, false)], false), []);
        assert_eq!(held(&[(witness, true), (returned, false)], false), [x]);
        assert_eq!(
            held(&[(returned, true), (returned, false)], false),
            [],
            "no witness contradicts"
        );
        assert_eq!(held(&[(unknown, true), (unknown, false)], false), [], "as Swift's nodes");
        assert_eq!(held(&[(returned, false)], true), [x, y], "a witness may be silent");
    }
}
