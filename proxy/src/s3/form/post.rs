//! POST Object: an upload by an HTML form.
//!
//! The fields become the headers of a PutObject, which the operation of that name performs. A form with
//! a policy acts for the policy's signer, one without a policy for an anonymous caller.

use std::sync::{Arc, OnceLock};

use apus_cluster::AccountName;
use apus_cluster::constraints::S3_MAX_FILE_SIZE;
use apus_cluster::percent;
use apus_daemon::Body;
use apus_daemon::http::{header, set, status};
use apus_store::Context;
use apus_store::access::Identity;
use apus_store::operation::ObjectWritten;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::BodyExt;

use super::fields::{self, Form, FormFields};
use super::file::{FileBody, SizeRange};
use super::policy::PostPolicy;
use crate::audit::RequestNotes;
use crate::deps::ProxyDeps;
use crate::reply::Reply;
use crate::s3::address::{self, Address};
use crate::s3::checksum;
use crate::s3::encryption;
use crate::s3::error::{Code, Result, S3Error};
use crate::s3::object::{put, tagging};
use crate::s3::operation::Operation;
use crate::s3::request::{self, S3Request};
use crate::s3::request_headers::{Meaning, meaning};
use crate::s3::resource::Resource;
use crate::s3::sign::{self, Payload};
use crate::s3::xml::Writer;
use crate::s3::{facts, namespace, route};

/// Fields that are headers of the upload under the same name, in addition to `x-amz-` ones. Conditions
/// are among them so that none is ignored.
const HEADERS: [&str; 9] = [
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-md5",
    "content-type",
    "expires",
    "if-match",
    "if-none-match",
];

/// The names of a form's request, if it is one: a POST of `multipart/form-data` to a bucket itself.
pub(in crate::s3) fn target(request: &Request<Body>, deps: &ProxyDeps) -> Option<Address> {
    if *request.method() != Method::POST || !fields::is_form(request.headers()) {
        return None;
    }
    let head = request_head(request);
    let address = address::parse(&head, &deps.config.storage_domains).ok()?;
    let query = address::query(head.uri.query().unwrap_or_default()).ok()?;
    let operation = route::operation(&Method::POST, Resource::Bucket, &query, &HeaderMap::new());
    let is_post = matches!(operation, Ok(Operation::PostObject));
    (address.bucket.is_some() && address.key.is_none() && is_post).then_some(address)
}

fn request_head(request: &Request<Body>) -> http::request::Parts {
    let mut head = Request::builder().uri(request.uri().clone());
    if let Some(host) = request.headers().get("host") {
        head = head.header("host", host);
    }
    head.body(()).unwrap_or_default().into_parts().0
}

/// The refusal of a POST to a bucket that is not a form.
pub(in crate::s3) fn not_a_form() -> S3Error {
    S3Error::new(Code::PreconditionFailed)
        .with("Condition", "Bucket POST must be of the enclosure-type multipart/form-data")
}

/// Refuses what a form's request has in addition to its form, and AWS's forms do not.
fn check_request(head: &http::request::Parts) -> Result<()> {
    let authorization = header(&head.headers, "authorization").unwrap_or_default();
    if !authorization.trim().is_empty() {
        return Err(S3Error::new(Code::InvalidArgument).text(
            "Only one auth mechanism allowed: a form is signed by its fields, not by the Authorization header",
        ));
    }
    route::operation(&Method::POST, Resource::Bucket, &[], &head.headers).map(|_| ())
}

/// The caller of a form and its account, if it is not anonymous, and the sizes that the file may have.
async fn authenticate(
    deps: &ProxyDeps,
    fields: &FormFields,
    bucket: &str,
) -> Result<(Identity, Option<AccountName>, SizeRange)> {
    let Some(encoded) = fields.get("policy") else {
        let signs = ["signature", "x-amz-signature", "awsaccesskeyid", "x-amz-credential"];
        if signs.iter().any(|name| fields.get(name).is_some()) {
            fields.require("policy")?;
        }
        return Ok((Identity::default(), None, SizeRange { min: 0, max: u64::MAX }));
    };
    let signer = sign::form::verify(deps, fields, encoded).await?;
    let json = STANDARD.decode(encoded.trim()).map_err(|_| {
        S3Error::new(Code::InvalidPolicyDocument).text("Invalid Policy: it is not base64.")
    })?;
    let policy = PostPolicy::parse(&json)?;
    policy.check(fields, bucket, deps.clock.now().as_secs())?;
    let account = AccountName::parse(&signer.account);
    let account = account.map_err(|_| S3Error::new(Code::AccessDenied))?;
    Ok((signer.identity, Some(account), policy.sizes()))
}

