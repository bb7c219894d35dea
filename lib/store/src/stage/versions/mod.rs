//! Versions of objects, as Swift stores them.
//!
//! A container that keeps versions has a hidden one, `\0versions\0<name>`. A write puts the object
//! there, under its name and the inverted time of the write, and then a static link at the visible
//! name. A deletion puts a delete marker there and then removes the link. The hidden part is written
//! under the system's authority, after the right of the caller to the visible container was checked;
//! clients cannot name it.
//!
//! S3's null version is the object that was written while versioning was not enabled. It is in the
//! visible container, unless a newer version or marker took its place: then it is among the others,
//! marked as null (for Swift it is a version like any other).
//!
//! Of the two writes the version comes first, so that a crash between them leaves a version that no
//! client was promised, and loses none. Conditions are checked when the link is written, under the
//! lease of the visible name; a loser removes its version. A link that is older than what it finds
//! there is a version that was superseded while its body arrived.
//!
//! Where Swift's API differs from S3, [`crate::VersionRules`] decides (`swift.rs`, `swift_list.rs`).
//! Swift's older scheme, which copies what is replaced to another container, is in `archive.rs`.
//!
//! Source: `swift/common/middleware/versioned_writes/object_versioning.py`.

mod archive;
mod containers;
mod current;
mod delete;
mod link;
mod list;
mod names;
mod read;
mod swift;
mod swift_list;
mod write;

use std::sync::Arc;

use apus_cluster::{ContainerPath, Metadata, ObjectPath, Timestamp};
use apus_policy::Permission;
use async_trait::async_trait;

use self::archive::Archive;
use self::current::Current;
use self::link::VersionFacts;
pub(crate) use self::list::listed_version;
use self::names::VersionedContainer;
use super::existing_container;
use crate::clock::HybridClock;
use crate::context::Context;
use crate::operation::*;
use crate::store::forward;
use crate::{Error, Kind, LinkStore, Primitive, Result, Subject, VersionStore};

/// The hidden container with the versions of a container, by its headers; `None` for one that never
/// kept versions.
pub(super) fn container_of_versions(
    container: &ContainerPath,
    headers: &Metadata,
) -> Option<ContainerPath> {
    VersionedContainer::of(container, headers).map(|versioned| versioned.hidden)
}

/// How often an operation starts over because another one changed the current version: more often than
/// operations on one name run at once.
const ATTEMPTS: usize = 24;

/// How a container keeps what its objects were before.
enum Keeping {
    /// It does not.
    Nothing,
    /// As versions.
    Versions(VersionedContainer),
    /// As copies in another container, by Swift's older scheme.
    Copies(Archive),
}

/// The stage that keeps versions.
pub struct Versions {
    next: Arc<dyn LinkStore>,
    clock: Arc<HybridClock>,
}

impl std::fmt::Debug for Versions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Versions")
    }
}

/// Why an operation that repeats its steps when others change the visible name gave up.
fn changed_too_often() -> Error {
    Error::unavailable("the current version was changed too often")
}

fn no_version() -> Error {
    Error::new(Kind::NotFound, Subject::Version)
}

/// The refusal of a version's id in a container that never kept versions.
fn not_versioned(cx: &Context) -> Error {
    match cx.has_swift_versions() {
        true => Error::invalid("version-aware operations require that the container is versioned"),
        false => no_version(),
    }
}

/// The context of the stage's own requests.
fn system(cx: &Context) -> Context {
    cx.as_system("versions")
}

impl Versions {
    /// Creates the stage above `next`, with the clock that stamps writes.
    pub fn new(next: Arc<dyn LinkStore>, clock: Arc<HybridClock>) -> Self {
        Self { next, clock }
    }

    /// How a container keeps versions; `None` when it never did, or does not exist.
    async fn versioned(
        &self,
        cx: &Context,
        container: &ContainerPath,
    ) -> Result<Option<VersionedContainer>> {
        let info = existing_container(&*self.next, cx, container).await?;
        Ok(info.and_then(|info| VersionedContainer::of(container, &info.headers)))
    }

    /// How a container keeps what is overwritten or deleted in it.
    async fn keeping(&self, cx: &Context, container: &ContainerPath) -> Result<Keeping> {
        let info = existing_container(&*self.next, cx, container).await?;
        let Some(info) = info else { return Ok(Keeping::Nothing) };
        Ok(match VersionedContainer::of(container, &info.headers) {
            Some(versioned) => Keeping::Versions(versioned),
            None => Archive::of(container, &info.headers).map_or(Keeping::Nothing, Keeping::Copies),
        })
    }

    async fn authorize_container(
        &self,
        cx: &Context,
        permission: Permission,
        container: &ContainerPath,
    ) -> Result<()> {
        let asked = Authorize::container(cx.needs(permission), container.clone());
        self.next.authorize(cx, asked).await
    }

