//! GetObjectAttributes: the attributes of an object and its parts.

use apus_daemon::http::set;
use apus_store::operation::{HeadObject, ObjectHead, PartsPage};

use super::head::{etag, last_modified};
use super::version;
use crate::deps::ProxyDeps;
use crate::header_value;
use crate::reply::Reply;
use crate::s3::checksum::{self, ChecksumType};
use crate::s3::error::{Code, Result, S3Error};
use crate::s3::request::S3Request;
use crate::s3::xml::Writer;

/// Most parts of one response.
const PARTS_MAX: usize = 1000;
/// The attributes that can be asked for.
const KNOWN: [&str; 5] = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"];

/// The attributes that a request asks for, and its page of parts.
#[derive(Debug)]
struct AttributesRequest {
    attributes: Vec<String>,
    page: PartsPage,
}

impl AttributesRequest {
    fn parse(request: &S3Request) -> Result<Self> {
        const HEADER: &str = "x-amz-object-attributes";
        let list = header_value::list(&request.head.headers, HEADER).unwrap_or_default();
        let names = list.split(',').map(str::trim).filter(|name| !name.is_empty());
        let attributes: Vec<String> = names.map(str::to_owned).collect();
        if attributes.is_empty() || attributes.iter().any(|name| !KNOWN.contains(&name.as_str())) {
            return Err(S3Error::new(Code::InvalidArgument)
                .text(format!("{HEADER}: {list:?}: expected some of {}", KNOWN.join(", ")))
                .argument(HEADER, &list));
        }
        let after = number(request, "x-amz-part-number-marker", 0)?;
        let limit = number(request, "x-amz-max-parts", PARTS_MAX)?.min(PARTS_MAX);
        Ok(Self { attributes, page: PartsPage { after, limit } })
    }

    fn has(&self, name: &str) -> bool {
        self.attributes.iter().any(|attribute| attribute == name)
    }
}

/// A header with a whole number.
fn number(request: &S3Request, name: &str, absent: usize) -> Result<usize> {
    let Some(text) = request.header(name) else { return Ok(absent) };
    text.parse().map_err(|_| {
        S3Error::new(Code::InvalidArgument)
            .text(format!("{name}: {text:?}, expected a whole number"))
            .argument(name, text)
    })
}

pub(in crate::s3) async fn get(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let asked = AttributesRequest::parse(&request)?;
    let mut op = HeadObject::new(request.object()?);
    op.version = request.version()?;
    op.parts = asked.has("ObjectParts").then_some(asked.page);
    op.part_metadata = true;
    let head = deps.store.head_object(&request.cx, op).await?;
    Ok(render(&asked, &head))
}

fn render(asked: &AttributesRequest, head: &ObjectHead) -> Reply {
    let mut out = Writer::new();
    out.root("GetObjectAttributesOutput");
    if asked.has("ETag") {
        out.text("ETag", etag(head));
    }
    let mut checksums = checksum::stored(&head.metadata).peekable();
    if asked.has("Checksum") && checksums.peek().is_some() {
        out.open("Checksum");
        for (algorithm, value) in checksums {
            out.text(&algorithm.element(), value);
        }
        out.text("ChecksumType", ChecksumType::stored(&head.metadata).name());
        out.close("Checksum");
    }
    if let Some(count) = head.parts_count {
        render_parts(&mut out, asked.page, head, count);
    }
    if asked.has("StorageClass") {
        out.text("StorageClass", "STANDARD");
    }
    if asked.has("ObjectSize") {
        out.number("ObjectSize", head.length);
    }
    out.close("GetObjectAttributesOutput");
    let mut response = out.reply();
    set(response.headers_mut(), "last-modified", &last_modified(head));
    version::of_read(head, response.headers_mut());
    response
}

/// A page of the `count` parts of a joined object.
fn render_parts(out: &mut Writer, page: PartsPage, head: &ObjectHead, count: usize) {
    let last = head.parts.last().map_or(0, |part| part.number);
    out.open("ObjectParts");
    out.number("PartsCount", count);
    out.number("PartNumberMarker", page.after);
    out.number("NextPartNumberMarker", last);
    out.number("MaxParts", page.limit);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_attributes_can_be_asked_for() {
        let parsed = |list: &str| {
            let headers = [("x-amz-object-attributes", list), ("x-amz-max-parts", "5000")];
            AttributesRequest::parse(&S3Request::example("GET", "/bucket/k?attributes", &headers))
        };
        let asked = parsed("ETag, ObjectParts,").unwrap();
        assert!(asked.has("ETag") && asked.has("ObjectParts") && !asked.has("Checksum"));
        assert_eq!(asked.page.limit, PARTS_MAX);
        for list in ["", ",", "Etag", "ETag,Colour"] {
            assert_eq!(parsed(list).unwrap_err().code, Code::InvalidArgument, "{list}");
        }
    }
}
