//! DeleteObject, which succeeds whether or not the object exists.

use apus_daemon::http::status;
use apus_store::operation::{DeleteObject, SegmentFate};
use apus_store::{Kind, Subject};
use http::StatusCode;

use super::condition;
use crate::deps::ProxyDeps;
use crate::reply::Reply;
use crate::s3::error::Result;
use crate::s3::request::S3Request;

pub(in crate::s3) async fn delete(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let op = DeleteObject {
        version: request.version()?,
        conditions: condition::on_write(&request)?,
        ..DeleteObject::new(request.object()?)
    };
    remove(deps, &request.cx, op)
        .await
        .map_err(|error| condition::failed(error, &request.head.headers, ""))?;
    Ok(status(StatusCode::NO_CONTENT))
}

/// Deletes an object and, if it is a multipart object, its parts. Segments of a manifest that a Swift
/// client wrote belong to other writers, and are kept.
pub(in crate::s3) async fn remove(
    deps: &ProxyDeps,
    cx: &apus_store::Context,
    op: DeleteObject,
) -> apus_store::Result<()> {
    let op = DeleteObject { segments: SegmentFate::OwnParts, ..op };
    match deps.store.delete_object(cx, op).await {
        Err(error) if error.kind == Kind::NotFound && error.subject == Subject::Object => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Ok(()),
    }
}
