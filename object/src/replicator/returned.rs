//! Devices that come back after a long time, with objects whose deletion nobody remembers.
//!
//! Each finished sweep leaves its time on the device. When the last one is longer ago than
//! tombstones are kept, what was deleted meanwhile may be forgotten everywhere else. Then the
//! beginning of the gap is noted, and an older object is not pushed but counted as suspect, until an
//! operator removes the note `<device>/apus-returned`, unless another primary vouches for it.
//!
//! Who has been there all the time is a witness: it would have taken the object's deletion, so what
//! it has was not deleted, and what it lacks was. Whoever came back as well, or is new, has what it
//! has for no better reason than we: its word counts only if no witness lacks the object, and if no
//! primary is silent that may be one. Since when a device is there each tells in its answer.

use std::collections::{BTreeMap, BTreeSet};

use apus_cluster::{PathHash, Timestamp};

use super::job::{Batch, Job};
use super::sender::{Send, exchange};

/// What is known of an object that may have been deleted.
#[derive(Debug, Clone, Copy, Default)]
struct Doubt {
    a_witness_has: bool,
    a_witness_lacks: bool,
    another_has: bool,
}

/// What other primaries say of objects that may have been deleted since a time.
struct Testimony {
    since: Timestamp,
    doubts: BTreeMap<PathHash, Doubt>,
    any_silent: bool,
}

impl Testimony {
    fn of(since: Timestamp, objects: impl Iterator<Item = PathHash>) -> Self {
        let doubts = objects.map(|hash| (hash, Doubt::default())).collect();
        Self { since, doubts, any_silent: false }
    }

    /// A primary that is there since a time, if it told, lacks some of them.
    fn hear(&mut self, present: Option<Timestamp>, lacking: &BTreeSet<PathHash>) {
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
        let is_held = |doubt: &Doubt| {
            let word = doubt.another_has && !doubt.a_witness_lacks && !any_silent;
            !doubt.a_witness_has && !word
        };
        self.doubts.into_iter().filter(|(_, doubt)| is_held(doubt)).map(|(hash, _)| hash).collect()
    }
}

/// Objects that may have been deleted while the device was away: older than that, and nobody who can
/// tell vouches for them.
pub(super) async fn held(job: &Job, batch: &Batch) -> BTreeSet<PathHash> {
    let Some(since) = job.away_since else { return BTreeSet::new() };
    let old: Vec<_> = batch.offers.iter().filter(|offer| offer.data < since).copied().collect();
    let mut testimony = Testimony::of(since, old.iter().map(|offer| offer.hash));
    if old.is_empty() {
        return BTreeSet::new();
    }
    for node in job.other_primaries() {
        match exchange(&job.source(), &node, &old, Send::Nothing).await {
            Ok(done) => {
                let lacking = done.wanted.iter().filter(|(_, parts)| parts.data);
                let lacking = lacking.map(|(hash, _)| *hash).collect();
                testimony.hear(done.present_since, &lacking);
            }
            Err(_) => testimony.any_silent = true,
        }
    }
    testimony.held()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_came_back_too_vouches_only_where_no_witness_may_know_better() {
        let [x, y] = [1, 2].map(|number| PathHash::parse(&format!("{number:032x}")).unwrap());
        let at = Timestamp::from_seconds;
        let (witness, returned, unknown) = (Some(at(500)), Some(at(2000)), None);
        // Of two objects, those who answer lack the first or none.
        let held = |answers: &[(Option<Timestamp>, bool)], any_silent| {
            let mut testimony = Testimony::of(at(1000), [x, y].into_iter());
            for (present, lacks) in answers {
                testimony.hear(*present, &BTreeSet::from_iter(lacks.then_some(x)));
            }
            testimony.any_silent = any_silent;
            testimony.held().into_iter().collect::<Vec<_>>()
        };
        assert_eq!(held(&[], false), [x, y], "nobody vouches");
        assert_eq!(held(&[(witness, true)], false), [x]);
        assert_eq!(held(&[(witness, false)], true), []);
        assert_eq!(held(&[(witness, true), (witness, false)], false), []);
        assert_eq!(held(&[(witness, true), (returned, false)], false), [x]);
        assert_eq!(held(&[(returned, true), (returned, false)], false), [], "nobody knows better");
        assert_eq!(held(&[(unknown, true), (unknown, false)], false), [], "as Swift's nodes");
        assert_eq!(held(&[(returned, false)], true), [x, y], "a witness may be silent");
    }
}
