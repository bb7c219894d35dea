//! GetObjectAttributes: what is known of an object and of its parts, without its bytes.

use apus_daemon::http::set;
use apus_store::operation::{HeadObject, PartsPage};

use super::head::{etag, last_modified};
use crate::deps::ProxyDeps;
use crate::header_value;
use crate::reply::Reply;
use crate::s3::checksum::{self, ChecksumType};
use crate::s3::error::{Code, Result, S3Error};
use crate::s3::request::S3Request;
use crate::s3::xml::Writer;

/// Parts in one answer at most.
const PARTS_MAX: usize = 1000;
const KNOWN: [&str; 5] = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"];

fn number(request: &S3Request, name: &str, absent: usize) -> Result<usize> {
    let Some(text) = request.header(name) else { return Ok(absent) };
    text.parse().map_err(|_| {
        S3Error::new(Code::InvalidArgument)
            .text(format!("{name}: {text:?}, expected a whole number"))
            .argument(name, text)
    })
}

pub(in crate::s3) async fn get(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    request.check_version()?;
    let list = header_value::list(&request.head.headers, "x-amz-object-attributes");
    let list = list.unwrap_or_default();
    let asked: Vec<&str> = list.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    if asked.is_empty() || asked.iter().any(|name| !KNOWN.contains(name)) {
        return Err(S3Error::new(Code::InvalidArgument)
            .text(format!(
                "x-amz-object-attributes: {list:?}: expected some of {}",
                KNOWN.join(", ")
            ))
            .argument("x-amz-object-attributes", &list));
    }
    let has = |name: &str| asked.contains(&name);
    let after = number(&request, "x-amz-part-number-marker", 0)?;
    let limit = number(&request, "x-amz-max-parts", PARTS_MAX)?.min(PARTS_MAX);
    let mut op = HeadObject::new(request.object()?);
    op.parts = has("ObjectParts").then_some(PartsPage { after, limit });
    op.part_metadata = true;
    let head = deps.store.head_object(&request.cx, op).await?;
    let mut out = Writer::new();
    out.root("GetObjectAttributesOutput");
    if has("ETag") {
        out.text("ETag", etag(&head));
    }
    let mut checksums = checksum::stored(&head.metadata).peekable();
    if has("Checksum") && checksums.peek().is_some() {
        out.open("Checksum");
        for (algorithm, value) in checksums {
            out.text(&algorithm.element(), value);
        }
        out.text("ChecksumType", ChecksumType::stored(&head.metadata).name());
        out.close("Checksum");
    }
    if let Some(count) = head.parts_count {
        let last = head.parts.last().map_or(0, |part| part.number);
        out.open("ObjectParts");
        out.number("PartsCount", count);
        out.number("PartNumberMarker", after);
        out.number("NextPartNumberMarker", last);
        out.number("MaxParts", limit);
        out.flag("IsTruncated", last < count && !head.parts.is_empty());
        for part in &head.parts {
            out.open("Part");
            out.number("PartNumber", part.number);
            out.number("Size", part.length);
            for (algorithm, value) in checksum::stored(&part.metadata) {
                out.text(&algorithm.element(), value);
            }
            out.close("Part");
        }
        out.close("ObjectParts");
    }
    if has("StorageClass") {
        out.text("StorageClass", "STANDARD");
    }
    if has("ObjectSize") {
        out.number("ObjectSize", head.length);
    }
    out.close("GetObjectAttributesOutput");
    let mut response = out.reply();
    set(response.headers_mut(), "last-modified", &last_modified(&head));
    Ok(response)
}
