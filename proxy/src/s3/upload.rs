//! Multipart uploads.

use std::sync::Arc;

use apus_cluster::byte_range::ByteRanges;
use apus_cluster::constraints::S3_MAX_PARTS;
use apus_cluster::etag::unquote;
use apus_daemon::http::{set, status};
use apus_store::access::Action;
use apus_store::body::collect;
use apus_store::operation::{
    AbortUpload, Authorize, CompleteUpload, CompletedPart, CreateUpload, HeadObject, ListParts,
    ListUploads, PutObject, PutPart, PutPartCopy, WriteConditions,
};
use http::StatusCode;

use super::checksum::{self, ChecksumType, PartAlgorithm, UploadChecksum};
use super::error::{Code, Result, S3Error};
use super::object::{condition, copy, put};
use super::request::S3Request;
use super::xml::{self, Writer};
use crate::deps::ProxyDeps;
use crate::reply::Reply;

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

pub(super) async fn create(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let object = request.object()?;
    let (mut metadata, content_type) = put::metadata(&request.head.headers)?;
    let choice = checksum::choice(&request.head.headers)?;
    if let Some(choice) = choice {
        checksum::keep(choice, &mut metadata);
    }
    let op = CreateUpload {
        object,
        content_type: content_type.unwrap_or_else(|| "binary/octet-stream".to_owned()),
        metadata,
    };
    let id = deps.store.create_upload(&request.cx, op).await?;
    let mut out = Writer::new();
    out.root("InitiateMultipartUploadResult");
    out.text("Bucket", request.bucket.as_deref().unwrap_or_default());
    out.text("Key", request.key.as_deref().unwrap_or_default());
    out.text("UploadId", &id);
    out.close("InitiateMultipartUploadResult");
    let mut response = out.reply();
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
        metadata: apus_cluster::Metadata::new(),
        etag: verified.etag,
        timestamp: None,
        conditions: WriteConditions::default(),
        late: verified.late,
    };
    let check = Arc::new(PartAlgorithm(verified.algorithm));
    let op = PutPart { upload_id: id, number, put, check };
    let mut response = put::written(&deps.store.put_part(&request.cx, op).await?);
    response.headers_mut().remove("x-amz-checksum-type");
    Ok(response)
}

pub(super) async fn part_copy(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let mut source = copy::source(&request)?;
    if let Some(range) = request.header("x-amz-copy-source-range") {
        let invalid = || {
            S3Error::new(Code::InvalidArgument)
                .text("The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy")
                .argument("x-amz-copy-source-range", range)
        };
        let ranges = ByteRanges::parse(range).ok_or_else(invalid)?;
        let (first, last) =
            range.strip_prefix("bytes=").and_then(|r| r.split_once('-')).ok_or_else(invalid)?;
        if first.parse::<u64>().is_err() {
            return Err(invalid());
        }
        let last: u64 = last.parse().map_err(|_| invalid())?;
        // The last byte must be in the source: S3 does not shorten a copy.
        let from = source.head.object.clone();
        let head = match deps.store.head_object(&request.cx, HeadObject::new(from.clone())).await {
            Ok(head) => head,
            Err(error) => {
                return Err(copy::copy_error(
                    deps,
                    &request.cx,
                    &request.head.headers,
                    &from,
                    error,
                )
                .await);
            }
        };
        if last >= head.length {
            return Err(S3Error::new(Code::InvalidRange).text(format!(
                "Range specified is not valid for source object of size: {}",
                head.length
            )));
        }
        source.ranges = Some(ranges);
    }
    let from = source.head.object.clone();
    let op = PutPartCopy {
        object: request.object()?,
        upload_id: upload_id(&request),
        number: part_number(&request)?,
        source,
    };
    let written = match deps.store.put_part_copy(&request.cx, op).await {
        Ok(written) => written,
        Err(error) => {
            return Err(
                copy::copy_error(deps, &request.cx, &request.head.headers, &from, error).await
            );
        }
    };
    let mut out = Writer::new();
    out.root("CopyPartResult");
    let modified = apus_cluster::Timestamp::from_seconds(written.timestamp.seconds_ceil());
    out.text("LastModified", &modified.iso_millis());
    out.text("ETag", &format!("\"{}\"", written.etag));
    out.close("CopyPartResult");
    Ok(out.reply())
}

/// The document that completes an upload.
const DOCUMENT: xml::Schema =
    xml::Schema { root: "CompleteMultipartUpload", item: "Part", items_max: S3_MAX_PARTS as usize };

