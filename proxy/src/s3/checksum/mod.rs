//! The checksums of S3 clients: `x-amz-checksum-*` in a header or a trailer, checked on the way in
//! and stored with the object.

mod copy;
mod multipart;

pub(super) use copy::CopyChecksum;
pub(super) use multipart::{ALGORITHM_KEY, PartAlgorithm, Type, Whole, begun_with, choice, keep};

use apus_cluster::Metadata;
use apus_daemon::Body;
use apus_daemon::http::{BodyError, header, set};
use apus_store::body::LateMetadata;
use apus_store::{Error, Kind, Subject};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use sha2::Digest as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::Result;
use super::chunked::TrailerValue;
use super::error::{Code, S3Error};
use super::xml::Writer;
use crate::header_value;

/// What the headers of all algorithms begin with.
const HEADER_PREFIX: &str = "x-amz-checksum-";
/// System metadata under which an object's checksums are kept, by algorithm.
const KEY_PREFIX: &str = "X-Object-Sysmeta-S3Api-Checksum-";

/// An algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

impl Algorithm {
    pub(super) const ALL: [Self; 5] =
        [Self::Crc32, Self::Crc32c, Self::Crc64Nvme, Self::Sha1, Self::Sha256];

    /// As in `x-amz-sdk-checksum-algorithm`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    /// `x-amz-checksum-crc32`.
    pub(super) fn header(self) -> String {
        format!("{HEADER_PREFIX}{}", self.name().to_ascii_lowercase())
    }

    /// `ChecksumCRC32`, the name in documents.
    pub(super) fn element(self) -> String {
        format!("Checksum{}", self.name())
    }

    fn key(self) -> String {
        let name = self.name().to_ascii_lowercase();
        apus_cluster::metadata::title_case(&format!("{KEY_PREFIX}{name}"))
    }

    fn bytes(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }
}

enum Digest {
    Crc(Box<crc_fast::Digest>, usize),
    Sha1(Box<sha1::Sha1>),
    Sha256(Box<sha2::Sha256>),
}

impl Digest {
    fn new(algorithm: Algorithm) -> Self {
        use crc_fast::CrcAlgorithm;
        let crc = |kind| Self::Crc(Box::new(crc_fast::Digest::new(kind)), algorithm.bytes());
        match algorithm {
            Algorithm::Crc32 => crc(CrcAlgorithm::Crc32IsoHdlc),
            Algorithm::Crc32c => crc(CrcAlgorithm::Crc32Iscsi),
            Algorithm::Crc64Nvme => crc(CrcAlgorithm::Crc64Nvme),
            Algorithm::Sha1 => Self::Sha1(Box::default()),
            Algorithm::Sha256 => Self::Sha256(Box::default()),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Crc(digest, _) => digest.update(bytes),
            Self::Sha1(digest) => digest.update(bytes),
            Self::Sha256(digest) => digest.update(bytes),
        }
    }

    fn base64(self) -> String {
        match self {
            Self::Crc(digest, width) => {
                let value = digest.finalize().to_be_bytes();
                STANDARD.encode(value.get(8 - width..).unwrap_or_default())
            }
            Self::Sha1(digest) => STANDARD.encode(digest.finalize()),
            Self::Sha256(digest) => STANDARD.encode(digest.finalize()),
        }
    }
}

/// What a client promised about its body.
#[derive(Debug, Clone, Default)]
pub(super) struct Wish {
    /// Algorithm and, unless it comes in a trailer, the value in base64.
    pub(super) checksum: Option<(Algorithm, Option<String>)>,
    /// SHA-256 in hex, of a signed payload.
    pub(super) sha256: Option<String>,
}

/// Whether a header is a checksum of an algorithm that we do not have.
fn is_unknown(name: &str) -> bool {
    name.strip_prefix(HEADER_PREFIX).is_some_and(|rest| {
        !matches!(rest, "algorithm" | "type" | "mode")
            && Algorithm::ALL.iter().all(|known| known.header() != name)
    })
}

fn not_supported(what: &str) -> S3Error {
    let known = Algorithm::ALL.map(Algorithm::header).join(", ");
    S3Error::new(Code::InvalidRequest).text(format!("{what} is not supported; use one of {known}"))
}

/// Reads the checksum headers of a request.
pub(super) fn wish(headers: &HeaderMap) -> Result<Wish> {
    let mut wish = Wish::default();
    for algorithm in Algorithm::ALL {
        if let Some(value) = header(headers, &algorithm.header()) {
            let valid = STANDARD.decode(value).is_ok_and(|bytes| bytes.len() == algorithm.bytes());
            if !valid {
                return Err(S3Error::new(Code::BadDigest)
                    .text(format!("Value for {} header is invalid.", algorithm.header())));
            }
            if wish.checksum.is_some() {
                return Err(S3Error::new(Code::InvalidRequest)
                    .text("Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed."));
            }
            wish.checksum = Some((algorithm, Some(value.to_owned())));
        }
    }
    if let Some(name) = headers.keys().find(|name| is_unknown(name.as_str())) {
        return Err(not_supported(name.as_str()));
    }
    if let Some(trailer) = header_value::list(headers, "x-amz-trailer") {
        let name = trailer.trim().to_ascii_lowercase();
        let known = Algorithm::ALL.iter().find(|known| name == known.header());
        let known = known.ok_or_else(|| match name.strip_prefix(HEADER_PREFIX) {
            Some(_) => not_supported(&format!("x-amz-trailer: {name}")),
            None => S3Error::new(Code::InvalidRequest)
                .text("The value specified in the x-amz-trailer header is not supported"),
        })?;
        if wish.checksum.is_some() {
            return Err(S3Error::new(Code::InvalidRequest).text(
                "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
            ));
        }
        wish.checksum = Some((*known, None));
    }
    Ok(wish)
}

