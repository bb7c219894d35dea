//! Refuses writes early when the memory for bodies in transit is full.
//!
//! Every write holds its share until it has ended: its length, or the window of a long one. A write
//! that does not fit is refused at once, before its body is read, so that the client can retry, here
//! or at another proxy. Nothing waits here.

use std::sync::Arc;

use apus_cluster::constraints::UPLOAD_WINDOW_BYTES;
use async_trait::async_trait;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::context::Context;
use crate::operation::*;
use crate::store::forward;
use crate::{
    CopyStore, Error, Kind, LinkStore, ManifestStore, Primitive, Result, Store, Subject,
    UploadStore, VersionStore,
};

/// Memory is counted in units of this many bytes.
const UNIT_BYTES: u64 = 1024;

/// The memory for bodies in transit.
#[derive(Debug, Clone)]
pub(crate) struct UploadMemory(Arc<Semaphore>);

impl UploadMemory {
    /// Creates a memory of this many bytes, and at least of one long body.
    pub(crate) fn new(bytes: u64) -> Self {
        let units = bytes.max(UPLOAD_WINDOW_BYTES) / UNIT_BYTES;
        let units = usize::try_from(units).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self(Arc::new(Semaphore::new(units)))
    }

    /// Takes the share of a body, which is released when it is dropped.
    pub(crate) fn take(&self, length: Option<u64>) -> Result<OwnedSemaphorePermit> {
        let bytes = length.unwrap_or(UPLOAD_WINDOW_BYTES).min(UPLOAD_WINDOW_BYTES);
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX);
        self.0.clone().try_acquire_many_owned(units).map_err(|_| {
            Error::new(Kind::Overloaded, Subject::Request).because("memory for uploads is full")
        })
    }
}

/// The stage that limits bodies in transit.
pub struct Admission {
    next: Arc<dyn Store>,
    memory: UploadMemory,
}

impl std::fmt::Debug for Admission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admission").field("memory", &self.memory).finish_non_exhaustive()
    }
}

impl Admission {
    /// Creates the stage above `next`, with this much memory for bodies in transit.
    pub fn new(next: Arc<dyn Store>, upload_bytes: u64) -> Self {
        Self { next, memory: UploadMemory::new(upload_bytes) }
    }
}

#[async_trait]
impl Primitive for Admission {
    async fn put_object(&self, cx: &Context, op: PutObject) -> Result<ObjectWritten> {
        let _share = self.memory.take(op.length)?;
        self.next.put_object(cx, op).await
    }

    forward!(next:
        authorize, container_info, account_info, head_account, list_containers, post_account, put_account,
        delete_account, head_container, list_objects, put_container, post_container, delete_container,
        head_object, get_object, post_object, update_object, delete_object, queue_deletions, update_queue,
    );
}

impl VersionStore for Admission {
    forward!(next: list_versions, restore_version);
}

impl LinkStore for Admission {
    forward!(next: put_symlink);
}

impl ManifestStore for Admission {
    forward!(next: put_manifest);
}

#[async_trait]
impl UploadStore for Admission {
    async fn put_part(&self, cx: &Context, op: PutPart) -> Result<ObjectWritten> {
        let _share = self.memory.take(op.put.length)?;
        self.next.put_part(cx, op).await
    }

    forward!(next:
        create_upload, put_part_copy, list_parts, list_uploads, complete_upload, abort_upload,
    );
}

impl CopyStore for Admission {
    forward!(next: copy_object);
}

impl Store for Admission {
    forward!(next: create_bucket, find_bucket);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_share_the_memory_and_release_it() {
        let memory = UploadMemory::new(3 * UPLOAD_WINDOW_BYTES);
        let long = memory.take(Some(5 << 30)).unwrap();
        let unknown = memory.take(None).unwrap();
        let short: Vec<_> =
            (0..UPLOAD_WINDOW_BYTES / 4096).map(|_| memory.take(Some(4096)).unwrap()).collect();
        assert_eq!(memory.take(Some(1)).unwrap_err().kind, Kind::Overloaded);
        assert!(memory.take(Some(0)).is_ok());
        drop(long);
        assert!(memory.take(None).is_ok());
        drop((unknown, short));
        let small = UploadMemory::new(0);
        assert!(small.take(Some(5 << 30)).is_ok());
    }
}
