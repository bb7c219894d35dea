//! Whole partition replicas for every device: the plan's real numbers rounded so that the worst
//! device is off by as little as can be.
//!
//! Let a device's due be `y`. If no device may be off by more than the fraction `d`, it must hold
//! between `ceil(y(1 - d))` and `floor(y(1 + d))` replicas. These ranges add up over the tree,
//! and a node between may narrow them (below); there is a rounding if and only if the range at
//! the root holds the number of replicas there are. Ranges grow with `d`, so the least `d` is
//! found by halving. No builder can do better: that is the bound which the tests hold us to.
//!
//! A node narrows its range when the plan gives it exactly the partitions that it may hold
//! without excess: one replica more than `limit` times the partitions would make some partition
//! stand worse, whichever way partitions are placed.
//!
//! Within the ranges a device keeps the number it has, if that is a rounding of its due, so that
//! nothing moves for rounding's sake; otherwise the largest remainders get what is left over.
#![allow(clippy::indexing_slicing, reason = "every index is a node of the tree")]

use super::plan::Plan;
use super::tiers::{ROOT, Tiers};
use crate::ring::NO_DEVICE;

/// Rounding errors of the plan's real numbers stay below this.
const NOISE: f64 = 1e-6;

/// Least and most partition replicas of each node when no device is off by more than `off`.
fn ranges(task: &Task<'_>, off: f64) -> Vec<(i64, i64)> {
    let tiers = task.tiers;
    let mut ranges = vec![(0, 0); tiers.len()];
    for node in (0..tiers.len()).rev() {
        let due = task.due[node];
        if tiers.device[node] != NO_DEVICE {
            let low = (due * (1.0 - off) - NOISE).ceil().max(0.0) as i64;
            let high = (due * (1.0 + off) + NOISE).floor() as i64;
            let most = task.most[node];
            ranges[node] = (low.min(most), high.min(most));
            continue;
        }
        let (mut low, mut high) = (0, 0);
        for child in tiers.weighted_children(node) {
            low += ranges[child].0;
            high += ranges[child].1;
        }
        if node != ROOT && task.strict {
            let limit = task.limits[node] as f64;
            if due <= limit + NOISE {
                high = high.min(task.limits[node]);
            }
            if due >= limit - NOISE {
                low = low.max(task.limits[node]);
            }
        }
        ranges[node] = (low, high);
    }
    ranges
}

struct Task<'a> {
    tiers: &'a Tiers,
    /// Partition replicas by the plan.
    due: Vec<f64>,
    /// Most whole replicas of a device.
    most: Vec<i64>,
    /// Partition replicas that a node may hold without excess.
    limits: Vec<i64>,
    /// Whether limits narrow ranges.
    strict: bool,
}

impl Task<'_> {
    /// Whether there is a rounding, for all nodes and in sum.
    fn possible(&self, off: f64, total: i64) -> bool {
        let ranges = ranges(self, off);
        ranges.iter().all(|(low, high)| low <= high)
            && ranges.first().is_some_and(|(low, high)| (*low..=*high).contains(&total))
    }

    /// The least deviation for which there is a rounding.
    fn least_deviation(&self, total: i64) -> Option<f64> {
        let smallest = self.due.iter().copied().filter(|due| *due > 0.0).fold(1.0, f64::min);
        let (mut under, mut over) = (0.0, 1.0 + 1.0 / smallest);
        if !self.possible(over, total) {
            return None;
        }
        for _ in 0..80 {
            let middle = f64::midpoint(under, over);
            if self.possible(middle, total) {
                over = middle;
            } else {
                under = middle;
            }
        }
        Some(over)
    }
}

/// Partition replicas of every node; `held` is what nodes hold now.
pub(super) fn apportion(
    tiers: &Tiers,
    plan: &Plan,
    replicas: f64,
    partitions: usize,
    total: u64,
    held: &[i64],
) -> Vec<i64> {
    let scale = total as f64 / replicas;
    let due: Vec<f64> = plan.aim.iter().map(|aim| aim * scale).collect();
    let most = (0..tiers.len()).map(|node| {
        // Overload is a limit; but a due may always be rounded up.
        let by_weight = (plan.weighted[node] * scale - NOISE).ceil() as i64;
        let by_cap = (plan.cap[node] * scale + NOISE).floor() as i64;
        by_cap.max(by_weight).min(partitions as i64)
    });
    let limits = tiers.limits(replicas);
    let limits = limits.iter().map(|limit| i64::from(*limit) * partitions as i64);
    let mut task =
        Task { tiers, due, most: most.collect(), limits: limits.collect(), strict: true };
    let total = total as i64;
    let off = task.least_deviation(total).or_else(|| {
        task.strict = false;
        task.least_deviation(total)
    });
    let ranges = ranges(&task, off.unwrap_or(f64::MAX));
    let mut share = vec![0; tiers.len()];
    share[ROOT] = total;
    for node in 0..tiers.len() {
        let children: Vec<usize> = tiers.weighted_children(node).collect();
        divide(share[node], &children, &task.due, &ranges, held, &mut share);
    }
    share
}

/// Divides a node's replicas among its children.
fn divide(
    total: i64,
    children: &[usize],
    due: &[f64],
    ranges: &[(i64, i64)],
    held: &[i64],
    share: &mut [i64],
) {
    let rounded =
        |child: usize| ((due[child] + NOISE).floor() as i64, (due[child] - NOISE).ceil() as i64);
    let within = |child: usize, number: i64| {
        let (low, high) = ranges[child];
        number.max(low).min(high)
    };
    for child in children {
        let (floor, ceiling) = rounded(*child);
        share[*child] = within(*child, held[*child].max(floor).min(ceiling));
    }
    let mut rest = total - children.iter().map(|child| share[*child]).sum::<i64>();
    let step = rest.signum();
    let mut order = children.to_vec();
    let mut near = true;
    while rest != 0 {
        // Who is furthest from its due in the direction needed comes first.
        let gap = |child: usize| (due[child] - share[child] as f64) * step as f64;
        order.sort_by(|a, b| gap(*b).total_cmp(&gap(*a)).then(a.cmp(b)));
        let before = rest;
        for child in &order {
            let (floor, ceiling) = rounded(*child);
            let next = share[*child] + step;
            let good = within(*child, next) == next && (!near || (floor..=ceiling).contains(&next));
            if rest != 0 && good {
                share[*child] = next;
                rest -= step;
            }
        }
        if rest == before {
            if !near {
                break;
            }
            near = false;
        }
    }
}
