//! Step 6: moves replicas out of failure domains with too many of a partition.
//!
//! The new device may be full; its surplus is levelled afterwards. At most one replica of a
//! partition moves, and none of a partition that moved recently.

use super::board::{Board, Lock};

/// One pass over all partitions.
pub(super) fn disperse(board: &mut Board<'_>) {
    let mut held = Vec::new();
    let mut crowded = Vec::new();
    for part in 0..board.locks.len() {
        if board.locks.get(part).is_none_or(|lock| *lock == Lock::Shut) {
            continue;
        }
        board.held(part, &mut held);
        crowded.clear();
        crowded.extend(
            held.iter()
                .copied()
                .filter(|(row, id)| board.is_crowded(&held, *id) && board.may_move(part, *row)),
        );
        // From the fullest device first.
        crowded.sort_by_key(|(_, id)| board.room.get(*id as usize).copied());
        for (row, from) in crowded.iter().copied() {
            let mut to = board.try_openings(&held, Some(from), -1);
            if to.is_none() {
                to = board.descend(&held, Some(from)).filter(|to| {
                    board.faults(&held, Some(from), *to).is_some_and(|faults| faults < 0)
                });
            }
            if let Some(to) = to {
                board.put(part, row, to);
                break;
            }
        }
    }
}
