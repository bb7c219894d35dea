//! The `x-amz-` headers of requests, and the meaning of each here.
//!
//! A header that is not in the table is ignored, as AWS ignores it.
//!
//! Source: the service model of botocore 1.44.5 (2026), and the rules of signatures.

use apus_daemon::http::header;
use http::{HeaderMap, Method};

use super::error::{Code, Result, S3Error};

/// The meaning of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// An operation reads it.
    Read,
    /// It is part of a signature or describes it.
    Signature,
    /// It has no effect here.
    Nothing,
    /// It requests something that PUT and POST do not implement, unless it has one of these values.
    Write(&'static [&'static str]),
    /// It requests something that is not implemented, unless it has one of these values.
    Always(&'static [&'static str]),
}

/// The headers, sorted by name.
static HEADERS: [(&str, Meaning); 74] = {
    use Meaning::{Always, Nothing, Read, Signature, Write};
    [
        ("x-amz-acl", Read),
        ("x-amz-algorithm", Signature),
        ("x-amz-bucket-namespace", Write(&["global"])),
        ("x-amz-bucket-object-lock-enabled", Read),
        ("x-amz-bucket-object-lock-token", Nothing),
        ("x-amz-bypass-governance-retention", Read),
        ("x-amz-client-token", Nothing),
        ("x-amz-confirm-remove-self-bucket-access", Read),
        ("x-amz-content-sha256", Signature),
        ("x-amz-copy-source", Read),
        ("x-amz-copy-source-if-match", Read),
        ("x-amz-copy-source-if-modified-since", Read),
        ("x-amz-copy-source-if-none-match", Read),
        ("x-amz-copy-source-if-unmodified-since", Read),
        ("x-amz-copy-source-range", Read),
        ("x-amz-copy-source-server-side-encryption-customer-algorithm", Read),
        ("x-amz-copy-source-server-side-encryption-customer-key", Read),
        ("x-amz-copy-source-server-side-encryption-customer-key-md5", Read),
        ("x-amz-create-session-mode", Nothing),
        ("x-amz-credential", Signature),
        ("x-amz-date", Signature),
        ("x-amz-decoded-content-length", Read),
        ("x-amz-expected-bucket-owner", Read),
        ("x-amz-expires", Signature),
        ("x-amz-grant-full-control", Read),
        ("x-amz-grant-read", Read),
        ("x-amz-grant-read-acp", Read),
        ("x-amz-grant-write", Read),
        ("x-amz-grant-write-acp", Read),
        ("x-amz-if-match-initiated-time", Read),
        ("x-amz-if-match-last-modified-time", Read),
        ("x-amz-if-match-size", Read),
        ("x-amz-max-parts", Read),
        ("x-amz-metadata-directive", Read),
        ("x-amz-mfa", Always(&[""])),
        ("x-amz-mp-object-size", Read),
        ("x-amz-object-annotation-directive", Nothing),
        ("x-amz-object-attributes", Read),
        ("x-amz-object-if-match", Read),
        ("x-amz-object-lock-event-hold", Write(&["OFF"])),
        ("x-amz-object-lock-event-hold-duration-days", Write(&[])),
        ("x-amz-object-lock-event-hold-duration-years", Write(&[])),
        ("x-amz-object-lock-legal-hold", Read),
        ("x-amz-object-lock-mode", Read),
        ("x-amz-object-lock-retain-until-date", Read),
        ("x-amz-object-ownership", Read),
        ("x-amz-optional-object-attributes", Nothing),
        ("x-amz-part-number-marker", Read),
        ("x-amz-rename-source", Write(&[])),
        ("x-amz-rename-source-if-match", Write(&[])),
        ("x-amz-rename-source-if-modified-since", Write(&[])),
        ("x-amz-rename-source-if-none-match", Write(&[])),
        ("x-amz-rename-source-if-unmodified-since", Write(&[])),
        ("x-amz-request-payer", Nothing),
        ("x-amz-sdk-checksum-algorithm", Read),
        ("x-amz-security-token", Signature),
        ("x-amz-server-side-encryption", Read),
        ("x-amz-server-side-encryption-aws-kms-key-id", Read),
        ("x-amz-server-side-encryption-bucket-key-enabled", Read),
        ("x-amz-server-side-encryption-context", Read),
        ("x-amz-server-side-encryption-customer-algorithm", Read),
        ("x-amz-server-side-encryption-customer-key", Read),
        ("x-amz-server-side-encryption-customer-key-md5", Read),
        ("x-amz-signature", Signature),
        ("x-amz-signedheaders", Signature),
        ("x-amz-skip-destination-validation", Nothing),
        ("x-amz-source-expected-bucket-owner", Read),
        ("x-amz-storage-class", Read),
        ("x-amz-tagging", Read),
        ("x-amz-tagging-directive", Read),
        ("x-amz-trailer", Read),
        ("x-amz-transition-default-minimum-object-size", Read),
        ("x-amz-website-redirect-location", Write(&[""])),
        ("x-amz-write-offset-bytes", Write(&[])),
    ]
};

/// Prefixes of families of headers.
const FAMILIES: [(&str, Meaning); 3] = [
    ("x-amz-meta-", Meaning::Read),
    ("x-amz-checksum-", Meaning::Read),
    ("x-amz-grant-", Meaning::Write(&[])),
];

