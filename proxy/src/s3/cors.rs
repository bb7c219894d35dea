//! Requests from web pages of other origins: the document of rules, preflights, headers of responses.
//!
//! Rules are read only for requests with `Origin`, in the system's name: a browser does not sign a
//! preflight, and what the rules allow is to read a response, not to get one.

use std::sync::{Arc, OnceLock};

use apus_bucket::cors::{CorsError, CorsMatch, CorsQuery, CorsRule, CorsRules};
use apus_bucket::{ConfigKind, stored};
use apus_cluster::{AccountName, ContainerName, ContainerPath};
use apus_daemon::Body;
use apus_daemon::http::{header, set, status};
use apus_store::access::Identity;
use apus_store::operation::{ContainerHead, HeadContainer};
use http::{HeaderMap, Method, Request, StatusCode, Uri};

use super::address::{self, Address};
use super::bucket_config::BucketDocument;
use super::error::{Code, Result, S3Error};
use super::sign::claimed_access_key;
use super::xml::{self, Element, Writer};
use super::{namespace, request, website};
use crate::auth::key_lookup::{ClaimedKey, KeyUsers};
use crate::deps::ProxyDeps;
use crate::reply::Reply;

const DOCUMENT: xml::Schema =
    xml::Schema { root: "CORSConfiguration", item: "CORSRule", items_max: 1000, within_max: 1000 };

/// Request headers on which a response to a page depends.
const VARY: &str = "Origin, Access-Control-Request-Headers, Access-Control-Request-Method";
/// Name of our own authority.
const SYSTEM: &str = "cors";

impl From<CorsError> for S3Error {
    fn from(error: CorsError) -> Self {
        let code = match error {
            CorsError::Count(_) | CorsError::Incomplete => Code::MalformedXML,
            _ => Code::InvalidRequest,
        };
        Self::new(code).text(error.to_string())
    }
}

fn parse_rule(rule: &Element) -> Result<CorsRule> {
    let malformed = || S3Error::new(Code::MalformedXML);
    if rule.name != "CORSRule" {
        return Err(malformed());
    }
    let mut parsed = CorsRule::default();
    for child in &rule.children {
        let text = child.text.trim().to_owned();
        if !child.children.is_empty() {
            return Err(malformed());
        }
        match child.name.as_str() {
            "AllowedOrigin" => parsed.origins.push(text),
            "AllowedMethod" => parsed.methods.push(text),
            "AllowedHeader" => parsed.headers.push(text),
            "ExposeHeader" => parsed.expose.push(text),
            "ID" if parsed.id.is_none() => parsed.id = Some(text),
            "MaxAgeSeconds" if parsed.max_age_seconds.is_none() => {
                let seconds = text.parse().ok().filter(|seconds| i32::try_from(*seconds).is_ok());
                parsed.max_age_seconds = Some(seconds.ok_or_else(malformed)?);
            }
            _ => return Err(malformed()),
        }
    }
    Ok(parsed)
}

impl BucketDocument for CorsRules {
    const KIND: ConfigKind = ConfigKind::Cors;
    const MISSING: Code = Code::NoSuchCORSConfiguration;

    fn parse(document: &[u8]) -> Result<Self> {
        let mut rules = Vec::new();
        xml::read(document, &DOCUMENT, |child| {
            rules.push(parse_rule(&child)?);
            Ok(())
        })?;
        Ok(Self::new(rules)?)
    }

    fn render(&self, out: &mut Writer) {
        out.root("CORSConfiguration");
        for rule in self.rules() {
            out.open("CORSRule");
            if let Some(id) = &rule.id {
                out.text("ID", id);
            }
            for (element, texts) in [
                ("AllowedHeader", &rule.headers),
                ("AllowedMethod", &rule.methods),
                ("AllowedOrigin", &rule.origins),
                ("ExposeHeader", &rule.expose),
            ] {
                for text in texts {
                    out.text(element, text);
                }
            }
            if let Some(seconds) = rule.max_age_seconds {
                out.number("MaxAgeSeconds", seconds);
            }
            out.close("CORSRule");
        }
        out.close("CORSConfiguration");
    }
}

/// A request of a page of another origin.
pub(super) struct CrossOrigin {
    origin: String,
    /// The method of the request, or that of the one that a preflight announces.
    method: String,
    bucket: String,
    /// The account of the caller, by the key that the request claims to be signed with; the signature
    /// is not verified. Of a form it is known later.
    claimed: Claimed,
}

