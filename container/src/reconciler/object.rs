//! Moves one object, or its deletion, from the policy of its write to the container's.
//!
//! The copy's time is that of what was copied with a greater offset: later than every copy of the
//! same write, and earlier than any later write of a client. The source is deleted only when most
//! servers of the target have something as new, and at the time of the version that was read, so that
//! nothing newer is lost. Each step can be repeated, by several processes at once.
//! Source: `swift/container/reconciler.py`, `_reconcile_object`.
//!
//! The source's deletion is a misplaced deletion like others, and may be queued before the entry is
//! removed. Swift then deletes the source again, a little later, and after four such rounds the copy.
//! Here offsets distinguish such deletions from those of clients, and they are not moved.

use std::collections::BTreeMap;
use std::sync::Arc;

use apus_cluster::reconciler::{Entry, Operation};
use apus_cluster::{ObjectPath, PolicyIndex, Timestamp};
use apus_daemon::Clock;
use apus_daemon::http::new_trans_id;
use apus_ring::SharedRing;
use apus_store::body::LateMetadata;
use apus_store::operation::{
    DeleteObject, GetObject, HeadObject, ObjectRead, PutObject, WriteConditions,
};
use apus_store::{Context, Error, Kind, Primitive};

use super::placement::Placements;

/// Offset by which a copy, also of a deletion, is later than what it is a copy of (Swift's).
const COPY: u64 = 3;
/// Offset by which a source's deletion is later than the source (Swift's).
const TOMBSTONE: u64 = 1;

/// An entry of the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct QueueEntry {
    pub(super) entry: Entry,
    pub(super) operation: Operation,
    /// When the object was written or deleted.
    pub(super) time: Timestamp,
}

/// Outcome of one entry, by the names of Swift's statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EntryOutcome {
    /// It is in its place.
    NoopObject,
    /// The target had something newer, and the source is deleted; or it is the trace of a move.
    FoundObject,
    /// It was copied, and the source is deleted.
    CopySuccess,
    /// It was deleted in the target, too.
    DeleteSuccess,
    /// There is no source, and it is too old to come back.
    LostSource,
    /// The container's policy is not known or not settled, or the container is deleted.
    UnavailableContainer,
    /// One of the policies has no ring here, or its ring is being changed to more partitions.
    PpiSkip,
    /// The target cannot be read now.
    UnavailableDestination,
    /// The source cannot be read now, or is older than the entry.
    UnavailableSource,
    /// It could not be copied.
    CopyFailed,
    /// It could not be deleted in the target.
    DeleteFailed,
    /// The source could not be deleted, or became newer.
    CleanupFailed,
}

impl EntryOutcome {
    /// Whether the entry is to be removed.
    pub(super) fn is_done(self) -> bool {
        match self {
            Self::NoopObject
            | Self::FoundObject
            | Self::CopySuccess
            | Self::DeleteSuccess
            | Self::LostSource => true,
            Self::UnavailableContainer
            | Self::PpiSkip
            | Self::UnavailableDestination
            | Self::UnavailableSource
            | Self::CopyFailed
            | Self::DeleteFailed
            | Self::CleanupFailed => false,
        }
    }
}

/// Moves objects.
pub(super) struct Mover {
    pub(super) store: Arc<dyn Primitive>,
    pub(super) placements: Placements,
    /// The rings of objects by policy.
    pub(super) rings: BTreeMap<PolicyIndex, Arc<SharedRing>>,
    /// Seconds after which an entry without a source is given up.
    pub(super) reclaim_age: u64,
}

/// The same time with a greater offset.
fn later(time: Timestamp, by: u64) -> Timestamp {
    time.with_offset(time.offset().saturating_add(by))
}

/// Whether a deletion is that of a source which was moved: those of clients have no offset, and those
/// that were moved themselves have whole steps of it.
fn is_trace(operation: Operation, time: Timestamp) -> bool {
    operation == Operation::Delete && !time.offset().is_multiple_of(COPY)
}

/// The time of what is missing: of its deletion, if that is known.
fn deleted_at(error: &Error) -> Timestamp {
    error.head.as_ref().map_or(Timestamp::ZERO, |head| head.timestamp)
}