    /// Checks the right to an object in a container that keeps versions, or to one of its versions.
    async fn authorize_object(
        &self,
        cx: &Context,
        permission: Permission,
        object: &ObjectPath,
        version: Option<(VersionId, Option<ObjectPath>)>,
    ) -> Result<()> {
        let asked = Authorize::object(cx.needs(permission), object);
        let asked = match version {
            Some((id, stored_at)) => Authorize { version: Some(id), stored_at, ..asked },
            None => asked,
        };
        self.next.authorize(cx, asked).await
    }

    /// What the visible container has under a name now.
    async fn current(
        &self,
        cx: &Context,
        versioned: &VersionedContainer,
        object: &ObjectPath,
    ) -> Result<Current> {
        let head = HeadObject {
            newest: !cx.is_strong(),
            raw: true,
            link_itself: true,
            ..HeadObject::new(object.clone())
        };
        let found = self.next.head_object(&system(cx), head).await;
        let current = Current::new(object, versioned, found)?;
        if let Some(changed) = current.changed() {
            self.clock.observe(changed);
        }
        Ok(current)
    }

    /// The metadata of a stored version, whatever it is.
    async fn stored(&self, cx: &Context, path: &ObjectPath) -> Result<ObjectHead> {
        let head = HeadObject {
            newest: !cx.is_strong(),
            raw: true,
            link_itself: true,
            ..HeadObject::new(path.clone())
        };
        self.next.head_object(&system(cx), head).await
    }

    /// Removes a version that did not become one, or is no longer needed. One that is left over is a
    /// version that clients can remove.
    async fn discard(&self, cx: &Context, version: ObjectPath) {
        match self.next.delete_object(&system(cx), DeleteObject::new(version.clone())).await {
            Err(error) if error.kind != Kind::NotFound => {
                tracing::warn!(%error, version = ?version.object.as_str(), container = %version.container, "a version that did not become current could not be removed");
            }
            _ => {}
        }
    }

    /// Makes a stored version the current one, if the visible name has not changed since then.
    async fn relink(
        &self,
        cx: &Context,
        object: &ObjectPath,
        facts: VersionFacts,
        unchanged_since: Option<Timestamp>,
    ) -> Result<()> {
        let since = unchanged_since.unwrap_or(Timestamp::ZERO);
        let conditions =
            WriteConditions { nothing_newer_than: Some(since), ..WriteConditions::default() };
        let put = facts.link(object.clone(), conditions);
        self.next.put_object(&system(cx), put).await.map(|_| ())
    }
}

#[async_trait]
impl Primitive for Versions {
    async fn head_object(&self, cx: &Context, op: HeadObject) -> Result<ObjectHead> {
        self.head(cx, op).await
    }

    async fn get_object(&self, cx: &Context, op: GetObject) -> Result<ObjectRead> {
        self.get(cx, op).await
    }

    async fn put_object(&self, cx: &Context, op: PutObject) -> Result<ObjectWritten> {
        self.put(cx, op).await
    }

    async fn post_object(&self, cx: &Context, op: PostObject) -> Result<ObjectHead> {
        self.post(cx, op).await
    }

    async fn update_object(&self, cx: &Context, op: UpdateObject) -> Result<ObjectHead> {
        self.update(cx, op).await
    }

    async fn delete_object(&self, cx: &Context, op: DeleteObject) -> Result<Deleted> {
        self.delete(cx, op).await
    }

    async fn head_container(&self, cx: &Context, op: HeadContainer) -> Result<ContainerHead> {
        self.container_head(cx, op).await
    }

    async fn list_objects(&self, cx: &Context, op: ListObjects) -> Result<ObjectList> {
        self.objects(cx, op).await
    }

    async fn put_container(&self, cx: &Context, op: PutContainer) -> Result<bool> {
        self.create(cx, op).await
    }

    async fn post_container(&self, cx: &Context, op: PostContainer) -> Result<()> {
        self.change(cx, op).await
    }

    async fn delete_container(&self, cx: &Context, op: DeleteContainer) -> Result<()> {
        self.remove_container(cx, op).await
    }

    forward!(next:
        authorize, container_info, account_info, head_account, list_containers, post_account, put_account,
        delete_account, queue_deletions, update_queue,
    );
}

#[async_trait]
impl LinkStore for Versions {
    async fn put_symlink(&self, cx: &Context, op: PutSymlink) -> Result<ObjectWritten> {
        self.symlink(cx, op).await
    }
}

#[async_trait]
impl VersionStore for Versions {
    async fn list_versions(&self, cx: &Context, op: ListVersions) -> Result<VersionList> {
        match cx.has_swift_versions() {
            true => self.list_as_swift(cx, op).await,
            false => self.list(cx, op).await,
        }
    }

    async fn restore_version(&self, cx: &Context, op: RestoreVersion) -> Result<ObjectWritten> {
        self.restore(cx, op).await
    }
}
