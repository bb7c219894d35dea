//! Who signed a request: SigV4 in the `Authorization` header or in the query, SigV2 in the query
//! and, if switched on, in the header. One place, fails closed.

mod canonical;
mod hoisted;
mod v2;
mod v4;

use apus_daemon::http::{header, parse_date};
use apus_store::access::Identity;
use http::request;

use super::Result;
use super::error::{Code, S3Error};
use super::request_headers::check_query;
use crate::edge::Parts;

pub(super) use v4::Seed;

/// Seconds since 1970 of a `Date` header. Python spells UTC as an offset.
fn header_seconds(raw: &str) -> Option<u64> {
    let utc = raw.strip_suffix(" -0000").or_else(|| raw.strip_suffix(" +0000"));
    parse_date(&utc.map_or_else(|| raw.to_owned(), |date| format!("{date} GMT")))
}

/// How the body is covered.
#[derive(Debug, Clone)]
pub(super) enum Payload {
    /// By its SHA-256 in hex.
    Sha256(String),
    /// Not at all.
    Unsigned,
    /// Framed in chunks; signed ones carry what the chain starts from.
    Chunked {
        /// Start of the chain of signatures, for signed chunks.
        seed: Option<Seed>,
        /// Whether trailers follow the last chunk.
        trailer: bool,
    },
}

/// A verified request.
pub(super) struct Signed {
    pub(super) identity: Identity,
    pub(super) account: String,
    pub(super) payload: Payload,
}

/// How far a client's clock may be off, in seconds.
const SKEW_SECONDS: u64 = 900;

/// The error for a request whose time, as it is written there, is too far from ours.
fn too_skewed(parts: &Parts, request_time: &str) -> S3Error {
    let now = apus_cluster::Timestamp::from_seconds(parts.clock.now().as_secs());
    S3Error::new(Code::RequestTimeTooSkewed)
        .with("RequestTime", request_time)
        .with("ServerTime", now.iso_millis())
        .with("MaxAllowedSkewMilliseconds", (SKEW_SECONDS * 1000).to_string())
}

/// Verifies a request; `None` when it carries no signature at all. The headers that a presigned
/// query holds are among the request's afterwards; in other queries they are refused.
pub(super) fn verify(
    parts: &Parts,
    head: &mut request::Parts,
    query: &[(String, String)],
) -> Result<Option<Signed>> {
    // An empty header signs nothing.
    let authorization =
        header(&head.headers, "authorization").filter(|value| !value.trim().is_empty());
    let in_query = |name: &str| query.iter().any(|(key, _)| key == name);
    let presigned = in_query("X-Amz-Signature") || in_query("X-Amz-Algorithm");
    let presigned_v2 = in_query("AWSAccessKeyId") || in_query("Signature");
    if presigned_v2 && !presigned && authorization.is_none() {
        // They are in the string that was signed.
        hoisted::fold(&mut head.headers, query, &v2::HOISTED)?;
        return v2::from_query(parts, head, query).map(Some);
    }
    if let Some(authorization) = authorization.filter(|value| value.starts_with("AWS "))
        && parts.sigv2
        && !presigned_v2
        && !presigned
    {
        let signed = v2::from_header(parts, head, query, authorization)?;
        check_query(query)?;
        return Ok(Some(signed));
    }
    if presigned_v2 || authorization.is_some_and(|value| value.starts_with("AWS ")) {
        return Err(S3Error::new(Code::InvalidRequest).text(
            "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
        ));
    }
    match (authorization, presigned) {
        (Some(_), true) => Err(S3Error::new(Code::InvalidArgument)
            .text("Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified")),
        (Some(authorization), false) => {
            let signed = v4::from_header(parts, head, authorization)?;
            check_query(query)?;
            Ok(Some(signed))
        }
        (None, true) => {
            let signed = v4::from_query(parts, head, query)?;
            hoisted::fold(&mut head.headers, query, &[])?;
            Ok(Some(signed))
        }
        (None, false) => Ok(None),
    }
}
