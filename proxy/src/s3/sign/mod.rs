//! Verification of signatures.
//!
//! SigV4 is accepted in the `Authorization` header and in the query; SigV2 in the query and, if it is
//! enabled, in the header. Everything else is refused.

mod canonical;
pub(in crate::s3) mod form;
mod hoisted;
mod seed;
mod signed;
mod time;
mod v2;
mod v4;

use apus_daemon::http::header;
use http::request;

use super::error::{Code, Result, S3Error};
use super::request_headers::check_query;
use crate::deps::ProxyDeps;

pub(super) use seed::Seed;
pub(super) use signed::{Payload, Signed};

/// Parses dates and credentials of signatures, and does nothing else: for fuzzing.
pub(super) fn fuzz_signed_values(text: &str) {
    let _ = time::header_seconds(text);
    if let Some(date) = time::parse_amz_date(text).and_then(time::format_amz_date) {
        assert_eq!(date, text);
    }
    v4::fuzz_credential(text);
}

/// Verifies a request; `None` when it has no signature. Headers in a presigned query are added to
/// those of the request; in other queries they are refused.
pub(super) fn verify(
    deps: &ProxyDeps,
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
        // The signature covers them.
        hoisted::fold(&mut head.headers, query, &v2::HOISTED)?;
        return v2::from_query(deps, head, query).map(Some);
    }
    if let Some(authorization) = authorization.filter(|value| value.starts_with("AWS "))
        && deps.config.sigv2
        && !presigned_v2
        && !presigned
    {
        let signed = v2::from_header(deps, head, query, authorization)?;
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
            let signed = v4::from_header(deps, head, authorization)?;
            check_query(query)?;
            Ok(Some(signed))
        }
        (None, true) => {
            let signed = v4::from_query(deps, head, query)?;
            hoisted::fold(&mut head.headers, query, &[])?;
            Ok(Some(signed))
        }
        (None, false) => Ok(None),
    }
}
