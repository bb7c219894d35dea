//! The checksums that a request declares for its body.

use apus_daemon::http::header;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;

use super::algorithm::{Algorithm, HEADER_PREFIX};
use crate::header_value;
use crate::s3::error::{Code, Result, S3Error};

/// The checksums that a request declares for its body.
#[derive(Debug, Clone, Default)]
pub(in crate::s3) struct DeclaredChecksums {
    /// Algorithm and, unless it comes in a trailer, the value in base64.
    pub(in crate::s3) checksum: Option<(Algorithm, Option<String>)>,
    /// SHA-256 in hex, of a signed payload.
    pub(in crate::s3) sha256: Option<String>,
}

/// Whether a header is the checksum of an algorithm that is not supported.
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

impl DeclaredChecksums {
    /// Reads the checksum headers of a request.
    pub(in crate::s3) fn parse(headers: &HeaderMap) -> Result<Self> {
        let mut declared = Self { checksum: in_headers(headers)?, sha256: None };
        let Some(trailer) = header_value::list(headers, "x-amz-trailer") else {
            return Ok(declared);
        };
        let algorithm = in_trailer(&trailer)?;
        if declared.checksum.is_some() {
            return Err(S3Error::new(Code::InvalidRequest)
                .text("Expecting a single x-amz-checksum- header"));
        }
        declared.checksum = Some((algorithm, None));
        Ok(declared)
    }
}

/// The refusal of checksums of several algorithms.
pub(super) fn not_single() -> S3Error {
    S3Error::new(Code::InvalidRequest)
        .text("Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
}

/// The checksum in a header.
fn in_headers(headers: &HeaderMap) -> Result<Option<(Algorithm, Option<String>)>> {
    let mut found = None;
    for algorithm in Algorithm::ALL {
        let Some(value) = header(headers, &algorithm.header()) else { continue };
        let valid = STANDARD.decode(value).is_ok_and(|bytes| bytes.len() == algorithm.bytes());
        if !valid {
            return Err(S3Error::new(Code::BadDigest)
                .text(format!("Value for {} header is invalid.", algorithm.header())));
        }
        if found.is_some() {
            return Err(not_single());
        }
        found = Some((algorithm, Some(value.to_owned())));
    }
    match headers.keys().find(|name| is_unknown(name.as_str())) {
        Some(name) => Err(not_supported(name.as_str())),
        None => Ok(found),
    }
}

/// The algorithm of the checksum that `x-amz-trailer` announces.
fn in_trailer(trailer: &str) -> Result<Algorithm> {
    let name = trailer.trim().to_ascii_lowercase();
    let known = Algorithm::ALL.into_iter().find(|known| name == known.header());
    known.ok_or_else(|| match name.strip_prefix(HEADER_PREFIX) {
        Some(_) => not_supported(&format!("x-amz-trailer: {name}")),
        None => S3Error::new(Code::InvalidRequest)
            .text("The value specified in the x-amz-trailer header is not supported"),
    })
}