/// The rules of a bucket, from the metadata of its container. `own` is the account of the caller.
async fn rules(
    deps: &ProxyDeps,
    own: Option<&AccountName>,
    bucket: &str,
    trans_id: &Arc<str>,
) -> Result<Option<CorsRules>> {
    let invalid = || address::invalid_bucket_name(bucket);
    if !address::may_be_bucket(bucket) {
        return Err(invalid());
    }
    let name = ContainerName::parse(bucket).map_err(|_| invalid())?;
    let cx = request::context(trans_id.clone(), Identity::default()).as_system(SYSTEM);
    let account = namespace::account(deps, &cx, own, bucket).await?;
    let container = ContainerPath::new(account, name);
    let head: ContainerHead = deps.store.head_container(&cx, HeadContainer { container }).await?;
    Ok(stored::load(CorsRules::KIND, &head.headers)?)
}

/// The caller of a request, as far as it is known before its signature is verified.
enum Claimed {
    /// The query cannot be read.
    Unknown,
    /// It has no signature.
    Anonymous,
    /// The key that it claims to be signed with.
    Key(String),
}

impl Claimed {
    fn of(head: &HeaderMap, query: &str) -> Self {
        let Ok(query) = address::query(query) else { return Self::Unknown };
        claimed_access_key(head, &query).map_or(Self::Anonymous, Self::Key)
    }

    /// The account; the outer `None` if the caller is not known.
    async fn account(&self, deps: &ProxyDeps) -> Option<Option<AccountName>> {
        match self {
            Self::Unknown => None,
            Self::Anonymous => Some(None),
            Self::Key(access_key) => {
                let key = ClaimedKey::find(deps, access_key).await.ok()?;
                let (_, _, account) = key.s3_user(access_key)?;
                AccountName::parse(account).ok().map(Some)
            }
        }
    }
}

impl CrossOrigin {
    /// The request, if it has an origin and names a bucket.
    pub(super) fn of(deps: &ProxyDeps, request: &Request<Body>) -> Option<Self> {
        let headers = request.headers();
        let origin = header(headers, "origin")?.to_owned();
        let announced = header(headers, "access-control-request-method");
        let method = announced.unwrap_or(request.method().as_str()).to_owned();
        let Address { bucket, .. } = address_of(deps, request.uri(), headers).ok()?;
        let claimed = Claimed::of(headers, request.uri().query().unwrap_or_default());
        Some(Self { origin, method, bucket: bucket?, claimed })
    }

    /// The rules of its bucket. `signer` is the account of a form's bucket, when it is known.
    pub(super) async fn rules(
        &self,
        deps: &ProxyDeps,
        signer: &OnceLock<AccountName>,
        trans_id: &Arc<str>,
    ) -> Option<CorsRules> {
        let own = match signer.get() {
            Some(account) => Some(account.clone()),
            None => self.claimed.account(deps).await?,
        };
        match rules(deps, own.as_ref(), &self.bucket, trans_id).await {
            Ok(rules) => rules,
            Err(error) => {
                tracing::debug!(code = error.code.name(), "no rules for other origins");
                None
            }
        }
    }

    /// Adds the headers that allow the page to read a response.
    pub(super) fn allow(&self, rules: &CorsRules, out: &mut HeaderMap) {
        out.append("vary", http::HeaderValue::from_static(VARY));
        let query = CorsQuery { origin: &self.origin, method: &self.method, headers: &[] };
        if let Some(found) = rules.find(&query) {
            set_headers(&found, &self.origin, out);
        }
    }
}

/// The names of a request, which may be to a web site.
fn address_of(deps: &ProxyDeps, uri: &Uri, headers: &HeaderMap) -> Result<Address> {
    if let Some(bucket) = website::bucket_of(headers, deps) {
        let key = uri.path().trim_start_matches('/');
        let key = Some(key.to_owned()).filter(|key| !key.is_empty());
        return Ok(Address { bucket: Some(bucket), key });
    }
    address::of(uri, headers, deps)
}

fn set_headers(found: &CorsMatch<'_>, origin: &str, out: &mut HeaderMap) {
    let rule = found.rule;
    match found.any_origin {
        true => set(out, "access-control-allow-origin", "*"),
        false => {
            set(out, "access-control-allow-origin", origin);
            set(out, "access-control-allow-credentials", "true");
        }
    }
    set(out, "access-control-allow-methods", &rule.methods.join(", "));
    if !rule.expose.is_empty() {
        set(out, "access-control-expose-headers", &rule.expose.join(", "));
    }
    if let Some(seconds) = rule.max_age_seconds {
        set(out, "access-control-max-age", &seconds.to_string());
    }
}

/// The names in `Access-Control-Request-Headers`, in lower case.
fn requested_headers(headers: &HeaderMap) -> Vec<String> {
    let list = header(headers, "access-control-request-headers").unwrap_or_default();
    let names = list.split(',').map(|name| name.trim().to_ascii_lowercase());
    names.filter(|name| !name.is_empty()).collect()
}

