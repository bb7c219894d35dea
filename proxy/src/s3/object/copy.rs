//! CopyObject, and reading `x-amz-copy-source`.

use apus_cluster::{ContainerName, ContainerPath, Metadata, percent};
use apus_store::operation::{CopyObject, GetObject};

use super::get::{ETAG_AT, conditions};
use super::{condition, put};
use crate::edge::Parts;
use crate::s3::error::{Code, S3Error};
use crate::s3::xml::Writer;
use crate::s3::{Reply, Result, S3Request, object_named, xml_reply};

/// The source that a request names, with its conditions.
pub(in crate::s3) fn source(request: &S3Request) -> Result<GetObject> {
    let invalid = || {
        S3Error::new(Code::InvalidArgument)
            .text("Copy Source must mention the source bucket and key: sourcebucket/sourcekey")
            .with("ArgumentName", "x-amz-copy-source")
    };
    let value = request.header("x-amz-copy-source").ok_or_else(invalid)?;
    let (path, query) = value.split_once('?').unwrap_or((value, ""));
    if let Some(id) = query.strip_prefix("versionId=").filter(|id| *id != "null") {
        return Err(S3Error::new(Code::NoSuchVersion).with("VersionId", id));
    }
    let path = percent::decode_utf8(path).ok_or_else(invalid)?;
    let (bucket, key) = path.trim_start_matches('/').split_once('/').ok_or_else(invalid)?;
    let bucket = ContainerName::parse(bucket).map_err(|_| invalid())?;
    if key.is_empty() {
        return Err(invalid());
    }
    let container = ContainerPath::new(request.account.clone(), bucket);
    let mut get = GetObject::new(object_named(&container, key)?);
    get.head.conditions = conditions(request, "x-amz-copy-source-");
    get.head.etag_at.push(ETAG_AT.to_owned());
    Ok(get)
}

/// A condition that does not hold is 412 for a copy, whatever it would be for a read.
pub(in crate::s3) fn copy_error(error: apus_store::Error) -> S3Error {
    match error.kind {
        apus_store::Kind::NotModified => S3Error::new(Code::PreconditionFailed),
        _ => error.into(),
    }
}

pub(in crate::s3) async fn copy(parts: &Parts, request: S3Request) -> Result<Reply> {
    let target = request.object()?;
    let source = source(&request)?;
    let replace = match request.header("x-amz-metadata-directive") {
        None => false,
        Some(text) if text.eq_ignore_ascii_case("COPY") => false,
        Some(text) if text.eq_ignore_ascii_case("REPLACE") => true,
        Some(_) => {
            return Err(S3Error::new(Code::InvalidArgument).text("Unknown metadata directive."));
        }
    };
    if source.head.object == target && !replace {
        return Err(S3Error::new(Code::InvalidRequest).text(
            "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.",
        ));
    }
    let (metadata, content_type) = if replace {
        let (metadata, content_type) = put::metadata(&request.head.headers)?;
        (metadata, Some(content_type.unwrap_or_else(|| "binary/octet-stream".to_owned())))
    } else {
        (Metadata::new(), None)
    };
    let op = CopyObject {
        source,
        target,
        metadata,
        content_type,
        fresh_metadata: replace,
        as_manifest: false,
        link_account: None,
        conditions: condition::on_write(&request)?,
    };
    let (_, written) = parts.store.copy_object(&request.cx, op).await.map_err(copy_error)?;
    let mut out = Writer::new();
    out.root("CopyObjectResult");
    let modified = apus_cluster::Timestamp::from_seconds(written.timestamp.seconds_ceil());
    out.text("LastModified", &modified.iso_millis());
    out.text("ETag", &format!("\"{}\"", written.etag));
    out.close("CopyObjectResult");
    Ok(xml_reply(out.finish()))
}
