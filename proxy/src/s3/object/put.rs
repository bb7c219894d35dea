//! PutObject, and what all uploads share: metadata headers and the verified body.

use apus_cluster::Metadata;
use apus_cluster::constraints::S3_MAX_FILE_SIZE;
use apus_cluster::metadata::title_case;
use apus_daemon::Body;
use apus_daemon::http::{header, set, status};
use apus_store::body::LateMetadata;
use apus_store::operation::{ObjectWritten, PutObject};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, StatusCode};

use super::condition;
use crate::edge::Parts;
use crate::s3::checksum;
use crate::s3::chunked;
use crate::s3::error::{Code, S3Error};
use crate::s3::sign::Payload;
use crate::s3::{Reply, Result, S3Request};

/// Names and values of a client's metadata, in bytes.
const META_BYTES_MAX: usize = 2048;

/// A body that fails unless it is what the request says.
pub(in crate::s3) struct Verified {
    pub(in crate::s3) body: Body,
    pub(in crate::s3) length: Option<u64>,
    pub(in crate::s3) etag: Option<String>,
    pub(in crate::s3) late: LateMetadata,
}

/// Wraps a request's body: framing, signatures, checksums, deadline.
pub(in crate::s3) fn verified_body(
    parts: &Parts,
    payload: Payload,
    headers: &HeaderMap,
    body: Body,
) -> Result<Verified> {
    let body = parts.timed(body);
    let number = |name: &str| -> Result<Option<u64>> {
        header(headers, name)
            .map(|text| {
                text.parse().map_err(|_| {
                    S3Error::new(Code::InvalidArgument).text(format!("{name}: expected a number"))
                })
            })
            .transpose()
    };
    let mut wish = checksum::wish(headers)?;
    let late = LateMetadata::default();
    let mut length = number("content-length")?;
    let mut trailers = None;
    let body = match payload {
        Payload::Chunked { seed, trailer } => {
            let decoded = number("x-amz-decoded-content-length")?
                .ok_or_else(|| S3Error::new(Code::MissingContentLength))?;
            length = Some(decoded);
            let (body, found) = chunked::decode(body, seed, trailer, decoded);
            trailers = Some(found);
            body
        }
        Payload::Sha256(hash) => {
            wish.sha256 = Some(hash);
            body
        }
        Payload::Unsigned => body,
    };
    if wish.checksum.as_ref().is_some_and(|(_, value)| value.is_none()) && trailers.is_none() {
        return Err(
            S3Error::new(Code::InvalidRequest).text("x-amz-trailer needs a body with trailers")
        );
    }
    let etag = match header(headers, "content-md5") {
        None => None,
        Some(text) => {
            let digest = STANDARD.decode(text).ok().filter(|digest| digest.len() == 16);
            let digest = digest.ok_or_else(|| S3Error::new(Code::InvalidDigest))?;
            Some(hex::encode(digest))
        }
    };
    if length.is_some_and(|length| length > parts.constraints.max_file_size.min(S3_MAX_FILE_SIZE)) {
        return Err(S3Error::new(Code::EntityTooLarge));
    }
    let body = checksum::check(body, wish, trailers, &late);
    Ok(Verified { body, length, etag, late })
}

/// The metadata and content headers of an upload, as they are stored.
pub(in crate::s3) fn metadata(headers: &HeaderMap) -> Result<(Metadata, Option<String>)> {
    let mut metadata = Metadata::new();
    let mut bytes = 0;
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        if let Some(key) = name.as_str().strip_prefix("x-amz-meta-") {
            if key.is_empty() {
                return Err(S3Error::new(Code::InvalidArgument).text("x-amz-meta-: empty name"));
            }
            bytes += key.len() + value.len();
            let key = title_case(&format!("X-Object-Meta-{key}"));
            let joined = match metadata.get(&key) {
                Some(known) => format!("{known},{value}"),
                None => value,
            };
            metadata.insert(key, joined);
            continue;
        }
        let stored = match name.as_str() {
            "cache-control" => "Cache-Control",
            "content-disposition" => "Content-Disposition",
            "content-language" => "Content-Language",
            "expires" => "Expires",
            "content-encoding" => {
                // The framing of the upload is no property of the object.
                let framing = |word: &&str| word.eq_ignore_ascii_case("aws-chunked");
                let words: Vec<&str> = value.split(',').map(str::trim).collect();
                if !words.iter().any(framing) {
                    metadata.insert("Content-Encoding".to_owned(), value);
                    continue;
                }
                let kept: Vec<&str> =
                    words.into_iter().filter(|word| !framing(word) && !word.is_empty()).collect();
                if !kept.is_empty() {
                    metadata.insert("Content-Encoding".to_owned(), kept.join(", "));
                }
                continue;
            }
            _ => continue,
        };
        metadata.insert(stored.to_owned(), value);
    }
    if bytes > META_BYTES_MAX {
        return Err(S3Error::new(Code::MetadataTooLarge)
            .with("Size", bytes.to_string())
            .with("MaxSizeAllowed", META_BYTES_MAX.to_string()));
    }
    let content_type = header(headers, "content-type").filter(|kind| !kind.is_empty());
    Ok((metadata, content_type.map(str::to_owned)))
}

/// The answer to an upload: etag and the checksums that were checked.
pub(in crate::s3) fn written(written: &ObjectWritten) -> Reply {
    let mut response = status(StatusCode::OK);
    let out = response.headers_mut();
    set(out, "etag", &format!("\"{}\"", written.etag));
    checksum::describe(&written.late, out);
    response
}

pub(in crate::s3) async fn put(parts: &Parts, request: S3Request) -> Result<Reply> {
    let object = request.object()?;
    let (metadata, content_type) = metadata(&request.head.headers)?;
    let conditions = condition::on_write(&request)?;
    let chunked = request.header("transfer-encoding").is_some();
    let verified = verified_body(parts, request.payload, &request.head.headers, request.body)?;
    if verified.length.is_none() && !chunked {
        return Err(S3Error::new(Code::MissingContentLength));
    }
    let op = PutObject {
        object,
        body: verified.body,
        length: verified.length,
        content_type: content_type.unwrap_or_else(|| "binary/octet-stream".to_owned()),
        metadata,
        etag: verified.etag,
        timestamp: None,
        conditions,
        late: verified.late,
    };
    Ok(written(&parts.store.put_object(&request.cx, op).await?))
}
