//! CopyObject, and the source that `x-amz-copy-source` names.

use std::borrow::Cow;
use std::sync::Arc;

use apus_cluster::{ContainerName, ContainerPath, Metadata, ObjectPath, Timestamp, percent};
use apus_store::operation::{
    CopyObject, GetObject, HeadContainer, HeadObject, ObjectHead, ObjectWritten,
};
use apus_store::{Context, Kind, Subject};
use http::HeaderMap;

use super::head::ETAG_AT;
use super::{condition, lock, put, tagging, version};
use crate::deps::ProxyDeps;
use crate::header_value;
use crate::reply::Reply;
use crate::s3::acl;
use crate::s3::address::may_be_bucket;
use crate::s3::checksum::{self, ChecksumType, CopyChecksum};
use crate::s3::encryption;
use crate::s3::error::{Code, Result, S3Error};
use crate::s3::operation::Operation;
use crate::s3::request::{S3Request, object_named, parse_version};
use crate::s3::xml::Writer;

/// Separates the path of `x-amz-copy-source` from a version; any other `?` is part of the key.
const VERSION: &str = "?versionId=";

/// Bucket, key and version of `x-amz-copy-source`. As in AWS it is percent-encoded, and a plus sign
/// is a space.
fn parse_source(value: &str) -> Option<(String, String, Option<String>)> {
    let decode = |text: &str| percent::decode_utf8(&text.replace('+', " "));
    let (path, version) = match value.rsplit_once(VERSION) {
        Some((path, version)) => (path, Some(decode(version)?)),
        None => (value, None),
    };
    let path = decode(path)?;
    let path = path.strip_prefix('/').unwrap_or(&path);
    let (bucket, key) = path.split_once('/')?;
    let names = !bucket.is_empty() && !key.is_empty();
    names.then(|| (bucket.to_owned(), key.to_owned(), version))
}

/// The header that names the source of a copy.
const SOURCE: &str = "x-amz-copy-source";

fn source_header(headers: &HeaderMap) -> Cow<'_, str> {
    let value = headers.get(SOURCE).map(|value| header_value::text(value.as_bytes()));
    value.unwrap_or_default()
}

/// The bucket that a copy reads, if its header can be read.
pub(in crate::s3) fn source_bucket(operation: Operation, headers: &HeaderMap) -> Option<String> {
    let copies = matches!(operation, Operation::CopyObject | Operation::UploadPartCopy);
    let source = copies.then(|| parse_source(&source_header(headers))).flatten();
    source.map(|(bucket, ..)| bucket)
}

/// The source that a request names, with the conditions on it.
pub(in crate::s3) fn source(request: &S3Request) -> Result<GetObject> {
    let value = source_header(&request.head.headers);
    let invalid = || {
        S3Error::new(Code::InvalidArgument)
            .text("Copy Source must mention the source bucket and key: sourcebucket/sourcekey")
            .argument(SOURCE, &value)
    };
    let (bucket, key, version) = parse_source(&value).ok_or_else(invalid)?;
    let version = version.as_deref().map(parse_version).transpose()?;
    if !may_be_bucket(&bucket) {
        return Err(S3Error::new(Code::InvalidBucketName).with("BucketName", bucket));
    }
    let bucket = ContainerName::parse(&bucket).map_err(|_| invalid())?;
    let account = request.source_account.as_ref().unwrap_or(&request.account);
    let container = ContainerPath::new(account.clone(), bucket);
    let mut get = GetObject::new(object_named(&container, &key)?);
    get.head.version = version;
    get.head.conditions = condition::on_read(request, condition::OF_SOURCE);
    get.head.etag_at.push(ETAG_AT.to_owned());
    Ok(get)
}

/// The error of a copy. A condition that does not hold is 412, whatever it is for a read; of a
/// missing resource the error says whether it is the source or the target.
pub(in crate::s3) async fn copy_error(
    deps: &ProxyDeps,
    cx: &Context,
    headers: &HeaderMap,
    source: &ObjectPath,
    error: apus_store::Error,
) -> S3Error {
    match (&error.kind, error.subject) {
        (Kind::NotModified, _) => {
            let error = apus_store::Error { kind: Kind::PreconditionFailed, ..error };
            condition::failed(error, headers, condition::OF_SOURCE)
        }
        // Only the source has been read.
        (Kind::PreconditionFailed, _) if error.head.is_some() => {
            condition::failed(error, headers, condition::OF_SOURCE)
        }
        (Kind::PreconditionFailed, _) => condition::failed(error, headers, ""),
        (Kind::NotFound, Subject::Container) => {
            let op = HeadContainer { container: source.container.clone() };
            match deps.store.head_container(cx, op).await {
                Ok(_) => error.into(),
                Err(_) => {
                    S3Error::from(error).with("BucketName", source.container.container.as_str())
                }
            }
        }
        (Kind::NotFound, Subject::Object) => {
            let op = HeadObject::new(source.clone());
            match deps.store.head_object(cx, op).await {
                // `If-Match` on a target that does not exist.
                Ok(_) => error.into(),
                Err(_) => S3Error::from(error).with("Key", source.object.as_str()),
            }
        }
        _ => error.into(),
    }
}

