//! Writes of objects, links and metadata into containers that keep versions.

use apus_cluster::{ObjectPath, Timestamp};
use apus_policy::Permission;

use super::current::{Current, id_of, on_link};
use super::link::{EMPTY_ETAG, VersionFacts};
use super::names::{MARKER_TYPE, NULL_VERSION, ROW_ETAG, VersionedContainer, null_row};
use super::{ATTEMPTS, Keeping, Versions, changed_too_often, no_version, not_versioned, system};
use crate::body::LateMetadata;
use crate::context::Context;
use crate::operation::*;
use crate::stage::symlink::Link;
use crate::{Error, Kind, Result, Subject};

/// The expiry of an object stays with the link: a version does not expire by itself.
const EXPIRY: &str = "X-Delete-At";

/// The error for a version that cannot be stored. A missing hidden container is an operator's
/// problem and not "not found" for a client.
pub(super) fn not_stored(error: Error) -> Error {
    match (&error.kind, error.subject) {
        (Kind::NotFound, Subject::Container) => {
            Error::unavailable("the container of the versions does not exist").because(error)
        }
        _ => error,
    }
}

/// A version whose metadata is changed.
enum ChangedVersion {
    /// Of a container that never kept versions.
    Unversioned,
    /// The null version in the visible container.
    Visible,
    /// Another one.
    Hidden(Box<HiddenVersion>),
}

/// A version in the hidden container.
struct HiddenVersion {
    path: ObjectPath,
    id: VersionId,
    /// The link to it, when it is the current version and was not named.
    link: Option<Box<ObjectHead>>,
    /// The target, when the version is a link of a client.
    target: Option<ObjectPath>,
}

/// Whether a write certainly did not take place.
pub(super) fn is_refusal(error: &Error) -> bool {
    matches!(error.kind, Kind::PreconditionFailed | Kind::NotFound | Kind::Conflict)
}

impl Versions {
    pub(super) async fn put(&self, cx: &Context, op: PutObject) -> Result<ObjectWritten> {
        let container = &op.object.container;
        let versioned = match self.keeping(cx, container).await? {
            Keeping::Versions(versioned) => versioned,
            Keeping::Copies(archive) => {
                self.keep_copy(cx, &archive, &op.object, Permission::PutObject).await?;
                return self.next.put_object(cx, op).await;
            }
            Keeping::Nothing => return self.next.put_object(cx, op).await,
        };
        self.authorize_object(cx, Permission::PutObject, &op.object, None).await?;
        match versioned.state {
            Versioning::Enabled => self.put_version(cx, &versioned, op).await,
            Versioning::Suspended => self.put_null(cx, &versioned, op).await,
        }
    }

    /// Writes a new version, and makes it the current one.
    async fn put_version(
        &self,
        cx: &Context,
        versioned: &VersionedContainer,
        op: PutObject,
    ) -> Result<ObjectWritten> {
        let PutObject { object, metadata, conditions, timestamp, .. } = &op;
        let (object, conditions) = (object.clone(), on_link(conditions.clone()));
        let current = self.current(cx, versioned, &object).await?;
        current.check(&conditions)?;
        let time = timestamp.unwrap_or_else(|| self.clock.stamp());
        let path = versioned.version(&object.object, time)?;
        let mut own = metadata.clone();
        own.remove(EXPIRY);
        let (content_type, metadata) = (op.content_type.clone(), metadata.clone());
        if current.is_plain() {
            self.keep_null(cx, versioned, &object).await?;
            apus_fault::point("versions.null.kept");
        }
        let version = PutObject {
            object: path.clone(),
            metadata: own,
            timestamp: Some(time),
            conditions: WriteConditions::default(),
            ..op
        };
        let written = self.next.put_object(&system(cx), version).await.map_err(not_stored)?;
        apus_fault::point("versions.version.stored");
        let (etag, length) = (written.etag.clone(), written.length);
        let facts = VersionFacts { path, time, etag, length, content_type, metadata };
        self.make_current(cx, versioned, (&object, conditions), facts).await?;
        Ok(ObjectWritten { version: Some(VersionId::At(time)), timestamp: time, ..written })
    }

