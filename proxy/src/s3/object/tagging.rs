//! Tags of objects: `?tagging`, `x-amz-tagging` and `x-amz-tagging-count`.

use apus_bucket::TagSet;
use apus_bucket::tag_query::TagQueryError;
use apus_bucket::tagging::TaggedResource;
use apus_cluster::{Metadata, ObjectPath};
use apus_daemon::http::{set, status};
use apus_policy::Permission;
use apus_store::body::collect;
use apus_store::operation::{Authorize, HeadObject, ObjectHead, SettingChange, UpdateObject};
use apus_store::settings::TAGGING;
use apus_store::{Context, Kind};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::put::verified_body;
use crate::deps::ProxyDeps;
use crate::header_value;
use crate::reply::Reply;
use crate::s3::error::{Code, Result, S3Error};
use crate::s3::request::S3Request;
use crate::s3::xml::{self, Writer};
use crate::s3::{bucket_tagging, facts};

/// The header with the tags of an upload.
const HEADER: &str = "x-amz-tagging";

/// The stored form of tags; `None` when there are none.
fn stored(tags: &TagSet) -> Option<String> {
    (!tags.tags().is_empty()).then(|| tags.to_stored())
}

/// Adds the tags of an upload's headers to its metadata.
///
/// # Errors
/// `InvalidArgument` for a header that is not an encoded query, `BadRequest` for too many tags,
/// `InvalidTag`.
pub(in crate::s3) fn add_from_headers(headers: &HeaderMap, metadata: &mut Metadata) -> Result<()> {
    let Some(text) = header_value::list(headers, HEADER) else { return Ok(()) };
    let tags = TagSet::from_query(&text, TaggedResource::Object).map_err(|error| match error {
        TagQueryError::Encoding | TagQueryError::Tag(apus_bucket::TagError::Duplicate(_)) => {
            S3Error::new(Code::InvalidArgument)
                .text("The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.")
                .argument(HEADER, &text)
        }
        TagQueryError::Tag(error) => error.into(),
    })?;
    metadata.extend(stored(&tags).map(|tags| (TAGGING.to_owned(), tags)));
    Ok(())
}

/// Checks the right to the tags in an upload's headers.
///
/// # Errors
/// `AccessDenied`.
pub(in crate::s3) async fn authorize(
    deps: &ProxyDeps,
    cx: &Context,
    object: &ObjectPath,
    metadata: &Metadata,
) -> Result<()> {
    if !metadata.contains_key(TAGGING) {
        return Ok(());
    }
    let asked = Authorize::object(Permission::PutObjectTagging, object);
    Ok(deps.store.authorize(cx, asked).await?)
}

/// Adds the document of tags in a form to the headers of the upload that the form is.
///
/// # Errors
/// `MalformedXML`, `InvalidTag`, `InvalidArgument`.
pub(in crate::s3) fn add_to_headers(document: &[u8], headers: &mut HeaderMap) -> Result<()> {
    let tags = bucket_tagging::parse(document, TaggedResource::Object)?.to_stored();
    let value = HeaderValue::from_bytes(tags.as_bytes());
    let value =
        value.map_err(|_| S3Error::new(Code::InvalidArgument).argument("tagging", &tags))?;
    headers.insert(HEADER, value);
    Ok(())
}

/// Sets the number of tags of an object, if it has some.
pub(in crate::s3) fn set_count(head: &ObjectHead, out: &mut HeaderMap) {
    if let Some(text) = head.get(TAGGING) {
        let count = TagSet::from_stored(text).tags().len();
        set(out, "x-amz-tagging-count", &count.to_string());
    }
}

pub(in crate::s3) async fn get(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let op = HeadObject { version: request.version()?, ..HeadObject::new(request.object()?) };
    let head = deps.store.head_object(&request.cx, op).await?;
    let mut out = Writer::new();
    let tags = head.get(TAGGING).map(TagSet::from_stored).unwrap_or_default();
    bucket_tagging::render(&tags, &mut out);
    Ok(out.reply())
}

/// Replaces the tags; returns the response with the version that was changed.
async fn change(
    deps: &ProxyDeps,
    cx: &Context,
    op: UpdateObject,
    code: StatusCode,
) -> Result<Reply> {
    let head = deps.store.update_object(cx, op).await?;
    let mut response = status(code);
    if let Some(version) = head.version {
        set(response.headers_mut(), "x-amz-version-id", &version.to_string());
    }
    Ok(response)
}

pub(in crate::s3) async fn put(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let (object, version) = (request.object()?, request.version()?);
    // Rights and the bucket come before the document.
    let authorize = Authorize::object(Permission::PutObjectTagging, &object).version(version);
    // A policy may allow some tags only, so a refusal is final when the document is known.
    let refused = match deps.store.authorize(&request.cx, authorize).await {
        Ok(()) => None,
        Err(error) if matches!(error.kind, Kind::Forbidden | Kind::Unauthorized) => Some(error),
        Err(error) => return Err(error.into()),
    };
    let S3Request { cx, head, body, payload, .. } = request;
    let verified = verified_body(deps, payload, &head.headers, body)?;
    let document = collect(verified.body, xml::DOCUMENT_BYTES_MAX).await?;
    let tags = bucket_tagging::parse(&document, TaggedResource::Object);
    let tags = match (tags, refused) {
        (Err(_), Some(refused)) => return Err(refused.into()),
        (tags, _) => tags?,
    };
    let cx = facts::with_tags(&cx, &tags);
    let op = UpdateObject { object, version, change: SettingChange::Tagging(stored(&tags)) };
    change(deps, &cx, op, StatusCode::OK).await
}

pub(in crate::s3) async fn delete(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let (object, version) = (request.object()?, request.version()?);
    let op = UpdateObject { object, version, change: SettingChange::Tagging(None) };
    change(deps, &request.cx, op, StatusCode::NO_CONTENT).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(header: &str) -> std::result::Result<Metadata, Code> {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, header.parse().unwrap());
        let mut metadata = Metadata::new();
        add_from_headers(&headers, &mut metadata).map_err(|error| error.code)?;
        Ok(metadata)
    }

    #[test]
    fn the_header_becomes_the_stored_form_and_its_count() {
        let metadata = added("foo=a%20b&bar").unwrap();
        assert_eq!(metadata[TAGGING], "bar=&foo=a%20b");
        let mut out = HeaderMap::new();
        set_count(&ObjectHead { metadata, ..ObjectHead::default() }, &mut out);
        assert_eq!(out["x-amz-tagging-count"], "2");
        assert!(added("").unwrap().is_empty());
        let many: Vec<String> = (0..11).map(|number| format!("{number}=x")).collect();
        for (header, code) in [
            ("a=1&a=2", Code::InvalidArgument),
            ("a=%ff", Code::InvalidArgument),
            ("=x", Code::InvalidTag),
            ("aws:a=x", Code::InvalidTag),
            (&*many.join("&"), Code::InvalidTag),
        ] {
            assert_eq!(added(header), Err(code), "{header}");
        }
    }
}
