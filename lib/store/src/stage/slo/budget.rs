//! Limits of the work that one request may cause with manifests.

use std::fmt;

use apus_cluster::constraints::{S3_MAX_PARTS, SLO_NESTING_MAX};

use crate::{Error, Kind, Subject};

/// Largest joined object, in bytes. Sizes are signed 64-bit numbers in listings, and a request may
/// have at most three overlapping ranges: their sum must fit as well.
pub(crate) const JOINED_BYTES_MAX: u64 = 1 << 62;
/// Maximum number of manifests that one request may read.
const MANIFESTS_MAX: usize = 10_000;
/// Maximum number of small pieces that one read may serve.
const SMALL_PIECES_MAX: usize = 250_000;
/// Pieces of at least this size, in bytes, are not counted (Swift's `rate_limit_under_size`).
const SMALL_PIECE_BYTES: u64 = 1024 * 1024;
/// Maximum number of names that one deletion may delete below its manifest: all parts of the largest
/// multipart upload. Swift has the same limit (ten times `max_manifest_segments`).
const DELETIONS_MAX: usize = S3_MAX_PARTS as usize;
/// Maximum number of entries of a new manifest. The dialects allow fewer.
const ENTRIES_MAX: usize = S3_MAX_PARTS as usize;
/// Maximum size of the manifests that one request has in memory at a time: one manifest of 10,000
/// parts with the longest names.
pub(crate) const MANIFEST_BYTES_MAX: u64 = 48 * 1024 * 1024;

/// The limit that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SpentBudget {
    /// Too many manifests were read.
    Manifests,
    /// Too many pieces, entries or deletions.
    Pieces,
    /// Manifests are nested too deep.
    Depth,
    /// The joined object is too long.
    Bytes,
}

impl fmt::Display for SpentBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manifests => write!(f, "more than {MANIFESTS_MAX} manifests"),
            Self::Pieces => f.write_str("too many segments"),
            Self::Depth => write!(f, "manifests nested more than {SLO_NESTING_MAX} deep"),
            Self::Bytes => write!(f, "more than {JOINED_BYTES_MAX} bytes"),
        }
    }
}

impl std::error::Error for SpentBudget {}

impl From<SpentBudget> for Error {
    /// The stored manifest cannot be joined: 409.
    fn from(spent: SpentBudget) -> Self {
        Self::new(Kind::Conflict, Subject::Object).because(format!("manifest: {spent}"))
    }
}

/// The remaining budget of a request.
#[derive(Debug)]
pub(crate) struct ManifestBudget {
    manifests: usize,
    pieces: usize,
}

impl ManifestBudget {
    /// The budget of a read. Pieces of 1 MiB and more are free.
    pub(crate) fn of_read() -> Self {
        Self { manifests: MANIFESTS_MAX, pieces: SMALL_PIECES_MAX }
    }

    /// The budget of a new manifest, whose segments are checked and not opened.
    pub(crate) fn of_write() -> Self {
        Self { manifests: 0, pieces: ENTRIES_MAX }
    }

    /// The budget of a deletion.
    pub(crate) fn of_deletion() -> Self {
        Self { manifests: MANIFESTS_MAX, pieces: DELETIONS_MAX }
    }

    /// Checks the depth of a manifest; the outermost has depth 1.
    pub(crate) fn check_depth(depth: usize) -> Result<(), SpentBudget> {
        if depth > SLO_NESTING_MAX { Err(SpentBudget::Depth) } else { Ok(()) }
    }

    /// Counts the reading of a manifest at this depth.
    pub(crate) fn open(&mut self, depth: usize) -> Result<(), SpentBudget> {
        Self::check_depth(depth)?;
        self.manifests = self.manifests.checked_sub(1).ok_or(SpentBudget::Manifests)?;
        Ok(())
    }

    /// Counts a served piece of this many bytes.
    pub(crate) fn serve(&mut self, length: u64) -> Result<(), SpentBudget> {
        if length >= SMALL_PIECE_BYTES { Ok(()) } else { self.take(1) }
    }

    /// Counts this many entries or deletions.
    pub(crate) fn take(&mut self, count: usize) -> Result<(), SpentBudget> {
        self.pieces = self.pieces.checked_sub(count).ok_or(SpentBudget::Pieces)?;
        Ok(())
    }
}

/// The sum of two lengths within a joined object.
pub(crate) fn add_lengths(one: u64, other: u64) -> Result<u64, SpentBudget> {
    one.checked_add(other).filter(|sum| *sum <= JOINED_BYTES_MAX).ok_or(SpentBudget::Bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_added_up_to_the_limit_and_never_wrap() {
        assert_eq!(add_lengths(JOINED_BYTES_MAX - 1, 1), Ok(JOINED_BYTES_MAX));
        for (one, other) in [(JOINED_BYTES_MAX, 1), (1, u64::MAX), (u64::MAX, u64::MAX)] {
            assert_eq!(add_lengths(one, other), Err(SpentBudget::Bytes));
        }
    }

    #[test]
    fn a_read_counts_manifests_and_small_pieces_only() {
        let mut budget = ManifestBudget::of_read();
        assert_eq!(budget.open(SLO_NESTING_MAX), Ok(()));
        assert_eq!(budget.open(SLO_NESTING_MAX + 1), Err(SpentBudget::Depth));
        let opened = (0..).take_while(|_| budget.open(2).is_ok()).count();
        assert_eq!(opened, MANIFESTS_MAX - 1);
        for _ in 0..2 * SMALL_PIECES_MAX {
            assert_eq!(budget.serve(SMALL_PIECE_BYTES), Ok(()));
        }
        let served = (0..).take_while(|_| budget.serve(1).is_ok()).count();
        assert_eq!(served, SMALL_PIECES_MAX);
        assert_eq!(budget.serve(SMALL_PIECE_BYTES - 1), Err(SpentBudget::Pieces));
    }

    #[test]
    fn a_write_opens_no_manifest_and_a_deletion_covers_all_parts_of_an_upload() {
        assert_eq!(ManifestBudget::of_write().open(1), Err(SpentBudget::Manifests));
        let mut deletion = ManifestBudget::of_deletion();
        assert_eq!(deletion.take(S3_MAX_PARTS as usize), Ok(()));
        assert_eq!(deletion.take(1), Err(SpentBudget::Pieces));
    }
}
