//! Deletion: of the current version, which leaves a delete marker, and of a named version.
//!
//! Several clients may change one name at once. The rules by which the visible name agrees with the
//! versions when all are done:
//!
//! 1. A writer adds its version before it writes the visible name, at the version's time.
//! 2. A remover writes the visible name first where that leads to its version, or where it is older
//!    than its version: then the link or deletion of that version's writer is still to come, and is
//!    refused as older. After the removal it looks at the visible name once more.
//! 3. All but a writer's first attempt depend on the visible name being unchanged since the versions
//!    were read, and look once more whether the version that decided still exists.

use apus_cluster::{ObjectPath, Timestamp};
use apus_policy::Permission;

use super::current::{Current, id_of, on_link};
use super::link::{EMPTY_ETAG, VersionFacts};
use super::names::{MARKER_TYPE, VersionRow, VersionedContainer};
use super::write::is_refusal;
use super::{ATTEMPTS, Keeping, Versions, changed_too_often, no_version, not_versioned, system};
use crate::context::Context;
use crate::operation::*;
use crate::{Error, Kind, Result, Subject};

/// Rows that are looked at to find the version before a removed one.
const ROWS: usize = 16;

/// Whether a deletion found nothing to delete, which is a success here.
pub(super) fn or_absent(deleted: Result<Deleted>) -> Result<()> {
    match deleted {
        Err(error) if error.kind != Kind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl Versions {
    pub(super) async fn delete(&self, cx: &Context, mut op: DeleteObject) -> Result<Deleted> {
        // The expirer's deletion is that of what expires: the link, or an object without versions.
        if op.if_delete_at.is_some() {
            return self.next.delete_object(cx, op).await;
        }
        let container = &op.object.container;
        let versioned = match self.keeping(cx, container).await? {
            Keeping::Versions(versioned) => versioned,
            other => {
                if let Some(VersionId::At(_)) = op.version {
                    self.authorize_deletion(cx, &op, None).await?;
                    return Err(not_versioned(cx));
                }
                op.version = None;
                return match other {
                    Keeping::Copies(archive) => self.delete_keeping_copy(cx, &archive, op).await,
                    _ => self.next.delete_object(cx, op).await,
                };
            }
        };
        if cx.has_swift_versions() {
            return self.delete_as_swift(cx, &versioned, op).await;
        }
        self.authorize_deletion(cx, &op, Some(&versioned)).await?;
        match op.version {
            None => self.mark(cx, &versioned, op).await,
            Some(id) => self.remove(cx, &versioned, &op, id).await,
        }
    }

    async fn authorize_deletion(
        &self,
        cx: &Context,
        op: &DeleteObject,
        versioned: Option<&VersionedContainer>,
    ) -> Result<()> {
        let stored_at = match (versioned, op.version) {
            (Some(versioned), Some(VersionId::At(time))) => {
                Some(versioned.version(&op.object.object, time)?)
            }
            _ => None,
        };
        let asked = op.version.map(|id| (id, stored_at));
        self.authorize_object(cx, Permission::DeleteObject, &op.object, asked).await
    }

    /// Deletes the current version: it stays as a version, and a delete marker hides it.
    pub(super) async fn mark(
        &self,
        cx: &Context,
        versioned: &VersionedContainer,
        op: DeleteObject,
    ) -> Result<Deleted> {
        let object = op.object.clone();
        let conditions = on_link(op.conditions);
        let current = self.current(cx, versioned, &object).await?;
        let is_absent = matches!(current, Current::Absent(_));
        match is_absent && !conditions.is_empty() {
            true => self.check_marker(cx, versioned, &object, &conditions).await?,
            false => current.check(&conditions)?,
        }
        let is_suspended = versioned.state == Versioning::Suspended;
        if current.is_plain() && !is_suspended {
            self.keep_null(cx, versioned, &object).await?;
        }
        let time = op.timestamp.unwrap_or_else(|| self.clock.stamp());
        let marker = self.put_marker(cx, versioned, &object, (time, is_suspended)).await?;
        apus_fault::point("versions.marker.stored");
        let unlink = Unlink { time, conditions: if is_absent { None } else { Some(conditions) } };
        let is_replaced = match self.unlink(cx, versioned, &object, unlink).await {
            Err(error) => {
                if is_refusal(&error) {
                    self.withdraw(cx, versioned, &object, time).await?;
                }
                return Err(error);
            }
            Ok(unlinked) => matches!(unlinked, Unlinked::ReplacedByNull),
        };
        if is_suspended {
            // There is one null version: the newest.
            if is_replaced {
                self.discard(cx, marker).await;
            }
            self.remove_null(cx, versioned, &object, (time, &current)).await?;
        }
        let version = Some(if is_suspended { VersionId::Null } else { VersionId::At(time) });
        if is_absent && cx.has_swift_versions() {
            // Swift reports that there was nothing, with the marker that it wrote.
            let mut error = Error::new(Kind::NotFound, Subject::Object);
            error.head = Some(Box::new(ObjectHead { version, ..ObjectHead::default() }));
            return Err(error);
        }
        let timestamp = time;
        Ok(Deleted { deleted: 1, version, delete_marker: true, timestamp, ..Deleted::default() })
    }

    /// Checks the conditions of a deletion against the delete marker that is the current version.
    async fn check_marker(
        &self,
        cx: &Context,
        versioned: &VersionedContainer,
        object: &ObjectPath,
        conditions: &WriteConditions,
    ) -> Result<()> {
        let rows = self.rows(cx, versioned, object, 1).await?;
        let marker = rows.first().filter(|row| row.is_marker()).map(|row| ObjectHead {
            timestamp: row.time,
            etag: EMPTY_ETAG.to_owned(),
            ..ObjectHead::default()
        });
        conditions.check(marker.as_ref())
    }

    /// Removes the visible name as of the time of its delete marker.
    async fn unlink(
        &self,
        cx: &Context,
        versioned: &VersionedContainer,
        object: &ObjectPath,
        unlink: Unlink,
    ) -> Result<Unlinked> {
        let Unlink { time, conditions } = unlink;
        let conditions = conditions.filter(|conditions| !conditions.is_empty());
        let is_conditional = conditions.is_some();
        let conditions = conditions.unwrap_or_default();
        let nothing_newer_than = is_conditional.then_some(time);
        let op = DeleteObject {
            timestamp: Some(time),
            conditions: WriteConditions { nothing_newer_than, ..conditions },
            ..DeleteObject::new(object.clone())
        };
        match self.next.delete_object(&system(cx), op).await {
            Err(error) if error.kind == Kind::Conflict && !is_conditional => {}
            // A condition holds for what is there: it was deleted in the meantime.
            Err(error) if error.kind == Kind::NotFound && is_conditional => return Err(error),
            deleted => return or_absent(deleted).map(|()| Unlinked::Removed),
        }
        // Something is newer than the marker: a version, a removal of the marker, or only a promise
        // to a writer that failed.
        for _ in 0..ATTEMPTS {
            let current = self.current(cx, versioned, object).await?;
            match &current {
                // A deletion at this time may be on a minority of the nodes, which did not refuse it.
                Current::Absent(deleted) if *deleted != Some(time) => {
                    return Ok(Unlinked::Removed);
                }
                Current::Plain(head) if head.timestamp > time => {
                    return Ok(Unlinked::ReplacedByNull);
                }
                Current::Link(_, newer) if *newer > time => return Ok(Unlinked::Removed),
                Current::Absent(_) | Current::Plain(_) | Current::Link(..) => {}
            }
            let marker = versioned.version(&object.object, time)?;
            match self.stored(cx, &marker).await {
                // Another client has removed the marker already.
                Err(error) if error.kind == Kind::NotFound => return Ok(Unlinked::Removed),
                stored => stored?,
            };
            // A read may miss the first deletion, if only a minority has it.
            let unchanged_since = current.changed().max(Some(time));
            match self.clear(cx, object, unchanged_since).await {
                Err(error) if error.kind == Kind::Conflict => {}
                cleared => {
                    cleared?;
                    self.verify(cx, versioned, object, time).await?;
                    return Ok(Unlinked::Removed);
                }
            }
        }
        Err(changed_too_often())
    }

    /// Removes the visible name, if it has not changed since then.
    pub(super) async fn clear(
        &self,
        cx: &Context,
        object: &ObjectPath,
        unchanged_since: Option<Timestamp>,
    ) -> Result<()> {
        let since = unchanged_since.unwrap_or(Timestamp::ZERO);
        let conditions =
            WriteConditions { nothing_newer_than: Some(since), ..WriteConditions::default() };
        let op = DeleteObject { conditions, ..DeleteObject::new(object.clone()) };
        or_absent(self.next.delete_object(&system(cx), op).await)
    }

    /// Removes one version for good. The version before the current one becomes current.
    async fn remove(
        &self,
        cx: &Context,
        versioned: &VersionedContainer,
        op: &DeleteObject,
        id: VersionId,
    ) -> Result<Deleted> {
        let object = &op.object;
        let hidden = match id {
            VersionId::At(time) => Some(time),
            VersionId::Null => self.null(cx, versioned, object).await?,
        };
        let Some(time) = hidden else {
            return self.remove_visible(cx, versioned, op).await;
        };
        let path = versioned.version(&object.object, time)?;
        let head = self.stored(cx, &path).await.map_err(|error| match error.kind {
            Kind::NotFound => no_version(),
            _ => error,
        })?;
        op.conditions.check(Some(&head))?;
        let delete_marker = head.content_type == MARKER_TYPE;
        self.uncover(cx, versioned, object, (time, Removal::Ahead { delete_marker })).await?;
        apus_fault::point("versions.removed.uncovered");
        // A lock that was set since the check counts.
        let conditions =
            WriteConditions { unlocked: op.conditions.unlocked, ..WriteConditions::default() };
        let removal = DeleteObject { conditions, ..DeleteObject::new(path) };
        or_absent(self.next.delete_object(&system(cx), removal).await)?;
        apus_fault::point("versions.version.removed");
        self.uncover(cx, versioned, object, (time, Removal::Done)).await?;
        let version = match id {
            VersionId::Null => id,
            VersionId::At(time) => id_of(cx, time, &head),
        };
        Ok(Deleted { deleted: 1, version: Some(version), delete_marker, ..Deleted::default() })
    }

    /// Removes a version whose write was refused.
    pub(super) async fn withdraw(
        &self,
        cx: &Context,
        versioned: &VersionedContainer,
        object: &ObjectPath,
        time: Timestamp,
    ) -> Result<()> {
        self.discard(cx, versioned.version(&object.object, time)?).await;
        self.uncover(cx, versioned, object, (time, Removal::Done)).await
    }

    /// Removes the null version that is in the visible container.
    async fn remove_visible(
        &self,
        cx: &Context,
        versioned: &VersionedContainer,
        op: &DeleteObject,
    ) -> Result<Deleted> {
        let object = &op.object;
        let mut is_removed = false;
        for _ in 0..ATTEMPTS {
            let current = self.current(cx, versioned, object).await?;
            let removed = match &current {
                Current::Plain(head) => {
                    op.conditions.check(Some(head))?;
                    // The writer of a newer version may be about to keep it as a version, or has.
                    let kept = head.timestamp.with_offset(0);
                    let kept = DeleteObject::new(versioned.version(&object.object, kept)?);
                    or_absent(self.next.delete_object(&system(cx), kept).await)?;
                    is_removed = true;
                    let decided = (None, current.changed());
                    self.fall_back(cx, versioned, object, decided).await
                }
                // A newer version took its place, and did not keep it.
                _ if is_removed => Ok(()),
                _ => return Err(no_version()),
            };
            match removed {
                Err(error) if error.kind == Kind::Conflict => {}
                Err(error) => return Err(error),
                Ok(()) => {
                    let version = Some(VersionId::Null);
                    return Ok(Deleted { deleted: 1, version, ..Deleted::default() });
                }
            }
        }
        Err(changed_too_often())
    }

    /// Makes the visible name agree with the versions without the one of this time.
    async fn uncover(
        &self,
        cx: &Context,
        versioned: &VersionedContainer,
        object: &ObjectPath,
        (time, removal): (Timestamp, Removal),
    ) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let current = self.current(cx, versioned, object).await?;
            let is_covering = match &current {
                Current::Link(..) => current.is_version(time),
                Current::Absent(_)
                    if !matches!(removal, Removal::Ahead { delete_marker: false }) =>
                {
                    let rows = self.rows(cx, versioned, object, 2).await?;
                    let next = rows.iter().find(|row| row.time != time);
                    next.is_some_and(|next| next.time < time && !next.is_marker())
                }
                Current::Plain(_) | Current::Absent(_) => false,
            };
            let is_awaited = !matches!(removal, Removal::Done) && current.is_before(time);
            if !is_covering && !is_awaited {
                return Ok(());
            }
            match self.replace(cx, versioned, object, (time, &current)).await {
                Err(error) if error.kind == Kind::Conflict => {}
                done => return done,
            }
        }
        Err(changed_too_often())
    }

    /// Writes the visible name as if the version of this time did not exist, and later than that.
    pub(super) async fn replace(
        &self,
        cx: &Context,
        versioned: &VersionedContainer,
        object: &ObjectPath,
        (time, current): (Timestamp, &Current),
    ) -> Result<()> {
        self.clock.observe(time);
        if current.is_plain() {
            self.keep_null(cx, versioned, object).await?;
        }
        self.fall_back(cx, versioned, object, (Some(time), current.changed())).await
    }

    /// Makes the newest version but `without` the current one, if the visible name has not changed
    /// since then; without such a version, or with a delete marker as such, removes the name.
    async fn fall_back(
        &self,
        cx: &Context,
        versioned: &VersionedContainer,
        object: &ObjectPath,
        (without, unchanged_since): (Option<Timestamp>, Option<Timestamp>),
    ) -> Result<()> {
        let rows = self.rows(cx, versioned, object, ROWS).await?;
        for row in rows.into_iter().filter(|row| Some(row.time) != without) {
            let path = versioned.version(&object.object, row.time)?;
            let head = match self.stored(cx, &path).await {
                // Its row is late.
                Err(error) if error.kind == Kind::NotFound => continue,
                stored => stored?,
            };
            if VersionRow::is_marker(&row) {
                self.clear(cx, object, unchanged_since).await?;
            } else {
                let facts = VersionFacts { time: row.time, ..VersionFacts::of(path, head) };
                self.relink(cx, object, facts, unchanged_since).await?;
            }
            return self.verify(cx, versioned, object, row.time).await;
        }
        self.clear(cx, object, unchanged_since).await
    }

    /// Looks once more for the version by which the visible name was written: its removal may not
    /// have seen that.
    pub(super) async fn verify(
        &self,
        cx: &Context,
        versioned: &VersionedContainer,
        object: &ObjectPath,
        time: Timestamp,
    ) -> Result<()> {
        match self.stored(cx, &versioned.version(&object.object, time)?).await {
            Err(error) if error.kind == Kind::NotFound => {
                Box::pin(self.uncover(cx, versioned, object, (time, Removal::Done))).await
            }
            stored => stored.map(|_| ()),
        }
    }
}

/// The removal of a version, before and after.
#[derive(Debug, Clone, Copy)]
enum Removal {
    /// The version, or delete marker, is about to be removed.
    Ahead { delete_marker: bool },
    /// It was removed.
    Done,
}

/// How a visible name was removed for a delete marker.
enum Unlinked {
    /// It was removed, or leads to a newer version.
    Removed,
    /// A newer null version is there.
    ReplacedByNull,
}

/// The removal of a visible name.
struct Unlink {
    /// The time of the delete marker.
    time: Timestamp,
    /// Conditions on what is there; `None` where nothing was.
    conditions: Option<WriteConditions>,
}
