//! Doubling the number of partitions, in steps with a relinker between them.
//!
//! Source: `swift/common/ring/builder.py`. Only object rings may be doubled: the caller
//! checks that, since a builder does not know its kind.

use super::RingBuilder;

fn doubled<T: Copy>(items: &[T]) -> Vec<T> {
    items.iter().flat_map(|item| [*item, *item]).collect()
}

impl RingBuilder {
    /// Announces the next part power, so that servers link what they write into both places.
    /// `false` when it is announced already.
    pub fn prepare_increase_partition_power(&mut self) -> bool {
        if self.next_part_power.is_some() {
            return false;
        }
        self.next_part_power = Some(self.part_power + 1);
        self.version += 1;
        true
    }

    /// Doubles the partitions; the two that come of one lie on the devices of that one.
    /// `false` when this was not prepared, or was done.
    pub fn increase_partition_power(&mut self) -> bool {
        let Some(next) = self.next_part_power.filter(|next| *next == self.part_power + 1) else {
            return false;
        };
        for row in &mut self.rows {
            *row = doubled(row);
        }
        self.last_moves = doubled(&self.last_moves);
        for device in self.devices.iter_mut().flatten() {
            device.parts *= 2;
        }
        self.part_power = next;
        self.version += 1;
        true
    }

    /// Cancels the announcement. Returns `false` without one, or when partitions are doubled already.
    pub fn cancel_increase_partition_power(&mut self) -> bool {
        if self.next_part_power != Some(self.part_power + 1) {
            return false;
        }
        self.next_part_power = Some(self.part_power);
        self.version += 1;
        true
    }

    /// Ends the doubling when old links are removed. `false` when none is under way.
    pub fn finish_increase_partition_power(&mut self) -> bool {
        if self.next_part_power != Some(self.part_power) {
            return false;
        }
        self.next_part_power = None;
        self.version += 1;
        true
    }
}
