//! AWS Signature Version 4: what is signed, and the verification.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use apus_daemon::http::header;
use apus_store::access::Identity;
use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use http::{HeaderMap, request};
use subtle::ConstantTimeEq;

use super::canonical::{self, HeaderMissing, SignedAddress, sha256};
use super::seed::Seed;
use super::signed::{Payload, Signed};
use super::terms::{SignatureTerms, bytes_of};
use super::time::{self, SKEW_SECONDS, too_skewed};
use crate::s3::error::{Code, Result, S3Error};

/// Longest lifetime of a presigned URL in seconds: seven days.
const EXPIRES_MAX: u64 = 604_800;
/// Replaces the secret of an unknown key, so that the verification takes the same time.
const NO_SECRET: &str = "no such access key";

pub(super) struct Credential<'a> {
    access_key: &'a str,
    date: &'a str,
    region: &'a str,
    service: &'a str,
}

impl Credential<'_> {
    fn scope(&self) -> String {
        format!("{}/{}/{}/aws4_request", self.date, self.region, self.service)
    }
}

/// The part of a request that holds the signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carrier {
    Header,
    Query,
    /// The fields of a form, whose policy covers them.
    Form,
}

impl Carrier {
    fn malformed(self, text: &str) -> S3Error {
        match self {
            Self::Header => malformed(text),
            Self::Query => S3Error::new(Code::AuthorizationQueryParametersError)
                .text(format!("Error parsing the X-Amz-Credential parameter; {text}")),
            Self::Form => S3Error::new(Code::InvalidArgument)
                .text(format!("Error parsing the x-amz-credential field; {text}")),
        }
    }
}

fn malformed(text: &str) -> S3Error {
    S3Error::new(Code::AuthorizationHeaderMalformed)
        .text(format!("The authorization header is malformed; {text}"))
}

pub(super) fn credential(text: &str, carrier: Carrier) -> Result<Credential<'_>> {
    // The access key may hold slashes, the scope may not.
    let mut words = text.rsplitn(5, '/');
    let mut next = || words.next().filter(|word| !word.is_empty());
    match (next(), next(), next(), next(), next()) {
        (Some("aws4_request"), Some(service), Some(region), Some(date), Some(access_key)) => {
            Ok(Credential { access_key, date, region, service })
        }
        _ => Err(carrier.malformed(
            "the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".",
        )),
    }
}

/// Parses a credential, and does nothing else: for fuzzing.
pub(super) fn fuzz_credential(text: &str) {
    if let Ok(found) = credential(text, Carrier::Header) {
        drop(check_scope(&found, text, "us-east-1", Carrier::Query));
    }
}

/// Checks the scope: the day of the request, the configured region, and S3.
pub(super) fn check_scope(
    credential: &Credential<'_>,
    date: &str,
    region: &str,
    carrier: Carrier,
) -> Result<()> {
    if credential.service != "s3" {
        return Err(carrier.malformed(&format!(
            "incorrect service {:?}. This endpoint belongs to \"s3\".",
            credential.service
        )));
    }
    // The date has been parsed: its first eight characters are digits.
    if date.get(..8) != Some(credential.date) {
        return Err(carrier.malformed(&format!(
            "Invalid credential date {:?}. This date is not the same as X-Amz-Date: {date:?}.",
            credential.date
        )));
    }
    // AWS's SDK for .NET writes regions in lower case.
    if !region.is_empty()
        && credential.region != region
        && credential.region != region.to_ascii_lowercase()
    {
        let text = format!("the region '{}' is wrong; expecting '{region}'", credential.region);
        return Err(carrier.malformed(&text).with("Region", region));
    }
    Ok(())
}

/// Checks that the host and every `x-amz-` header are signed.
fn check_coverage(headers: &HeaderMap, signed: &[&str], carrier: Carrier) -> Result<()> {
    if !signed.contains(&"host") {
        return Err(match carrier {
            Carrier::Header => malformed("host is not signed."),
            Carrier::Query | Carrier::Form => S3Error::new(Code::AuthorizationQueryParametersError)
                .text("X-Amz-SignedHeaders must name host"),
        });
    }
    let mut seen = HashSet::new();
    if let Some(twice) = signed.iter().find(|name| !seen.insert(**name)) {
        return Err(carrier.malformed(&format!("SignedHeaders names {twice:?} twice.")));
    }
    let mut uncovered: Vec<&str> = headers
        .keys()
        .map(http::HeaderName::as_str)
        .filter(|name| name.starts_with("x-amz-") && !seen.contains(name))
        .collect();
    if uncovered.is_empty() {
        return Ok(());
    }
    uncovered.sort_unstable();
    Err(S3Error::new(Code::AccessDenied)
        .text("There were headers present in the request which were not signed")
        .with("HeadersNotSigned", uncovered.join(", ")))
}

