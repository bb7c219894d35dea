//! Deletion of a manifest's segments by the expirer.
//!
//! The deletion of many objects is thereby answered at once.
//!
//! Source: `handle_async_delete` in `swift/common/middleware/slo.py`.

use apus_cluster::{ObjectPath, percent};
use apus_policy::Permission;

use super::budget::MANIFEST_BYTES_MAX;
use super::manifest::StoredManifest;
use crate::context::Context;
use crate::operation::{Authorize, GetObject, QueueDeletions, VersionId};
use crate::{Error, Primitive, Result};

/// Queues the segments of `object` for deletion; the caller then deletes `object` itself.
pub(super) async fn queue_segments(
    next: &dyn Primitive,
    cx: &Context,
    (object, version): (&ObjectPath, Option<VersionId>),
) -> Result<()> {
    let mut get = GetObject::new(object.clone());
    get.head.version = version;
    get.head.raw = true;
    get.head.link_itself = true;
    let read = next.get_object(cx, get).await?;
    if !read.head.is_manifest() {
        return Err(Error::invalid("Not an SLO manifest"));
    }
    let entries = StoredManifest::collect(read, MANIFEST_BYTES_MAX).await?.entries;
    let mut objects = Vec::with_capacity(entries.len());
    let mut containers = Vec::new();
    for entry in entries.iter().filter(|entry| entry.data.is_none()) {
        if entry.sub_slo {
            return Err(Error::invalid("No segments may be large objects."));
        }
        let path = entry.path(object.account())?;
        if !containers.contains(&path.container) {
            containers.push(path.container);
        }
        objects.push(path.object);
    }
    let container = match containers.as_slice() {
        [] => return Ok(()),
        [one] => one.clone(),
        several => {
            let name = |path: &apus_cluster::ContainerPath| {
                format!("\"{}\"", percent::encode_path(path.container.as_str()))
            };
            let names: Vec<String> = several.iter().map(name).collect();
            let names = names.join(", ");
            return Err(Error::invalid(format!(
                "All segments must be in one container. Found segments in {names}"
            )));
        }
    };
    // The gate checks the container of the segments. The manifest's own is checked here, since a
    // manifest that cannot be deleted must keep its segments.
    next.authorize(cx, Authorize::object(Permission::DeleteObject, object)).await?;
    next.queue_deletions(cx, QueueDeletions { manifest: object.clone(), container, objects }).await
}
