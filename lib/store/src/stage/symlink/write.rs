//! Writing of a link.
//!
//! The target of a static link is requested first, and its etag and length are in the listing; the
//! target of a dynamic one need not exist.

use apus_cluster::listing::split_swift_bytes;

use super::super::slo;
use super::link::{Link, TARGET, TARGET_ACCOUNT, TARGET_BYTES};
use super::walk::{FollowedLinks, Walk};
use crate::body::LateMetadata;
use crate::context::Context;
use crate::operation::{HeadObject, ObjectHead, ObjectWritten, PutObject, PutSymlink};
use crate::{Error, Kind, Primitive, Result, Subject};

/// MD5 of an empty body.
const EMPTY_ETAG: &str = "d41d8cd98f00b204e9800998ecf8427e";
/// The etag field of the row in the listing.
const ROW_ETAG: &str = "X-Object-Sysmeta-Container-Update-Override-Etag";
/// Default content type of a link.
const LINK_TYPE: &str = "application/symlink";

/// Writes a link.
pub(super) async fn put(
    next: &dyn Primitive,
    cx: &Context,
    op: PutSymlink,
    symloop_max: usize,
) -> Result<ObjectWritten> {
    let path = op.target.of(op.object.account());
    if path == op.object {
        return Err(Error::invalid("Symlink cannot target itself"));
    }
    if path.container.container.is_reserved() || path.object.is_reserved() {
        return Err(Error::new(Kind::PreconditionFailed, Subject::Request)
            .text("X-Symlink-Target: names that begin with NUL are reserved"));
    }
    let link = Link { target: op.target, etag: op.target_etag };
    let mut metadata = op.metadata;
    let stored = link.stored();
    let mut words = Vec::new();
    for (word, name) in [("symlink_target", TARGET), ("symlink_target_account", TARGET_ACCOUNT)] {
        words.extend(stored.get(name).map(|value| format!("{word}={value}")));
    }
    metadata.extend(stored);
    let mut row = EMPTY_ETAG.to_owned();
    let mut content_type = op.content_type;
    if let Some(etag) = &link.etag {
        let mut walk = Walk::from(cx, &path, FollowedLinks::Static, symloop_max).requiring(etag);
        let found =
            resolve(next, &mut walk, symloop_max).await.map_err(|error| match error.kind {
                Kind::NotFound => walk.locate(
                    Error::new(Kind::Conflict, Subject::Object)
                        .text("X-Symlink-Target does not exist"),
                ),
                _ => walk.locate(error),
            })?;
        // Other features' fields in the target's row apply to the link as well.
        let more = found.get(ROW_ETAG).and_then(|etag| etag.split_once(';'));
        if let Some((_, more)) = more {
            row.push(';');
            row.push_str(more);
        } else if let Some(etag) = found.get(slo::ETAG_KEY) {
            row.push_str(&format!("; slo_etag={etag}"));
        }
        let length = found.length.to_string();
        let bytes = found.get(slo::SIZE_KEY).unwrap_or(&length).to_owned();
        words.push(format!("symlink_target_etag={etag}"));
        words.push(format!("symlink_target_bytes={bytes}"));
        metadata.insert(TARGET_BYTES.to_owned(), bytes);
        content_type = content_type.or_else(|| Some(split_swift_bytes(&found.content_type).0));
    }
    words.insert(0, row);
    metadata.insert(ROW_ETAG.to_owned(), words.join("; "));
    let put = PutObject {
        object: op.object,
        body: apus_daemon::http::empty(),
        length: Some(0),
        content_type: content_type.unwrap_or_else(|| LINK_TYPE.to_owned()),
        metadata,
        etag: op.etag,
        timestamp: None,
        conditions: op.conditions,
        late: LateMetadata::default(),
    };
    // Only the stage of versions writes there, after it checked the right to the visible container.
    match put.object.container.container.is_reserved() {
        true => next.put_object(&cx.as_system("versions"), put).await,
        false => next.put_object(cx, put).await,
    }
}

/// Resolves the target of a static link.
async fn resolve(
    next: &dyn Primitive,
    walk: &mut Walk<'_>,
    symloop_max: usize,
) -> Result<ObjectHead> {
    loop {
        let head = next.head_object(&walk.cx, HeadObject::new(walk.name.clone())).await?;
        if !walk.step(&head, symloop_max)? {
            return Ok(head);
        }
    }
}
