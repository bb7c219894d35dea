//! PutObject, and the metadata and verified body of all uploads.

use apus_cluster::Metadata;
use apus_cluster::constraints::S3_MAX_FILE_SIZE;
use apus_cluster::listing::reserved_parameter;
use apus_cluster::metadata::title_case;
use apus_daemon::Body;
use apus_daemon::http::{header, set, status};
use apus_store::body::LateMetadata;
use apus_store::operation::{ObjectWritten, PutObject};
use apus_store::settings::TAGGING;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, StatusCode};

use super::expiration::{self, ExpiringObject};
use super::{condition, lock, tagging, version};
use crate::deps::ProxyDeps;
use crate::header_value;
use crate::reply::Reply;
use crate::s3::acl;
use crate::s3::checksum;
use crate::s3::chunked::{self, AnnouncedTrailer};
use crate::s3::encryption;
use crate::s3::error::{Code, Result, S3Error};
use crate::s3::request::S3Request;
use crate::s3::sign::Payload;

/// Largest size of a client's metadata, names and values, in bytes.
const META_BYTES_MAX: usize = 2048;
/// Header with the length of an object that is sent in chunks.
const DECODED_LENGTH: &str = "x-amz-decoded-content-length";

/// A body that fails at its end unless it is the one that the request declares.
pub(in crate::s3) struct VerifiedUpload {
    pub(in crate::s3) body: Body,
    pub(in crate::s3) length: Option<u64>,
    pub(in crate::s3) etag: Option<String>,
    pub(in crate::s3) late: LateMetadata,
    /// The algorithm of the declared checksum.
    pub(in crate::s3) algorithm: Option<checksum::Algorithm>,
}

/// The trailer of an `aws-chunked` body, whose payload hash says whether it has one.
fn announced_trailer(headers: &HeaderMap, has_trailer: bool) -> Result<Option<AnnouncedTrailer>> {
    match (header_value::list(headers, "x-amz-trailer"), has_trailer) {
        (None, false) => Ok(None),
        // A signed body may have the signature as its only trailer.
        (None, true) => Ok(Some(AnnouncedTrailer::default())),
        (Some(name), true) => {
            Ok(Some(AnnouncedTrailer { name: Some(name.trim().to_ascii_lowercase()) }))
        }
        (Some(_), false) => Err(S3Error::new(Code::MalformedTrailerError)),
    }
}

/// Wraps a request's body, so that its framing, signatures and checksums are verified.
pub(in crate::s3) fn verified_body(
    deps: &ProxyDeps,
    payload: Payload,
    headers: &HeaderMap,
    body: Body,
) -> Result<VerifiedUpload> {
    let number = |name: &str| -> Result<Option<u64>> {
        header(headers, name)
            .map(|text| {
                // `parse` alone would accept a plus sign.
                let digits = text.bytes().all(|byte| byte.is_ascii_digit());
                text.parse().ok().filter(|_| digits).ok_or_else(|| {
                    S3Error::new(Code::InvalidArgument)
                        .text(format!("{name}: {text:?}, expected a number of bytes"))
                        .argument(name, text)
                })
            })
            .transpose()
    };
    let mut declared = checksum::DeclaredChecksums::parse(headers)?;
    let late = LateMetadata::default();
    let mut length = number("content-length")?;
    let mut trailer_value = None;
    let body = match payload {
        Payload::Chunked { seed, trailer } => {
            let decoded = number(DECODED_LENGTH)?.ok_or_else(|| {
                S3Error::new(Code::MissingContentLength)
                    .text(format!("You must provide the {DECODED_LENGTH} HTTP header."))
            })?;
            length = Some(decoded);
            let announced = announced_trailer(headers, trailer)?;
            let (body, found) = chunked::decode(body, seed, announced, decoded);
            trailer_value = Some(found);
            body
        }
        Payload::Sha256(hash) => {
            declared.sha256 = Some(hash);
            body
        }
        Payload::Unsigned => body,
    };
    if trailer_value.is_none() && headers.contains_key("x-amz-trailer") {
        return Err(S3Error::new(Code::MalformedTrailerError));
    }
    let etag = match header(headers, "content-md5") {
        None => None,
        Some(text) => {
            let digest = STANDARD.decode(text).ok().filter(|digest| digest.len() == 16);
            let digest = digest.ok_or_else(|| S3Error::new(Code::InvalidDigest))?;
            Some(hex::encode(digest))
        }
    };
    let max = deps.constraints.max_file_size.min(S3_MAX_FILE_SIZE);
    if length.is_some_and(|length| length > max) {
        return Err(S3Error::new(Code::EntityTooLarge)
            .with("ProposedSize", length.unwrap_or_default().to_string())
            .with("MaxSizeAllowed", max.to_string()));
    }
    let algorithm = declared.checksum.as_ref().map(|(algorithm, _)| *algorithm);
    let body = checksum::verify(body, declared, trailer_value, &late);
    Ok(VerifiedUpload { body, length, etag, late, algorithm })
}

/// Compares a document that was read into memory with its `Content-MD5`, in hex.
///
/// # Errors
/// `BadDigest`.
pub(in crate::s3) fn check_md5(expected: Option<&str>, document: &[u8]) -> Result<()> {
    match expected {
        Some(expected) if expected != format!("{:x}", md5::compute(document)) => {
            let sent = hex::decode(expected).map(|digest| STANDARD.encode(digest));
            Err(S3Error::new(Code::BadDigest).with("ExpectedDigest", sent.unwrap_or_default()))
        }
        _ => Ok(()),
    }
}

