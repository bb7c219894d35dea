//! Facts of an S3 request for conditions of policies: parameters, headers and the signature.

use std::sync::Arc;

use apus_bucket::TagSet;
use apus_bucket::tagging::TaggedResource;
use apus_cluster::percent;
use apus_daemon::http::header;
use apus_store::Context;
use apus_store::access::RequestFacts;
use http::HeaderMap;
use http::request::Parts;
use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

use super::operation::Operation;
use crate::deps::ProxyDeps;
use crate::facts::{ClientFacts, with_values};

/// The date of a signature of version 4.
const AMZ_DATE: &[BorrowedFormatItem<'_>] =
    format_description!("[year][month][day]T[hour][minute][second]Z");
const DAY_MS: u128 = 86_400_000;

/// Keys that are values of the header of the same name.
const HEADERS: [&str; 17] = [
    "if-match",
    "if-none-match",
    "x-amz-acl",
    "x-amz-bucket-namespace",
    "x-amz-content-sha256",
    "x-amz-grant-full-control",
    "x-amz-grant-read",
    "x-amz-grant-read-acp",
    "x-amz-grant-write",
    "x-amz-grant-write-acp",
    "x-amz-metadata-directive",
    "x-amz-object-ownership",
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-customer-algorithm",
    "x-amz-storage-class",
    "x-amz-website-redirect-location",
];

/// How a request is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AuthType {
    /// Not at all.
    None,
    /// As its headers or its query say.
    Request,
    /// By the fields of a form.
    Form,
}

/// The facts of a request.
#[derive(Debug)]
struct S3Facts {
    client: ClientFacts,
    operation: Operation,
    auth: AuthType,
    region: String,
    headers: HeaderMap,
    query: Vec<(String, String)>,
}

/// The facts of a request whose operation is known.
pub(super) fn of(
    deps: &ProxyDeps,
    head: &Parts,
    operation: Operation,
    auth: AuthType,
    query: &[(String, String)],
) -> Arc<dyn RequestFacts> {
    Arc::new(S3Facts {
        client: ClientFacts::of(deps, head),
        operation,
        auth,
        region: deps.config.region.clone(),
        headers: head.headers.clone(),
        query: query.to_vec(),
    })
}

/// The same facts for the upload that a form is: `headers` stand for its fields.
pub(super) fn of_form(
    deps: &ProxyDeps,
    head: &Parts,
    headers: &HeaderMap,
    is_signed: bool,
) -> Arc<dyn RequestFacts> {
    Arc::new(S3Facts {
        client: ClientFacts::of(deps, head),
        operation: Operation::PostObject,
        auth: if is_signed { AuthType::Form } else { AuthType::None },
        region: deps.config.region.clone(),
        headers: headers.clone(),
        query: Vec::new(),
    })
}

/// The request with the tags of its document.
pub(super) fn with_tags(cx: &Context, tags: &TagSet) -> Context {
    let mut values = Vec::new();
    for tag in tags.tags() {
        values.push((format!("{REQUEST_TAG}{}", tag.key), tag.value.clone()));
        values.push((REQUEST_TAG_KEYS.to_owned(), tag.key.clone()));
    }
    with_values(cx, values)
}

/// The request with the prefix of a listing: `s3:prefix` of the right to know that an object does not
/// exist.
pub(super) fn with_prefix(cx: &Context, prefix: &str) -> Context {
    with_values(cx, vec![("s3:prefix".to_owned(), prefix.to_owned())])
}

/// The values of a retention.
pub(super) fn retention(mode: &str, until_ms: u64, now_ms: u64) -> Vec<(String, String)> {
    let until = OffsetDateTime::from_unix_timestamp_nanos(i128::from(until_ms) * 1_000_000).ok();
    let days = u128::from(until_ms.saturating_sub(now_ms)).div_ceil(DAY_MS);
    let date = until.and_then(|date| date.format(&Rfc3339).ok());
    [
        ("s3:object-lock-mode", Some(mode.to_owned())),
        ("s3:object-lock-retain-until-date", date),
        ("s3:object-lock-remaining-retention-days", Some(days.to_string())),
    ]
    .into_iter()
    .filter_map(|(key, value)| Some((key.to_owned(), value?)))
    .collect()
}

