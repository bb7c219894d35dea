//! Multipart uploads.

use std::str::FromStr;
use std::sync::Arc;

use apus_bucket::bucket_acls::BucketAcls;
use apus_cluster::byte_range::ByteRanges;
use apus_cluster::constraints::S3_MAX_PARTS;
use apus_cluster::etag::unquote;
use apus_cluster::{Metadata, ObjectPath, Timestamp};
use apus_daemon::http::{set, status};
use apus_policy::Permission;
use apus_store::Context;
use apus_store::body::collect;
use apus_store::operation::{
    AbortUpload, Authorize, CompleteUpload, CompletedPart, CreateUpload, HeadContainer, HeadObject,
    ListParts, ListUploads, ObjectWritten, PartList, PutObject, PutPart, PutPartCopy,
    StartedUpload, UploadList, VersionId, WriteConditions,
};
use http::{HeaderMap, StatusCode};

use super::acl;
use super::checksum::{self, ChecksumType, PartAlgorithm, UploadChecksum};
use super::encryption;
use super::error::{Code, Result, S3Error};
use super::listing::{encodes_names, shown_name};
use super::object::{condition, copy, lock, put, tagging, version};
use super::request::S3Request;
use super::xml::{self, Writer};
use crate::deps::ProxyDeps;
use crate::reply::Reply;

/// Most entries of one page.
const PAGE_MAX: usize = 1000;

fn upload_id(request: &S3Request) -> String {
    request.param("uploadId").unwrap_or_default().to_owned()
}

fn part_number(request: &S3Request) -> Result<u32> {
    let text = request.param("partNumber").unwrap_or_default();
    let number = text.parse().ok();
    number.filter(|number| (1..=S3_MAX_PARTS).contains(number)).ok_or_else(|| {
        S3Error::new(Code::InvalidArgument)
            .text(format!("Part number must be an integer between 1 and {S3_MAX_PARTS}, inclusive"))
            .argument("partNumber", text)
    })
}

/// Writes bucket, key and upload.
fn names(out: &mut Writer, request: &S3Request, upload_id: &str) {
    out.text("Bucket", request.bucket());
    out.text("Key", request.key());
    out.text("UploadId", upload_id);
}

pub(super) async fn create(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let object = request.object()?;
    let (mut metadata, content_type) = put::metadata(&request.head.headers)?;
    tagging::add_from_headers(&request.head.headers, &mut metadata)?;
    tagging::authorize(deps, &request.cx, &object, &metadata).await?;
    let caller = (&request.cx, &request.head.headers);
    acl::add_to_upload(deps, caller, &object, &mut metadata).await?;
    lock::add_from_headers(deps, caller, &object, &mut metadata).await?;
    let choice = checksum::choice(&request.head.headers)?;
    if let Some(choice) = choice {
        checksum::keep(choice, &mut metadata);
    }
    let content_type = content_type.unwrap_or_else(|| "binary/octet-stream".to_owned());
    let op = CreateUpload { object, content_type, metadata };
    let StartedUpload { id, encryption } = deps.store.create_upload(&request.cx, op).await?;
    let mut out = Writer::new();
    out.root("InitiateMultipartUploadResult");
    names(&mut out, &request, &id);
    out.close("InitiateMultipartUploadResult");
    let mut response = out.reply();
    let described = response.headers_mut();
    encryption::set_headers(encryption.as_ref(), &request.head.headers, described);
    if let Some((algorithm, kind)) = choice {
        set(response.headers_mut(), "x-amz-checksum-algorithm", algorithm.name());
        set(response.headers_mut(), "x-amz-checksum-type", kind.name());
    }
    Ok(response)
}