/// The checksums among what is stored with an object or part.
pub(super) fn stored(metadata: &Metadata) -> impl Iterator<Item = (Algorithm, &str)> {
    Algorithm::ALL.into_iter().filter_map(|algorithm| {
        metadata.get(&algorithm.key()).map(|value| (algorithm, value.as_str()))
    })
}

/// Writes the checksums of a whole object as headers.
pub(super) fn describe(metadata: &Metadata, out: &mut HeaderMap) {
    show(metadata, Type::stored(metadata), out);
}

/// Writes checksums as headers, with the type of the object they belong to.
pub(super) fn show(metadata: &Metadata, kind: Type, out: &mut HeaderMap) {
    let mut any = false;
    for (algorithm, value) in stored(metadata) {
        set(out, &algorithm.header(), value);
        any = true;
    }
    if any {
        set(out, "x-amz-checksum-type", kind.name());
    }
}

/// Writes the checksums of a whole object as elements of a document.
pub(super) fn elements(metadata: &Metadata, out: &mut Writer) {
    let mut any = false;
    for (algorithm, value) in stored(metadata) {
        out.text(&algorithm.element(), value);
        any = true;
    }
    if any {
        out.text("ChecksumType", Type::stored(metadata).name());
    }
}

/// What a digest is compared with at the end.
enum Expected {
    Value(String),
    /// The trailer of the body.
    Trailer,
    /// Nothing was promised: it is made for what is stored.
    Nothing,
}

struct Checked {
    body: Body,
    digest: Option<(Algorithm, Digest, Expected)>,
    sha256: Option<(Box<sha2::Sha256>, String)>,
    trailer: Option<TrailerValue>,
    late: LateMetadata,
    ended: bool,
}

/// An error of a body, by its code and, unless that is empty, its message.
pub(super) fn coded(code: &str, message: &str) -> Error {
    let text = if message.is_empty() { code.to_owned() } else { format!("{code}: {message}") };
    Error::new(Kind::Body, Subject::Request).text(text)
}

/// The same, from within a body.
pub(super) fn body_error(code: &str, message: &str) -> BodyError {
    coded(code, message).into()
}

/// Wraps a body so that it fails at its end unless it is what was promised; what was checked goes
/// into `late`. `trailer` is that of the decoder below, if any.
pub(super) fn check(
    body: Body,
    wish: Wish,
    trailer: Option<TrailerValue>,
    late: &LateMetadata,
) -> Body {
    let digest = wish.checksum.map(|(algorithm, value)| {
        let expected = value.map_or(Expected::Trailer, Expected::Value);
        (algorithm, Digest::new(algorithm), expected)
    });
    Checked {
        body,
        digest,
        sha256: wish.sha256.map(|value| (Box::default(), value)),
        trailer,
        late: late.clone(),
        ended: false,
    }
    .boxed_unsync()
}

impl Checked {
    fn end(&mut self) -> std::result::Result<(), BodyError> {
        if let Some((digest, expected)) = self.sha256.take() {
            let found = hex::encode(digest.finalize());
            if found != expected {
                return Err(body_error("XAmzContentSHA256Mismatch", ""));
            }
        }
        if let Some((algorithm, digest, expected)) = self.digest.take() {
            let found = digest.base64();
            let is_expected = match &expected {
                Expected::Value(value) => *value == found,
                Expected::Trailer => {
                    self.trailer.as_ref().and_then(TrailerValue::get) == Some(&found)
                }
                Expected::Nothing => true,
            };
            if !is_expected {
                let text = format!(
                    "The {} you specified did not match the calculated checksum.",
                    algorithm.name()
                );
                return Err(body_error("BadDigest", &text));
            }
            self.late.insert(&algorithm.key(), &found);
        }
        Ok(())
    }
}

impl http_body::Body for Checked {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    if let Some((digest, _)) = &mut self.sha256 {
                        digest.update(data);
                    }
                    if let Some((_, digest, _)) = &mut self.digest {
                        digest.update(data);
                    }
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) if !self.ended => {
                self.ended = true;
                Poll::Ready(self.end().err().map(Err))
            }
            other => other,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_of_the_standard_check_text() {
        // "123456789", the check values of the CRC catalogue, big-endian in base64.
        for (algorithm, expected) in [
            (Algorithm::Crc32, "y/Q5Jg=="),
            (Algorithm::Crc32c, "4waSgw=="),
            (Algorithm::Crc64Nvme, "rosUhgp5mIg="),
        ] {
            let mut digest = Digest::new(algorithm);
            digest.update(b"123456789");
            assert_eq!(digest.base64(), expected, "{algorithm:?}");
        }
    }
}