impl Mover {
    /// Whether objects of a policy may be moved: its partitions are where they were and will be.
    fn is_settled(&self, policy: PolicyIndex) -> bool {
        self.rings.get(&policy).is_some_and(|ring| ring.get().next_part_power().is_none())
    }

    /// Moves what an entry is about.
    pub(super) async fn reconcile(&self, clock: &dyn Clock, job: &QueueEntry) -> EntryOutcome {
        let QueueEntry { entry: Entry { policy: source, object }, operation, time } = job;
        let Some(placement) = self.placements.of(&object.container, clock).await else {
            return EntryOutcome::UnavailableContainer;
        };
        if placement.policy == *source {
            // An entry that was removed does not come again, even if the other policy wins later.
            return match placement.agreed {
                true => EntryOutcome::NoopObject,
                false => EntryOutcome::UnavailableContainer,
            };
        }
        if is_trace(*operation, *time) {
            return EntryOutcome::FoundObject;
        }
        if !self.is_settled(*source) || !self.is_settled(placement.policy) {
            return EntryOutcome::PpiSkip;
        }
        // Strong, so that each pass sees the writes of the one before: a majority of primaries.
        let context = Context::system("reconciler", new_trans_id(clock, "")).strong();
        let (from, to) = (context.in_policy(*source), context.in_policy(placement.policy));
        if let Some(outcome) = self.found(&from, &to, job).await {
            return outcome;
        }
        match self.read(&from, object).await {
            Ok(read) if read.head.timestamp >= *time => {
                if !placement.exists {
                    return EntryOutcome::UnavailableContainer;
                }
                let moved = read.head.timestamp;
                if let Err(error) = self.copy(&to, object, read, later(moved, COPY)).await {
                    tracing::warn!(%error, %object, "Failed to copy a misplaced object");
                    return EntryOutcome::CopyFailed;
                }
                apus_fault::point("reconcile.object.copied");
                self.clean_up(&from, object, moved, EntryOutcome::CopySuccess).await
            }
            Err(error) if error.kind == Kind::NotFound && *operation == Operation::Delete => {
                match self.delete(&to, object, later(*time, COPY)).await {
                    Ok(()) => {
                        apus_fault::point("reconcile.object.deleted");
                        let here = deleted_at(&error);
                        self.bury(&from, object, here, *time, EntryOutcome::DeleteSuccess).await
                    }
                    Err(error) => {
                        tracing::warn!(%error, %object, "Failed to move a misplaced deletion");
                        EntryOutcome::DeleteFailed
                    }
                }
            }
            Ok(_) => self.without_source(clock, job, true),
            Err(error) => self.without_source(clock, job, error.kind == Kind::NotFound),
        }
    }

    /// The outcome for an entry whose target has something as new, or cannot be read. `None` when
    /// there is something to move.
    async fn found(&self, from: &Context, to: &Context, job: &QueueEntry) -> Option<EntryOutcome> {
        let QueueEntry { entry: Entry { object, .. }, time, .. } = job;
        let (there, _) = match self.newest(to, object).await {
            Ok(newest) => newest,
            Err(error) => {
                tracing::debug!(%error, %object, "Failed to read the target of a misplaced object");
                return Some(EntryOutcome::UnavailableDestination);
            }
        };
        if there < *time {
            return None;
        }
        let done = EntryOutcome::FoundObject;
        match self.newest(from, object).await {
            // Newer than what is there: to be moved after all.
            Ok((here, true)) if here > there => None,
            Ok((here, true)) => Some(self.clean_up(from, object, here, done).await),
            Ok((here, false)) => Some(self.bury(from, object, here, *time, done).await),
            Err(error) => {
                tracing::debug!(%error, %object, "Failed to read the source of a misplaced object");
                Some(EntryOutcome::UnavailableSource)
            }
        }
    }

    /// The outcome for an entry whose source is missing or older. A newer one may be on servers that
    /// cannot be reached, or be restored, but not forever.
    fn without_source(
        &self,
        clock: &dyn Clock,
        job: &QueueEntry,
        is_missing: bool,
    ) -> EntryOutcome {
        let QueueEntry { entry: Entry { policy, object }, time, .. } = job;
        let is_old = time.seconds().saturating_add(self.reclaim_age) < clock.now().as_secs();
        if is_missing && is_old {
            tracing::error!(%object, %policy, %time, "Gave up a misplaced object without a source");
            return EntryOutcome::LostSource;
        }
        tracing::warn!(%object, %policy, %time, "A misplaced object has no source yet");
        EntryOutcome::UnavailableSource
    }

