//! GetBucketVersioning and PutBucketVersioning.

use apus_daemon::http::status;
use apus_store::body::collect;
use apus_store::operation::{HeadContainer, PostContainer, Versioning};
use http::StatusCode;

use super::bucket_config;
use super::error::{Code, Result, S3Error};
use super::object::put::verified_body;
use super::request::S3Request;
use super::xml::{self, Element, Writer};
use crate::deps::ProxyDeps;
use crate::reply::Reply;

/// The document of a request.
const CONFIGURATION: xml::Schema = xml::Schema {
    root: "VersioningConfiguration",
    item: "Status",
    items_max: 1,
    within_max: xml::ELEMENTS_MAX,
};
/// Largest document, in bytes.
const DOCUMENT_BYTES_MAX: u64 = 10 * 1024;

pub(super) async fn get(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let op = HeadContainer { container: request.container()? };
    let head = deps.store.head_container(&request.cx, op).await?;
    Ok(render(head.versioning()))
}

fn render(versioning: Option<Versioning>) -> Reply {
    let mut out = Writer::new();
    out.root("VersioningConfiguration");
    match versioning {
        Some(Versioning::Enabled) => out.text("Status", "Enabled"),
        Some(Versioning::Suspended) => out.text("Status", "Suspended"),
        None => {}
    }
    out.close("VersioningConfiguration");
    out.reply()
}

pub(super) async fn put(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let container = request.container()?;
    // Rights and the bucket come before the document.
    bucket_config::authorize(deps, &request.cx, &container).await?;
    if request.header("x-amz-mfa").is_some() {
        return Err(mfa_delete());
    }
    let verified = verified_body(deps, request.payload, &request.head.headers, request.body)?;
    let document = collect(verified.body, DOCUMENT_BYTES_MAX).await?;
    if verified.etag.is_some_and(|etag| etag != format!("{:x}", md5::compute(&document))) {
        return Err(S3Error::new(Code::BadDigest)
            .text("The Content-MD5 you specified did not match what we received."));
    }
    let versioning = Some(parse(&document)?);
    let op = PostContainer { container, metadata: apus_cluster::Metadata::new(), versioning };
    deps.store.post_container(&request.cx, op).await?;
    Ok(status(StatusCode::OK))
}

fn mfa_delete() -> S3Error {
    S3Error::new(Code::NotImplemented).text("MFA delete is not implemented")
}

/// The state that a document asks for.
fn parse(document: &[u8]) -> Result<Versioning> {
    let mut found = None;
    xml::read(document, &CONFIGURATION, |child| match child.name.as_str() {
        "Status" => {
            found = Some(state(&child)?);
            Ok(())
        }
        "MfaDelete" if child.text.trim() == "Disabled" => Ok(()),
        "MfaDelete" if child.text.trim() == "Enabled" => Err(mfa_delete()),
        _ => Err(S3Error::new(Code::MalformedXML)),
    })?;
    found.ok_or_else(|| {
        S3Error::new(Code::IllegalVersioningConfigurationException)
            .text("The Versioning element must be specified")
    })
}

fn state(status: &Element) -> Result<Versioning> {
    match status.text.trim() {
        "Enabled" => Ok(Versioning::Enabled),
        "Suspended" => Ok(Versioning::Suspended),
        _ => Err(S3Error::new(Code::MalformedXML)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_enables_or_suspends_and_mfa_delete_is_refused() {
        let read = |inner: &str| {
            let document = format!("<VersioningConfiguration>{inner}</VersioningConfiguration>");
            parse(document.as_bytes()).map_err(|error| error.code)
        };
        let enabled = "<Status>Enabled</Status>";
        assert_eq!(read(enabled), Ok(Versioning::Enabled));
        assert_eq!(read("<Status>Suspended</Status>"), Ok(Versioning::Suspended));
        let mfa = |value: &str| read(&format!("{enabled}<MfaDelete>{value}</MfaDelete>"));
        assert_eq!(mfa("Disabled"), Ok(Versioning::Enabled));
        assert_eq!(mfa("Enabled"), Err(Code::NotImplemented));
        assert_eq!(mfa("x"), Err(Code::MalformedXML));
        assert_eq!(read(""), Err(Code::IllegalVersioningConfigurationException));
        assert_eq!(read("<Status>On</Status>"), Err(Code::MalformedXML));
        assert_eq!(read(&format!("{enabled}<Other/>")), Err(Code::MalformedXML));
    }
}
