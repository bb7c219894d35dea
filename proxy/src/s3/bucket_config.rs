//! GET, PUT and DELETE of a bucket's configurations, which are XML documents.
//!
//! A configuration is system metadata of the container (`apus_bucket::stored`), so one write of the
//! container's metadata changes it as a whole.

use apus_bucket::{ConfigError, ConfigKind, stored};
use apus_cluster::ContainerPath;
use apus_daemon::http::status;
use apus_policy::Permission;
use apus_store::Context;
use apus_store::body::collect;
use apus_store::operation::{Authorize, ContainerHead, HeadContainer, PostContainer};
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{Code, Result, S3Error};
use super::object::put::verified_body;
use super::request::S3Request;
use super::xml::{self, Writer};
use crate::config::ProxyConfig;
use crate::deps::ProxyDeps;
use crate::reply::Reply;

/// A configuration of a bucket as an XML document.
pub(super) trait BucketDocument: Serialize + DeserializeOwned {
    /// Where it is stored.
    const KIND: ConfigKind;
    /// The error of a GET when it was never set.
    const MISSING: Code;
    /// The status of a successful PUT.
    const PUT_STATUS: StatusCode = StatusCode::OK;

    /// Parses and checks a client's document.
    ///
    /// # Errors
    /// `MalformedXML`, or the configuration's own codes.
    fn parse(document: &[u8]) -> Result<Self>;

    /// Takes what the headers of a PUT add to the document.
    ///
    /// # Errors
    /// `InvalidArgument`.
    fn amend(&mut self, _request: &HeaderMap) -> Result<()> {
        Ok(())
    }

    /// Checks the document against the settings of the cluster.
    ///
    /// # Errors
    /// `InvalidArgument`.
    fn check_settings(&self, _settings: &ProxyConfig) -> Result<()> {
        Ok(())
    }

    /// The document of a bucket that never had one, where that is not an error.
    fn never_set() -> Option<Self> {
        None
    }

    /// Whether setting it removes the configuration.
    fn is_removal(&self) -> bool {
        false
    }

    /// Sets headers of the responses to GET and PUT.
    fn set_headers(&self, _response: &mut HeaderMap) {}

    /// Writes the document.
    fn render(&self, out: &mut Writer);
}

impl From<ConfigError> for S3Error {
    fn from(error: ConfigError) -> Self {
        let code = match error {
            ConfigError::TooLarge { .. } => Code::InvalidRequest,
            ConfigError::Damaged { .. } | ConfigError::Json(_) => Code::InternalError,
        };
        if code == Code::InternalError {
            let reason = std::error::Error::source(&error).map(ToString::to_string);
            tracing::error!(%error, reason, "Failed to read a bucket's configuration");
            return Self::new(code);
        }
        Self::new(code).text(error.to_string())
    }
}

/// The configuration in a container's metadata.
///
/// # Errors
/// `InternalError` when it is damaged.
pub(super) fn of<T: BucketDocument>(head: &ContainerHead) -> Result<Option<T>> {
    Ok(stored::load(T::KIND, &head.headers)?)
}

/// Checks the permission that the operation needs.
pub(super) async fn authorize(
    deps: &ProxyDeps,
    cx: &Context,
    container: &ContainerPath,
) -> Result<()> {
    let permission = cx.needs(Permission::PutBucketMetadata);
    Ok(deps.store.authorize(cx, Authorize::container(permission, container.clone())).await?)
}

/// The metadata of the bucket, for callers with the permission of the operation.
pub(super) async fn owners_head(
    deps: &ProxyDeps,
    cx: &Context,
    container: ContainerPath,
) -> Result<ContainerHead> {
    authorize(deps, cx, &container).await?;
    Ok(deps.store.head_container(cx, HeadContainer { container }).await?)
}

/// Responds with the configuration.
pub(super) async fn get<T: BucketDocument>(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let container = request.container()?;
    let missing = S3Error::new(T::MISSING).with("BucketName", request.bucket());
    let head = owners_head(deps, &request.cx, container).await?;
    let config: T = of(&head)?.or_else(T::never_set).ok_or(missing)?;
    let mut out = Writer::new();
    config.render(&mut out);
    let mut response = out.reply();
    config.set_headers(response.headers_mut());
    Ok(response)
}

/// Sets the configuration.
pub(super) async fn put<T: BucketDocument>(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let container = request.container()?;
    // Rights come before the document.
    authorize(deps, &request.cx, &container).await?;
    let S3Request { cx, head, body, payload, .. } = request;
    let verified = verified_body(deps, payload, &head.headers, body)?;
    let mut config = T::parse(&collect(verified.body, xml::DOCUMENT_BYTES_MAX).await?)?;
    config.amend(&head.headers)?;
    config.check_settings(&deps.config)?;
    let metadata = match config.is_removal() {
        true => {
            let head =
                deps.store.head_container(&cx, HeadContainer { container: container.clone() });
            stored::remove(T::KIND, &head.await?.headers)
        }
        false => stored::store(T::KIND, &config)?,
    };
    deps.store.post_container(&cx, PostContainer { container, metadata, versioning: None }).await?;
    let mut response = status(T::PUT_STATUS);
    config.set_headers(response.headers_mut());
    Ok(response)
}

/// Removes the configuration, if there is one.
pub(super) async fn delete<T: BucketDocument>(
    deps: &ProxyDeps,
    request: S3Request,
) -> Result<Reply> {
    let container = request.container()?;
    let cx = request.cx;
    let head = owners_head(deps, &cx, container.clone()).await?;
    if head.headers.contains_key(T::KIND.header()) {
        let metadata = stored::remove(T::KIND, &head.headers);
        deps.store
            .post_container(&cx, PostContainer { container, metadata, versioning: None })
            .await?;
    }
    Ok(status(StatusCode::NO_CONTENT))
}
