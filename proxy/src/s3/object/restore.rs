//! RestoreObject: no object is archived, so that none can be restored.

use apus_policy::Permission;
use apus_store::operation::{Authorize, HeadObject};

use crate::deps::ProxyDeps;
use crate::reply::Reply;
use crate::s3::error::{Code, Result, S3Error};
use crate::s3::request::S3Request;

/// AWS's refusal for an object of a class that needs no restore, if the object exists.
pub(in crate::s3) async fn restore(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let authorize = Authorize::object(Permission::RestoreObject, &request.object()?);
    deps.store.authorize(&request.cx, authorize).await?;
    let version = request.version()?;
    let head = HeadObject { version, ..HeadObject::new(request.object()?) };
    deps.store.head_object(&request.cx, head).await?;
    Err(S3Error::new(Code::InvalidObjectState)
        .text("Restore is not allowed for the object's current storage class")
        .with("StorageClass", "STANDARD"))
}