/// The headers of a PutObject that the fields stand for.
fn upload_headers(fields: &FormFields) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields.iter() {
        if name == "tagging" {
            // The field has the document of PutObjectTagging.
            if !value.is_empty() {
                tagging::add_to_headers(value.as_bytes(), &mut headers)?;
            }
            continue;
        }
        let name = match name {
            "acl" => "x-amz-acl",
            name if HEADERS.contains(&name) => name,
            name if name.starts_with("x-amz-") && meaning(name) != Some(Meaning::Signature) => name,
            _ => continue,
        };
        let invalid = |what: &str| {
            S3Error::new(Code::InvalidArgument)
                .text(format!("The field {name:?} is not the {what} of a header"))
                .argument(name, value)
        };
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid("name"))?;
        let text = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| invalid("value"))?;
        if headers.insert(key, text).is_some() {
            return Err(invalid("only value"));
        }
    }
    // The length of the file is not known before its end.
    headers.insert("transfer-encoding", HeaderValue::from_static("chunked"));
    Ok(headers)
}

pub(in crate::s3) async fn post(
    deps: &ProxyDeps,
    request: Request<Body>,
    address: Address,
    trans_id: Arc<str>,
    signer: &OnceLock<AccountName>,
) -> Result<Reply> {
    let (mut head, body) = request.into_parts();
    check_request(&head)?;
    let Form { fields, file } = fields::read(&head.headers, body).await?;
    let bucket = address.bucket.unwrap_or_default();
    let notes = RequestNotes::of(&head.extensions);
    notes.note(|noted| {
        noted.operation = Some("PostObject".to_owned());
        noted.bucket = Some(bucket.clone());
        noted.key = fields.get("key").map(str::to_owned);
        noted.claimed = sign::form::claimed_access_key(&fields);
    });
    let (identity, own, sizes) = authenticate(deps, &fields, &bucket).await?;
    let referrer = header(&head.headers, "referer").map(str::to_owned);
    let cx = request::context(trans_id, Identity { referrer, ..identity });
    let account = namespace::account(deps, &cx, own.as_ref(), &bucket).await?;
    let _ = signer.set(account.clone());
    notes.note(|noted| {
        noted.user.clone_from(&cx.identity.user);
        noted.account = Some(account.as_str().to_owned());
    });
    let key = fields.require("key")?.to_owned();
    if key.is_empty() {
        return Err(S3Error::new(Code::InvalidArgument)
            .text("User key must have a length greater than 0.")
            .argument("key", ""));
    }
    let mut headers = upload_headers(&fields)?;
    if route::operation(&Method::PUT, Resource::Key, &[], &headers)? != Operation::PutObject {
        return Err(S3Error::new(Code::InvalidArgument).text("A form cannot copy an object"));
    }
    let max = sizes.max.min(deps.constraints.max_file_size).min(S3_MAX_FILE_SIZE);
    let body = FileBody::new(file, SizeRange { max, ..sizes }).boxed_unsync();
    if let Some(host) = head.headers.remove("host") {
        headers.insert("host", host);
    }
    let owner = request::owner(&cx.identity, own.as_ref(), &account);
    let facts = facts::of_form(deps, &head, &headers, cx.identity.user.is_some());
    let cx = Context { facts: Some(facts), ..cx };
    head.headers = headers;
    let encryption = encryption::of_request(Operation::PostObject, &head.headers)?;
    let request = S3Request {
        operation: Operation::PostObject,
        head,
        body,
        payload: Payload::Unsigned,
        query: Vec::new(),
        account,
        source_account: None,
        bucket: Some(bucket),
        key: Some(key),
        cx: Context { is_form: true, encryption, ..cx },
        owner,
    };
    for expected in request.expected_owners()? {
        expected.check(deps, &request.cx).await?;
    }
    let success = Success::of(deps, &request, &fields);
    let stored = put::write(deps, request).await?;
    let mut response = success.render(&stored.written);
    response.headers_mut().extend(stored.encryption);
    Ok(response)
}

/// What the response to a successful upload has.
struct Success {
    status: StatusCode,
    redirect: Option<String>,
    bucket: String,
    key: String,
    /// URL of the object.
    location: String,
}

impl Success {
    fn of(deps: &ProxyDeps, request: &S3Request, fields: &FormFields) -> Self {
        let redirect = fields.get("success_action_redirect").or_else(|| fields.get("redirect"));
        let status = match fields.get("success_action_status") {
            Some("200") => StatusCode::OK,
            Some("201") => StatusCode::CREATED,
            _ => StatusCode::NO_CONTENT,
        };
        Self {
            status,
            redirect: redirect.filter(|url| is_redirect(url)).map(str::to_owned),
            bucket: request.bucket().to_owned(),
            key: request.key().to_owned(),
            location: request.location(&deps.config),
        }
    }

