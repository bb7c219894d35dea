//! Reads of current and named versions.

use apus_cluster::{AccountName, ContainerName, ContainerPath, ObjectName, ObjectPath, percent};
use apus_policy::Permission;

use super::current::{Current, id_of, link_time};
use super::names::{MARKER_TYPE, VersionedContainer, hidden, parse_version, visible};
use super::{Versions, changed_too_often, no_version, not_versioned, system};
use crate::context::Context;
use crate::operation::*;
use crate::stage::symlink::{Link, link};
use crate::{Error, Kind, Result, Subject};

/// The path that a followed link leads to, as reads report it.
fn parse_location(location: &str) -> Option<ObjectPath> {
    let path = percent::decode_utf8(location)?;
    let mut names = path.strip_prefix('/')?.splitn(3, '/');
    let account = AccountName::parse(names.next()?).ok()?;
    let container = ContainerName::parse(names.next()?).ok()?;
    let object = ObjectName::parse(names.next()?).ok()?;
    Some(ContainerPath::new(account, container).object(object))
}

/// Replaces the hidden name of a version in a reported location by the visible one, and returns the
/// hidden name.
fn show_location(location: &mut Option<String>) -> Option<ObjectPath> {
    let path = location.as_deref().and_then(parse_location)?;
    let container = visible(path.container.container.as_str())?;
    let (object, time) = parse_version(path.object.as_str())?;
    let shown = percent::encode_path(&format!("/{}/{container}/{object}", path.account()));
    *location = Some(format!("{shown}?version-id={}", time.normal()));
    Some(path)
}

/// Replaces the hidden target of the link to a current version by the visible name.
fn show_target(object: &ObjectPath, head: &mut ObjectHead) {
    if let Some(VersionId::At(time)) = head.version {
        let path = format!("{}/{}", object.container.container, object.object);
        let shown = format!("{}?version-id={}", percent::encode_path(&path), time.normal());
        head.metadata.insert(link::TARGET.to_owned(), shown);
    }
}

/// How often a read of the current version starts over because that was removed after its link was
/// read.
const REREADS: usize = 3;

/// Whether a read of the current version failed because the version, to which the link led, is gone.
fn is_version_gone(object: &ObjectPath, error: Option<&Error>) -> bool {
    let Some(error) = error.filter(|error| error.kind == Kind::NotFound) else { return false };
    let target = error.location.as_deref().and_then(parse_location);
    target.is_some_and(|target| {
        visible(target.container.container.as_str()) == Some(object.container.container.as_str())
    })
}

/// Whether a read of the null version in the visible container came after a newer version had taken
/// its place there: it is in the hidden container now.
fn is_overtaken(
    versioned: &VersionedContainer,
    found: std::result::Result<&ObjectHead, &Error>,
) -> bool {
    let (location, is_missing) = match found {
        Ok(head) => (&head.location, false),
        Err(error) => (&error.location, error.kind == Kind::NotFound),
    };
    match location {
        Some(location) => {
            parse_location(location).is_some_and(|target| target.container == versioned.hidden)
        }
        None => is_missing,
    }
}

/// A version that a read names, once it is known where it is.
enum ReadVersion {
    /// In the visible container.
    Visible,
    /// In the hidden one.
    Hidden(ObjectPath, VersionId),
}

impl Versions {
    pub(super) async fn head(&self, cx: &Context, mut op: HeadObject) -> Result<ObjectHead> {
        let object = op.object.clone();
        let Some(id) = op.version.take() else {
            let link_itself = op.link_itself;
            let mut found = self.next.head_object(cx, op.clone()).await;
            for _ in 0..REREADS {
                if !is_version_gone(&object, found.as_ref().err()) {
                    break;
                }
                found = self.next.head_object(cx, op.clone()).await;
            }
            self.describe(cx, &object, link_itself, found.as_mut()).await;
            return found;
        };
        for _ in 0..=REREADS {
            match self.find(cx, &object, id).await? {
                None => return self.next.head_object(cx, op).await,
                Some((versioned, ReadVersion::Visible)) => {
                    let found = self.next.head_object(cx, op.clone()).await;
                    if !is_overtaken(&versioned, found.as_ref()) {
                        return found
                            .map(|head| ObjectHead { version: Some(VersionId::Null), ..head });
                    }
                }
                Some((versioned, ReadVersion::Hidden(path, id))) => {
                    return self.head_hidden(cx, &versioned, op, (path, id)).await;
                }
            }
        }
        Err(changed_too_often())
    }

    /// Reads the metadata of a version in the hidden container.
    async fn head_hidden(
        &self,
        cx: &Context,
        versioned: &VersionedContainer,
        op: HeadObject,
        (path, id): (ObjectPath, VersionId),
    ) -> Result<ObjectHead> {
        let stored = HeadObject { object: path, link_itself: true, ..op.clone() };
        let found = self.next.head_object(&system(cx), stored).await;
        match self.followed(versioned, op.link_itself, found.as_ref()) {
            Some(target) => {
                let head = self.next.head_object(cx, HeadObject { object: target, ..op }).await?;
                Ok(ObjectHead { version: Some(id), ..head })
            }
            None => Self::read_as(cx, id, found, |head| head),
        }
    }