/// Responds to a preflight, which is not signed.
pub(super) async fn preflight(
    deps: &ProxyDeps,
    head: &http::request::Parts,
    trans_id: &Arc<str>,
) -> Result<Reply> {
    let headers = &head.headers;
    let insufficient = |text: &str| S3Error::new(Code::BadRequest).text(text);
    let Some(origin) = header(headers, "origin") else {
        return Err(insufficient("Insufficient information. Origin request header needed."));
    };
    let method = header(headers, "access-control-request-method").unwrap_or("null");
    let methods = [Method::GET, Method::PUT, Method::HEAD, Method::POST, Method::DELETE];
    if methods.iter().all(|known| known.as_str() != method) {
        let text = format!("Invalid Access-Control-Request-Method: {method}");
        return Err(insufficient(&text));
    }
    let Address { bucket, key } = address_of(deps, &head.uri, headers)?;
    let bucket = bucket.unwrap_or_default();
    let forbidden = || {
        S3Error::new(Code::AccessForbidden)
            .with("Method", method)
            .with("ResourceType", if key.is_some() { "OBJECT" } else { "BUCKET" })
    };
    // Without an account the bucket is not known either.
    let claimed = Claimed::of(headers, head.uri.query().unwrap_or_default());
    let own = claimed.account(deps).await.ok_or_else(forbidden)?;
    let rules = match rules(deps, own.as_ref(), &bucket, trans_id).await {
        Err(error) if error.code == Code::AccessDenied => return Err(forbidden()),
        rules => rules?.ok_or_else(forbidden)?,
    };
    let requested = requested_headers(headers);
    let names: Vec<&str> = requested.iter().map(String::as_str).collect();
    let found = rules.find(&CorsQuery { origin, method, headers: &names }).ok_or_else(|| {
        forbidden().text(
            "CORSResponse: This CORS request is not allowed. This is usually because the evaluation \
             of Origin, request method / Access-Control-Request-Method or \
             Access-Control-Request-Headers are not whitelisted by the resource's CORS spec.",
        )
    })?;
    let mut response = status(StatusCode::OK);
    let out = response.headers_mut();
    set_headers(&found, origin, out);
    if !names.is_empty() {
        set(out, "access-control-allow-headers", &names.join(", "));
    }
    set(out, "vary", VARY);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_read_strictly_and_written_back() {
        let document = "<CORSConfiguration><CORSRule><ID>one</ID><AllowedOrigin>*</AllowedOrigin>\
                        <AllowedMethod>GET</AllowedMethod><AllowedMethod>PUT</AllowedMethod>\
                        <AllowedHeader>x-*</AllowedHeader><ExposeHeader>ETag</ExposeHeader>\
                        <MaxAgeSeconds>5</MaxAgeSeconds></CORSRule></CORSConfiguration>";
        let rules = <CorsRules as BucketDocument>::parse(document.as_bytes()).unwrap();
        let mut out = Writer::new();
        rules.render(&mut out);
        let again = <CorsRules as BucketDocument>::parse(out.finish().as_bytes()).unwrap();
        assert_eq!(again, rules);
        let rule = "<AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod>";
        for (inner, code) in [
            (String::new(), Code::MalformedXML),
            (format!("{rule}<Other/>"), Code::MalformedXML),
            (format!("{rule}<MaxAgeSeconds>-1</MaxAgeSeconds>"), Code::MalformedXML),
            (format!("{rule}<MaxAgeSeconds>x</MaxAgeSeconds>"), Code::MalformedXML),
            (format!("{rule}<ID>a</ID><ID>b</ID>"), Code::MalformedXML),
            (format!("{rule}<AllowedMethod>PATCH</AllowedMethod>"), Code::InvalidRequest),
            (format!("{rule}<AllowedOrigin>**</AllowedOrigin>"), Code::InvalidRequest),
            (format!("{rule}<ExposeHeader>a&#13;b</ExposeHeader>"), Code::InvalidRequest),
        ] {
            let document =
                format!("<CORSConfiguration><CORSRule>{inner}</CORSRule></CORSConfiguration>");
            let refused = <CorsRules as BucketDocument>::parse(document.as_bytes()).unwrap_err();
            assert_eq!(refused.code, code, "{inner}");
        }
        for document in ["<CORSConfiguration/>", "<CORSConfiguration><Rule/></CORSConfiguration>"] {
            let refused = <CorsRules as BucketDocument>::parse(document.as_bytes()).unwrap_err();
            assert_eq!(refused.code, Code::MalformedXML, "{document}");
        }
    }
}
