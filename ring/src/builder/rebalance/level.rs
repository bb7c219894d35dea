//! Step 7: moves replicas from devices with too many to devices with too few.
//!
//! No move adds a fault.
//!
//! First straight: for each partition that has a replica on a device with too many, a few devices
//! with room are drawn; nearly every partition finds its place so, and the number of moves is the
//! surplus itself, which no other way can undercut. What is left has either no partner that fits
//! or only partitions that may not move: the first is tried against every device with room, and
//! then in two steps, over a third device `u` that keeps its number: one partition from the full
//! device to `u`, another from `u` to the device with room.
#![allow(clippy::indexing_slicing, reason = "ids in rows are checked before a board is made")]

use super::board::{Board, Lock};
use super::tiers::LEVELS;
use crate::device::DeviceId;

/// Devices with room that are all tried for one replica; of more, that many by chance.
const THOROUGH_MAX: usize = 64;
/// Rounds of moves in two steps.
const CHAINS_MAX: usize = 16;

/// Levels as far as it can be.
pub(super) fn level(board: &mut Board<'_>) {
    straight(board, false);
    while board.surplus() > 0 && straight(board, true) > 0 {}
    for _ in 0..CHAINS_MAX {
        if board.surplus() == 0 || in_two_steps(board) == 0 {
            break;
        }
        straight(board, true);
    }
    drain(board);
}

/// What is left on devices that are to hold nothing goes to where it adds the fewest faults: an
/// operator who sets a weight to 0 wants the device empty.
fn drain(board: &mut Board<'_>) {
    let drained = |board: &Board<'_>, id: DeviceId| {
        let leaf = board.tiers.path(id)[LEVELS - 1] as usize;
        board.share[leaf] == 0 && board.room[id as usize] < 0
    };
    let left =
        (0..board.room.len() as DeviceId).any(|id| board.tiers.knows(id) && drained(board, id));
    if !left {
        return;
    }
    let mut held = Vec::new();
    for part in board.partitions() {
        board.held(part, &mut held);
        let of = held.iter().copied();
        let mut of = of.filter(|(row, id)| drained(board, *id) && board.may_move(part, *row));
        let Some((row, from)) = of.next() else { continue };
        let open = board.devices_with_room().into_iter();
        let to = open.filter_map(|to| Some((board.faults(&held, Some(from), to)?, to))).min();
        if let Some((_, to)) = to {
            board.put(part, row, to);
        }
    }
}

/// Replicas of a partition that may move and stand on devices with too many, fullest first.
fn candidates(
    board: &Board<'_>,
    part: usize,
    held: &[(usize, DeviceId)],
    full: &mut Vec<(usize, DeviceId)>,
) {
    full.clear();
    full.extend(
        held.iter().filter(|(row, id)| board.room[*id as usize] < 0 && board.may_move(part, *row)),
    );
    full.sort_by_key(|(_, id)| board.room[*id as usize]);
}

/// One pass over all partitions; returns the number of replicas that moved.
fn straight(board: &mut Board<'_>, thorough: bool) -> u64 {
    let (mut held, mut full) = (Vec::new(), Vec::new());
    let mut surplus = board.surplus();
    let mut moved = 0;
    let mut open = board.devices_with_room();
    for part in board.partitions() {
        if surplus == 0 || open.is_empty() {
            break;
        }
        if board.locks[part] == Lock::Shut {
            continue;
        }
        board.held(part, &mut held);
        candidates(board, part, &held, &mut full);
        for (row, from) in full.iter().copied() {
            let to = if thorough && open.len() <= THOROUGH_MAX {
                open.retain(|id| board.room[*id as usize] > 0);
                open.iter()
                    .filter_map(|to| Some((board.faults(&held, Some(from), *to)?, *to)))
                    .filter(|(faults, _)| *faults <= 0)
                    .min()
                    .map(|(_, to)| to)
            } else {
                board.try_openings(&held, Some(from), 0)
            };
            if let Some(to) = to {
                board.put(part, row, to);
                surplus -= 1;
                moved += 1;
                break;
            }
        }
    }
    moved
}

/// For each third device one partition that could go from it to a device with room; then each
/// is used once for a partition that goes from a full device to the third.
fn in_two_steps(board: &mut Board<'_>) -> u64 {
    let open = board.devices_with_room();
    let mut second: Vec<Option<(usize, usize, DeviceId)>> = vec![None; board.room.len()];
    let mut thirds: Vec<DeviceId> = Vec::new();
    let mut held = Vec::new();
    let mut turn = 0;
    for part in board.partitions() {
        if board.locks[part] == Lock::Shut || open.is_empty() {
            continue;
        }
        board.held(part, &mut held);
        for (row, third) in held.iter().copied() {
            let known = &mut second[third as usize];
            if known.is_some() || board.room[third as usize] != 0 || !board.may_move(part, row) {
                continue;
            }
            let fits = |to: DeviceId| {
                board.faults(&held, Some(third), to).is_some_and(|faults| faults <= 0)
            };
            let tried = open.len().min(THOROUGH_MAX);
            let to = (0..tried).map(|at| open[(turn + at) % open.len()]).find(|to| fits(*to));
            if let Some(to) = to {
                turn += 1;
                *known = Some((part, row, to));
                thirds.push(third);
                break;
            }
        }
    }
    let (mut full, mut theirs) = (Vec::new(), Vec::new());
    let mut moved = 0;
    for part in board.partitions() {
        if board.locks[part] == Lock::Shut || thirds.is_empty() {
            continue;
        }
        board.held(part, &mut held);
        candidates(board, part, &held, &mut full);
        'replicas: for (row, from) in full.iter().copied() {
            for _ in 0..THOROUGH_MAX.min(thirds.len()) {
                let at = board.random.below(thirds.len());
                let Some((other, other_row, to)) = second[thirds[at] as usize] else { continue };
                let third = thirds[at];
                if board.room[to as usize] <= 0
                    || board.rows[other_row][other] != third
                    || !board.may_move(other, other_row)
                {
                    // What it promised is gone.
                    second[third as usize] = None;
                    thirds.swap_remove(at);
                    if thirds.is_empty() {
                        break 'replicas;
                    }
                    continue;
                }
                board.held(other, &mut theirs);
                let fits = other != part
                    && board.faults(&held, Some(from), third).is_some_and(|faults| faults <= 0)
                    && board.faults(&theirs, Some(third), to).is_some_and(|faults| faults <= 0);
                if fits {
                    board.put(part, row, third);
                    board.put(other, other_row, to);
                    second[third as usize] = None;
                    thirds.swap_remove(at);
                    moved += 1;
                    break 'replicas;
                }
            }
        }
    }
    moved
}
