//! Counts of the reaper, in Swift's terms (`stats_…` in `swift/account/reaper.py`).

use std::collections::BTreeMap;

use http::StatusCode;

/// Counts of a pass or of a part of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Reaped {
    /// Deleted accounts with containers that were processed.
    pub(crate) accounts: u64,
    /// Containers that most of their servers removed.
    pub(crate) containers_deleted: u64,
    /// Objects that most of their servers removed.
    pub(crate) objects_deleted: u64,
    /// Containers that no server removed.
    pub(crate) containers_remaining: u64,
    /// Objects that no server removed.
    pub(crate) objects_remaining: u64,
    /// Containers that too few servers removed.
    pub(crate) containers_possibly_remaining: u64,
    /// Objects that too few servers removed.
    pub(crate) objects_possibly_remaining: u64,
    /// Responses by the first digit of their status.
    pub(crate) return_codes: BTreeMap<u16, u64>,
    /// Databases that could not be read.
    pub(crate) errors: u64,
}

/// Whether something was removed, by the responses of its servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Removal {
    Deleted,
    Remaining,
    PossiblyRemaining,
}

impl Removal {
    /// As Swift counts: more servers removed it than did not.
    pub(super) fn of(successes: usize, failures: usize) -> Self {
        match successes {
            0 => Self::Remaining,
            _ if successes > failures => Self::Deleted,
            _ => Self::PossiblyRemaining,
        }
    }
}

impl Reaped {
    /// Adds the counts of another part.
    pub(crate) fn add(&mut self, other: &Self) {
        self.accounts += other.accounts;
        self.containers_deleted += other.containers_deleted;
        self.objects_deleted += other.objects_deleted;
        self.containers_remaining += other.containers_remaining;
        self.objects_remaining += other.objects_remaining;
        self.containers_possibly_remaining += other.containers_possibly_remaining;
        self.objects_possibly_remaining += other.objects_possibly_remaining;
        for (class, count) in &other.return_codes {
            *self.return_codes.entry(*class).or_default() += count;
        }
        self.errors += other.errors;
    }

    /// Counts a response.
    pub(super) fn count_response(&mut self, status: StatusCode) {
        *self.return_codes.entry(status.as_u16() / 100).or_default() += 1;
    }

    /// Counts an object.
    pub(super) fn object(&mut self, removal: Removal) {
        *match removal {
            Removal::Deleted => &mut self.objects_deleted,
            Removal::Remaining => &mut self.objects_remaining,
            Removal::PossiblyRemaining => &mut self.objects_possibly_remaining,
        } += 1;
    }

    /// Counts a container.
    pub(super) fn container(&mut self, removal: Removal) {
        *match removal {
            Removal::Deleted => &mut self.containers_deleted,
            Removal::Remaining => &mut self.containers_remaining,
            Removal::PossiblyRemaining => &mut self.containers_possibly_remaining,
        } += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_servers_decide() {
        assert_eq!(Removal::of(3, 0), Removal::Deleted);
        assert_eq!(Removal::of(2, 1), Removal::Deleted);
        assert_eq!(Removal::of(1, 2), Removal::PossiblyRemaining);
        assert_eq!(Removal::of(1, 1), Removal::PossiblyRemaining);
        assert_eq!(Removal::of(0, 3), Removal::Remaining);
    }
}