/// Whether the chunks of a body are signed, and whether a trailer follows them; `None` for a body
/// that is not in chunks.
fn payload_kind(hash: &str) -> Result<Option<(bool, bool)>> {
    Ok(match hash {
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => Some((true, false)),
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => Some((true, true)),
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => Some((false, true)),
        "UNSIGNED-PAYLOAD" => None,
        hash if hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => None,
        other => {
            return Err(S3Error::new(Code::InvalidArgument)
                .text("x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value.")
                .argument("x-amz-content-sha256", other));
        }
    })
}

/// A signature and what it is said to cover.
struct SignatureClaim<'a> {
    credential: Credential<'a>,
    date: &'a str,
    signed: Vec<&'a str>,
    signature: &'a str,
    payload_hash: &'a str,
    carrier: Carrier,
}

/// The error for a signed header that is missing from the request.
fn header_missing(name: &str) -> S3Error {
    S3Error::new(Code::SignatureDoesNotMatch)
        .text(format!(
            "The request signature we calculated does not match the signature you provided: {name} is among the signed headers and not in the request."
        ))
        .with("HeaderMissing", name)
}

/// A signature that was verified, and the user whose secret made it.
pub(super) struct VerifiedSignature<K> {
    pub(super) identity: Identity,
    pub(super) account: String,
    /// Signing key of the credential's scope.
    key: K,
    /// The signature in hex.
    signature: String,
}

/// Verifies the signature of a text: the only place that compares signatures of version 4.
/// `seconds` since 1970 is when it was signed.
///
/// # Errors
/// `InvalidAccessKeyId`, `SignatureDoesNotMatch`.
pub(super) fn verify_text(
    terms: &SignatureTerms<'_>,
    credential: &Credential<'_>,
    seconds: u64,
    to_sign: &str,
    signature: &str,
) -> Result<VerifiedSignature<impl AsRef<[u8]> + use<>>> {
    let user = terms.auth.s3_user(credential.access_key);
    let secret = user.as_ref().map_or(NO_SECRET, |(secret, ..)| secret);
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let key = generate_signing_key(secret, at, credential.region, credential.service);
    let expected = calculate_signature(&key, to_sign.as_bytes());
    let equal = bool::from(expected.as_bytes().ct_eq(signature.as_bytes()));
    let Some((_, identity, account)) = user else {
        return Err(
            S3Error::new(Code::InvalidAccessKeyId).with("AWSAccessKeyId", credential.access_key)
        );
    };
    if !equal {
        return Err(S3Error::new(Code::SignatureDoesNotMatch)
            .with("AWSAccessKeyId", credential.access_key)
            .with("StringToSign", to_sign)
            .with("SignatureProvided", signature)
            .with("StringToSignBytes", bytes_of(to_sign.as_bytes())));
    }
    Ok(VerifiedSignature { identity, account: account.to_owned(), key, signature: expected })
}