fn completed(part: &xml::Element, whole: &mut UploadChecksum) -> Result<CompletedPart> {
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

pub(super) async fn complete(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let (object, id) = (request.object()?, upload_id(&request));
    // Rights and the bucket come before the document.
    let container = object.container.clone();
    let ask = Authorize { action: Action::WriteObject, container };
    deps.store.authorize(&request.cx, ask).await?;
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
    let mut chosen = Vec::new();
    xml::read(&document, &DOCUMENT, |element| {
        if element.name == "Part" {
            chosen.push(completed(&element, &mut whole)?);
        }
        Ok(())
    })?;
    drop(document);
    if chosen.is_empty() {
        return Err(S3Error::new(Code::MalformedXML));
    }
    let op =
        CompleteUpload { object, upload_id: id, parts: chosen, seal: Arc::new(whole), conditions };
    let written = deps.store.complete_upload(&request.cx, op).await;
    let written = written.map_err(|error| condition::failed(error, &request.head.headers, ""))?;
    let (bucket, key) = (request.bucket.unwrap_or_default(), request.key.unwrap_or_default());
    let mut out = Writer::new();
    out.root("CompleteMultipartUploadResult");
    out.text("Location", &location);
    out.text("Bucket", &bucket);
    out.text("Key", &key);
    out.text("ETag", &format!("\"{}\"", written.etag));
    checksum::elements(&written.late, &mut out);
    out.close("CompleteMultipartUploadResult");
    Ok(out.reply())
}

pub(super) async fn abort(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let op = AbortUpload { object: request.object()?, upload_id: upload_id(&request) };
    deps.store.abort_upload(&request.cx, op).await?;
    Ok(status(StatusCode::NO_CONTENT))
}

fn page_limit(request: &S3Request, name: &str) -> Result<usize> {
    match request.param(name) {
        None => Ok(1000),
        Some(text) => text.parse().map(|limit: usize| limit.min(1000)).map_err(|_| {
            S3Error::new(Code::InvalidArgument)
                .text(format!("{name}: {text:?}, expected a whole number"))
                .argument(name, text)
        }),
    }
}

pub(super) async fn list_parts(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let marker = request.param("part-number-marker").unwrap_or("0");
    let marker: u32 = marker.parse().map_err(|_| {
        S3Error::new(Code::InvalidArgument)
            .text(format!("part-number-marker: {marker:?}, expected a whole number"))
            .argument("part-number-marker", marker)
    })?;
    let limit = page_limit(&request, "max-parts")?;
    let id = upload_id(&request);
    let op = ListParts {
        object: request.object()?,
        upload_id: id.clone(),
        marker,
        limit,
        // Other parts have no checksum that anybody could rely on.
        metadata_if: checksum::ALGORITHM_KEY.to_owned(),
    };
    let page = deps.store.list_parts(&request.cx, op).await?;
    let mut out = Writer::new();
    out.root("ListPartsResult");
    out.text("Bucket", request.bucket.as_deref().unwrap_or_default());
    out.text("Key", request.key.as_deref().unwrap_or_default());
    out.text("UploadId", &id);
    out.owner("Initiator", &request.owner);
    out.owner("Owner", &request.owner);
    out.text("StorageClass", "STANDARD");
    out.number("PartNumberMarker", marker);
    out.number("NextPartNumberMarker", page.parts.last().map_or(0, |part| part.number));
    out.number("MaxParts", limit);
    out.flag("IsTruncated", page.truncated);
    if let Some(algorithm) = checksum::begun_with(&page.upload) {
        out.text("ChecksumAlgorithm", algorithm.name());
        out.text("ChecksumType", ChecksumType::stored(&page.upload).name());
    }
    for part in &page.parts {
        out.open("Part");
        out.number("PartNumber", part.number);
        let modified = apus_cluster::Timestamp::from_seconds(part.modified.seconds_ceil());
        out.text("LastModified", &modified.iso_millis());
        out.text("ETag", &format!("\"{}\"", part.etag));
        out.number("Size", part.size);
        for (algorithm, value) in checksum::stored(&part.metadata) {
            out.text(&algorithm.element(), value);
        }
        out.close("Part");
    }
    out.close("ListPartsResult");
    Ok(out.reply())
}

pub(super) async fn list_uploads(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let encode = match request.param("encoding-type") {
        None => false,
        Some("url") => true,
        Some(other) => {
            return Err(S3Error::new(Code::InvalidArgument)
                .text("Invalid Encoding Method specified in Request")
                .argument("encoding-type", other));
        }
    };
    let name = |text: &str| match encode {
        true => apus_cluster::percent::encode_path(text),
        false => text.to_owned(),
    };
    let [prefix, delimiter, key_marker, upload_id_marker] =
        ["prefix", "delimiter", "key-marker", "upload-id-marker"]
            .map(|name| request.param(name).unwrap_or_default().to_owned());
    let limit = page_limit(&request, "max-uploads")?;
    let op = ListUploads {
        container: request.container()?,
        prefix: prefix.clone(),
        delimiter: delimiter.clone(),
        key_marker: key_marker.clone(),
        upload_id_marker: upload_id_marker.clone(),
        limit,
    };
    let page = deps.store.list_uploads(&request.cx, op).await?;
    let mut out = Writer::new();
    out.root("ListMultipartUploadsResult");
    out.text("Bucket", request.bucket.as_deref().unwrap_or_default());
    out.text("KeyMarker", &name(&key_marker));
    out.text("UploadIdMarker", &upload_id_marker);
    let (next_key, next_id) = page.next.clone().unwrap_or_default();
    out.text("NextKeyMarker", &name(&next_key));
    out.text("NextUploadIdMarker", &next_id);
    out.text("Prefix", &name(&prefix));
    if !delimiter.is_empty() {
        out.text("Delimiter", &name(&delimiter));
    }
    out.number("MaxUploads", limit);
    if encode {
        out.text("EncodingType", "url");
    }
    out.flag("IsTruncated", page.next.is_some());
    for upload in &page.uploads {
        out.open("Upload");
        out.text("Key", &name(&upload.key));
        out.text("UploadId", &upload.id);
        out.owner("Initiator", &request.owner);
        out.owner("Owner", &request.owner);
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
