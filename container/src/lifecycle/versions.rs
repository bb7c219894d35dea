//! The entries of a bucket that keeps versions, with what their rules depend on.
//!
//! A listing has the versions of a key from the newest to the oldest, so one step back is enough: the
//! entry before says since when a version is not current, and the entry after whether a delete marker
//! is alone. Nothing but the latest entry is held from page to page.

use apus_bucket::lifecycle::LifecycleState;
use apus_store::operation::{ListedVersion, VersionId};

/// A version with its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct VersionState {
    pub(super) version: ListedVersion,
    pub(super) state: LifecycleState,
}

/// The state of the listing between two entries.
#[derive(Debug, Default)]
pub(super) struct VersionSequence {
    /// The key of the last entry.
    key: Option<String>,
    /// When the last entry was written, in seconds since 1970.
    newer_written: u64,
    /// Number of entries of the key so far that are not current.
    noncurrent: u64,
    /// A current delete marker, until it is known whether it is alone.
    marker: Option<ListedVersion>,
}

/// When a version was written, in seconds since 1970.
pub(super) fn written(version: &ListedVersion) -> u64 {
    match version.id {
        // A change of tags is later, and not a write.
        VersionId::At(time) => time.seconds_ceil(),
        VersionId::Null => version.row.last_modified().seconds_ceil(),
    }
}

impl VersionSequence {
    /// Takes the next entry of the listing, and returns those whose state is known now.
    pub(super) fn next(&mut self, version: ListedVersion) -> Vec<VersionState> {
        let mut known = Vec::new();
        if self.key.as_deref() != Some(version.key.as_str()) {
            known.extend(self.finish());
            *self = Self { key: Some(version.key.clone()), ..Self::default() };
        }
        // A marker with an older version is not alone, and hides it.
        self.marker = None;
        let at = written(&version);
        if version.is_latest && version.delete_marker {
            self.marker = Some(version);
        } else if version.is_latest {
            known.push(VersionState { version, state: LifecycleState::Current });
        } else {
            let state =
                LifecycleState::Noncurrent { since: self.newer_written, newer: self.noncurrent };
            self.noncurrent += 1;
            // The newest entry of a key is current, unless its row is not here yet.
            if self.newer_written > 0 {
                known.push(VersionState { version, state });
            }
        }
        self.newer_written = at;
        known
    }

    /// The entry that was held back, at the end of a key.
    pub(super) fn finish(&mut self) -> Option<VersionState> {
        let version = self.marker.take()?;
        Some(VersionState { version, state: LifecycleState::LoneMarker })
    }
}

#[cfg(test)]
mod tests {
    use apus_cluster::Timestamp;
    use apus_cluster::listing::ObjectRow;
    use apus_cluster::timestamp::RowTimes;

    use super::*;

    fn version(key: &str, seconds: u64, is_latest: bool, delete_marker: bool) -> ListedVersion {
        let time = Timestamp::from_seconds(seconds);
        let row = ObjectRow {
            name: format!("internal {key}"),
            times: RowTimes::all(time),
            size: 1,
            content_type: String::new(),
            etag: String::new(),
            deleted: false,
            policy: 0,
        };
        ListedVersion {
            key: key.to_owned(),
            id: VersionId::At(time),
            is_latest,
            delete_marker,
            row,
        }
    }

    fn states(listing: Vec<ListedVersion>) -> Vec<(String, u64, LifecycleState)> {
        let mut sequence = VersionSequence::default();
        let mut found = Vec::new();
        for version in listing {
            found.extend(sequence.next(version));
        }
        found.extend(sequence.finish());
        let shown =
            |found: VersionState| (found.version.key.clone(), written(&found.version), found.state);
        found.into_iter().map(shown).collect()
    }

    #[test]
    fn versions_are_noncurrent_since_the_next_newer_one() {
        use LifecycleState::{Current, LoneMarker, Noncurrent};
        let key = |name: &str| name.to_owned();
        let found = states(vec![
            version("a", 30, true, false),
            version("a", 20, false, false),
            version("a", 10, false, true),
            version("b", 40, true, true),
            version("b", 5, false, false),
            version("c", 50, true, true),
            version("d", 60, true, false),
            version("e", 70, true, true),
        ]);
        assert_eq!(
            found,
            [
                (key("a"), 30, Current),
                (key("a"), 20, Noncurrent { since: 30, newer: 0 }),
                (key("a"), 10, Noncurrent { since: 20, newer: 1 }),
                (key("b"), 5, Noncurrent { since: 40, newer: 0 }),
                (key("c"), 50, LoneMarker),
                (key("d"), 60, Current),
                (key("e"), 70, LoneMarker),
            ]
        );
    }

    #[test]
    fn a_version_without_a_newer_entry_is_left_alone() {
        // Its current version's row is late, or it has just become current.
        let found = states(vec![version("a", 20, false, false), version("a", 10, false, false)]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].2, LifecycleState::Noncurrent { since: 20, newer: 1 });
    }
}
