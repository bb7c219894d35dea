//! DeleteObject: succeeds whether or not there is such an object.

use apus_daemon::http::status;
use apus_store::operation::DeleteObject;
use apus_store::{Kind, Subject};
use http::StatusCode;

use super::check_version;
use crate::edge::Parts;
use crate::s3::{Reply, Result, S3Request};

pub(in crate::s3) async fn delete(parts: &Parts, request: S3Request) -> Result<Reply> {
    check_version(&request)?;
    let object = request.object()?;
    remove(parts, &request.cx, object).await?;
    Ok(status(StatusCode::NO_CONTENT))
}

/// Deletes one object and, of a multipart object, its parts.
pub(in crate::s3) async fn remove(
    parts: &Parts,
    cx: &apus_store::Context,
    object: apus_cluster::ObjectPath,
) -> Result<()> {
    let op = DeleteObject { object, with_segments: true, timestamp: None };
    match parts.store.delete_object(cx, op).await {
        Err(error) if error.kind == Kind::NotFound && error.subject == Subject::Object => Ok(()),
        Err(error) => Err(error.into()),
        Ok(_) => Ok(()),
    }
}