pub(super) async fn part(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let (object, number, id) = (request.object()?, part_number(&request)?, upload_id(&request));
    let verified = put::verified_body(deps, request.payload, &request.head.headers, request.body)?;
    let put = PutObject {
        object,
        body: verified.body,
        length: verified.length,
        content_type: "application/octet-stream".to_owned(),
        metadata: Metadata::new(),
        etag: verified.etag,
        timestamp: None,
        conditions: WriteConditions::default(),
        late: verified.late,
    };
    let check = Arc::new(PartAlgorithm(verified.algorithm));
    let op = PutPart { upload_id: id, number, put, check };
    let written = deps.store.put_part(&request.cx, op).await?;
    let mut response = put::render(&written);
    encryption::set_written(&written, &request.head.headers, response.headers_mut());
    response.headers_mut().remove("x-amz-checksum-type");
    Ok(response)
}

/// The range of a part that is copied, and its last byte.
#[derive(Debug)]
struct CopyRange {
    ranges: ByteRanges,
    last: u64,
}

/// `x-amz-copy-source-range`.
fn copy_range(request: &S3Request) -> Result<Option<CopyRange>> {
    const HEADER: &str = "x-amz-copy-source-range";
    let Some(range) = request.header(HEADER) else { return Ok(None) };
    let invalid = || {
        S3Error::new(Code::InvalidArgument)
            .text("The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy")
            .argument(HEADER, range)
    };
    let ranges = ByteRanges::parse(range).ok_or_else(invalid)?;
    let (first, last) =
        range.strip_prefix("bytes=").and_then(|range| range.split_once('-')).ok_or_else(invalid)?;
    if first.parse::<u64>().is_err() {
        return Err(invalid());
    }
    let last = last.parse().map_err(|_| invalid())?;
    Ok(Some(CopyRange { ranges, last }))
}

/// Refuses a range that ends behind the source: S3 does not shorten a copy.
async fn check_copy_range(
    deps: &ProxyDeps,
    request: &CopySource<'_>,
    range: &CopyRange,
) -> Result<()> {
    let version = request.version;
    let op = HeadObject { version, ..HeadObject::new(request.object.clone()) };
    let head = match deps.store.head_object(request.cx, op).await {
        Ok(head) => head,
        Err(error) => return Err(request.error(deps, error).await),
    };
    match range.last >= head.length {
        true => Err(S3Error::new(Code::InvalidRange).text(format!(
            "Range specified is not valid for source object of size: {}",
            head.length
        ))),
        false => Ok(()),
    }
}

/// The source of a part that is copied, with the request for errors about it.
struct CopySource<'a> {
    object: ObjectPath,
    version: Option<VersionId>,
    cx: &'a Context,
    headers: &'a HeaderMap,
}

impl CopySource<'_> {
    async fn error(&self, deps: &ProxyDeps, error: apus_store::Error) -> S3Error {
        copy::copy_error(deps, self.cx, self.headers, &self.object, error).await
    }
}

pub(super) async fn part_copy(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let mut source = copy::source(&request)?;
    let object = source.head.object.clone();
    let version = source.head.version;
    let copied = CopySource { object, version, cx: &request.cx, headers: &request.head.headers };
    if let Some(range) = copy_range(&request)? {
        check_copy_range(deps, &copied, &range).await?;
        source.ranges = Some(range.ranges);
    }
    let op = PutPartCopy {
        object: request.object()?,
        upload_id: upload_id(&request),
        number: part_number(&request)?,
        source,
        check: Arc::new(PartAlgorithm(None)),
    };
    match deps.store.put_part_copy(&request.cx, op).await {
        Ok(written) => {
            let mut response = render_part_copy(&written);
            encryption::set_written(&written, &request.head.headers, response.headers_mut());
            version::of_source(copied.version, response.headers_mut());
            Ok(response)
        }
        Err(error) => Err(copied.error(deps, error).await),
    }
}

fn render_part_copy(written: &ObjectWritten) -> Reply {
    let mut out = Writer::new();
    out.root("CopyPartResult");
    copy::written_elements(&mut out, written);
    for (algorithm, value) in checksum::stored(&written.late) {
        out.text(&algorithm.element(), value);
    }
    out.close("CopyPartResult");
    out.reply()
}