/// The meaning of a header, by its name in lower case; `None` when S3 does not have it.
pub(super) fn meaning(name: &str) -> Option<Meaning> {
    match HEADERS.binary_search_by(|(known, _)| (*known).cmp(name)) {
        Ok(at) => HEADERS.get(at).map(|(_, meaning)| *meaning),
        Err(_) => {
            let family = FAMILIES.iter().find(|(start, _)| name.starts_with(start));
            family.map(|(_, meaning)| *meaning)
        }
    }
}

/// The error for a header or parameter that is not implemented.
pub(super) fn not_implemented(what: &str) -> S3Error {
    S3Error::new(Code::NotImplemented).text(format!(
        "A header or parameter you provided implies functionality that is not implemented: {what}"
    ))
}

/// Refuses headers that request what is not implemented. Values that mean "no" are accepted.
pub(super) fn check(method: &Method, headers: &HeaderMap) -> Result<()> {
    let writes = matches!(*method, Method::PUT | Method::POST);
    for (name, value) in headers {
        let name = name.as_str();
        if !name.starts_with("x-amz-") {
            continue;
        }
        let harmless = match meaning(name) {
            Some(Meaning::Always(harmless)) => harmless,
            Some(Meaning::Write(harmless)) if writes => harmless,
            _ => continue,
        };
        let value = value.as_bytes().trim_ascii();
        if harmless.iter().all(|known| !known.as_bytes().eq_ignore_ascii_case(value)) {
            return Err(not_implemented(name));
        }
    }
    if !writes {
        return Ok(());
    }
    match header(headers, "x-amz-storage-class") {
        None | Some("STANDARD") => Ok(()),
        Some(_) => Err(S3Error::new(Code::InvalidStorageClass)),
    }
}

/// Refuses a header in the query of a request whose signature is in a header: AWS accepts it in
/// presigned queries alone, so that it would be silently ignored.
pub(super) fn check_query(query: &[(String, String)]) -> Result<()> {
    for (key, value) in query {
        if !key.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("x-amz-")) {
            continue;
        }
        match meaning(&key.to_ascii_lowercase()) {
            None | Some(Meaning::Nothing | Meaning::Signature) => {}
            Some(_) => {
                return Err(S3Error::new(Code::InvalidArgument)
                    .text(format!(
                        "{key} is a parameter of presigned URLs: send it as a header of this request"
                    ))
                    .with("ArgumentName", key)
                    .with("ArgumentValue", value));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_one(method: &Method, name: &'static str, value: &str) -> Result<()> {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        check(method, &headers)
    }

    #[test]
    fn the_table_is_sorted_and_in_lower_case() {
        assert!(HEADERS.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(HEADERS.iter().all(|(name, _)| *name == name.to_ascii_lowercase()));
    }

    #[test]
    fn headers_that_are_not_implemented_are_refused() {
        for (name, value) in [
            ("x-amz-grant-other", "id=x"),
            ("x-amz-object-lock-event-hold", "ON"),
            ("x-amz-bucket-namespace", "account-regional"),
            ("x-amz-website-redirect-location", "/x"),
            ("x-amz-write-offset-bytes", "0"),
            ("x-amz-rename-source", "/b/k"),
            ("x-amz-mfa", "123 456"),
        ] {
            let error = check_one(&Method::PUT, name, value).unwrap_err();
            assert_eq!(error.code, Code::NotImplemented, "{name}: {value}");
        }
        for method in [Method::GET, Method::HEAD, Method::DELETE] {
            assert_eq!(
                check_one(&method, "x-amz-mfa", "x").unwrap_err().code,
                Code::NotImplemented
            );
        }
        let refused = |name, value| check_one(&Method::PUT, name, value).unwrap_err().code;
        assert_eq!(refused("x-amz-storage-class", "GLACIER"), Code::InvalidStorageClass);
    }

    #[test]
    fn headers_without_effect_are_accepted() {
        for (name, value) in [
            ("x-amz-bucket-object-lock-enabled", "false"),
            ("x-amz-bucket-object-lock-enabled", "False"),
            ("x-amz-bypass-governance-retention", "false"),
            ("x-amz-bypass-governance-retention", "true"),
            ("x-amz-server-side-encryption-bucket-key-enabled", "false"),
            ("x-amz-request-payer", "requester"),
            ("x-amz-object-lock-legal-hold", "OFF"),
            ("x-amz-object-lock-event-hold", "off"),
            ("x-amz-tagging", "a=b"),
            ("x-amz-tagging-directive", "COPY"),
            ("x-amz-website-redirect-location", ""),
            ("x-amz-storage-class", "STANDARD"),
            ("x-amz-bucket-namespace", "global"),
            ("x-amz-optional-object-attributes", "RestoreStatus"),
            ("x-amz-not-known", "x"),
        ] {
            assert!(check_one(&Method::PUT, name, value).is_ok(), "{name}: {value}");
        }
        // Reads ignore what only concerns writes.
        for name in ["x-amz-tagging", "x-amz-server-side-encryption", "x-amz-grant-other"] {
            assert!(check_one(&Method::GET, name, "public-read").is_ok(), "{name}");
        }
    }

    #[test]
    fn parameters_of_presigned_urls_are_refused_in_other_queries() {
        let query = |name: &str| [(name.to_owned(), "x".to_owned())];
        for name in ["x-amz-acl", "X-Amz-Meta-A", "x-amz-copy-source", "x-amz-checksum-crc32"] {
            assert_eq!(
                check_query(&query(name)).unwrap_err().code,
                Code::InvalidArgument,
                "{name}"
            );
        }
        for name in ["x-id", "X-Amz-Date", "x-amz-request-payer", "x-amz-not-known", "x-a", "é"] {
            assert!(check_query(&query(name)).is_ok(), "{name}");
        }
    }
}
