//! Counts rows below full redundancy: at least one primary lacks their newest state.
//!
//! Rows are counted as a pass finds them, before it sends them, by one replica of each database:
//! the first primary in the ring's order that has them, of those that respond, or a handoff if no
//! primary that responds has them. Rows of a database are `unknown` when no primary is known to lack
//! them, but one could not be asked. Rows of a container that wait to be moved to its shards are not
//! counted.
//!
//! The count is never too low, but often too high. Rows that several replicas lack count for each of
//! them, up to all rows of the database. A replica that gets a whole database counts as without
//! rows. A Swift server does not report which of the rows it was sent were new to it, so all count.
//! Databases on handoffs alone are counted by each of these. The counts of a node stay until its next
//! pass, even if another node has counted since.

use serde::Serialize;

/// Rows of all databases of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Redundancy {
    /// Rows that a primary lacks.
    pub below: u64,
    /// Rows of databases that a primary could not be asked about.
    pub unknown: u64,
    /// Databases that a primary lacks as a whole. They may be empty.
    pub databases_below: u64,
    /// Databases that a primary could not be asked about.
    pub databases_unknown: u64,
}

impl Redundancy {
    pub(super) fn add(&mut self, other: Self) {
        self.below += other.below;
        self.unknown += other.unknown;
        self.databases_below += other.databases_below;
        self.databases_unknown += other.databases_unknown;
    }
}

/// Rows that a primary lacked when it was asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Gap {
    /// It did not respond.
    #[default]
    Unknown,
    /// The whole database; its device may be missing.
    Database,
    /// At most so many rows.
    Rows(u64),
}

impl Gap {
    /// Adds rows.
    pub(super) fn rows(&mut self, more: u64) {
        match self {
            Self::Unknown => *self = Self::Rows(more),
            Self::Database => {}
            Self::Rows(rows) => *rows = rows.saturating_add(more),
        }
    }
}

/// The counts of a replica with `rows` rows. `primaries` are the gaps of the others, and whether each
/// comes before this one and can count itself.
pub(super) fn count(rows: u64, primaries: &[(Gap, bool)]) -> Redundancy {
    let lacked = |gap: Gap| match gap {
        Gap::Unknown => 0,
        Gap::Database => rows,
        Gap::Rows(some) => some,
    };
    let known = || primaries.iter().filter(|(gap, _)| *gap != Gap::Unknown);
    let earlier = || known().filter(|(_, counts)| *counts);
    // A primary that lacks the database does not count it.
    let is_first = !earlier().any(|(gap, _)| *gap != Gap::Database);
    let lacks_all = |(gap, _): &(Gap, bool)| *gap == Gap::Database;
    let below = match is_first {
        true => {
            let most = known().map(|(gap, _)| lacked(*gap)).max().unwrap_or(0);
            known().map(|(gap, _)| lacked(*gap)).sum::<u64>().min(rows.max(most))
        }
        // All of them lack at most as many as each of them.
        false => earlier().map(|(gap, _)| lacked(*gap)).min().unwrap_or(0),
    };
    let is_silent = is_first && primaries.iter().any(|(gap, _)| *gap == Gap::Unknown);
    let databases_below = u64::from(is_first && known().any(lacks_all));
    Redundancy {
        below,
        unknown: if is_silent { rows.saturating_sub(below) } else { 0 },
        databases_below,
        databases_unknown: u64::from(is_silent && databases_below == 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(rows: [u64; 2], databases: [u64; 2]) -> Redundancy {
        let ([below, unknown], [databases_below, databases_unknown]) = (rows, databases);
        Redundancy { below, unknown, databases_below, databases_unknown }
    }

    const NONE: Gap = Gap::Rows(0);

    #[test]
    fn the_first_counts_rows_that_any_lacks_and_others_those_that_all_before_lack() {
        assert_eq!(count(9, &[(NONE, false), (NONE, false)]), counts([0, 0], [0, 0]));
        assert_eq!(count(9, &[(NONE, false), (Gap::Rows(4), false)]), counts([4, 0], [0, 0]));
        assert_eq!(
            count(9, &[(Gap::Rows(7), false), (Gap::Rows(4), false)]),
            counts([9, 0], [0, 0])
        );
        assert_eq!(count(9, &[(NONE, true), (Gap::Rows(4), false)]), counts([0, 0], [0, 0]));
        assert_eq!(count(9, &[(Gap::Rows(2), true), (NONE, false)]), counts([2, 0], [0, 0]));
        assert_eq!(count(9, &[(Gap::Rows(2), true), (Gap::Rows(5), true)]), counts([2, 0], [0, 0]));
    }

    #[test]
    fn a_lost_replica_is_counted_by_the_first_that_is_left() {
        // Of three with 9 rows, the first has lost its own.
        assert_eq!(count(9, &[(Gap::Database, true), (NONE, false)]), counts([9, 0], [1, 0]));
        assert_eq!(count(9, &[(Gap::Database, true), (NONE, true)]), counts([0, 0], [0, 0]));
        // The last has.
        assert_eq!(count(9, &[(NONE, false), (Gap::Database, false)]), counts([9, 0], [1, 0]));
        assert_eq!(count(9, &[(NONE, true), (Gap::Database, false)]), counts([0, 0], [0, 0]));
        // An empty one counts as a database.
        assert_eq!(count(0, &[(NONE, false), (Gap::Database, false)]), counts([0, 0], [1, 0]));
    }

    #[test]
    fn rows_are_unknown_when_a_primary_is_silent_and_counted_by_the_first_that_answers() {
        assert_eq!(count(9, &[(Gap::Unknown, true), (NONE, false)]), counts([0, 9], [0, 1]));
        assert_eq!(count(9, &[(Gap::Unknown, true), (NONE, true)]), counts([0, 0], [0, 0]));
        assert_eq!(
            count(9, &[(Gap::Unknown, false), (Gap::Rows(3), false)]),
            counts([3, 6], [0, 1])
        );
        // A handoff: all primaries come before it.
        assert_eq!(count(9, &[(Gap::Unknown, true), (Gap::Unknown, true)]), counts([0, 9], [0, 1]));
        assert_eq!(
            count(9, &[(Gap::Database, true), (Gap::Database, true)]),
            counts([9, 0], [1, 0])
        );
    }
}
