//! Symbolic links that Swift wrote are followed on reads; we do not make any yet.
//!
//! A link is an empty object with `X-Object-Sysmeta-Symlink-Target` (`container/object`) and, for
//! another account, `…-Target-Account`. Its target is read as the caller, except in the reserved
//! namespace, which only Swift's versioning links into: that is read as the system.
//! Source: `swift/common/middleware/symlink.py`.

use std::sync::Arc;

use apus_cluster::{AccountName, ContainerName, ContainerPath, ObjectName, ObjectPath, percent};
use async_trait::async_trait;

use crate::context::Context;
use crate::operation::*;
use crate::store::forward;
use crate::{Error, Kind, Result, Store, Subject};

const TARGET: &str = "X-Object-Sysmeta-Symlink-Target";
const TARGET_ACCOUNT: &str = "X-Object-Sysmeta-Symlink-Target-Account";
const TARGET_ETAG: &str = "X-Object-Sysmeta-Symlink-Target-Etag";
/// Most links in a row (Swift's `symloop_max`).
const HOPS_MAX: usize = 2;

/// The stage.
pub struct Symlink {
    next: Arc<dyn Store>,
}

impl std::fmt::Debug for Symlink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Symlink")
    }
}

fn target(head: &ObjectHead, from: &ObjectPath) -> Result<Option<ObjectPath>> {
    let Some(path) = head.get(TARGET) else { return Ok(None) };
    let broken = || {
        Error::new(Kind::Conflict, Subject::Object).because(format!("{from}: bad link {path:?}"))
    };
    let path = percent::decode_utf8(path).ok_or_else(broken)?;
    let (container, object) = path.split_once('/').ok_or_else(broken)?;
    let account = match head.get(TARGET_ACCOUNT) {
        None => from.account().clone(),
        Some(name) => percent::decode_utf8(name)
            .and_then(|name| AccountName::parse(&name).ok())
            .ok_or_else(broken)?,
    };
    let container = ContainerName::parse(container).map_err(|_| broken())?;
    let object = ObjectName::parse(object).map_err(|_| broken())?;
    Ok(Some(ContainerPath::new(account, container).object(object)))
}

/// Follows one link: the operation's new name and in whose name it goes on.
fn follow(cx: &mut Context, name: &mut ObjectPath, head: &ObjectHead) -> Result<bool> {
    let Some(to) = target(head, name)? else { return Ok(false) };
    if to.container.container.is_reserved() && to.account() == name.account() {
        *cx = cx.as_system("symlink");
    }
    *name = to;
    Ok(true)
}

fn check_etag(link: Option<&str>, head: &ObjectHead) -> Result<()> {
    match link {
        Some(wanted) if wanted != head.etag => {
            Err(Error::new(Kind::Conflict, Subject::Object).because("the link's target changed"))
        }
        _ => Ok(()),
    }
}

impl Symlink {
    /// Above `next`.
    pub fn new(next: Arc<dyn Store>) -> Self {
        Self { next }
    }
}

fn looped() -> Error {
    Error::new(Kind::Conflict, Subject::Object).text("Too many levels of symbolic links")
}

#[async_trait]
impl Store for Symlink {
    async fn head_object(&self, cx: &Context, mut op: HeadObject) -> Result<ObjectHead> {
        let mut cx = cx.clone();
        let mut etag = None;
        for _ in 0..=HOPS_MAX {
            let head = self.next.head_object(&cx, op.clone()).await?;
            check_etag(etag.as_deref(), &head)?;
            if !follow(&mut cx, &mut op.object, &head)? {
                return Ok(head);
            }
            etag = head.get(TARGET_ETAG).map(str::to_owned);
        }
        Err(looped())
    }

    async fn get_object(&self, cx: &Context, mut op: GetObject) -> Result<ObjectRead> {
        let mut cx = cx.clone();
        let mut etag = None;
        for _ in 0..=HOPS_MAX {
            let result = self.next.get_object(&cx, op.clone()).await;
            // A condition or range that failed against the (empty) link is one for its target.
            let head = match &result {
                Ok(read) => Some(&read.head),
                Err(error) => error.head.as_deref(),
            };
            let followed = match head {
                Some(head) => {
                    let wanted = head.get(TARGET_ETAG).map(str::to_owned);
                    follow(&mut cx, &mut op.head.object, head)?.then_some(wanted)
                }
                None => None,
            };
            let Some(wanted) = followed else {
                if let Ok(read) = &result {
                    check_etag(etag.as_deref(), &read.head)?;
                }
                return result;
            };
            etag = wanted;
        }
        Err(looped())
    }

    forward!(next:
        authorize(Authorize) -> (),
        head_account(HeadAccount) -> AccountHead,
        list_containers(ListContainers) -> ContainerList,
        post_account(PostAccount) -> (),
        put_account(PutAccount) -> bool,
        delete_account(DeleteAccount) -> (),
        head_container(HeadContainer) -> ContainerHead,
        list_objects(ListObjects) -> ObjectList,
        put_container(PutContainer) -> bool,
        post_container(PostContainer) -> (),
        delete_container(DeleteContainer) -> (),
        put_object(PutObject) -> ObjectWritten,
        post_object(PostObject) -> (),
        delete_object(DeleteObject) -> Deleted,
        queue_deletions(QueueDeletions) -> (),
        copy_object(CopyObject) -> (ObjectHead, ObjectWritten),
        put_manifest(PutManifest) -> ObjectWritten,
        create_upload(CreateUpload) -> String,
        put_part(PutPart) -> ObjectWritten,
        put_part_copy(PutPartCopy) -> ObjectWritten,
        list_parts(ListParts) -> PartList,
        list_uploads(ListUploads) -> UploadList,
        complete_upload(CompleteUpload) -> ObjectWritten,
        abort_upload(AbortUpload) -> (),
    );
}