    pub(super) async fn get(&self, cx: &Context, mut op: GetObject) -> Result<ObjectRead> {
        let object = op.head.object.clone();
        let Some(id) = op.head.version.take() else {
            let link_itself = op.head.link_itself;
            let mut found = self.next.get_object(cx, op.clone()).await;
            for _ in 0..REREADS {
                if !is_version_gone(&object, found.as_ref().err()) {
                    break;
                }
                found = self.next.get_object(cx, op.clone()).await;
            }
            let head = found.as_mut().map(|read| &mut read.head);
            self.describe(cx, &object, link_itself, head).await;
            return found;
        };
        for _ in 0..=REREADS {
            match self.find(cx, &object, id).await? {
                None => return self.next.get_object(cx, op).await,
                Some((versioned, ReadVersion::Visible)) => {
                    let found = self.next.get_object(cx, op.clone()).await;
                    if !is_overtaken(&versioned, found.as_ref().map(|read| &read.head)) {
                        let mut read = found?;
                        read.head.version = Some(VersionId::Null);
                        return Ok(read);
                    }
                }
                Some((versioned, ReadVersion::Hidden(path, id))) => {
                    return self.get_hidden(cx, &versioned, op, (path, id)).await;
                }
            }
        }
        Err(changed_too_often())
    }

    /// Reads a version in the hidden container.
    async fn get_hidden(
        &self,
        cx: &Context,
        versioned: &VersionedContainer,
        mut op: GetObject,
        (path, id): (ObjectPath, VersionId),
    ) -> Result<ObjectRead> {
        let mut stored = op.clone();
        stored.head.object = path;
        stored.head.link_itself = true;
        let found = self.next.get_object(&system(cx), stored).await;
        let head = found.as_ref().map(|read| &read.head);
        match self.followed(versioned, op.head.link_itself, head) {
            Some(target) => {
                op.head.object = target;
                let mut read = self.next.get_object(cx, op).await?;
                read.head.version = Some(id);
                Ok(read)
            }
            None => Self::read_as(cx, id, found, |read| &mut read.head),
        }
    }

    /// Where a named version is; `None` in a container that never kept versions. The caller may read
    /// it.
    async fn find(
        &self,
        cx: &Context,
        object: &ObjectPath,
        id: VersionId,
    ) -> Result<Option<(VersionedContainer, ReadVersion)>> {
        let container = &object.container;
        let versioned = self.versioned(cx, container).await?;
        let Some(versioned) = versioned else {
            return match id {
                VersionId::Null => Ok(None),
                VersionId::At(_) => {
                    let asked = Some((id, None));
                    self.authorize_object(cx, Permission::GetObject, object, asked).await?;
                    Err(not_versioned(cx))
                }
            };
        };
        if cx.has_swift_versions() {
            return self.find_as_swift(cx, versioned, object, id).await.map(Some);
        }
        let path = self.path_of(cx, &versioned, object, id).await?;
        let asked = Some((id, path.clone()));
        self.authorize_object(cx, Permission::GetObject, object, asked).await?;
        let version = match path {
            Some(path) => ReadVersion::Hidden(path, id),
            None => ReadVersion::Visible,
        };
        Ok(Some((versioned, version)))
    }

    /// Where a named version is, for an owner.
    async fn find_as_swift(
        &self,
        cx: &Context,
        versioned: VersionedContainer,
        object: &ObjectPath,
        id: VersionId,
    ) -> Result<(VersionedContainer, ReadVersion)> {
        if let VersionId::At(time) = id {
            let path = versioned.version(&object.object, time)?;
            // The hidden container has no access lists.
            self.authorize_object(cx, Permission::GetObject, &path, None).await?;
            return Ok((versioned, ReadVersion::Hidden(path, id)));
        }
        self.authorize_object(cx, Permission::GetObject, object, None).await?;
        let current = self.current(cx, &versioned, object).await?;
        match current.is_plain() {
            true => Ok((versioned, ReadVersion::Visible)),
            false => Err(no_version()),
        }
    }

    /// Where a version is in the hidden container; `None` for a null version in the visible one.
    pub(super) async fn path_of(
        &self,
        cx: &Context,
        versioned: &VersionedContainer,
        object: &ObjectPath,
        id: VersionId,
    ) -> Result<Option<ObjectPath>> {
        let time = match id {
            VersionId::At(time) => Some(time),
            VersionId::Null => self.null(cx, versioned, object).await?,
        };
        time.map(|time| versioned.version(&object.object, time)).transpose()
    }