    /// Makes a version that was just stored the current one.
    async fn make_current(
        &self,
        cx: &Context,
        versioned: &VersionedContainer,
        (object, conditions): (&ObjectPath, WriteConditions),
        facts: VersionFacts,
    ) -> Result<()> {
        let time = facts.time;
        let is_conditional = !conditions.is_empty();
        let conditions = WriteConditions {
            // What was written during the upload is newer than this version.
            nothing_newer_than: is_conditional.then_some(time),
            ..conditions
        };
        let link = facts.link(object.clone(), conditions);
        let link = PutObject { timestamp: Some(time.with_offset(1)), ..link };
        match self.next.put_object(&system(cx), link).await {
            Ok(_) => Ok(()),
            Err(error) if is_conditional => {
                if is_refusal(&error) {
                    self.withdraw(cx, versioned, object, time).await?;
                }
                Err(error)
            }
            Err(error) if error.kind == Kind::Conflict => {
                self.settle(cx, versioned, object, time).await
            }
            // The expiry of the link has passed during the upload.
            Err(error) if error.kind == Kind::Invalid => {
                self.withdraw(cx, versioned, object, time).await?;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    /// Completes a write whose link was too old: either a newer version or marker superseded it, or
    /// only a promise was newer and the link is written again.
    async fn settle(
        &self,
        cx: &Context,
        versioned: &VersionedContainer,
        object: &ObjectPath,
        time: Timestamp,
    ) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let current = self.current(cx, versioned, object).await?;
            let is_superseded = match &current {
                // A link to this version may be on a minority of the nodes, which did not refuse it.
                Current::Link(_, newer) => *newer > time,
                Current::Plain(head) => head.timestamp > time,
                Current::Absent(_) => {
                    let newest = self.rows(cx, versioned, object, 1).await?;
                    newest.first().is_some_and(|row| row.time > time)
                }
            };
            if is_superseded {
                return Ok(());
            }
            let path = versioned.version(&object.object, time)?;
            let facts = match self.stored(cx, &path).await {
                Ok(head) => VersionFacts { time, ..VersionFacts::of(path, head) },
                // Another client has removed the version already.
                Err(error) if error.kind == Kind::NotFound => return Ok(()),
                Err(error) => return Err(error),
            };
            // A read may miss the first link, if only a minority has it.
            let unchanged_since = current.changed().max(Some(time.with_offset(1)));
            match self.relink(cx, object, facts, unchanged_since).await {
                Err(error) if error.kind == Kind::Conflict => {}
                linked => {
                    linked?;
                    return self.verify(cx, versioned, object, time).await;
                }
            }
        }
        Err(changed_too_often())
    }

    /// Keeps the object in the visible container as a version, before a newer one takes its place.
    pub(super) async fn keep_null(
        &self,
        cx: &Context,
        versioned: &VersionedContainer,
        object: &ObjectPath,
    ) -> Result<()> {
        let mut get = GetObject::new(object.clone());
        get.head.newest = !cx.is_strong();
        get.head.raw = true;
        get.head.link_itself = true;
        let read = match self.next.get_object(&system(cx), get).await {
            Err(error) if error.kind == Kind::NotFound => return Ok(()),
            read => read?,
        };
        // Another writer was faster.
        if super::current::link_time(object, versioned, &read.head).is_some() {
            return Ok(());
        }
        let time = read.head.timestamp.with_offset(0);
        let mut metadata = read.head.metadata.clone();
        let row = null_row(metadata.get(ROW_ETAG).unwrap_or(&read.head.etag));
        metadata.insert(ROW_ETAG.to_owned(), row);
        metadata.insert(NULL_VERSION.to_owned(), "true".to_owned());
        let put = PutObject {
            object: versioned.version(&object.object, time)?,
            length: read.length(),
            body: read.body,
            content_type: read.head.content_type,
            metadata,
            etag: None,
            timestamp: Some(time),
            conditions: WriteConditions::default(),
            late: LateMetadata::default(),
        };
        match self.next.put_object(&system(cx), put).await {
            // It is there already.
            Err(error) if error.kind == Kind::Conflict => Ok(()),
            done => done.map(|_| ()).map_err(not_stored),
        }
    }

    /// Writes the null version, while versioning is suspended.
    async fn put_null(
        &self,
        cx: &Context,
        versioned: &VersionedContainer,
        mut op: PutObject,
    ) -> Result<ObjectWritten> {
        let object = op.object.clone();
        op.conditions = on_link(op.conditions);
        let current = self.current(cx, versioned, &object).await?;
        current.check(&op.conditions)?;
        let written = self.next.put_object(&system(cx), op).await?;
        if !cx.has_swift_versions() {
            self.remove_null(cx, versioned, &object, (written.timestamp, &current)).await?;
        }
        Ok(ObjectWritten { version: Some(VersionId::Null), ..written })
    }

    /// Removes the null versions that are not in the visible container and older than this time.
    /// `seen` is what the visible container had before: null versions older than that were removed
    /// when it was written.
    pub(super) async fn remove_null(
        &self,
        cx: &Context,
        versioned: &VersionedContainer,
        object: &ObjectPath,
        (before, seen): (Timestamp, &Current),
    ) -> Result<()> {
        let since = seen.changed().filter(|_| seen.is_plain());
        for time in self.nulls(cx, versioned, object, since).await? {
            if time < before {
                self.discard(cx, versioned.version(&object.object, time)?).await;
            }
        }
        Ok(())
    }

    /// Writes a delete marker.
    pub(super) async fn put_marker(
        &self,
        cx: &Context,
        versioned: &VersionedContainer,
        object: &ObjectPath,
        (time, is_null): (Timestamp, bool),
    ) -> Result<ObjectPath> {
        let path = versioned.version(&object.object, time)?;
        let mut metadata = apus_cluster::Metadata::new();
        if is_null {
            metadata.insert(NULL_VERSION.to_owned(), "true".to_owned());
            metadata.insert(ROW_ETAG.to_owned(), null_row(EMPTY_ETAG));
        }
        let put = PutObject {
            object: path.clone(),
            body: apus_daemon::http::empty(),
            length: Some(0),
            content_type: MARKER_TYPE.to_owned(),
            metadata,
            etag: None,
            timestamp: Some(time),
            conditions: WriteConditions::default(),
            late: LateMetadata::default(),
        };
        self.next.put_object(&system(cx), put).await.map_err(not_stored)?;
        Ok(path)
    }

    /// Writes a client's link as a version.
    pub(super) async fn symlink(&self, cx: &Context, op: PutSymlink) -> Result<ObjectWritten> {
        let container = &op.object.container;
        let versioned = match self.keeping(cx, container).await? {
            Keeping::Versions(versioned) => versioned,
            Keeping::Copies(archive) => {
                self.keep_copy(cx, &archive, &op.object, Permission::PutObject).await?;
                return self.next.put_symlink(cx, op).await;
            }
            Keeping::Nothing => return self.next.put_symlink(cx, op).await,
        };
        self.authorize_object(cx, Permission::PutObject, &op.object, None).await?;
        let object = op.object.clone();
        let current = self.current(cx, &versioned, &object).await?;
        let conditions = on_link(op.conditions.clone());
        current.check(&conditions)?;
        if versioned.state == Versioning::Suspended {
            let written = self.next.put_symlink(cx, PutSymlink { conditions, ..op }).await?;
            if !cx.has_swift_versions() {
                self.remove_null(cx, &versioned, &object, (written.timestamp, &current)).await?;
            }
            return Ok(ObjectWritten { version: Some(VersionId::Null), ..written });
        }
        if op.target.of(object.account()) == object {
            return Err(Error::invalid("Symlink cannot target itself"));
        }
        if current.is_plain() {
            self.keep_null(cx, &versioned, &object).await?;
        }
        let time = self.clock.stamp();
        let path = versioned.version(&object.object, time)?;
        let mut version = op;
        version.object = path.clone();
        version.conditions = WriteConditions::default();
        let expiry = version.metadata.remove(EXPIRY);
        let written = self.next.put_symlink(cx, version).await.map_err(not_stored)?;
        let head = self.stored(cx, &path).await?;
        let mut facts = VersionFacts { time, ..VersionFacts::of(path, head) };
        if let Some(expiry) = expiry {
            facts.metadata.insert(EXPIRY.to_owned(), expiry);
        }
        self.make_current(cx, &versioned, (&object, conditions), facts).await?;
        Ok(ObjectWritten { version: Some(VersionId::At(time)), ..written })
    }

    /// Replaces the metadata of the current version, or of another one.
    pub(super) async fn post(&self, cx: &Context, mut op: PostObject) -> Result<ObjectHead> {
        let (object, id) = (op.object.clone(), op.version.take());
        match self.changed_version(cx, &object, id).await? {
            ChangedVersion::Unversioned => self.next.post_object(cx, op).await,
            ChangedVersion::Visible => {
                let head = self.next.post_object(cx, op).await?;
                Ok(ObjectHead { version: Some(VersionId::Null), ..head })
            }
            ChangedVersion::Hidden(hidden) => {
                if let Some(link) = &hidden.link {
                    self.post_expiry(cx, &object, link, &op.metadata).await?;
                }
                op.metadata.remove(EXPIRY);
                let op = PostObject { object: hidden.path, ..op };
                let head = self.next.post_object(&system(cx), op).await?;
                Ok(ObjectHead { version: Some(hidden.id), ..head })
            }
        }
    }

    /// Changes a setting of the current version, or of another one.
    pub(super) async fn update(&self, cx: &Context, mut op: UpdateObject) -> Result<ObjectHead> {
        let (object, id) = (op.object.clone(), op.version.take());
        match self.changed_version(cx, &object, id).await? {
            ChangedVersion::Unversioned => self.next.update_object(cx, op).await,
            ChangedVersion::Visible => {
                let head = self.next.update_object(cx, op).await?;
                Ok(ObjectHead { version: Some(VersionId::Null), ..head })
            }
            ChangedVersion::Hidden(hidden) => {
                // The target of a client's link is changed with the client's rights.
                let (cx, object) = match hidden.target {
                    Some(target) => (cx.clone(), target),
                    None => (system(cx), hidden.path),
                };
                let head = self.next.update_object(&cx, UpdateObject { object, ..op }).await?;
                Ok(ObjectHead { version: Some(hidden.id), ..head })
            }
        }
    }

    /// Finds the version whose metadata is changed, after the right of the caller was checked.
    async fn changed_version(
        &self,
        cx: &Context,
        object: &ObjectPath,
        id: Option<VersionId>,
    ) -> Result<ChangedVersion> {
        let Some(versioned) = self.versioned(cx, &object.container).await? else {
            return match id {
                Some(id @ VersionId::At(_)) => {
                    let asked = Some((id, None));
                    self.authorize_object(cx, Permission::PutObject, object, asked).await?;
                    Err(not_versioned(cx))
                }
                None | Some(VersionId::Null) => Ok(ChangedVersion::Unversioned),
            };
        };
        let time = match id {
            Some(VersionId::At(time)) => Some(time),
            Some(VersionId::Null) => self.null(cx, &versioned, object).await?,
            None => None,
        };
        let path = time.map(|time| versioned.version(&object.object, time)).transpose()?;
        let asked = id.map(|id| (id, path));
        self.authorize_object(cx, Permission::PutObject, object, asked).await?;
        let mut link = None;
        let time = match id {
            Some(_) => time,
            None => match self.current(cx, &versioned, object).await? {
                Current::Link(head, time) => {
                    link = Some(head);
                    Some(time)
                }
                Current::Plain(_) | Current::Absent(_) => None,
            },
        };
        let Some(time) = time else { return Ok(ChangedVersion::Visible) };
        let path = versioned.version(&object.object, time)?;
        let head = self.stored(cx, &path).await.map_err(|error| match error.kind {
            Kind::NotFound => no_version(),
            _ => error,
        })?;
        let id = id_of(cx, time, &head);
        if head.content_type == MARKER_TYPE {
            let head = ObjectHead { version: Some(id), delete_marker: true, ..head };
            let mut error = Error::new(Kind::IsDeleteMarker, Subject::Version);
            error.head = Some(Box::new(head));
            return Err(error);
        }
        let target = Link::of(&head)?.map(|link| link.target.of(object.account()));
        Ok(ChangedVersion::Hidden(Box::new(HiddenVersion { path, id, link, target })))
    }

    /// Sets the expiry of the current version, which its link has.
    async fn post_expiry(
        &self,
        cx: &Context,
        object: &ObjectPath,
        link: &ObjectHead,
        metadata: &apus_cluster::Metadata,
    ) -> Result<()> {
        let expiry = metadata.get(EXPIRY);
        if expiry.map(String::as_str) == link.get(EXPIRY) {
            return Ok(());
        }
        let expiry = expiry.map(|at| (EXPIRY.to_owned(), at.clone()));
        let metadata = expiry.into_iter().collect();
        let op = PostObject { object: object.clone(), version: None, metadata, content_type: None };
        match self.next.post_object(&system(cx), op).await {
            Err(error) if error.kind != Kind::IsLink => Err(error),
            _ => Ok(()),
        }
    }
}