const REQUEST_TAG: &str = "s3:requestobjecttag/";
const REQUEST_TAG_KEYS: &str = "s3:requestobjecttagkeys";

impl S3Facts {
    fn header(&self, name: &str) -> Option<String> {
        header(&self.headers, name).map(str::to_owned)
    }

    fn param(&self, name: &str) -> Option<String> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
    }

    /// A parameter of listings.
    fn of_listing(&self, name: &str) -> Option<String> {
        let lists = matches!(
            self.operation,
            Operation::ListObjects
                | Operation::ListObjectsV2
                | Operation::ListObjectVersions
                | Operation::ListMultipartUploads
        );
        self.param(name).filter(|_| lists)
    }

    fn tags(&self) -> TagSet {
        let text = self.header("x-amz-tagging").unwrap_or_default();
        TagSet::from_query(&text, TaggedResource::Object).unwrap_or_default()
    }

    /// Whether the signature is in the query.
    fn is_presigned(&self) -> bool {
        let names = ["x-amz-signature", "signature"];
        let is_one = |key: &str| names.iter().any(|name| key.eq_ignore_ascii_case(name));
        self.query.iter().any(|(key, _)| is_one(key))
    }

    fn is_version_2(&self) -> bool {
        let authorization = self.header("authorization").unwrap_or_default();
        authorization.starts_with("AWS ") || self.param("AWSAccessKeyId").is_some()
    }

    /// Milliseconds since the request was signed, if it says when.
    fn signature_age(&self) -> Option<String> {
        let date = self.param("X-Amz-Date").or_else(|| self.header("x-amz-date"))?;
        let signed = PrimitiveDateTime::parse(&date, AMZ_DATE).ok()?.assume_utc();
        let now_ms = i128::try_from(self.client.now().as_millis()).ok()?;
        Some((now_ms - signed.unix_timestamp_nanos() / 1_000_000).max(0).to_string())
    }

    /// Facts of the signature.
    fn signature(&self, key: &str) -> Option<String> {
        let is_form = match self.auth {
            AuthType::None => return None,
            AuthType::Form => true,
            AuthType::Request => false,
        };
        match key {
            "s3:authtype" if is_form => Some("POST".to_owned()),
            "s3:authtype" if self.is_presigned() => Some("REST-QUERY-STRING".to_owned()),
            "s3:authtype" => Some("REST-HEADER".to_owned()),
            "s3:signatureversion" if self.is_version_2() => Some("AWS".to_owned()),
            "s3:signatureversion" => Some("AWS4-HMAC-SHA256".to_owned()),
            _ => self.signature_age(),
        }
    }

    /// Facts of the lock that an upload's headers ask for.
    fn lock(&self, key: &str) -> Option<String> {
        match key {
            "s3:object-lock-mode" => self.header("x-amz-object-lock-mode"),
            "s3:object-lock-legal-hold" => self.header("x-amz-object-lock-legal-hold"),
            _ => {
                let text = self.header("x-amz-object-lock-retain-until-date")?;
                let until = OffsetDateTime::parse(&text, &Rfc3339).ok()?.unix_timestamp_nanos();
                let until_ms = u64::try_from(until / 1_000_000).ok()?;
                let now_ms = u64::try_from(self.client.now().as_millis()).ok()?;
                let values = retention("", until_ms, now_ms);
                values.into_iter().find(|(name, _)| name == key).map(|(_, value)| value)
            }
        }
    }

    fn copy_source(&self) -> Option<String> {
        let value = self.header("x-amz-copy-source")?;
        let path = value.rsplit_once("?versionId=").map_or(value.as_str(), |(path, _)| path);
        let path = percent::decode_utf8(&path.replace('+', " "))?;
        Some(path.strip_prefix('/').unwrap_or(&path).to_owned())
    }
}

