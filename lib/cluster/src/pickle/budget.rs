//! The memory that reading one pickle may use.

use std::mem::size_of;

use super::read::Reason;

/// Bytes per byte of a pickle. Of the ordinary values an empty tuple in a list costs most: one byte,
/// and about 80 in memory.
const BYTES_PER_BYTE: usize = 128;
/// Bytes in addition to that.
const BYTES_EXTRA: usize = 1 << 20;

/// Bytes that may still be used. Freed memory is not returned, so this bounds the work as well.
#[derive(Debug)]
pub(super) struct Budget(usize);

impl Budget {
    /// The budget of a pickle of this length.
    pub(super) fn of(pickle_bytes: usize) -> Self {
        Self(pickle_bytes.saturating_mul(BYTES_PER_BYTE).saturating_add(BYTES_EXTRA))
    }

    /// Uses `bytes`.
    ///
    /// # Errors
    /// When fewer are left.
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), Reason> {
        let left = self.0.checked_sub(bytes);
        self.0 = left.ok_or("needs more memory than a pickle of its size may use")?;
        Ok(())
    }

    /// Uses the memory of `count` items of a type.
    ///
    /// # Errors
    /// As [`Budget::take`].
    pub(super) fn take_items<T>(&mut self, count: usize) -> Result<(), Reason> {
        self.take(count.saturating_mul(size_of::<T>()))
    }
}
