//! The first placement of a ring without assignments.
//!
//! Write the partitions in any order, `1 2 … P`, as many times as there are replicas, one row
//! after the other: `1 2 … P 1 2 … P 1 2 … P`. Cut this line into one piece for every device, as
//! long as the device's share: devices of one server are neighbours, servers of one zone are
//! neighbours, and so on. Equal partitions are `P` apart, so a piece of length `n` holds each partition
//! `floor(n/P)` or `ceil(n/P)` times. That is true of a device's piece, and of a server's, a
//! zone's and a region's, since those are pieces as well. So every count is exact, no device
//! (of at most `P`) gets a partition twice, and no failure domain holds more of any partition
//! than it must: nothing has to be repaired and nothing tried twice.
//!
//! A line alone would make neighbours: the same few devices would share all their partitions, and
//! only those could refill one that was lost. So the line is cut one level at a time, and at each
//! level the partitions are shuffled again. Where partitions come several times, they are shuffled
//! in blocks, with the children in another order for every block; each child's part of a block is
//! its part of what is left, rounded by chance, and those roundings never leave the range above.
#![allow(clippy::indexing_slicing, reason = "nodes and partitions are indexes made here")]

use super::random::Random;
use super::tiers::{ROOT, Tiers};
use crate::device::DeviceId;
use crate::ring::NO_DEVICE;

/// Smallest block, in partitions.
const BLOCK_MIN: usize = 64;

/// Partitions that a node holds, by how often it holds them.
struct Holding {
    /// Times that the node holds each partition of `fewer`.
    times: usize,
    /// Partitions that it holds `times`.
    fewer: Vec<u32>,
    /// Partitions that it holds once more.
    more: Vec<u32>,
}

struct Deal<'a> {
    tiers: &'a Tiers,
    share: &'a [i64],
    rows: &'a mut [Vec<DeviceId>],
    random: &'a mut Random,
}

/// Fills rows that are empty. `share` is what each node gets, and adds up to the rows' lengths.
pub(super) fn deal(tiers: &Tiers, share: &[i64], rows: &mut [Vec<DeviceId>], random: &mut Random) {
    let partitions = rows.first().map_or(0, Vec::len);
    let short = rows.last().map_or(0, Vec::len);
    let all = |range: std::ops::Range<usize>| range.map(|part| part as u32).collect();
    let holding = if short < partitions {
        Holding { times: rows.len() - 1, fewer: all(short..partitions), more: all(0..short) }
    } else {
        Holding { times: rows.len(), fewer: all(0..partitions), more: vec![] }
    };
    let mut deal = Deal { tiers, share, rows, random };
    deal.node(ROOT, holding);
    deal.mix_rows();
}

impl Deal<'_> {
    fn node(&mut self, node: usize, holding: Holding) {
        if self.tiers.device[node] != NO_DEVICE {
            return self.device(self.tiers.device[node], &holding);
        }
        let children: Vec<usize> =
            self.tiers.weighted_children(node).filter(|child| self.share[*child] > 0).collect();
        let partitions = holding.fewer.len() + holding.more.len();
        let dealt = self.cut(holding, &children);
        for (child, slots) in children.into_iter().zip(dealt) {
            let holding = count(slots, partitions);
            self.node(child, holding);
        }
    }

    fn device(&mut self, device: DeviceId, holding: &Holding) {
        for part in holding.fewer.iter().chain(&holding.more) {
            let place = self
                .rows
                .iter_mut()
                .filter_map(|row| row.get_mut(*part as usize))
                .find(|place| **place == NO_DEVICE);
            if let Some(place) = place {
                *place = device;
            }
        }
    }

    /// What each child gets, a partition as often as it is held.
    fn cut(&mut self, mut holding: Holding, children: &[usize]) -> Vec<Vec<u32>> {
        let mut left: Vec<u64> = children.iter().map(|child| self.share[*child] as u64).collect();
        let mut dealt: Vec<Vec<u32>> =
            left.iter().map(|share| Vec::with_capacity(*share as usize)).collect();
        self.random.shuffle(&mut holding.fewer);
        self.random.shuffle(&mut holding.more);
        let mut partitions = holding.fewer.len() + holding.more.len();
        let slots = partitions * holding.times + holding.more.len();
        let block = if slots > partitions {
            // Few enough that a child is dealt about one of each block, and not too few.
            (children.len() * partitions / slots).max(BLOCK_MIN)
        } else {
            partitions
        };
        let mut order: Vec<usize> = (0..children.len()).collect();
        let mut line = Vec::new();
        while partitions > 0 {
            let size = block.min(partitions);
            self.random.shuffle(&mut order);
            let pieces = self.pieces(&left, &order, size, partitions);
            let slots: usize = pieces.iter().sum();
            let more = (slots - (size * holding.times).min(slots)).min(holding.more.len());
            line.clear();
            line.extend(holding.more.drain(holding.more.len() - more..));
            let fewer = holding.fewer.len().saturating_sub(size - more);
            line.extend(holding.fewer.drain(fewer..));
            let mut next = 0;
            for (child, piece) in order.iter().zip(pieces) {
                for _ in 0..piece {
                    dealt[*child].push(line[next]);
                    next = if next + 1 == line.len() { 0 } else { next + 1 };
                }
                left[*child] -= piece as u64;
            }
            partitions -= size;
        }
        dealt
    }

    /// Each child's part of a block of `size` of the `partitions` that are left, in `order`:
    /// rounded down or up by one offset for all, so that their sum is a rounding as well.
    fn pieces(
        &mut self,
        left: &[u64],
        order: &[usize],
        size: usize,
        partitions: usize,
    ) -> Vec<usize> {
        let mut sum = self.random.below(partitions) as u128;
        let mut before = 0;
        order
            .iter()
            .map(|child| {
                sum += u128::from(left[*child]) * size as u128;
                let until = (sum / partitions as u128) as usize;
                let piece = until - before;
                before = until;
                piece
            })
            .collect()
    }

    /// Makes no device the first replica of more partitions than its share.
    fn mix_rows(&mut self) {
        let partitions = self.rows.first().map_or(0, Vec::len);
        for part in 0..partitions {
            let rows = self.rows.iter().filter(|row| part < row.len()).count();
            for last in (1..rows).rev() {
                let other = self.random.below(last + 1);
                let kept = self.rows[last][part];
                self.rows[last][part] = self.rows[other][part];
                self.rows[other][part] = kept;
            }
        }
    }
}

/// Sorts slots by how often a partition comes. `partitions` is how many the parent holds.
fn count(slots: Vec<u32>, partitions: usize) -> Holding {
    // A node with fewer slots than partitions has each at most once: a piece is shorter than a row.
    if slots.len() <= partitions {
        return Holding { times: 1, fewer: slots, more: vec![] };
    }
    let last = slots.iter().copied().max().unwrap_or(0) as usize;
    let mut times = vec![0u32; last + 1];
    for part in &slots {
        times[*part as usize] += 1;
    }
    let floor = slots.len() / partitions;
    let mut holding = Holding { times: floor, fewer: vec![], more: vec![] };
    for (part, times) in times.into_iter().enumerate().filter(|(_, times)| *times > 0) {
        if times as usize > floor { &mut holding.more } else { &mut holding.fewer }
            .push(part as u32);
    }
    holding
}
