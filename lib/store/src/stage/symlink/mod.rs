//! Symbolic links: empty objects that lead to another one, as Swift stores them.
//!
//! A link is followed on reads as the caller, so that it gives no right; only links that Swift's
//! versioning writes lead into the reserved namespace, where the system reads. A static link names
//! the etag of its target and is refused where that differs. Writing, posting and deleting are
//! done to the link itself, which an answer to a POST then tells.
//! Source: `swift/common/middleware/symlink.py`.

pub mod link;
mod walk;
mod write;

use std::sync::Arc;

use apus_cluster::ObjectPath;
use async_trait::async_trait;

pub(crate) use self::link::Link;
use self::walk::{Follows, Walk};
use crate::context::Context;
use crate::operation::*;
use crate::store::forward;
use crate::{Error, Kind, LinkStore, Primitive, Result, Subject};

/// Most links in a row unless told otherwise (Swift's `symloop_max`).
pub const HOPS_MAX: usize = 2;

/// The stage.
pub struct Symlink {
    next: Arc<dyn Primitive>,
    /// Most links in a row.
    most: usize,
}

impl std::fmt::Debug for Symlink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Symlink")
    }
}

impl Symlink {
    /// Above `next`, following at most so many links in a row.
    pub fn new(next: Arc<dyn Primitive>, most: usize) -> Self {
        Self { next, most }
    }

    /// Whether a walk goes on from what was found. A condition or range that failed against an
    /// (empty) link is one for its target.
    fn goes_on(
        &self,
        walk: &mut Walk<'_>,
        found: std::result::Result<&ObjectHead, &Error>,
    ) -> Result<bool> {
        let head = match found {
            Ok(head) => Some(head),
            Err(error) => error.head.as_deref(),
        };
        match head {
            Some(head) => walk.step(head, self.most).map_err(|error| walk.locate(error)),
            None => Ok(false),
        }
    }

    fn walk<'a>(&self, cx: &'a Context, object: &ObjectPath) -> Walk<'a> {
        Walk::from(cx, object, Follows::All, self.most)
    }
}

#[async_trait]
impl Primitive for Symlink {
    async fn head_object(&self, cx: &Context, op: HeadObject) -> Result<ObjectHead> {
        if op.link_itself {
            return self.next.head_object(cx, op).await;
        }
        let mut walk = self.walk(cx, &op.object);
        loop {
            let op = HeadObject { object: walk.name.clone(), ..op.clone() };
            let found = self.next.head_object(&walk.cx, op).await;
            if !self.goes_on(&mut walk, found.as_ref())? {
                let location = walk.location.clone();
                return found
                    .map(|head| ObjectHead { location, ..head })
                    .map_err(|error| walk.locate(error));
            }
        }
    }

    async fn get_object(&self, cx: &Context, op: GetObject) -> Result<ObjectRead> {
        if op.head.link_itself {
            return self.next.get_object(cx, op).await;
        }
        let mut walk = self.walk(cx, &op.head.object);
        loop {
            let mut op = op.clone();
            op.head.object = walk.name.clone();
            let found = self.next.get_object(&walk.cx, op).await;
            if !self.goes_on(&mut walk, found.as_ref().map(|read| &read.head))? {
                let mut read = found.map_err(|error| walk.locate(error))?;
                read.head.location = walk.location;
                return Ok(read);
            }
        }
    }

    async fn post_object(&self, cx: &Context, op: PostObject) -> Result<ObjectHead> {
        let own = op.object.account().clone();
        let head = self.next.post_object(cx, op).await?;
        let Some(link) = Link::of(&head)? else { return Ok(head) };
        // It was done all the same: servers cannot know at the time what is a link.
        let mut error = Error::new(Kind::IsLink, Subject::Object).text(
            "The requested POST was applied to a symlink. POST directly to the target to apply \
             requested metadata.",
        );
        error.location = Some(walk::shown(&link.target.of(&own)));
        error.head = Some(Box::new(head));
        Err(error)
    }

    forward!(next:
        authorize, head_account, list_containers, post_account, put_account, delete_account,
        head_container, list_objects, put_container, post_container, delete_container,
        put_object, delete_object, queue_deletions,
    );
}

#[async_trait]
impl LinkStore for Symlink {
    async fn put_symlink(&self, cx: &Context, op: PutSymlink) -> Result<ObjectWritten> {
        write::put(&*self.next, cx, op, self.most).await
    }
}
