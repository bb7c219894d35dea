//! The mark of containers with objects that have settings.

use std::borrow::Cow;

use apus_bucket::ConfigKind;
use apus_cluster::{ContainerPath, Metadata, Timestamp};

use super::{Gate, ObjectPermit, Permit};
use crate::Result;
use crate::context::{Authority, Context};
use crate::operation::{ContainerHead, DeleteObject, LockCheck, PostContainer};
use crate::settings::{CONTAINER_MARK, now_ms};

pub(super) use crate::settings::has_settings;

/// Whether a POST to an object of the container must keep settings.
pub(super) fn is_marked(container: &ContainerHead) -> bool {
    container.headers.contains_key(CONTAINER_MARK)
}

/// The context of a PUT. In a marked container it is strong in both dialects: a PUT that is older
/// than a change of settings and arrives after it would get the metadata of the version before it.
/// The time of a write that is moved alone decides.
pub(super) fn context_of_put<'a>(
    cx: &'a Context,
    granted: &ObjectPermit,
    time: Option<Timestamp>,
) -> Cow<'a, Context> {
    match granted.facts.as_ref().is_some_and(|facts| is_marked(facts)) && time.is_none() {
        true => Cow::Owned(cx.strong()),
        false => Cow::Borrowed(cx),
    }
}

impl Gate {
    /// The check of the expirer's deletions, which no stage sees, in a container with an object lock:
    /// an object there may be a locked version that was written before versioning was enabled.
    pub(super) fn lock_check_of_expirer(
        &self,
        cx: &Context,
        granted: &ObjectPermit,
        op: &DeleteObject,
    ) -> Option<LockCheck> {
        let is_expirers = op.if_delete_at.is_some() || cx.authority == Authority::System("expirer");
        let header = ConfigKind::ObjectLock.header();
        let has_lock =
            granted.facts.as_ref().is_some_and(|facts| facts.headers.contains_key(header));
        let now_ms = now_ms(self.quorum.clock().stamp());
        (is_expirers && has_lock).then_some(LockCheck { now_ms, bypass: false })
    }

    /// Marks the container before the first setting is written in it, so that from then on a POST
    /// keeps settings.
    pub(super) async fn mark_settings(
        &self,
        cx: &Context,
        container: &ContainerPath,
        granted: &ObjectPermit,
    ) -> Result<()> {
        // Moves between policies copy an object with the settings that its container is marked for.
        if granted.facts.as_ref().is_none_or(|facts| is_marked(facts)) {
            return Ok(());
        }
        let metadata = Metadata::from([(CONTAINER_MARK.to_owned(), "true".to_owned())]);
        let op = PostContainer { container: container.clone(), metadata, versioning: None };
        let done = self.quorum.post_container(&cx.as_system("settings"), Permit::new(), op).await;
        self.info.forget(container);
        done
    }
}