    /// The target of a version that is a link of a client. It is followed with the client's rights.
    fn followed(
        &self,
        versioned: &VersionedContainer,
        link_itself: bool,
        found: std::result::Result<&ObjectHead, &Error>,
    ) -> Option<ObjectPath> {
        let head = match found {
            Ok(head) => head,
            Err(error) => error.head.as_deref()?,
        };
        if link_itself {
            return None;
        }
        let target = Link::of(head).ok()??.target.of(&versioned.hidden.account);
        let is_reserved = target.container.container.is_reserved() || target.object.is_reserved();
        (!is_reserved).then_some(target)
    }

    /// The result of the read of a stored version: a delete marker has no content.
    fn read_as<T>(
        cx: &Context,
        id: VersionId,
        found: Result<T>,
        head_of: impl Fn(&mut T) -> &mut ObjectHead,
    ) -> Result<T> {
        match found {
            Ok(mut read) => {
                let head = head_of(&mut read);
                let VersionId::At(time) = id else {
                    head.version = Some(id);
                    return Self::unless_marker(read, head_of);
                };
                head.version = Some(id_of(cx, time, head));
                Self::unless_marker(read, head_of)
            }
            Err(error) if error.kind == Kind::NotFound => Err(no_version()),
            Err(mut error) => {
                if let Some(head) = &mut error.head {
                    head.version = Some(id);
                }
                Err(error)
            }
        }
    }

    fn unless_marker<T>(mut read: T, head_of: impl Fn(&mut T) -> &mut ObjectHead) -> Result<T> {
        let head = head_of(&mut read);
        if head.content_type != MARKER_TYPE {
            return Ok(read);
        }
        let head = ObjectHead { delete_marker: true, ..head.clone() };
        let mut error = Error::new(Kind::IsDeleteMarker, Subject::Version);
        error.head = Some(Box::new(head));
        Err(error)
    }

    /// Adds the version to the result of a read of the current one.
    async fn describe(
        &self,
        cx: &Context,
        object: &ObjectPath,
        link_itself: bool,
        found: std::result::Result<&mut ObjectHead, &mut Error>,
    ) {
        match found {
            Ok(head) => {
                let target = show_location(&mut head.location);
                let own = hidden(&object.container).ok();
                if let Some(target) = target.filter(|path| Some(&path.container) == own.as_ref())
                    && let Some((_, time)) = parse_version(target.object.as_str())
                {
                    head.version = Some(id_of(cx, time, head));
                    return;
                }
                // The gate knows the container since the read.
                let Ok(Some(versioned)) = self.versioned(cx, &object.container).await else {
                    return;
                };
                let linked = link_itself.then(|| link_time(object, &versioned, head)).flatten();
                head.version = Some(linked.map_or(VersionId::Null, VersionId::At));
                if linked.is_some() && cx.has_swift_versions() {
                    show_target(object, head);
                }
            }
            Err(error) if cx.has_swift_versions() => {
                self.describe_error(cx, object, error).await;
            }
            Err(error) => {
                show_location(&mut error.location);
                let is_missing = error.kind == Kind::NotFound && error.subject == Subject::Object;
                // Weak reads do not look for the marker.
                if is_missing
                    && cx.is_strong()
                    && let Some(marker) = self.marker(cx, object).await
                {
                    error.head = Some(Box::new(marker));
                }
            }
        }
    }

    /// Adds the version to the error of a read of the current one, as Swift does.
    async fn describe_error(&self, cx: &Context, object: &ObjectPath, error: &mut Error) {
        let target = show_location(&mut error.location);
        let is_about_object = error.head.is_some()
            || (error.kind == Kind::NotFound && error.subject == Subject::Object);
        if !is_about_object {
            return;
        }
        let Ok(Some(versioned)) = self.versioned(cx, &object.container).await else { return };
        let target = target.filter(|target| target.container == versioned.hidden);
        let time =
            target.and_then(|target| parse_version(target.object.as_str()).map(|(_, time)| time));
        let id = time.map_or(VersionId::Null, VersionId::At);
        error.head.get_or_insert_default().version = Some(id);
    }

    /// The delete marker that is the current version of an object that the caller may read.
    async fn marker(&self, cx: &Context, object: &ObjectPath) -> Option<ObjectHead> {
        let versioned = self.versioned(cx, &object.container).await.ok()??;
        let rows = self.rows(cx, &versioned, object, 1).await.ok()?;
        let row = rows.into_iter().next().filter(super::names::VersionRow::is_marker)?;
        Some(ObjectHead {
            timestamp: row.time,
            version: Some(row.id()),
            delete_marker: true,
            content_type: MARKER_TYPE.to_owned(),
            ..ObjectHead::default()
        })
    }

    /// Where the null version of an object is: at this time in the hidden container, or else in the
    /// visible one, if it exists.
    pub(super) async fn null(
        &self,
        cx: &Context,
        versioned: &VersionedContainer,
        object: &ObjectPath,
    ) -> Result<Option<apus_cluster::Timestamp>> {
        if let Current::Plain(_) = self.current(cx, versioned, object).await? {
            return Ok(None);
        }
        match self.nulls(cx, versioned, object, None).await?.into_iter().next() {
            Some(time) => Ok(Some(time)),
            None => Err(no_version()),
        }
    }
}
