//! DeleteObject, which succeeds whether or not the object exists.

use apus_daemon::http::status;
use apus_store::operation::{DeleteObject, SegmentFate, WriteConditions};
use apus_store::{Kind, Subject};
use http::StatusCode;

use super::condition;
use crate::deps::ProxyDeps;
use crate::reply::Reply;
use crate::s3::error::Result;
use crate::s3::request::S3Request;

pub(in crate::s3) async fn delete(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    request.check_version()?;
    let object = request.object()?;
    remove(deps, &request.cx, object, condition::on_write(&request)?)
        .await
        .map_err(|error| condition::failed(error, &request.head.headers, ""))?;
    Ok(status(StatusCode::NO_CONTENT))
}

/// Deletes an object and, if it is a multipart object, its parts. Segments of a manifest that a Swift
/// client wrote belong to other writers, and are kept.
pub(in crate::s3) async fn remove(
    deps: &ProxyDeps,
    cx: &apus_store::Context,
    object: apus_cluster::ObjectPath,
    conditions: WriteConditions,
) -> apus_store::Result<()> {
    let segments = SegmentFate::OwnParts;
    let op = DeleteObject { segments, conditions, ..DeleteObject::new(object) };
    match deps.store.delete_object(cx, op).await {
        Err(error) if error.kind == Kind::NotFound && error.subject == Subject::Object => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Ok(()),
    }
}