fn verify(
    terms: &SignatureTerms<'_>,
    head: &request::Parts,
    claim: &SignatureClaim<'_>,
    time: u64,
) -> Result<Signed> {
    let SignatureClaim { credential, date, signed, signature, payload_hash, carrier } = claim;
    check_scope(credential, date, &terms.config.region, *carrier)?;
    let scope = credential.scope();
    let verify_as = |address: Option<SignedAddress<'_>>| {
        let canonical = canonical::request(head, signed, payload_hash, address)
            .map_err(|HeaderMissing(name)| header_missing(name))?;
        let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", sha256(&canonical));
        verify_text(terms, credential, time, &to_sign, signature).map_err(|error| {
            match error.code {
                Code::SignatureDoesNotMatch => error
                    .with("CanonicalRequest", String::from_utf8_lossy(&canonical))
                    .with("CanonicalRequestBytes", bytes_of(&canonical)),
                _ => error,
            }
        })
    };
    let verified = match (verify_as(None), terms.config.public_url.parts()) {
        // A gateway that sends another Host, or removes a part of the path.
        (Err(error), Some((host, path))) if error.code == Code::SignatureDoesNotMatch => {
            verify_as(Some(SignedAddress { host, path })).map_err(|_| error)
        }
        (verified, _) => verified,
    };
    let VerifiedSignature { identity, account, key, signature } = verified?;
    let payload = match payload_kind(payload_hash)? {
        Some((signed_chunks, trailer)) => Payload::Chunked {
            seed: signed_chunks.then(|| Seed::new(key.as_ref(), date, scope.clone(), signature)),
            trailer,
        },
        None if *payload_hash == "UNSIGNED-PAYLOAD" => Payload::Unsigned,
        None => Payload::Sha256(payload_hash.to_ascii_lowercase()),
    };
    Ok(Signed { identity, account, payload })
}

/// The time of a request, as signed and in seconds since 1970.
fn header_date(headers: &HeaderMap) -> Option<(String, u64)> {
    if let Some(date) = header(headers, "x-amz-date") {
        return Some((date.to_owned(), time::parse_amz_date(date)?));
    }
    let raw = header(headers, "date")?;
    let seconds = time::header_seconds(raw)?;
    Some((time::format_amz_date(seconds)?, seconds))
}

/// The refusal of a request without one valid date.
pub(super) fn no_date() -> S3Error {
    S3Error::new(Code::AccessDenied)
        .text("AWS authentication requires a valid Date or x-amz-date header")
}

/// Verifies a signature in the `Authorization` header.
pub(super) fn from_header(terms: &SignatureTerms<'_>, head: &request::Parts) -> Result<Signed> {
    let authorization = header(&head.headers, "authorization").unwrap_or_default();
    let fields = authorization.strip_prefix("AWS4-HMAC-SHA256").ok_or_else(|| {
        S3Error::new(Code::InvalidArgument).text("Unsupported Authorization Type")
    })?;
    let (mut scope, mut signed, mut signature) = (None, None, None);
    for field in fields.split(',') {
        let (name, value) =
            field.trim().split_once('=').ok_or_else(|| malformed("expected name=value fields."))?;
        let slot = match name.trim() {
            "Credential" => &mut scope,
            "SignedHeaders" => &mut signed,
            "Signature" => &mut signature,
            _ => return Err(malformed("unknown field.")),
        };
        if slot.replace(value.trim()).is_some() {
            return Err(malformed("a field is given twice."));
        }
    }
    let missing = |name: &str| malformed(&format!("missing {name}."));
    let scope = scope.ok_or_else(|| missing("Credential"))?;
    let signed: Vec<&str> = signed.ok_or_else(|| missing("SignedHeaders"))?.split(';').collect();
    let signature = signature.ok_or_else(|| missing("Signature"))?;
    let (date, time) = header_date(&head.headers).ok_or_else(no_date)?;
    let now = terms.now_seconds;
    if now.abs_diff(time) > SKEW_SECONDS {
        return Err(too_skewed(now, &date));
    }
    check_coverage(&head.headers, &signed, Carrier::Header)?;
    let payload_hash = header(&head.headers, "x-amz-content-sha256").ok_or_else(|| {
        S3Error::new(Code::InvalidRequest)
            .text("Missing required header for this request: x-amz-content-sha256")
    })?;
    let carrier = Carrier::Header;
    let credential = credential(scope, carrier)?;
    let claim =
        SignatureClaim { credential, date: &date, signed, signature, payload_hash, carrier };
    verify(terms, head, &claim, time)
}

/// The payload hash of a presigned URL, from a header, the query, or both with the same value.
fn presigned_payload<'a>(headers: &'a HeaderMap, query: &'a [(String, String)]) -> Result<&'a str> {
    const NAME: &str = "x-amz-content-sha256";
    let in_query = query.iter().filter(|(key, _)| key.eq_ignore_ascii_case(NAME));
    let mut given = header(headers, NAME).into_iter().chain(in_query.map(|(_, value)| &**value));
    let Some(hash) = given.next() else { return Ok("UNSIGNED-PAYLOAD") };
    if given.any(|other| other != hash) {
        return Err(S3Error::new(Code::InvalidArgument)
            .text("x-amz-content-sha256 is given twice with different values")
            .with("ArgumentName", NAME));
    }
    Ok(hash)
}