/// Content headers that are stored with an object. `X-Robots-Tag` is Swift's, whose S3 API stores it.
const CONTENT_HEADERS: [&str; 5] =
    ["Cache-Control", "Content-Disposition", "Content-Language", "Expires", "X-Robots-Tag"];

/// The metadata and content headers of an upload as they are stored, and its content type. Lines of
/// one header are joined by commas.
pub(in crate::s3) fn metadata(headers: &HeaderMap) -> Result<(Metadata, Option<String>)> {
    let mut metadata = Metadata::new();
    let mut bytes = 0;
    for name in headers.keys() {
        let Some(key) = name.as_str().strip_prefix("x-amz-meta-") else { continue };
        if key.is_empty() {
            return Err(S3Error::new(Code::InvalidArgument)
                .text("x-amz-meta-: expected a name after the prefix"));
        }
        let value = header_value::list(headers, name.as_str()).unwrap_or_default();
        let value = header_value::decode_words(&value).into_owned();
        bytes += key.len() + value.len();
        metadata.insert(title_case(&format!("X-Object-Meta-{key}")), value);
    }
    if bytes > META_BYTES_MAX {
        return Err(S3Error::new(Code::MetadataTooLarge)
            .with("Size", bytes.to_string())
            .with("MaxSizeAllowed", META_BYTES_MAX.to_string()));
    }
    for name in CONTENT_HEADERS {
        if let Some(value) = header_value::list(headers, name) {
            metadata.insert(name.to_owned(), value.into_owned());
        }
    }
    if let Some(value) = header_value::list(headers, "content-encoding")
        && let Some(value) = without_framing(&value)
    {
        metadata.insert("Content-Encoding".to_owned(), value);
    }
    Ok((metadata, content_type(headers)?))
}

/// A `Content-Encoding` without `aws-chunked`, which is an encoding of the upload.
fn without_framing(value: &str) -> Option<String> {
    let framing = |word: &&str| word.eq_ignore_ascii_case("aws-chunked");
    let words: Vec<&str> = value.split(',').map(str::trim).collect();
    if !words.iter().any(framing) {
        return Some(value.to_owned());
    }
    let kept: Vec<&str> =
        words.into_iter().filter(|word| !framing(word) && !word.is_empty()).collect();
    (!kept.is_empty()).then(|| kept.join(", "))
}

fn content_type(headers: &HeaderMap) -> Result<Option<String>> {
    // The first of several lines counts: a list of types is not a type.
    let value = headers.get("content-type").map(|value| header_value::text(value.as_bytes()));
    let Some(value) = value.filter(|value| !value.is_empty()) else { return Ok(None) };
    if let Some(parameter) = reserved_parameter(&value) {
        return Err(S3Error::new(Code::InvalidArgument)
            .text(format!(
                "Content-Type: the parameter {parameter:?} begins with swift_, which is reserved"
            ))
            .argument("Content-Type", &value));
    }
    Ok(Some(value.into_owned()))
}

/// The response to an upload: the etag and the verified checksums.
pub(in crate::s3) fn render(written: &ObjectWritten) -> Reply {
    let mut response = status(StatusCode::OK);
    let out = response.headers_mut();
    set(out, "etag", &format!("\"{}\"", written.etag));
    version::of_write(written.version, out);
    checksum::set_headers(&written.late, out);
    response
}

pub(in crate::s3) async fn put(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let stored = write(deps, request).await?;
    let mut response = render(&stored.written);
    response.headers_mut().extend(stored.encryption);
    expiration::set_header(stored.expiration.as_deref(), &mut response);
    Ok(response)
}

/// An object that was written from a request.
pub(in crate::s3) struct StoredUpload {
    pub(in crate::s3) written: ObjectWritten,
    /// The value of `x-amz-expiration`, if a rule of the bucket applies.
    expiration: Option<String>,
    /// The headers that describe its encryption.
    pub(in crate::s3) encryption: HeaderMap,
}

/// Writes the object of a PutObject or of a form.
pub(in crate::s3) async fn write(deps: &ProxyDeps, request: S3Request) -> Result<StoredUpload> {
    let object = request.object()?;
    let (mut metadata, content_type) = metadata(&request.head.headers)?;
    tagging::add_from_headers(&request.head.headers, &mut metadata)?;
    tagging::authorize(deps, &request.cx, &object, &metadata).await?;
    let caller = (&request.cx, &request.head.headers);
    acl::add_to_upload(deps, caller, &object, &mut metadata).await?;
    lock::add_from_headers(deps, caller, &object, &mut metadata).await?;
    let conditions = condition::on_write(&request)?;
    let chunked = request.header("transfer-encoding").is_some();
    let verified = verified_body(deps, request.payload, &request.head.headers, request.body)?;
    if verified.length.is_none() && !chunked {
        return Err(S3Error::new(Code::MissingContentLength));
    }
    let (written_to, tags) = (object.clone(), metadata.get(TAGGING).cloned());
    let length = verified.length;
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
    let put = deps.store.put_object(&request.cx, op).await;
    let written = put.map_err(|error| condition::failed(error, &request.head.headers, ""))?;
    let found = ExpiringObject {
        object: &written_to,
        length,
        written: written.timestamp,
        tags: tags.as_deref(),
    };
    let expiration = expiration::of(deps, &request.cx, found).await;
    let mut described = HeaderMap::new();
    encryption::set_written(&written, &request.head.headers, &mut described);
    Ok(StoredUpload { written, expiration, encryption: described })
}
