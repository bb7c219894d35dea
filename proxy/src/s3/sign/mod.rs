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

/// The access key that a request claims to be signed with, in a header or in the query. Nothing is
/// verified.
pub(super) fn claimed_access_key(
    headers: &http::HeaderMap,
    query: &[(String, String)],
) -> Option<String> {
    let param =
        |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let authorization = header(headers, "authorization").unwrap_or_default();
    if let Some(credential) = authorization.strip_prefix("AWS ") {
        return credential.trim().rsplit_once(':').map(|(key, _)| key.to_owned());
    }
    let in_header = authorization.split_once("Credential=").map(|(_, rest)| rest);
    let scope = in_header
        .map(|rest| rest.split(',').next().unwrap_or_default().trim())
        .or_else(|| param("X-Amz-Credential"));
    match scope {
        Some(scope) => scope.rsplitn(5, '/').nth(4).map(str::to_owned),
        None => param("AWSAccessKeyId").map(str::to_owned),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_claimed_key_is_found_wherever_it_is() {
        let claimed = |authorization: &str, query: &str| {
            let mut headers = http::HeaderMap::new();
            headers.insert("authorization", authorization.parse().unwrap());
            claimed_access_key(&headers, &crate::s3::address::query(query).unwrap())
        };
        let scope = "a:b/c/20261130/us-east-1/s3/aws4_request";
        let header = format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host");
        for (authorization, query, key) in [
            (header.as_str(), "", Some("a:b/c")),
            ("AWS a:b:c2ln", "", Some("a:b")),
            ("", "X-Amz-Credential=a%3Ab/c/20261130/us-east-1/s3/aws4_request", Some("a:b/c")),
            ("", "AWSAccessKeyId=a%3Ab&Signature=x", Some("a:b")),
            ("", "", None),
            ("AWS ", "", None),
            ("AWS4-HMAC-SHA256 Credential=a/b", "", None),
            ("Basic x", "", None),
        ] {
            assert_eq!(claimed(authorization, query).as_deref(), key, "{authorization} {query}");
        }
    }
}
