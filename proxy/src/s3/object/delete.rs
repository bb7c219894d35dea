//! DeleteObject, which succeeds whether or not the object exists.

use apus_daemon::http::status;
use apus_store::operation::{DeleteObject, Deleted, SegmentFate};
use apus_store::{Kind, Subject};
use http::StatusCode;

use super::{condition, lock, version};
use crate::deps::ProxyDeps;
use crate::reply::Reply;
use crate::s3::error::Result;
use crate::s3::request::S3Request;

pub(in crate::s3) async fn delete(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let op = DeleteObject {
        version: request.version()?,
        conditions: condition::on_write(&request)?,
        bypass_governance: lock::bypasses(&request),
        ..DeleteObject::new(request.object()?)
    };
    let named = op.version;
    let deleted = remove(deps, &request.cx, op)
        .await
        .map_err(|error| condition::failed(error, &request.head.headers, ""))?;
    let mut response = status(StatusCode::NO_CONTENT);
    let out = response.headers_mut();
    match deleted {
        Some(deleted) => version::of_deletion(&deleted, out),
        // It did not exist, which is a success.
        None => version::of_deletion(&Deleted { version: named, ..Deleted::default() }, out),
    }
    Ok(response)
}

/// Deletes an object and, if it is a multipart object, its parts. Segments of a manifest that a Swift
/// client wrote belong to other writers, and are kept. Returns `None` when nothing existed.
pub(in crate::s3) async fn remove(
    deps: &ProxyDeps,
    cx: &apus_store::Context,
    op: DeleteObject,
) -> apus_store::Result<Option<Deleted>> {
    let op = DeleteObject { segments: SegmentFate::OwnParts, ..op };
    let is_object = |subject| matches!(subject, Subject::Object | Subject::Version);
    match deps.store.delete_object(cx, op).await {
        Err(error) if error.kind == Kind::NotFound && is_object(error.subject) => Ok(None),
        deleted => deleted.map(Some),
    }
}
