//! Brings one object, or its deletion, from the policy that it was written in to the container's.
//!
//! The copy's time is that of what was copied with a greater offset: later than every copy of the
//! same write, and earlier than any write of a client that came after it. The source is deleted
//! only when most servers of the target have something as new, and as of the time of what was seen
//! there, so that nothing newer is lost. Each step can be taken again, by several processes at once.
//! Source: `swift/container/reconciler.py`, `_reconcile_object`.
//!
//! The source's deletion is a misplaced deletion like others, and may be queued before the entry is
//! removed. Swift deletes the source once more, a little later, and after four such rounds the copy.
//! Here offsets tell such deletions from those of clients, and what is deleted stays as it is.

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

/// What an entry of the queue asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) entry: Entry,
    pub(super) operation: Operation,
    /// When the object was written or deleted.
    pub(super) time: Timestamp,
}

/// What became of an entry, by the names of Swift's statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is where it belongs.
    NoopObject,
    /// The target had something newer, and the source is gone; or it is the trace of a move.
    FoundObject,
    /// It was copied, and the source is gone.
    CopySuccess,
    /// It was deleted in the target, too.
    DeleteSuccess,
    /// There is no source, and nobody will bring one.
    LostSource,
    /// The container's policy is not known or not settled, or the container is deleted.
    UnavailableContainer,
    /// One of the policies has no ring here, or its ring is being changed to more partitions.
    PpiSkip,
    /// The target cannot be seen now.
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

impl Fate {
    /// Whether the entry is done with.
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
    /// Where the objects of each policy live.
    pub(super) rings: BTreeMap<PolicyIndex, Arc<SharedRing>>,
    /// Seconds after which an entry without a source is given up.
    pub(super) reclaim_age: u64,
}

/// The same time with a greater offset.
fn later(time: Timestamp, by: u64) -> Timestamp {
    time.with_offset(time.offset().saturating_add(by))
}

/// Whether a deletion is that of a source which was moved: clients' have no offset, and those that
/// were moved themselves have whole steps of it.
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

    /// Does what an entry asks for.
    pub(super) async fn reconcile(&self, clock: &dyn Clock, job: &Job) -> Fate {
        let Job { entry: Entry { policy: source, object }, operation, time } = job;
        let Some(placement) = self.placements.of(&object.container, clock).await else {
            return Fate::UnavailableContainer;
        };
        if placement.policy == *source {
            // An entry that was removed does not come again, even if the other policy wins in the end.
            return if placement.agreed { Fate::NoopObject } else { Fate::UnavailableContainer };
        }
        if is_trace(*operation, *time) {
            return Fate::FoundObject;
        }
        if !self.is_settled(*source) || !self.is_settled(placement.policy) {
            return Fate::PpiSkip;
        }
        // Strong, since what one pass wrote the next must see: a majority of primaries.
        let context = Context::system("reconciler", new_trans_id(clock, "")).strong();
        let (from, to) = (context.in_policy(*source), context.in_policy(placement.policy));
        let (there, _) = match self.newest(&to, object).await {
            Ok(seen) => seen,
            Err(error) => {
                tracing::debug!(%error, %object, "reconciler: target");
                return Fate::UnavailableDestination;
            }
        };
        if there >= *time {
            let (here, is_here) = match self.newest(&from, object).await {
                Ok(seen) => seen,
                Err(error) => {
                    tracing::debug!(%error, %object, "reconciler: source");
                    return Fate::UnavailableSource;
                }
            };
            match is_here {
                // Newer than what is there: to be moved after all.
                true if here > there => {}
                true => return self.clean_up(&from, object, here, Fate::FoundObject).await,
                false => return self.bury(&from, object, here, *time, Fate::FoundObject).await,
            }
        }
        match self.read(&from, object).await {
            Ok(read) if read.head.timestamp >= *time => {
                if !placement.exists {
                    return Fate::UnavailableContainer;
                }
                let moved = read.head.timestamp;
                if let Err(error) = self.copy(&to, object, read, later(moved, COPY)).await {
                    tracing::warn!(%error, %object, "reconciler: copy");
                    return Fate::CopyFailed;
                }
                apus_fault::point("reconcile.object.copied");
                self.clean_up(&from, object, moved, Fate::CopySuccess).await
            }
            Err(error) if error.kind == Kind::NotFound && *operation == Operation::Delete => {
                match self.delete(&to, object, later(*time, COPY)).await {
                    Ok(()) => {
                        apus_fault::point("reconcile.object.deleted");
                        let here = deleted_at(&error);
                        self.bury(&from, object, here, *time, Fate::DeleteSuccess).await
                    }
                    Err(error) => {
                        tracing::warn!(%error, %object, "reconciler: deletion");
                        Fate::DeleteFailed
                    }
                }
            }
            // What is newer may be on servers that are away; what they say they do not have may
            // come from elsewhere, but not for ever.
            unread => {
                let is_missing = match &unread {
                    Ok(_) => true,
                    Err(error) => error.kind == Kind::NotFound,
                };
                let is_old =
                    time.seconds().saturating_add(self.reclaim_age) < clock.now().as_secs();
                if is_missing && is_old {
                    tracing::error!(%object, policy = %source, %time, "reconciler: lost, given up");
                    return Fate::LostSource;
                }
                tracing::warn!(%object, policy = %source, %time, "reconciler: no source yet");
                Fate::UnavailableSource
            }
        }
    }

    /// The newest time that the servers of a policy know of an object, and whether it is there.
    async fn newest(&self, cx: &Context, object: &ObjectPath) -> Result<(Timestamp, bool), Error> {
        let op = HeadObject { newest: true, ..HeadObject::new(object.clone()) };
        match self.store.head_object(cx, op).await {
            Ok(head) => Ok((head.timestamp, true)),
            Err(error) if error.kind == Kind::NotFound => Ok((deleted_at(&error), false)),
            Err(error) => Err(error),
        }
    }

    /// The newest version; what no primary has heard of is looked for on handoffs.
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

    /// Deletes a source that is not there, in case that older replicas of it are, unless that was
    /// done: `here` is the time of its deletion.
    async fn bury(
        &self,
        cx: &Context,
        object: &ObjectPath,
        here: Timestamp,
        time: Timestamp,
        done: Fate,
    ) -> Fate {
        if here >= time { done } else { self.clean_up(cx, object, time, done).await }
    }

    /// Deletes the source as it was seen, at `time`.
    async fn clean_up(
        &self,
        cx: &Context,
        object: &ObjectPath,
        time: Timestamp,
        done: Fate,
    ) -> Fate {
        match self.delete(cx, object, later(time, TOMBSTONE)).await {
            Ok(()) => {
                apus_fault::point("reconcile.source.deleted");
                done
            }
            Err(error) => {
                tracing::warn!(%error, %object, "reconciler: source not removed");
                Fate::CleanupFailed
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_was_moved_is_no_deletion_to_move() {
        let time = Timestamp::from_seconds(1_700_000_000);
        // A write moves twice, and back: copies, and what became of their sources.
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
