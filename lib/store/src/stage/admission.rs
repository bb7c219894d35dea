//! Refuses writes early when the bodies that are on their way fill the memory they may have.
//!
//! Every write holds its share until it has ended: its length, or the window of a long one. What
//! does not fit is answered at once, before its body is read, so that it can go elsewhere or come
//! back; nothing waits here.

use std::sync::Arc;

use apus_cluster::constraints::UPLOAD_WINDOW_BYTES;
use async_trait::async_trait;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::context::Context;
use crate::operation::*;
use crate::store::forward;
use crate::{
    Error, Kind, LinkStore, ManifestStore, Primitive, Result, Store, Subject, UploadStore,
};

/// Memory is counted in pieces of this many bytes.
const UNIT_BYTES: u64 = 1024;

/// The memory for bodies on their way.
#[derive(Debug, Clone)]
pub(crate) struct Budget(Arc<Semaphore>);

impl Budget {
    /// Of so many bytes; at least one long body is always let in.
    pub(crate) fn new(bytes: u64) -> Self {
        let units = bytes.max(UPLOAD_WINDOW_BYTES) / UNIT_BYTES;
        let units = usize::try_from(units).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self(Arc::new(Semaphore::new(units)))
    }

    /// The share of a body, given back when it is dropped.
    pub(crate) fn take(&self, length: Option<u64>) -> Result<OwnedSemaphorePermit> {
        let bytes = length.unwrap_or(UPLOAD_WINDOW_BYTES).min(UPLOAD_WINDOW_BYTES);
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX);
        self.0.clone().try_acquire_many_owned(units).map_err(|_| {
            Error::new(Kind::Overloaded, Subject::Request).because("memory for uploads is full")
        })
    }
}

/// The stage.
pub struct Admission {
    next: Arc<dyn Store>,
    budget: Budget,
}

impl std::fmt::Debug for Admission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admission").field("budget", &self.budget).finish_non_exhaustive()
    }
}

impl Admission {
    /// Above `next`, with so many bytes for bodies on their way.
    pub fn new(next: Arc<dyn Store>, upload_bytes: u64) -> Self {
        Self { next, budget: Budget::new(upload_bytes) }
    }
}

#[async_trait]
impl Primitive for Admission {
    async fn put_object(&self, cx: &Context, op: PutObject) -> Result<ObjectWritten> {
        let _share = self.budget.take(op.length)?;
        self.next.put_object(cx, op).await
    }

    forward!(next:
        authorize, head_account, list_containers, post_account, put_account, delete_account,
        head_container, list_objects, put_container, post_container, delete_container,
        head_object, get_object, post_object, delete_object, queue_deletions,
    );
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
        let _share = self.budget.take(op.put.length)?;
        self.next.put_part(cx, op).await
    }

    forward!(next:
        create_upload, put_part_copy, list_parts, list_uploads, complete_upload, abort_upload,
    );
}

impl Store for Admission {
    forward!(next: copy_object);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_share_the_memory_and_give_it_back() {
        let budget = Budget::new(3 * UPLOAD_WINDOW_BYTES);
        let long = budget.take(Some(5 << 30)).unwrap();
        let unknown = budget.take(None).unwrap();
        let short: Vec<_> =
            (0..UPLOAD_WINDOW_BYTES / 4096).map(|_| budget.take(Some(4096)).unwrap()).collect();
        assert_eq!(budget.take(Some(1)).unwrap_err().kind, Kind::Overloaded);
        assert!(budget.take(Some(0)).is_ok());
        drop(long);
        assert!(budget.take(None).is_ok());
        drop((unknown, short));
        let small = Budget::new(0);
        assert!(small.take(Some(5 << 30)).is_ok());
    }
}