impl RequestFacts for S3Facts {
    fn values(&self, key: &str) -> Vec<String> {
        let value = match key {
            "s3:prefix" => self.of_listing("prefix"),
            "s3:delimiter" => self.of_listing("delimiter"),
            "s3:max-keys" => self.of_listing("max-keys"),
            "s3:x-amz-copy-source" => self.copy_source(),
            "s3:authtype" | "s3:signatureversion" | "s3:signatureage" => self.signature(key),
            "aws:requestedregion" => Some(self.region.clone()),
            REQUEST_TAG_KEYS => {
                return self.tags().tags().iter().map(|tag| tag.key.clone()).collect();
            }
            other if other.starts_with("s3:object-lock-") => self.lock(other),
            other => match (other.strip_prefix(REQUEST_TAG), other.strip_prefix("s3:")) {
                (Some(tag), _) => self.tags().get(tag).map(str::to_owned),
                (None, Some(name)) if HEADERS.contains(&name) => self.header(name),
                (None, Some(_)) => None,
                (None, None) => return self.client.values(other),
            },
        };
        value.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(operation: Operation, query: &str, headers: &[(&str, &str)]) -> S3Facts {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
            map.insert(name, value.parse().unwrap());
        }
        S3Facts {
            client: ClientFacts::default(),
            operation,
            auth: AuthType::Request,
            region: "us-east-1".to_owned(),
            headers: map,
            query: crate::s3::address::query(query).unwrap(),
        }
    }

    fn check(facts: &S3Facts, table: &[(&str, &[&str])]) {
        for (key, values) in table {
            assert_eq!(facts.values(key), *values, "{key}");
        }
    }

    #[test]
    fn parameters_are_those_of_listings() {
        let query = "prefix=a%2F&delimiter=/&max-keys=10";
        let keys: [(&str, &[&str]); 3] =
            [("s3:prefix", &["a/"]), ("s3:delimiter", &["/"]), ("s3:max-keys", &["10"])];
        check(&facts(Operation::ListObjectsV2, query, &[]), &keys);
        let none = keys.map(|(key, _)| (key, &[][..]));
        check(&facts(Operation::GetObject, query, &[]), &none);
        check(&facts(Operation::ListObjects, "", &[]), &none);
    }

    #[test]
    fn headers_are_facts_under_their_names() {
        let headers = [
            ("x-amz-acl", "public-read"),
            ("x-amz-server-side-encryption", "AES256"),
            ("x-amz-copy-source", "/b/a%20b?versionId=null"),
            ("x-amz-tagging", "team=x&stage=a%20b"),
            ("x-amz-object-lock-mode", "GOVERNANCE"),
            ("x-amz-object-lock-retain-until-date", "1970-01-03T00:00:00.001Z"),
            ("if-none-match", "*"),
            ("authorization", "AWS4-HMAC-SHA256 Credential=a"),
            ("x-amz-date", "19700101T000000Z"),
            ("cookie", "secret"),
        ];
        check(
            &facts(Operation::PutObject, "", &headers),
            &[
                ("s3:x-amz-acl", &["public-read"]),
                ("s3:x-amz-server-side-encryption", &["AES256"]),
                ("s3:x-amz-copy-source", &["b/a b"]),
                ("s3:requestobjecttag/team", &["x"]),
                ("s3:requestobjecttag/stage", &["a b"]),
                ("s3:requestobjecttag/Team", &[]),
                ("s3:requestobjecttagkeys", &["team", "stage"]),
                ("s3:object-lock-mode", &["GOVERNANCE"]),
                ("s3:object-lock-remaining-retention-days", &["3"]),
                ("s3:object-lock-legal-hold", &[]),
                ("s3:if-none-match", &["*"]),
                ("s3:if-match", &[]),
                ("s3:authtype", &["REST-HEADER"]),
                ("s3:signatureversion", &["AWS4-HMAC-SHA256"]),
                ("s3:signatureage", &["0"]),
                ("s3:cookie", &[]),
                ("s3:authorization", &[]),
                ("aws:requestedregion", &["us-east-1"]),
                ("aws:securetransport", &["false"]),
            ],
        );
    }

    #[test]
    fn a_request_without_a_signature_has_no_facts_of_one() {
        let keys = ["s3:authtype", "s3:signatureversion", "s3:signatureage"];
        let none = S3Facts { auth: AuthType::None, ..facts(Operation::GetObject, "", &[]) };
        check(&none, &keys.map(|key| (key, &[][..])));
        let presigned = facts(Operation::GetObject, "X-Amz-Signature=x", &[]);
        check(&presigned, &[("s3:authtype", &["REST-QUERY-STRING"]), ("s3:signatureage", &[])]);
        let form = S3Facts { auth: AuthType::Form, ..facts(Operation::PostObject, "", &[]) };
        check(&form, &[("s3:authtype", &["POST"])]);
    }
}
