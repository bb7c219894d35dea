//! Step 2: the share of each node of the tree as a real number.
//!
//! The share is counted in *replicanths*: replicas of a partition that a node holds on average.
//!
//! Without overload that is the share by weight, where no device can hold more than one replica
//! of each partition (what it would be due beyond goes to the others). With overload a device may
//! be filled up to `1 + overload` times that share, as far as this takes replicas out of nodes
//! that would hold more of a partition than an even spread. So, from the root down, a node's
//! replicanths are poured over its children in proportion to their weights, like water into
//! vessels: first up to what a child can hold without excess, then, if there is more, up to what
//! it can hold at all. The first vessels being full is what "least dispersion" means: whatever
//! is poured after that is excess wherever it stands.
#![allow(clippy::indexing_slicing, reason = "every index is a node of the tree")]

use super::tiers::{ROOT, Tiers};
use crate::ring::NO_DEVICE;

/// What the weights and the overload ask for, by node of the tree.
#[derive(Debug)]
pub(super) struct Plan {
    /// Replicanths.
    pub(super) aim: Vec<f64>,
    /// Replicanths by weight alone.
    pub(super) weighted: Vec<f64>,
    /// Most replicanths that a node may be given.
    pub(super) cap: Vec<f64>,
}

/// Pours `total` over vessels in proportion to `weights`, at least `low` and at most `high` each.
fn pour(total: f64, weights: &[f64], low: &[f64], high: &[f64]) -> Vec<f64> {
    let at = |rate: f64| {
        weights.iter().zip(low).zip(high).map(move |((weight, low), high)| {
            // Not `clamp`, which panics when rounding put the bounds the wrong way round.
            (rate * weight).max(*low).min(*high)
        })
    };
    let mut rate = 1.0;
    while at(rate).sum::<f64>() < total && rate < 1e18 {
        rate *= 2.0;
    }
    let (mut under, mut over) = (0.0, rate);
    for _ in 0..120 {
        let middle = f64::midpoint(under, over);
        if at(middle).sum::<f64>() < total {
            under = middle;
        } else {
            over = middle;
        }
    }
    at(over).collect()
}

impl Plan {
    /// The plan for a tree whose devices with weight are at least `replicas`.
    pub(super) fn new(tiers: &Tiers, replicas: f64, overload: f64) -> Self {
        let leaves: Vec<usize> = (0..tiers.len())
            .filter(|node| tiers.device[*node] != NO_DEVICE && tiers.weight[*node] > 0.0)
            .collect();
        let total = tiers.weight[ROOT];
        let shares: Vec<f64> =
            leaves.iter().map(|leaf| tiers.weight[*leaf] / total * replicas).collect();
        let (none, one) = (vec![0.0; leaves.len()], vec![1.0; leaves.len()]);
        let shares = if shares.iter().any(|share| *share > 1.0) {
            pour(replicas, &shares, &none, &one)
        } else {
            shares
        };
        let limits = tiers.limits(replicas);
        let mut weighted = vec![0.0; tiers.len()];
        let mut cap = vec![0.0; tiers.len()];
        // What a node can hold without excess at any level below it.
        let mut good = vec![0.0; tiers.len()];
        for (leaf, share) in leaves.into_iter().zip(shares) {
            weighted[leaf] = share;
            cap[leaf] = (share * (1.0 + overload)).min(1.0);
            good[leaf] = cap[leaf];
        }
        for node in (0..tiers.len()).rev() {
            for child in tiers.weighted_children(node) {
                weighted[node] += weighted[child];
                cap[node] += cap[child];
                good[node] += good[child];
            }
            good[node] = good[node].min(f64::from(limits[node]));
        }
        let mut aim = vec![0.0; tiers.len()];
        aim[ROOT] = replicas;
        for node in 0..tiers.len() {
            let children: Vec<usize> = tiers.weighted_children(node).collect();
            if children.is_empty() {
                continue;
            }
            let of = |values: &[f64]| -> Vec<f64> { children.iter().map(|c| values[*c]).collect() };
            let (weights, good, cap) = (of(&weighted), of(&good), of(&cap));
            let poured = if good.iter().sum::<f64>() >= aim[node] {
                pour(aim[node], &weights, &vec![0.0; children.len()], &good)
            } else {
                pour(aim[node], &weights, &good, &cap)
            };
            for (child, share) in children.iter().zip(poured) {
                aim[*child] = share;
            }
        }
        Self { aim, weighted, cap }
    }
}