    /// The newest time of an object in a policy, and whether it exists.
    async fn newest(&self, cx: &Context, object: &ObjectPath) -> Result<(Timestamp, bool), Error> {
        let op = HeadObject { newest: true, ..HeadObject::new(object.clone()) };
        match self.store.head_object(cx, op).await {
            Ok(head) => Ok((head.timestamp, true)),
            Err(error) if error.kind == Kind::NotFound => Ok((deleted_at(&error), false)),
            Err(error) => Err(error),
        }
    }

    /// The newest version; one that no primary has is read from handoffs.
    async fn read(&self, cx: &Context, object: &ObjectPath) -> Result<ObjectRead, Error> {
        let mut op = GetObject::new(object.clone());
        op.head.newest = true;
        match self.store.get_object(cx, op).await {
            Err(error) if error.kind == Kind::NotFound && error.head.is_none() => {
                self.store.get_object(cx, GetObject::new(object.clone())).await
            }
            read => read,
        }
    }

    /// Writes what was read, as it is stored, into another policy.
    async fn copy(
        &self,
        cx: &Context,
        object: &ObjectPath,
        read: ObjectRead,
        time: Timestamp,
    ) -> Result<(), Error> {
        let ObjectRead { head, body, .. } = read;
        let op = PutObject {
            object: object.clone(),
            body,
            length: Some(head.length),
            content_type: head.content_type,
            metadata: head.metadata,
            etag: Some(head.etag),
            timestamp: Some(time),
            conditions: WriteConditions::default(),
            late: LateMetadata::default(),
        };
        self.store.put_object(cx, op).await.map(|_| ())
    }

    /// Deletes an object; a deletion of what is not there is as durable.
    async fn delete(
        &self,
        cx: &Context,
        object: &ObjectPath,
        time: Timestamp,
    ) -> Result<(), Error> {
        let op = DeleteObject { timestamp: Some(time), ..DeleteObject::new(object.clone()) };
        match self.store.delete_object(cx, op).await {
            Ok(_) => Ok(()),
            Err(error) if error.kind == Kind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Deletes a source that does not exist, in case that older replicas of it do. Not again if that
    /// was done: `here` is the time of its deletion.
    async fn bury(
        &self,
        cx: &Context,
        object: &ObjectPath,
        here: Timestamp,
        time: Timestamp,
        done: EntryOutcome,
    ) -> EntryOutcome {
        if here >= time { done } else { self.clean_up(cx, object, time, done).await }
    }

    /// Deletes the source that was read, of `time`.
    async fn clean_up(
        &self,
        cx: &Context,
        object: &ObjectPath,
        time: Timestamp,
        done: EntryOutcome,
    ) -> EntryOutcome {
        match self.delete(cx, object, later(time, TOMBSTONE)).await {
            Ok(()) => {
                apus_fault::point("reconcile.source.deleted");
                done
            }
            Err(error) => {
                tracing::warn!(%error, %object, "Failed to delete the source of a moved object");
                EntryOutcome::CleanupFailed
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deletion_of_a_moved_source_is_not_moved() {
        let time = Timestamp::from_seconds(1_700_000_000);
        // A write moves twice, and back: the copies, and the deletions of their sources.
        let copies = [time, later(time, COPY), later(later(time, COPY), COPY)];
        for copy in copies {
            assert!(is_trace(Operation::Delete, later(copy, TOMBSTONE)));
            assert!(is_trace(Operation::Delete, later(later(copy, TOMBSTONE), TOMBSTONE)));
            // Those of clients, moved as often.
            assert!(!is_trace(Operation::Delete, copy));
            assert!(!is_trace(Operation::Put, later(copy, TOMBSTONE)));
        }
        assert!(later(time, TOMBSTONE) < later(time, COPY));
        assert_eq!(later(time, COPY).to_string(), "1700000000.00000_0000000000000003");
    }
}