/// The document that completes an upload.
const DOCUMENT: xml::Schema = xml::Schema {
    root: "CompleteMultipartUpload",
    item: "Part",
    items_max: S3_MAX_PARTS as usize,
    within_max: xml::ELEMENTS_MAX,
};

fn completed_part(part: &xml::Element, whole: &mut UploadChecksum) -> Result<CompletedPart> {
    let number = part.text_of("PartNumber").and_then(|text| text.trim().parse().ok());
    let etag = part.text_of("ETag").map(|etag| unquote(etag).to_owned());
    match (number, etag) {
        (Some(number), Some(etag)) => {
            whole.part(number, part);
            Ok(CompletedPart { number, etag })
        }
        _ => Err(S3Error::new(Code::MalformedXML)),
    }
}

/// The parts in a document, whose checksums are added to `whole`.
fn completed_parts(document: &[u8], whole: &mut UploadChecksum) -> Result<Vec<CompletedPart>> {
    let mut parts = Vec::new();
    xml::read(document, &DOCUMENT, |element| {
        if element.name == "Part" {
            parts.push(completed_part(&element, whole)?);
        }
        Ok(())
    })?;
    match parts.is_empty() {
        true => Err(S3Error::new(Code::MalformedXML)),
        false => Ok(parts),
    }
}

/// Parses the parameters of parts and uploads, and does nothing else: for fuzzing.
pub(super) fn fuzz_params(request: &S3Request) {
    drop((part_number(request), copy_range(request)));
    drop((parse_list_parts(request), parse_list_uploads(request)));
}

/// Reads a document that completes an upload, and does nothing else: for fuzzing.
pub(super) fn read_document(document: &[u8]) {
    drop(completed_parts(document, &mut UploadChecksum::default()));
}

pub(super) async fn complete(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let (object, upload_id) = (request.object()?, upload_id(&request));
    // Rights and the bucket come before the document.
    let authorize = Authorize::object(Permission::PutObject, &object);
    deps.store.authorize(&request.cx, authorize).await?;
    let location = request.location(&deps.config);
    let conditions = condition::on_write(&request)?;
    let mut whole = UploadChecksum::of(&request.head.headers)?;
    // Checksums in this request are of the object, not of the document.
    let mut headers = request.head.headers.clone();
    for algorithm in checksum::Algorithm::ALL {
        headers.remove(algorithm.header());
    }
    let verified = put::verified_body(deps, request.payload, &headers, request.body)?;
    let document = collect(verified.body, xml::DOCUMENT_BYTES_MAX).await?;
    put::check_md5(verified.etag.as_deref(), &document)?;
    let parts = completed_parts(&document, &mut whole)?;
    drop(document);
    let op = CompleteUpload { object, upload_id, parts, seal: Arc::new(whole), conditions };
    let written = deps.store.complete_upload(&request.cx, op).await;
    let written = written.map_err(|error| condition::failed(error, &request.head.headers, ""))?;
    let mut out = Writer::new();
    out.root("CompleteMultipartUploadResult");
    out.text("Location", &location);
    out.text("Bucket", request.bucket.as_deref().unwrap_or_default());
    out.text("Key", request.key.as_deref().unwrap_or_default());
    out.text("ETag", &format!("\"{}\"", written.etag));
    checksum::elements(&written.late, &mut out);
    out.close("CompleteMultipartUploadResult");
    let mut response = out.reply();
    version::of_write(written.version, response.headers_mut());
    encryption::set_written(&written, &request.head.headers, response.headers_mut());
    Ok(response)
}

pub(super) async fn abort(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let op = AbortUpload { object: request.object()?, upload_id: upload_id(&request) };
    deps.store.abort_upload(&request.cx, op).await?;
    Ok(status(StatusCode::NO_CONTENT))
}

