//! `GET` and `DELETE` of configurations that are never set here.

use apus_daemon::http::status;
use apus_store::operation::{HeadContainer, HeadObject};
use http::StatusCode;

use super::bucket_config;
use super::error::{Code, Result, S3Error};
use super::request::S3Request;
use super::unset::{Unset, UnsetResponse};
use super::xml::Writer;
use crate::deps::ProxyDeps;
use crate::reply::Reply;

/// The object that a request names, unless it names a bucket.
fn object(request: &S3Request) -> Result<Option<HeadObject>> {
    if request.key.is_none() {
        return Ok(None);
    }
    let head = HeadObject::new(request.object()?);
    Ok(Some(HeadObject { version: request.version()?, ..head }))
}

fn no_such_configuration(request: &S3Request) -> S3Error {
    S3Error::new(Code::NoSuchConfiguration).with("BucketName", request.bucket())
}

/// Responds to the GET of a configuration.
pub(super) async fn get(deps: &ProxyDeps, request: S3Request, unset: &Unset) -> Result<Reply> {
    match object(&request)? {
        Some(object) => {
            deps.store.head_object(&request.cx, object).await?;
        }
        None => {
            let op = HeadContainer { container: request.container()? };
            deps.store.head_container(&request.cx, op).await?;
        }
    }
    render(&request, unset)
}

fn render(request: &S3Request, unset: &Unset) -> Result<Reply> {
    let mut out = Writer::new();
    match &unset.response {
        UnsetResponse::Missing(code) => {
            return Err(S3Error::new(*code).with("BucketName", request.bucket()));
        }
        UnsetResponse::List(_) if request.param("id").is_some() => {
            return Err(no_such_configuration(request));
        }
        UnsetResponse::List(root) => {
            out.root(root);
            out.flag("IsTruncated", false);
            out.close(root);
        }
        UnsetResponse::Document(root, nodes) => {
            out.root(root);
            for (name, text) in *nodes {
                out.text(name, text);
            }
            out.close(root);
        }
    }
    Ok(out.reply())
}

/// Responds to the DELETE of a configuration: if the caller has the right, there is nothing to delete.
pub(super) async fn delete(deps: &ProxyDeps, request: S3Request, unset: &Unset) -> Result<Reply> {
    let object = object(&request)?;
    bucket_config::authorize(deps, &request.cx, &request.container()?).await?;
    if let Some(object) = object {
        deps.store.head_object(&request.cx, object).await?;
    }
    match unset.response {
        // A configuration of a list is deleted by its id.
        UnsetResponse::List(_) => Err(no_such_configuration(&request)),
        _ => Ok(status(StatusCode::NO_CONTENT)),
    }
}
