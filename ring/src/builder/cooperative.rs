//! Rebalance of builders whose rings are composed into one.
//!
//! A partition moves in one of them at a time. To the composite ring the replicas of all components are replicas of one partition: if each
//! component moved one of them, a read could miss all. So a partition moves only when its
//! `min_part_hours` have passed in every component, and none has moved it in this rebalance.
//! Replicas of removed devices are placed at once, as in a single builder. A component that was
//! never rebalanced does not block the others, and is placed completely.
//!
//! Source: `CooperativeRingBuilder` in `swift/common/ring/composite_builder.py`.

use super::rebalance::random::Random;
use super::{Rebalanced, RingBuilder};
use crate::device::DeviceId;
use crate::error::BuilderError;

/// Rebalances every builder, in an order drawn by the seed, so that the first one, which has the
/// most to choose from, is not always the same. Answers are in the order of the builders.
///
/// # Errors
/// The index of the builder that cannot be rebalanced, and why; those before it have changed.
pub fn rebalance_together(
    builders: &mut [RingBuilder],
    now_seconds: u64,
    seed: u64,
) -> Result<Vec<Rebalanced>, (usize, BuilderError)> {
    let parts = builders.first().map_or(0, RingBuilder::partitions);
    for (index, builder) in builders.iter_mut().enumerate() {
        if builder.partitions() != parts {
            return Err((index, "its part power is not that of the first builder".into()));
        }
        builder.age_moves_to(now_seconds);
    }
    let mut kept: Vec<bool> =
        (0..parts).map(|part| builders.iter().any(|builder| !builder.has_rested(part))).collect();
    let mut order: Vec<usize> = (0..builders.len()).collect();
    Random::new(seed).shuffle(&mut order);
    let mut done = vec![Rebalanced { moved: 0, removed: 0 }; builders.len()];
    for index in order {
        let (Some(builder), Some(done)) = (builders.get_mut(index), done.get_mut(index)) else {
            continue;
        };
        let before = builder.rows.clone();
        *done = builder.rebalance_but(&kept, now_seconds, seed).map_err(|error| (index, error))?;
        // A first placement takes nothing from where it is in use.
        if before.is_empty() {
            continue;
        }
        let id = |rows: &[Vec<DeviceId>], row: usize, part: usize| {
            rows.get(row).and_then(|ids| ids.get(part)).copied()
        };
        for (part, kept) in kept.iter_mut().enumerate() {
            let mut rows = 0..builder.rows.len();
            *kept |= rows.any(|row| id(&before, row, part) != id(&builder.rows, row, part));
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests;