/// A query parameter with a whole number.
fn whole_number<N: FromStr>(request: &S3Request, name: &str, absent: N) -> Result<N> {
    let Some(text) = request.param(name) else { return Ok(absent) };
    text.parse().map_err(|_| {
        S3Error::new(Code::InvalidArgument)
            .text(format!("{name}: {text:?}, expected a whole number"))
            .argument(name, text)
    })
}

pub(super) async fn list_parts(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let op = parse_list_parts(&request)?;
    let (marker, limit) = (op.marker, op.limit);
    let page = deps.store.list_parts(&request.cx, op).await?;
    let container = request.container()?;
    let owner = acl::BucketOwner { cx: &request.cx, container: &container }.id(deps).await?;
    let owner = acl::of_upload(&page.upload, &owner)?;
    let mut out = Writer::new();
    out.root("ListPartsResult");
    names(&mut out, &request, request.param("uploadId").unwrap_or_default());
    out.owner("Initiator", &owner);
    out.owner("Owner", &owner);
    out.text("StorageClass", "STANDARD");
    out.number("PartNumberMarker", marker);
    out.number("NextPartNumberMarker", page.parts.last().map_or(0, |part| part.number));
    out.number("MaxParts", limit);
    out.flag("IsTruncated", page.truncated);
    parts(&mut out, &page);
    out.close("ListPartsResult");
    Ok(out.reply())
}

fn parse_list_parts(request: &S3Request) -> Result<ListParts> {
    let marker = whole_number(request, "part-number-marker", 0)?;
    let limit = whole_number(request, "max-parts", PAGE_MAX)?.min(PAGE_MAX);
    Ok(ListParts {
        object: request.object()?,
        upload_id: upload_id(request),
        marker,
        limit,
        // Without an algorithm of the upload, checksums of its parts are not shown.
        metadata_if: checksum::ALGORITHM_KEY.to_owned(),
    })
}

/// The checksum algorithm of an upload, and its parts.
fn parts(out: &mut Writer, page: &PartList) {
    if let Some(algorithm) = checksum::begun_with(&page.upload) {
        out.text("ChecksumAlgorithm", algorithm.name());
        out.text("ChecksumType", ChecksumType::stored(&page.upload).name());
    }
    for part in &page.parts {
        out.open("Part");
        out.number("PartNumber", part.number);
        let modified = Timestamp::from_seconds(part.modified.seconds_ceil());
        out.text("LastModified", &modified.iso_millis());
        out.text("ETag", &format!("\"{}\"", part.etag));
        out.number("Size", part.size);
        for (algorithm, value) in checksum::stored(&part.metadata) {
            out.text(&algorithm.element(), value);
        }
        out.close("Part");
    }
}

pub(super) async fn list_uploads(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let (mut op, encode) = parse_list_uploads(&request)?;
    // Rights come before the settings of the bucket.
    let permission = Permission::ListBucketMultipartUploads;
    let authorize = Authorize::container(permission, op.container.clone());
    deps.store.authorize(&request.cx, authorize).await?;
    let info = HeadContainer { container: op.container.clone() };
    let rules = BucketAcls::of(&deps.store.container_info(&request.cx, info).await?.headers)?;
    let owner = acl::of_bucket(&request.cx, &op.container, &rules);
    // Without ACLs all uploads have this owner.
    op.with_metadata = rules.ownership(deps.config.default_object_ownership).has_acls();
    let page = deps.store.list_uploads(&request.cx, op.clone()).await?;
    render_uploads((&request, &owner), &op, &page, encode)
}

/// The operation, and whether names are percent-encoded.
fn parse_list_uploads(request: &S3Request) -> Result<(ListUploads, bool)> {
    let encode = encodes_names(request)?;
    let text = |name: &str| request.param(name).unwrap_or_default().to_owned();
    let limit = whole_number(request, "max-uploads", PAGE_MAX)?.min(PAGE_MAX);
    let op = ListUploads {
        container: request.container()?,
        prefix: text("prefix"),
        delimiter: text("delimiter"),
        key_marker: text("key-marker"),
        upload_id_marker: text("upload-id-marker"),
        limit,
        with_metadata: false,
    };
    Ok((op, encode))
}

