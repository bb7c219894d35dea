//! The stages of the pipeline, one file or folder for each feature.

pub mod account_rules;
pub mod admission;
pub mod buckets;
pub mod copy;
pub mod dlo;
pub mod encryption;
pub mod encryption_default;
#[cfg(test)]
pub(crate) mod memory_store;
pub mod multipart;
pub mod notify;
pub mod object_lock;
mod part_encryption;
mod part_heads;
pub mod quotas;
mod segments;
pub mod slo;
pub mod symlink;
mod upload_list;
mod upload_page;
pub mod versions;

use std::sync::Arc;

use apus_cluster::ContainerPath;

use crate::context::Context;
use crate::operation::{ContainerHead, HeadContainer};
use crate::store::Primitive;
use crate::{Kind, Result};

/// The container of an operation, as the gate knows it; `None` when it does not exist. For that the
/// gate has the error for this caller.
///
/// # Errors
/// When it cannot be read: no stage may act as if it had no settings, since a write would then be
/// without versions, lock or encryption.
async fn existing_container<S: Primitive + ?Sized>(
    next: &S,
    cx: &Context,
    container: &ContainerPath,
) -> Result<Option<Arc<ContainerHead>>> {
    match next.container_info(cx, HeadContainer { container: container.clone() }).await {
        Ok(head) => Ok(Some(head)),
        Err(error) if error.kind == Kind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use apus_cluster::Metadata;
    use apus_daemon::clock::SystemClock;

    use super::memory_store::{MemoryStore, object, test_context};
    use super::slo::Slo;
    use super::versions::Versions;
    use super::*;
    use crate::Error;
    use crate::body::LateMetadata;
    use crate::clock::HybridClock;
    use crate::operation::{DeleteObject, PutObject, SegmentFate, WriteConditions};

    fn is_unavailable<T>(result: std::result::Result<T, Error>) -> bool {
        result.is_err_and(|error| error.kind == Kind::Unavailable)
    }

    #[tokio::test]
    async fn nothing_is_changed_in_a_container_whose_settings_cannot_be_read() {
        let store = Arc::new(MemoryStore::default());
        store.put("c/o", b"first");
        store.has_no_containers.store(true, Ordering::Relaxed);
        let clock = Arc::new(HybridClock::new(Arc::new(SystemClock)));
        let versions = Arc::new(Versions::new(store.clone(), clock));
        let slo = Slo::new(versions.clone());
        let cx = test_context();
        let put = || PutObject {
            object: object("c/o"),
            body: apus_daemon::http::empty(),
            length: Some(0),
            content_type: "text/plain".to_owned(),
            metadata: Metadata::new(),
            etag: None,
            timestamp: None,
            conditions: WriteConditions::default(),
            late: LateMetadata::default(),
        };
        let delete = |segments| DeleteObject { segments, ..DeleteObject::new(object("c/o")) };
        assert!(is_unavailable(versions.put_object(&cx, put()).await));
        assert!(is_unavailable(versions.delete_object(&cx, delete(SegmentFate::Kept)).await));
        assert!(is_unavailable(slo.delete_object(&cx, delete(SegmentFate::Deleted)).await));
        assert_eq!(store.length("c/o"), Some(5));
        store.has_no_containers.store(false, Ordering::Relaxed);
        versions.put_object(&cx, put()).await.unwrap();
        assert_eq!(store.length("c/o"), Some(0));
    }
}
