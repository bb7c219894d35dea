//! AWS Signature Version 2: HMAC-SHA1 over method, type, date and resource.
//!
//! It is accepted if it is switched on (`sigv2`): in headers, presigned URLs and forms. Of the headers it
//! covers `x-amz-` ones, and all of these; of the query only the parameters of a fixed list.

use apus_daemon::http::header;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use http::request;
use sha1::Sha1;
use subtle::ConstantTimeEq;

use super::signed::{Payload, Signed};
use super::terms::{SignatureTerms, bytes_of};
use super::time::{SKEW_SECONDS, header_seconds, too_skewed};
use crate::s3::address::bucket_of_host;
use crate::s3::catalogue;
use crate::s3::error::{Code, Result, S3Error};

/// Headers other than `x-amz-` ones that tools move into a query when they presign it.
pub(super) const HOISTED: [&str; 3] = ["content-md5", "content-type", "x-amz-security-token"];

/// Query parameters that are part of the signed resource.
const SUB_RESOURCES: [&str; 36] = [
    "accelerate",
    "acl",
    "analytics",
    "cors",
    "delete",
    "inventory",
    "lifecycle",
    "location",
    "logging",
    "metrics",
    "notification",
    "partNumber",
    "policy",
    "replication",
    "requestPayment",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "restore",
    "select",
    "select-type",
    "tagging",
    "torrent",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
    "versions",
    "website",
    "object-lock",
    "retention",
    "legal-hold",
    "encryption",
];

/// Refuses a sub-resource that a signature of version 2 does not cover: the holder of a signed URL could
/// add it, and the request would be another one.
fn check_coverage(query: &[(String, String)]) -> Result<()> {
    // Both versions of the listing return the same names.
    let uncovered = |name: &str| {
        catalogue::sub_resource(name).is_some()
            && name != "list-type"
            && !SUB_RESOURCES.contains(&name)
    };
    match query.iter().find(|(name, _)| uncovered(name)) {
        Some((name, value)) => Err(S3Error::new(Code::InvalidRequest)
            .text(format!(
                "Signatures of version 2 do not cover the parameter {name}. Please use AWS4-HMAC-SHA256."
            ))
            .argument(name, value)),
        None => Ok(()),
    }
}

fn string_to_sign(
    terms: &SignatureTerms<'_>,
    head: &request::Parts,
    query: &[(String, String)],
    expires: &str,
) -> String {
    let text = |name: &str| header(&head.headers, name).unwrap_or_default();
    let mut amz: Vec<(String, String)> = Vec::new();
    for (name, value) in &head.headers {
        if !name.as_str().starts_with("x-amz-") {
            continue;
        }
        let value = String::from_utf8_lossy(value.as_bytes()).trim().to_owned();
        match amz.iter_mut().find(|(known, _)| known == name.as_str()) {
            Some((_, known)) => *known = format!("{known},{value}"),
            None => amz.push((name.as_str().to_owned(), value)),
        }
    }
    amz.sort();
    let amz: String = amz.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let mut sub: Vec<String> = query
        .iter()
        .filter(|(key, _)| SUB_RESOURCES.contains(&key.as_str()))
        .map(|(key, value)| if value.is_empty() { key.clone() } else { format!("{key}={value}") })
        .collect();
    sub.sort();
    let bucket = bucket_of_host(&head.headers, &terms.config.storage_domains);
    let bucket = bucket.map_or_else(String::new, |bucket| format!("/{bucket}"));
    let question = if sub.is_empty() { "" } else { "?" };
    format!(
        "{}\n{}\n{}\n{expires}\n{amz}{bucket}{}{question}{}",
        head.method,
        text("content-md5"),
        text("content-type"),
        head.uri.path(),
        sub.join("&")
    )
}

/// Verifies a presigned URL of version 2.
pub(super) fn from_query(
    terms: &SignatureTerms<'_>,
    head: &request::Parts,
    query: &[(String, String)],
) -> Result<Signed> {
    let one = |name: &str| {
        let mut found = query.iter().filter(|(key, _)| key == name);
        match (found.next(), found.next()) {
            (Some((_, value)), None) => Ok(value.as_str()),
            _ => Err(S3Error::new(Code::AccessDenied)
                .text("Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters")),
        }
    };
    let (access_key, signature, expires) =
        (one("AWSAccessKeyId")?, one("Signature")?, one("Expires")?);
    let at: u64 = expires.parse().map_err(|_| {
        S3Error::new(Code::AccessDenied)
            .text(format!("Invalid date (should be seconds since epoch): {expires}"))
    })?;
    if at < terms.now_seconds {
        return Err(S3Error::new(Code::AccessDenied).text("Request has expired"));
    }
    check_coverage(query)?;
    let text = string_to_sign(terms, head, query, expires);
    verify(terms, access_key, signature, text)
}

/// Verifies an `Authorization: AWS access-key:signature` header.
pub(super) fn from_header(
    terms: &SignatureTerms<'_>,
    head: &request::Parts,
    query: &[(String, String)],
) -> Result<Signed> {
    let authorization = header(&head.headers, "authorization").unwrap_or_default();
    let invalid = || S3Error::new(Code::InvalidArgument).text("Unsupported Authorization Type");
    let credential = authorization.strip_prefix("AWS ").ok_or_else(invalid)?;
    // The access key contains a colon itself.
    let (access_key, signature) = credential.trim().rsplit_once(':').ok_or_else(invalid)?;
    let amz_date = header(&head.headers, "x-amz-date");
    let raw = amz_date.or_else(|| header(&head.headers, "date")).unwrap_or_default();
    let time = header_seconds(raw).ok_or_else(|| {
        S3Error::new(Code::AccessDenied)
            .text("AWS authentication requires a valid Date or x-amz-date header")
    })?;
    let now = terms.now_seconds;
    if now.abs_diff(time) > SKEW_SECONDS {
        return Err(too_skewed(now, raw));
    }
    check_coverage(query)?;
    // The line of the date is empty if `x-amz-date` is signed as a header.
    let line = if amz_date.is_some() { "" } else { raw };
    verify(terms, access_key, signature, string_to_sign(terms, head, query, line))
}

/// Compares a signature with that of `text`.
pub(super) fn verify(
    terms: &SignatureTerms<'_>,
    access_key: &str,
    signature: &str,
    text: String,
) -> Result<Signed> {
    let user = terms.auth.s3_user(access_key);
    let secret = user.as_ref().map_or("no such access key", |(secret, ..)| secret);
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes())
        .map_err(|_| S3Error::new(Code::InternalError))?;
    mac.update(text.as_bytes());
    let expected = STANDARD.encode(mac.finalize().into_bytes());
    let equal = bool::from(expected.as_bytes().ct_eq(signature.as_bytes()));
    let Some((_, identity, account)) = user else {
        return Err(S3Error::new(Code::InvalidAccessKeyId).with("AWSAccessKeyId", access_key));
    };
    if !equal {
        let bytes = bytes_of(text.as_bytes());
        return Err(S3Error::new(Code::SignatureDoesNotMatch)
            .with("AWSAccessKeyId", access_key)
            .with("StringToSign", text)
            .with("SignatureProvided", signature)
            .with("StringToSignBytes", bytes));
    }
    Ok(Signed { identity, account: account.to_owned(), payload: Payload::Unsigned })
}