fn render_uploads(
    (request, owner): (&S3Request, &str),
    op: &ListUploads,
    page: &UploadList,
    encode: bool,
) -> Result<Reply> {
    let name = |text: &str| shown_name(text, encode);
    let mut out = Writer::new();
    out.root("ListMultipartUploadsResult");
    out.text("Bucket", request.bucket());
    out.text("KeyMarker", &name(&op.key_marker));
    out.text("UploadIdMarker", &op.upload_id_marker);
    let (next_key, next_id) = page.next.clone().unwrap_or_default();
    out.text("NextKeyMarker", &name(&next_key));
    out.text("NextUploadIdMarker", &next_id);
    out.text("Prefix", &name(&op.prefix));
    if !op.delimiter.is_empty() {
        out.text("Delimiter", &name(&op.delimiter));
    }
    out.number("MaxUploads", op.limit);
    if encode {
        out.text("EncodingType", "url");
    }
    out.flag("IsTruncated", page.next.is_some());
    for upload in &page.uploads {
        out.open("Upload");
        out.text("Key", &name(&upload.key));
        out.text("UploadId", &upload.id);
        let owner = acl::of_upload(&upload.metadata, owner)?;
        out.owner("Initiator", &owner);
        out.owner("Owner", &owner);
        out.text("StorageClass", "STANDARD");
        out.text("Initiated", &upload.initiated.iso_millis());
        out.close("Upload");
    }
    for prefix in &page.prefixes {
        out.open("CommonPrefixes");
        out.text("Prefix", &name(prefix));
        out.close("CommonPrefixes");
    }
    out.close("ListMultipartUploadsResult");
    Ok(out.reply())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_have_limits_and_numbers_are_checked() {
        let parts = |query: &str| {
            parse_list_parts(&S3Request::example("GET", &format!("/bucket/k?{query}"), &[]))
        };
        assert_eq!(parts("uploadId=x").unwrap().limit, PAGE_MAX);
        let op = parts("uploadId=x&max-parts=5000&part-number-marker=7").unwrap();
        assert_eq!((op.limit, op.marker, op.upload_id.as_str()), (PAGE_MAX, 7, "x"));
        for query in ["max-parts=x", "part-number-marker=-1", "max-parts="] {
            assert_eq!(parts(query).unwrap_err().code, Code::InvalidArgument, "{query}");
        }
    }

    #[test]
    fn a_copied_range_has_both_ends() {
        let range = |value: &str| {
            let headers = [("x-amz-copy-source-range", value)];
            copy_range(&S3Request::example("PUT", "/bucket/k", &headers))
        };
        assert_eq!(range("bytes=0-9").unwrap().unwrap().last, 9);
        for bad in ["bytes=5-", "bytes=-5", "0-9", "bytes=9-0", "bytes=0-1,3-4", ""] {
            assert_eq!(range(bad).unwrap_err().code, Code::InvalidArgument, "{bad}");
        }
    }

    #[test]
    fn a_document_lists_parts_with_number_and_etag() {
        let parts = |items: &str| {
            let document = format!("<CompleteMultipartUpload>{items}</CompleteMultipartUpload>");
            completed_parts(document.as_bytes(), &mut UploadChecksum::default())
        };
        let part = "<Part><PartNumber> 1 </PartNumber><ETag>\"x\"</ETag></Part>";
        let found = parts(part).unwrap();
        assert_eq!((found[0].number, found[0].etag.as_str()), (1, "x"));
        for bad in ["", "<Part><PartNumber>1</PartNumber></Part>", "<Part><ETag>x</ETag></Part>"] {
            assert_eq!(parts(bad).unwrap_err().code, Code::MalformedXML, "{bad}");
        }
    }
}