    fn render(&self, written: &ObjectWritten) -> Reply {
        let etag = format!("\"{}\"", written.etag);
        let mut response = match (&self.redirect, self.status) {
            (Some(url), _) => {
                let mut response = status(StatusCode::SEE_OTHER);
                set(response.headers_mut(), "location", &self.redirected(url, &etag));
                response
            }
            (None, StatusCode::CREATED) => {
                let mut out = Writer::new();
                out.open("PostResponse");
                out.text("Location", &self.location);
                out.text("Bucket", &self.bucket);
                out.text("Key", &self.key);
                out.text("ETag", &etag);
                out.close("PostResponse");
                let mut response = out.reply();
                *response.status_mut() = StatusCode::CREATED;
                response
            }
            (None, other) => status(other),
        };
        let out = response.headers_mut();
        set(out, "etag", &etag);
        if self.redirect.is_none() {
            set(out, "location", &self.location);
        }
        checksum::set_headers(&written.late, out);
        response
    }

    /// The URL with bucket, key and etag in its query.
    fn redirected(&self, url: &str, etag: &str) -> String {
        let joint = if url.contains('?') { '&' } else { '?' };
        let encode = |text: &str| {
            let mut out = String::new();
            percent::encode_into(&mut out, text.as_bytes(), b"");
            out
        };
        let (bucket, key, etag) = (encode(&self.bucket), encode(&self.key), encode(etag));
        format!("{url}{joint}bucket={bucket}&key={key}&etag={etag}")
    }
}

/// Whether a text is the URL of a page; others are ignored, as on AWS.
fn is_redirect(url: &str) -> bool {
    let known = url.starts_with("http://") || url.starts_with("https://");
    let parsed = url.parse::<http::Uri>().ok();
    known && !url.contains('#') && parsed.is_some_and(|parsed| parsed.host().is_some())
}

/// Parses a policy, and does nothing else: for fuzzing.
pub(in crate::s3) fn fuzz_policy(json: &[u8]) {
    if let Ok(policy) = PostPolicy::parse(json) {
        drop(policy.check(&FormFields::default(), "bucket", 0));
    }
}

/// Reads a form of so many pieces with the boundary `x`, and does nothing else: for fuzzing.
pub(in crate::s3) fn fuzz_form(body: Body, pieces: usize) {
    let mut headers = HeaderMap::new();
    let kind = HeaderValue::from_static("multipart/form-data; boundary=x");
    headers.insert("content-type", kind);
    let read = async {
        if let Ok(form) = fields::read(&headers, body).await {
            drop(upload_headers(&form.fields));
            let mut file = FileBody::new(form.file, SizeRange { min: 0, max: 1 << 20 });
            while let Some(Ok(_)) = file.frame().await {}
        }
    };
    let mut read = std::pin::pin!(read);
    // The parser yields after each piece.
    let done = (0..16 + 4 * pieces).any(|_| read.as_mut().now_or_never().is_some());
    assert!(done, "the parser does not end");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(fields: &[(&str, &str)]) -> FormFields {
        let mut form = FormFields::default();
        for (name, value) in fields {
            form.add(name, (*value).to_owned()).unwrap();
        }
        form
    }

    #[test]
    fn fields_become_headers() {
        let headers = upload_headers(&form(&[
            ("Key", "k"),
            ("ACL", "private"),
            ("Content-Type", "text/plain"),
            ("x-amz-meta-Colour", "grün"),
            ("x-amz-date", "d"),
            ("x-amz-signature", "s"),
            ("x-ignore-a", "1"),
            ("submit", "Upload"),
            (
                "tagging",
                "<Tagging><TagSet><Tag><Key>a+b</Key><Value>c d</Value></Tag></TagSet></Tagging>",
            ),
        ]))
        .unwrap();
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "content-type",
                "transfer-encoding",
                "x-amz-acl",
                "x-amz-meta-colour",
                "x-amz-tagging"
            ]
        );
        assert_eq!(headers["x-amz-tagging"], "a%2Bb=c%20d");
        assert_eq!(headers["x-amz-meta-colour"].as_bytes(), "grün".as_bytes());
    }

    #[test]
    fn fields_that_cannot_be_headers_are_refused() {
        for (name, value) in
            [("x-amz-meta-a", "1\n2"), ("x-amz-meta-a b", "1"), ("expires", "\u{0}")]
        {
            let refused = upload_headers(&form(&[(name, value)])).unwrap_err();
            assert_eq!(refused.code, Code::InvalidArgument, "{name}");
        }
        let twice = form(&[("acl", "private"), ("x-amz-acl", "private")]);
        assert_eq!(upload_headers(&twice).unwrap_err().code, Code::InvalidArgument);
    }

    #[test]
    fn only_urls_of_pages_are_redirects() {
        for (url, allowed) in [
            ("http://x/done", true),
            ("https://x/done?a=1", true),
            ("javascript:alert(1)", false),
            ("/done", false),
            ("http://x/\r\nSet-Cookie: a", false),
            ("http://", false),
            ("", false),
        ] {
            assert_eq!(is_redirect(url), allowed, "{url}");
        }
    }
}
