//! Deletion and restoration of versions by Swift's rules.

use apus_cluster::Timestamp;
use apus_policy::Permission;

use super::current::Current;
use super::delete::or_absent;
use super::link::VersionFacts;
use super::names::{MARKER_TYPE, VersionedContainer};
use super::{ATTEMPTS, Versions, changed_too_often, no_version, not_versioned, system};
use crate::context::Context;
use crate::operation::*;
use crate::{Error, Kind, Result};

/// The id of the version that is current.
fn id_of_current(current: &Current) -> VersionId {
    match current {
        Current::Link(_, time) => VersionId::At(*time),
        Current::Plain(_) | Current::Absent(_) => VersionId::Null,
    }
}

impl Versions {
    /// Deletes the current version, or a named one.
    pub(super) async fn delete_as_swift(
        &self,
        cx: &Context,
        versioned: &VersionedContainer,
        mut op: DeleteObject,
    ) -> Result<Deleted> {
        match op.version.take() {
            Some(VersionId::At(time)) => self.remove_as_swift(cx, versioned, &op, time).await,
            None if versioned.state == Versioning::Enabled => {
                self.authorize_object(cx, Permission::DeleteObject, &op.object, None).await?;
                self.mark(cx, versioned, op).await
            }
            // What the visible container has, which may be the link to a version.
            None | Some(VersionId::Null) => self.next.delete_object(cx, op).await,
        }
    }

    /// Removes one version for good, and the link to it. No other version becomes current.
    async fn remove_as_swift(
        &self,
        cx: &Context,
        versioned: &VersionedContainer,
        op: &DeleteObject,
        time: Timestamp,
    ) -> Result<Deleted> {
        let object = &op.object;
        let path = versioned.version(&object.object, time)?;
        // The hidden container has no access lists: only owners may.
        self.authorize_object(cx, Permission::DeleteObject, &path, None).await?;
        let version = Some(VersionId::At(time));
        let head = self.stored(cx, &path).await.map_err(|error| match error.kind {
            Kind::NotFound => {
                let head = ObjectHead { version, ..ObjectHead::default() };
                Error { head: Some(Box::new(head)), ..no_version() }
            }
            _ => error,
        })?;
        op.conditions.check(Some(&head))?;
        let current_version = self.unlink_version(cx, versioned, object, time).await?;
        // A lock that was set since the check counts.
        let conditions =
            WriteConditions { unlocked: op.conditions.unlocked, ..WriteConditions::default() };
        let removal = DeleteObject { conditions, ..DeleteObject::new(path) };
        or_absent(self.next.delete_object(&system(cx), removal).await)?;
        // Another client may have made it current since then.
        let again = self.unlink_version(cx, versioned, object, time).await?;
        let current_version = if again == VersionId::Null { current_version } else { again };
        Ok(Deleted {
            deleted: 1,
            version,
            delete_marker: head.content_type == MARKER_TYPE,
            current_version: Some(current_version),
            ..Deleted::default()
        })
    }

    /// Removes the link to a version, if it is the current one. Returns the version that is current
    /// then.
    async fn unlink_version(
        &self,
        cx: &Context,
        versioned: &VersionedContainer,
        object: &apus_cluster::ObjectPath,
        time: Timestamp,
    ) -> Result<VersionId> {
        for _ in 0..ATTEMPTS {
            let current = self.current(cx, versioned, object).await?;
            let is_linked = current.is_version(time);
            let written = match is_linked {
                true => self.clear(cx, object, current.changed()).await,
                // The link of the version is still to come, and must be refused.
                false if current.is_before(time) => {
                    self.replace(cx, versioned, object, (time, &current)).await
                }
                false => return Ok(id_of_current(&current)),
            };
            match written {
                Err(error) if error.kind == Kind::Conflict => {}
                Ok(()) if !is_linked => {}
                done => return done.map(|()| VersionId::Null),
            }
        }
        Err(changed_too_often())
    }

    /// Makes a version the current one by a link to it.
    pub(super) async fn restore(&self, cx: &Context, op: RestoreVersion) -> Result<ObjectWritten> {
        let RestoreVersion { object, version } = op;
        let VersionId::At(time) = version else {
            return Err(Error::invalid("Invalid version parameter"));
        };
        self.authorize_object(cx, Permission::PutObject, &object, None).await?;
        let Some(versioned) = self.versioned(cx, &object.container).await? else {
            return Err(not_versioned(cx));
        };
        let path = versioned.version(&object.object, time)?;
        let missing = || no_version().text("The specified version does not exist");
        let head = self.stored(cx, &path).await.map_err(|error| match error.kind {
            Kind::NotFound => missing(),
            _ => error,
        })?;
        // Nothing could be read through a link to a delete marker.
        if head.content_type == MARKER_TYPE {
            return Err(missing());
        }
        let (etag, length) = (head.etag.clone(), head.length);
        for _ in 0..ATTEMPTS {
            let current = self.current(cx, &versioned, &object).await?;
            if current.is_plain() {
                self.keep_null(cx, &versioned, &object).await?;
            }
            let facts = VersionFacts { time, ..VersionFacts::of(path.clone(), head.clone()) };
            match self.relink(cx, &object, facts, current.changed()).await {
                Err(error) if error.kind == Kind::Conflict => {}
                Err(error) => return Err(error),
                Ok(()) => {
                    self.verify(cx, &versioned, &object, time).await?;
                    return Ok(ObjectWritten {
                        etag,
                        length,
                        timestamp: self.clock.stamp(),
                        version: Some(version),
                        ..ObjectWritten::default()
                    });
                }
            }
        }
        Err(changed_too_often())
    }
}
