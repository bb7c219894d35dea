//! Headers that decide what a request does: each is given once, and is UTF-8.
//!
//! Of two lines, a signature, a policy's condition or a check could take one and the operation the
//! other. A value that is not text would count as missing: a condition or checksum would not be
//! checked.

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};

use super::{two_credentials, v4};
use crate::s3::error::{Code, Result, S3Error};

/// Headers of that kind that are not Amazon's own.
const OTHERS: [&str; 6] = [
    "authorization",
    "content-md5",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-unmodified-since",
];
/// Headers of Amazon's of which every line counts.
const LISTS: [&str; 5] = [
    "x-amz-expected-bucket-owner",
    "x-amz-object-attributes",
    "x-amz-optional-object-attributes",
    "x-amz-source-expected-bucket-owner",
    "x-amz-trailer",
];
/// User metadata: lines are joined, and bytes decoded.
const METADATA: &str = "x-amz-meta-";

fn decides(name: &HeaderName) -> bool {
    let name = name.as_str();
    let is_amazons = name.starts_with("x-amz-") && !name.starts_with(METADATA);
    (is_amazons && !LISTS.contains(&name)) || OTHERS.contains(&name)
}

fn repeated(name: &HeaderName) -> S3Error {
    match name.as_str() {
        "authorization" => two_credentials(),
        "x-amz-date" => v4::no_date(),
        name => invalid(name, format!("{name} is given more than once"), ""),
    }
}

fn not_text(name: &HeaderName, value: &HeaderValue) -> S3Error {
    let text = format!("{name}: expected UTF-8");
    invalid(name.as_str(), text, &String::from_utf8_lossy(value.as_bytes()))
}

fn invalid(name: &str, text: String, value: &str) -> S3Error {
    S3Error::new(Code::InvalidArgument).text(text).argument(name, value)
}

/// Refuses a header that decides something and has two lines or is not text.
///
/// # Errors
/// `InvalidArgument`; for credentials and dates AWS's own.
pub(super) fn check(headers: &HeaderMap) -> Result<()> {
    let mut names: Vec<&HeaderName> = headers.keys().filter(|name| decides(name)).collect();
    names.sort_unstable_by_key(|name| name.as_str());
    for name in names {
        let mut lines = headers.get_all(name).iter();
        let value = lines.next();
        if lines.next().is_some() {
            return Err(repeated(name));
        }
        if let Some(value) = value.filter(|value| std::str::from_utf8(value.as_bytes()).is_err()) {
            return Err(not_text(name, value));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(lines: &[(&'static str, &[u8])]) -> Option<Code> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        check(&headers).err().map(|error| error.code)
    }

    #[test]
    fn what_decides_is_given_once_and_is_text() {
        for name in [
            "content-md5",
            "if-match",
            "if-modified-since",
            "if-none-match",
            "if-unmodified-since",
            "x-amz-acl",
            "x-amz-bypass-governance-retention",
            "x-amz-checksum-sha256",
            "x-amz-copy-source",
            "x-amz-copy-source-if-match",
            "x-amz-grant-read",
            "x-amz-metadata-directive",
            "x-amz-object-lock-mode",
            "x-amz-server-side-encryption",
            "x-amz-tagging",
        ] {
            assert_eq!(refused(&[(name, b"a")]), None, "{name}");
            assert_eq!(refused(&[(name, "ä".as_bytes())]), None, "{name}");
            let code = Some(Code::InvalidArgument);
            assert_eq!(refused(&[(name, b"a"), (name, b"a")]), code, "{name}");
            assert_eq!(refused(&[(name, b"\xff")]), code, "{name}");
        }
    }

    #[test]
    fn lists_and_metadata_may_have_lines_of_any_bytes() {
        for name in ["x-amz-object-attributes", "x-amz-meta-color", "accept", "x-amz-trailer"] {
            assert_eq!(refused(&[(name, b"a"), (name, b"\xff")]), None, "{name}");
        }
    }
}
