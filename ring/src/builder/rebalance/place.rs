//! Step 5: assigns devices to replicas without one.
//!
//! They are those of removed devices, and new ones after a higher replica count. They are placed
//! regardless of `min_part_hours`, each on a device with room where it adds no fault, or else the
//! fewest.

use super::board::Board;
use crate::error::BuilderError;
use crate::ring::NO_DEVICE;

/// Gives every empty place a device. Fails only when a partition has more replicas than there
/// are devices with weight.
pub(super) fn place(board: &mut Board<'_>) -> Result<(), BuilderError> {
    let mut held = Vec::new();
    for part in board.partitions() {
        for row in 0..board.rows.len() {
            if board.rows.get(row).and_then(|ids| ids.get(part)) != Some(&NO_DEVICE) {
                continue;
            }
            board.held(part, &mut held);
            let mut to = board.try_openings(&held, None, -1);
            if to.is_none() {
                to = board.try_openings(&held, None, 0);
            }
            if to.is_none() {
                to = board.descend(&held, None);
            }
            let to = to.ok_or_else(|| {
                format!("Partition {part}, replica {row}: no device is left that has none of it")
            })?;
            board.put(part, row, to);
        }
    }
    Ok(())
}