/// Verifies a presigned URL.
pub(super) fn from_query(
    terms: &SignatureTerms<'_>,
    head: &request::Parts,
    query: &[(String, String)],
) -> Result<Signed> {
    let wrong = |text: &str| S3Error::new(Code::AuthorizationQueryParametersError).text(text);
    let one = |name: &str| -> Result<&str> {
        let mut found = query.iter().filter(|(key, _)| key == name);
        match (found.next(), found.next()) {
            (Some((_, value)), None) => Ok(value),
            _ => Err(wrong(&format!(
                "Query-string authentication version 4 requires {name} exactly once."
            ))),
        }
    };
    if one("X-Amz-Algorithm")? != "AWS4-HMAC-SHA256" {
        return Err(wrong("X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\""));
    }
    let date = one("X-Amz-Date")?;
    let time = time::parse_amz_date(date).ok_or_else(|| {
        wrong("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")
    })?;
    let expires = one("X-Amz-Expires")?;
    let expires: i64 = expires.parse().map_err(|_| wrong("X-Amz-Expires should be a number"))?;
    // A lifetime of zero or less has ended already.
    let expires = u64::try_from(expires)
        .ok()
        .filter(|seconds| *seconds > 0)
        .ok_or_else(|| S3Error::new(Code::AccessDenied).text("Request has expired"))?;
    if expires > EXPIRES_MAX {
        return Err(wrong("X-Amz-Expires must be between 1 and 604800 seconds"));
    }
    let now = terms.now_seconds;
    if time > now + SKEW_SECONDS {
        return Err(S3Error::new(Code::AccessDenied).text("Request is not yet valid"));
    }
    if now > time + expires {
        return Err(S3Error::new(Code::AccessDenied)
            .text("Request has expired")
            .with("X-Amz-Expires", expires.to_string()));
    }
    let signed: Vec<&str> = one("X-Amz-SignedHeaders")?.split(';').collect();
    check_coverage(&head.headers, &signed, Carrier::Query)?;
    let payload_hash = presigned_payload(&head.headers, query)?;
    let claim = SignatureClaim {
        carrier: Carrier::Query,
        credential: credential(one("X-Amz-Credential")?, Carrier::Query)?,
        date,
        signed,
        signature: one("X-Amz-Signature")?,
        payload_hash,
    };
    verify(terms, head, &claim, time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(text: &str, region: &str, carrier: Carrier) -> Result<()> {
        check_scope(&credential(text, carrier)?, "20261130T060000Z", region, carrier)
    }

    #[test]
    fn the_scope_has_the_day_the_region_and_the_service() {
        let header = |text: &str, region: &str| scope(text, region, Carrier::Header);
        assert!(header("k/20261130/us-east-1/s3/aws4_request", "us-east-1").is_ok());
        assert!(header("k:a/b/20261130/us-east-1/s3/aws4_request", "us-east-1").is_ok());
        assert!(header("k/20261130/anything/s3/aws4_request", "").is_ok());
        assert!(header("k/20261130/regionone/s3/aws4_request", "RegionOne").is_ok());
        for bad in [
            "k/20261130/eu-west-1/s3/aws4_request",
            "k/20261130/US-EAST-1/s3/aws4_request",
            "k/20261130/us-east-1/ec2/aws4_request",
            "k/20261130/us-east-1/s3/aws3_request",
            "k/2026/us-east-1/s3/aws4_request",
            "k/2/us-east-1/s3/aws4_request",
            "k/20261129/us-east-1/s3/aws4_request",
            "k/20261130T/us-east-1/s3/aws4_request",
            "k/us-east-1/s3/aws4_request",
        ] {
            let code = header(bad, "us-east-1").unwrap_err().code;
            assert_eq!(code, Code::AuthorizationHeaderMalformed, "{bad}");
            let code = scope(bad, "us-east-1", Carrier::Query).unwrap_err().code;
            assert_eq!(code, Code::AuthorizationQueryParametersError, "{bad}");
        }
    }
}
