//! Verification of signatures.
//!
//! SigV4 is accepted in the `Authorization` header and in the query, SigV2 only if it is switched on.
//! Everything else is refused: a request with a credential that is not verified is never an anonymous one.

mod canonical;
pub(in crate::s3) mod form;
mod hoisted;
mod seed;
mod signed;
mod single;
mod terms;
#[cfg(test)]
mod tests;
mod time;
mod v2;
mod v4;

use apus_daemon::http::header;
use http::{HeaderMap, request};

use super::error::{Code, Result, S3Error};
use super::request_headers::check_query;
use crate::auth::key_lookup::ClaimedKey;
use crate::deps::ProxyDeps;

use self::terms::SignatureTerms;
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
    headers: &HeaderMap,
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

/// The refusal of a second credential.
fn two_credentials() -> S3Error {
    S3Error::new(Code::InvalidArgument)
        .text("Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified")
}

/// The refusal of version 2 where it is not switched on.
fn version_2_refused() -> S3Error {
    S3Error::new(Code::InvalidRequest).text(
        "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
    )
}

/// The refusal of a session token: keys here have none.
fn invalid_token() -> S3Error {
    S3Error::new(Code::InvalidToken)
}

/// Refuses a session token, in a header or in the query. Some clients send an empty one.
fn check_token(headers: &HeaderMap, query: &[(String, String)]) -> Result<()> {
    let is_token = |name: &str| name.eq_ignore_ascii_case("x-amz-security-token");
    let in_header = headers.get("x-amz-security-token").is_some_and(|token| !token.is_empty());
    let in_query = query.iter().any(|(name, token)| is_token(name) && !token.is_empty());
    if in_header || in_query { Err(invalid_token()) } else { Ok(()) }
}

/// Where the credential of a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CredentialPlace {
    Header,
    HeaderV2,
    Query,
    QueryV2,
    /// The request has none.
    Nowhere,
}

/// The place of the only credential of a request. What looks like a part of a credential counts as one, so
/// that no request with half a credential is taken for an anonymous one.
///
/// # Errors
/// `InvalidArgument` for two credentials.
fn credential_place(headers: &HeaderMap, query: &[(String, String)]) -> Result<CredentialPlace> {
    const V4: [&str; 4] =
        ["x-amz-algorithm", "x-amz-credential", "x-amz-signature", "x-amz-signedheaders"];
    const V2: [&str; 2] = ["AWSAccessKeyId", "Signature"];
    let in_query = |names: &[&str]| {
        let is_one =
            |(key, _): &(String, String)| names.iter().any(|name| key.eq_ignore_ascii_case(name));
        query.iter().any(is_one)
    };
    // An empty header signs nothing.
    let authorization =
        headers.get("authorization").filter(|value| !value.as_bytes().trim_ascii().is_empty());
    match (authorization, in_query(&V4), in_query(&V2)) {
        (Some(value), false, false) if value.as_bytes().starts_with(b"AWS ") => {
            Ok(CredentialPlace::HeaderV2)
        }
        (Some(_), false, false) => Ok(CredentialPlace::Header),
        (None, true, false) => Ok(CredentialPlace::Query),
        (None, false, true) => Ok(CredentialPlace::QueryV2),
        (None, false, false) => Ok(CredentialPlace::Nowhere),
        _ => Err(two_credentials()),
    }
}

/// Verifies a request; `None` when it has no signature. Headers in a presigned query are added to
/// those of the request; in other queries they are refused.
pub(super) async fn verify(
    deps: &ProxyDeps,
    head: &mut request::Parts,
    query: &[(String, String)],
) -> Result<Option<Signed>> {
    let claimed = claimed_access_key(&head.headers, query).unwrap_or_default();
    let key = ClaimedKey::find(deps, &claimed).await?;
    verify_at(&SignatureTerms::of(deps, &key), head, query)
}

fn verify_at(
    terms: &SignatureTerms<'_>,
    head: &mut request::Parts,
    query: &[(String, String)],
) -> Result<Option<Signed>> {
    single::check(&head.headers)?;
    let place = credential_place(&head.headers, query)?;
    let signed = match place {
        CredentialPlace::HeaderV2 | CredentialPlace::QueryV2 if !terms.config.sigv2 => {
            return Err(version_2_refused());
        }
        CredentialPlace::Header => {
            let signed = v4::from_header(terms, head)?;
            check_query(query)?;
            signed
        }
        CredentialPlace::HeaderV2 => {
            let signed = v2::from_header(terms, head, query)?;
            check_query(query)?;
            signed
        }
        CredentialPlace::Query => {
            let signed = v4::from_query(terms, head, query)?;
            hoisted::fold(&mut head.headers, query, &[])?;
            signed
        }
        CredentialPlace::QueryV2 => {
            // The signature covers them.
            hoisted::fold(&mut head.headers, query, &v2::HOISTED)?;
            v2::from_query(terms, head, query)?
        }
        CredentialPlace::Nowhere => return Ok(None),
    };
    check_token(&head.headers, query)?;
    Ok(Some(signed))
}

/// Refuses a payload hash that is not that of an empty body, for requests that have no body.
///
/// # Errors
/// `XAmzContentSHA256Mismatch`.
pub(super) fn check_empty_body(payload: &Payload) -> Result<()> {
    let empty = canonical::sha256(b"");
    match payload {
        Payload::Sha256(hash) if *hash != empty => {
            Err(S3Error::new(Code::XAmzContentSHA256Mismatch)
                .with("ClientComputedContentSHA256", hash.clone())
                .with("S3ComputedContentSHA256", empty))
        }
        _ => Ok(()),
    }
}
