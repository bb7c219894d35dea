//! Error documents: an error's code, message and elements as XML.

use apus_cluster::constraints::S3_MAX_KEY_LENGTH;
use apus_daemon::Body;
use apus_daemon::http::{empty, set};
use apus_store::Kind;
use apus_store::operation::ObjectHead;
use http::{HeaderMap, HeaderValue, Request, StatusCode};

use super::address::{self, Address};
use super::error::{Code, S3Error};
use super::object::{head, version};
use super::xml::Writer;
use crate::reply::{RETRY_AFTER_SECONDS, Reply};

/// The URI and host of a request, from which the elements of an error document are made. Cheap to
/// keep until there is an error.
pub(super) struct RequestTarget {
    uri: http::Uri,
    host: Option<HeaderValue>,
}

impl RequestTarget {
    pub(super) fn of(request: &Request<Body>) -> Self {
        let host = request.headers().get("host").cloned();
        Self { uri: request.uri().clone(), host }
    }

    /// Bucket and key, if they are valid.
    fn address(&self, domains: &[String]) -> Option<Address> {
        let mut request = Request::builder().uri(self.uri.clone());
        if let Some(host) = &self.host {
            request = request.header("host", host);
        }
        let (head, ()) = request.body(()).ok()?.into_parts();
        address::parse(&head, domains).ok()
    }

    fn upload_id(&self) -> Option<String> {
        let query = address::query(self.uri.query()?).ok()?;
        query.into_iter().find(|(name, _)| name == "uploadId").map(|(_, value)| value)
    }

    /// The elements that AWS gives with the error's code, unless the error has them already, and the
    /// resource.
    pub(super) fn elements(
        &self,
        error: &S3Error,
        domains: &[String],
    ) -> Vec<(&'static str, String)> {
        let address = self.address(domains).unwrap_or(Address { bucket: None, key: None });
        let (bucket, key) = (address.bucket.unwrap_or_default(), address.key.unwrap_or_default());
        let resource = match (bucket.is_empty(), key.is_empty()) {
            (true, _) => self.uri.path().to_owned(),
            (false, true) => format!("/{bucket}"),
            (false, false) => format!("/{bucket}/{key}"),
        };
        let mut elements = match error.code {
            Code::NoSuchKey => vec![("Key", key)],
            Code::NoSuchBucket
            | Code::BucketNotEmpty
            | Code::BucketAlreadyExists
            | Code::BucketAlreadyOwnedByYou
            | Code::InvalidBucketName => vec![("BucketName", bucket)],
            Code::NoSuchUpload | Code::InvalidPart => {
                self.upload_id().map(|id| ("UploadId", id)).into_iter().collect()
            }
            Code::KeyTooLongError => vec![
                ("Size", key.len().to_string()),
                ("MaxSizeAllowed", S3_MAX_KEY_LENGTH.to_string()),
            ],
            _ => Vec::new(),
        };
        // The body is wrong, not the resource.
        if error.code != Code::MalformedXML {
            elements.push(("Resource", resource));
        }
        elements.retain(|(name, value)| {
            !value.is_empty() && error.extra.iter().all(|(known, _)| known != name)
        });
        elements
    }
}

/// Stored headers of the object that a 304 repeats.
const OF_NOT_MODIFIED: [&str; 2] = ["Cache-Control", "Expires"];

/// Adds to a 304 the headers that a 200 would have.
fn not_modified(object: &ObjectHead, out: &mut HeaderMap) {
    set(out, "etag", &format!("\"{}\"", head::etag(object)));
    set(out, "last-modified", &head::last_modified(object));
    for name in OF_NOT_MODIFIED {
        if let Some(value) = object.get(name) {
            set(out, name, value);
        }
    }
}

/// Renders an error with the elements of its request.
pub(super) fn render(
    error: &S3Error,
    elements: &[(&'static str, String)],
    trans_id: &str,
    is_head: bool,
) -> Reply {
    let status = StatusCode::from_u16(error.code.status()).unwrap_or(StatusCode::BAD_REQUEST);
    if status.is_server_error()
        && error.code != Code::NotImplemented
        && let Some(source) = &error.source
    {
        tracing::error!(error = %source, trans_id, "request failed");
    }
    let mut xml = Writer::new();
    xml.open("Error");
    xml.text("Code", error.code.name());
    xml.text("Message", &error.message);
    for (name, value) in &error.extra {
        xml.text(name, value);
    }
    for (name, value) in elements {
        xml.text(name, value);
    }
    xml.text("RequestId", trans_id);
    xml.text("HostId", trans_id);
    xml.close("Error");
    let mut response = xml.reply();
    *response.status_mut() = status;
    if let Some(source) = &error.source {
        let out = response.headers_mut();
        if let Some(head) = source.head.as_ref().filter(|_| error.code == Code::NotModified) {
            not_modified(head, out);
        }
        if let Some(head) = &source.head {
            version::of_error(head, source.kind == Kind::IsDeleteMarker, out);
        }
        if let Kind::RangeNotSatisfiable { size } = source.kind {
            set(out, "content-range", &format!("bytes */{size}"));
        }
    }
    if error.code == Code::SlowDown {
        set(response.headers_mut(), "retry-after", RETRY_AFTER_SECONDS);
    }
    if is_head || status == StatusCode::NOT_MODIFIED {
        *response.body_mut() = empty();
    }
    if status == StatusCode::NOT_MODIFIED {
        response.headers_mut().remove("content-type");
    }
    response
}
