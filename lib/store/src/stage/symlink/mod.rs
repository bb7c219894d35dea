//! Symbolic links: empty objects that name a target, as Swift stores them.
//!
//! Reads follow a link with the rights of the caller, so that it grants none. Only links that Swift's
//! versioning writes name targets in the reserved namespace, which are read under the system's
//! authority. A static link names the etag of its target, and reads fail where it differs. PUT, POST
//! and DELETE apply to the link itself; the answer to a POST reports that.
//! Source: `swift/common/middleware/symlink.py`.

pub mod link;
mod walk;
mod write;

use std::sync::Arc;

use apus_cluster::ObjectPath;
use async_trait::async_trait;

pub(crate) use self::link::Link;
use self::walk::{FollowedLinks, Walk};
use crate::context::Context;
use crate::operation::*;
use crate::store::forward;
use crate::{Error, Kind, LinkStore, Primitive, Result, Subject};

/// Default maximum number of links in a row (Swift's `symloop_max`).
pub const HOPS_MAX: usize = 2;

/// The stage that follows symbolic links.
pub struct Symlink {
    next: Arc<dyn Primitive>,
    /// Maximum number of links in a row.
    symloop_max: usize,
}

impl std::fmt::Debug for Symlink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Symlink")
    }
}

impl Symlink {
    /// Creates the stage above `next`, which follows at most `symloop_max` links in a row.
    pub fn new(next: Arc<dyn Primitive>, symloop_max: usize) -> Self {
        Self { next, symloop_max }
    }

    /// Moves a walk on when a link was found: `true`. A condition or range that failed at an (empty)
    /// link applies to its target.
    fn advance(
        &self,
        walk: &mut Walk<'_>,
        found: std::result::Result<&ObjectHead, &Error>,
    ) -> Result<bool> {
        let head = match found {
            Ok(head) => Some(head),
            Err(error) => error.head.as_deref(),
        };
        match head {
            Some(head) => walk.step(head, self.symloop_max).map_err(|error| walk.locate(error)),
            None => Ok(false),
        }
    }

    fn walk<'a>(&self, cx: &'a Context, object: &ObjectPath) -> Walk<'a> {
        Walk::from(cx, object, FollowedLinks::All, self.symloop_max)
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
            if !self.advance(&mut walk, found.as_ref())? {
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
            if !self.advance(&mut walk, found.as_ref().map(|read| &read.head))? {
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
        // The POST was applied: servers do not check whether an object is a link.
        let mut error = Error::new(Kind::IsLink, Subject::Object).text(
            "The requested POST was applied to a symlink. POST directly to the target to apply \
             requested metadata.",
        );
        error.location = Some(walk::encoded(&link.target.of(&own)));
        error.head = Some(Box::new(head));
        Err(error)
    }

    async fn update_object(&self, cx: &Context, op: UpdateObject) -> Result<ObjectHead> {
        let mut walk = self.walk(cx, &op.object);
        loop {
            let found = self.next.head_object(&walk.cx, HeadObject::new(walk.name.clone())).await;
            if !self.advance(&mut walk, found.as_ref())? {
                found.map_err(|error| walk.locate(error))?;
                let op = UpdateObject { object: walk.name.clone(), ..op };
                return self.next.update_object(&walk.cx, op).await;
            }
        }
    }

    forward!(next:
        authorize, container_info, account_info, head_account, list_containers, post_account, put_account,
        delete_account, head_container, list_objects, put_container, post_container, delete_container,
        put_object, delete_object, queue_deletions, update_queue,
    );
}

#[async_trait]
impl LinkStore for Symlink {
    async fn put_symlink(&self, cx: &Context, op: PutSymlink) -> Result<ObjectWritten> {
        write::put(&*self.next, cx, op, self.symloop_max).await
    }
}
