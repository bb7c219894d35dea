//! How much memory one pickle may make the reader take.

use std::mem::size_of;

/// Bytes that may be taken for each byte of a pickle. What costs most among ordinary values is an
/// empty tuple in a list: one byte, and some 80 in memory.
const BYTES_PER_BYTE: usize = 128;
/// Bytes that may be taken in any case.
const BYTES_EXTRA: usize = 1 << 20;

/// Bytes that may still be taken. What is freed in between is not given back, so this bounds the
/// work as well.
#[derive(Debug)]
pub(super) struct Budget(usize);

impl Budget {
    /// For a pickle of so many bytes.
    pub(super) fn of(pickle_bytes: usize) -> Self {
        Self(pickle_bytes.saturating_mul(BYTES_PER_BYTE).saturating_add(BYTES_EXTRA))
    }

    /// Takes `bytes`.
    ///
    /// # Errors
    /// When there are not so many left.
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), String> {
        let left = self.0.checked_sub(bytes);
        self.0 = left.ok_or("needs more memory than a pickle of its size may")?;
        Ok(())
    }

    /// Takes what `count` items of a type need.
    ///
    /// # Errors
    /// As [`Budget::take`].
    pub(super) fn take_items<T>(&mut self, count: usize) -> Result<(), String> {
        self.take(count.saturating_mul(size_of::<T>()))
    }
}