/// `COPY` or `REPLACE` in a header; `true` for the latter.
fn replaces(request: &S3Request, header: &str, what: &str) -> Result<bool> {
    match request.header(header) {
        None => Ok(false),
        Some(text) if text.eq_ignore_ascii_case("COPY") => Ok(false),
        Some(text) if text.eq_ignore_ascii_case("REPLACE") => Ok(true),
        Some(text) => Err(S3Error::new(Code::InvalidArgument)
            .text(format!("Unknown {what} directive: {header}: expected COPY or REPLACE"))
            .argument(header, text)),
    }
}

pub(in crate::s3) async fn copy(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let mut op = parse(&request)?;
    let caller = (&request.cx, &request.head.headers);
    let target = op.target.clone();
    tagging::authorize(deps, &request.cx, &target, &op.metadata).await?;
    acl::add_to_upload(deps, caller, &target, &mut op.metadata).await?;
    lock::add_from_headers(deps, caller, &target, &mut op.metadata).await?;
    let source = op.source.head.object.clone();
    match deps.store.copy_object(&request.cx, op).await {
        Ok((head, written)) => {
            let mut response = render(&head, &written);
            let out = response.headers_mut();
            version::of_source(head.version, out);
            version::of_write(written.version, out);
            encryption::set_written(&written, &request.head.headers, out);
            Ok(response)
        }
        Err(error) => {
            Err(copy_error(deps, &request.cx, &request.head.headers, &source, error).await)
        }
    }
}

fn parse(request: &S3Request) -> Result<CopyObject> {
    let target = request.object()?;
    let source = source(request)?;
    let replace = replaces(request, "x-amz-metadata-directive", "metadata")?;
    let replace_tags = replaces(request, "x-amz-tagging-directive", "tagging")?;
    let checksum = CopyChecksum::of(&request.head.headers)?;
    // Clients name the storage class to rewrite an object, although there is only one class.
    let changes = replace
        || replace_tags
        || checksum.is_requested()
        || request.header("x-amz-storage-class").is_some();
    // An old version becomes the current one.
    let changes = changes || source.head.version.is_some();
    if source.head.object == target && !changes {
        return Err(S3Error::new(Code::InvalidRequest).text(
            "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.",
        ));
    }
    let (mut metadata, content_type) = if replace {
        let (metadata, content_type) = put::metadata(&request.head.headers)?;
        (metadata, Some(content_type.unwrap_or_else(|| "binary/octet-stream".to_owned())))
    } else {
        (Metadata::new(), None)
    };
    if replace_tags {
        tagging::add_from_headers(&request.head.headers, &mut metadata)?;
    }
    Ok(CopyObject {
        source,
        target,
        metadata,
        content_type,
        fresh_metadata: replace,
        keeps_tags: !replace_tags,
        as_manifest: false,
        body: Some(Arc::new(checksum)),
        link_account: None,
        conditions: condition::on_write(request)?,
    })
}

fn render(source: &ObjectHead, written: &ObjectWritten) -> Reply {
    let mut out = Writer::new();
    out.root("CopyObjectResult");
    written_elements(&mut out, written);
    // The checksum that was computed, or else the source's, which the copy keeps.
    let kept = match checksum::stored(&written.late).next() {
        Some(_) => &written.late,
        None => &source.metadata,
    };
    if ChecksumType::stored(kept) == ChecksumType::FullObject {
        checksum::elements(kept, &mut out);
    }
    out.close("CopyObjectResult");
    out.reply()
}

/// The time and etag of a copied object or part.
pub(in crate::s3) fn written_elements(out: &mut Writer, written: &ObjectWritten) {
    let modified = Timestamp::from_seconds(written.timestamp.seconds_ceil());
    out.text("LastModified", &modified.iso_millis());
    out.text("ETag", &format!("\"{}\"", written.etag));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_parsed_as_aws_parses_them() {
        for (value, expected) in [
            ("b/k", Some(("b", "k", None))),
            ("/b/k", Some(("b", "k", None))),
            ("b%2Fk", Some(("b", "k", None))),
            ("%2Fb%2Fk", Some(("b", "k", None))),
            ("b/a+b", Some(("b", "a b", None))),
            ("b%2Fa+b%20c", Some(("b", "a b c", None))),
            ("b/a%2Bb", Some(("b", "a+b", None))),
            ("b/gr\u{fc}n", Some(("b", "gr\u{fc}n", None))),
            ("b//k", Some(("b", "/k", None))),
            ("b/what?.txt", Some(("b", "what?.txt", None))),
            ("b/k?x=1", Some(("b", "k?x=1", None))),
            ("b/%3FversionId%3Dx", Some(("b", "?versionId=x", None))),
            ("b/k?versionId=null", Some(("b", "k", Some("null")))),
            ("b/k?versionId=", Some(("b", "k", Some("")))),
            ("b/a?versionId=1?versionId=2", Some(("b", "a?versionId=1", Some("2")))),
            ("b/", None),
            ("b", None),
            ("/", None),
            ("//k", None),
            ("", None),
            ("b/%ff", None),
        ] {
            let found = parse_source(value);
            let found = found.as_ref().map(|(b, k, v)| (b.as_str(), k.as_str(), v.as_deref()));
            assert_eq!(found, expected, "{value}");
        }
    }
}
