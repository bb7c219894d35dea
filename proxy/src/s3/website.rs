//! The document of a bucket's web site, and requests to the hosts of web sites.
//!
//! `<bucket>.<website domain>` serves the bucket to anonymous readers: what its access lists allow.

use std::sync::Arc;

use apus_bucket::website::{
    RedirectScheme, RedirectTarget, RoutingRule, Website, WebsiteError, WebsiteRedirect,
};
use apus_bucket::{ConfigKind, stored};
use apus_cluster::{AccountName, percent};
use apus_daemon::Body;
use apus_daemon::http::{full, header, set, status};
use apus_store::Context;
use apus_store::access::{Identity, RequestFacts};
use apus_store::operation::{HeadContainer, HeadObject};
use http::{HeaderMap, Method, Request, Response, StatusCode};

use super::bucket_config::BucketDocument;
use super::error::{Code, Result, S3Error};
use super::facts::{self, AuthType};
use super::object::get;
use super::operation::Operation;
use super::request::{self, S3Request};
use super::sign::Payload;
use super::xml::{self, Element, Writer};
use super::{address, namespace};
use crate::deps::ProxyDeps;
use crate::reply::Reply;

const DOCUMENT: xml::Schema = xml::Schema {
    root: "WebsiteConfiguration",
    item: "RoutingRules",
    items_max: 1,
    within_max: 1000,
};

/// Name of our own authority.
const SYSTEM: &str = "website";

impl From<WebsiteError> for S3Error {
    fn from(error: WebsiteError) -> Self {
        let code = match error {
            WebsiteError::NoIndex | WebsiteError::Index(_) | WebsiteError::ErrorKey => {
                Code::InvalidArgument
            }
            WebsiteError::EmptyRedirect => Code::MalformedXML,
            _ => Code::InvalidRequest,
        };
        Self::new(code).text(error.to_string())
    }
}

fn malformed() -> S3Error {
    S3Error::new(Code::MalformedXML)
}

/// Puts a text into its place, which must be empty.
fn fill<T>(place: &mut Option<T>, value: T) -> Result<()> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(malformed()),
    }
}

/// The text of an element without children.
fn text(element: &Element) -> Result<String> {
    if element.children.is_empty() { Ok(element.text.clone()) } else { Err(malformed()) }
}

fn number(element: &Element) -> Result<u16> {
    text(element)?.trim().parse().map_err(|_| malformed())
}

/// The text of the only child of an element, which has this name.
fn only(element: &Element, name: &str) -> Result<String> {
    match element.children.as_slice() {
        [child] if child.name == name => text(child),
        _ => Err(malformed()),
    }
}

fn parse_redirect(element: &Element, is_all: bool) -> Result<WebsiteRedirect> {
    let mut redirect = WebsiteRedirect::default();
    for child in &element.children {
        match child.name.as_str() {
            "HostName" => fill(&mut redirect.host, text(child)?)?,
            "Protocol" => {
                let scheme = RedirectScheme::parse(&text(child)?).ok_or_else(|| {
                    S3Error::new(Code::InvalidRequest).text(
                        "Invalid protocol, protocol can be http or https. If not defined the \
                         protocol will be selected automatically.",
                    )
                })?;
                fill(&mut redirect.scheme, scheme)?;
            }
            "ReplaceKeyPrefixWith" if !is_all => fill(&mut redirect.replace_prefix, text(child)?)?,
            "ReplaceKeyWith" if !is_all => fill(&mut redirect.replace_key, text(child)?)?,
            "HttpRedirectCode" if !is_all => fill(&mut redirect.status, number(child)?)?,
            _ => return Err(malformed()),
        }
    }
    Ok(redirect)
}

fn parse_rule(element: &Element) -> Result<RoutingRule> {
    let (mut redirect, mut rule) = (None, RoutingRule::default());
    if element.name != "RoutingRule" {
        return Err(malformed());
    }
    for child in &element.children {
        match child.name.as_str() {
            "Redirect" => fill(&mut redirect, parse_redirect(child, false)?)?,
            "Condition" if !child.children.is_empty() => {
                for part in &child.children {
                    match part.name.as_str() {
                        "KeyPrefixEquals" => fill(&mut rule.prefix, text(part)?)?,
                        "HttpErrorCodeReturnedEquals" => {
                            fill(&mut rule.error_status, number(part)?)?;
                        }
                        _ => return Err(malformed()),
                    }
                }
            }
            _ => return Err(malformed()),
        }
    }
    rule.redirect = redirect.ok_or_else(malformed)?;
    Ok(rule)
}

fn render_redirect(name: &str, redirect: &WebsiteRedirect, out: &mut Writer) {
    out.open(name);
    for (element, text) in [
        ("Protocol", redirect.scheme.map(RedirectScheme::name)),
        ("HostName", redirect.host.as_deref()),
        ("ReplaceKeyPrefixWith", redirect.replace_prefix.as_deref()),
        ("ReplaceKeyWith", redirect.replace_key.as_deref()),
    ] {
        if let Some(text) = text {
            out.text(element, text);
        }
    }
    if let Some(status) = redirect.status {
        out.number("HttpRedirectCode", status);
    }
    out.close(name);
}

fn render_rules(rules: &[RoutingRule], out: &mut Writer) {
    out.open("RoutingRules");
    for rule in rules {
        out.open("RoutingRule");
        if rule.prefix.is_some() || rule.error_status.is_some() {
            out.open("Condition");
            if let Some(prefix) = &rule.prefix {
                out.text("KeyPrefixEquals", prefix);
            }
            if let Some(status) = rule.error_status {
                out.number("HttpErrorCodeReturnedEquals", status);
            }
            out.close("Condition");
        }
        render_redirect("Redirect", &rule.redirect, out);
        out.close("RoutingRule");
    }
    out.close("RoutingRules");
}

impl BucketDocument for Website {
    const KIND: ConfigKind = ConfigKind::Website;
    const MISSING: Code = Code::NoSuchWebsiteConfiguration;

    fn parse(document: &[u8]) -> Result<Self> {
        let mut site = Self::default();
        xml::read(document, &DOCUMENT, |child| match child.name.as_str() {
            "IndexDocument" => fill(&mut site.index_suffix, only(&child, "Suffix")?),
            "ErrorDocument" => fill(&mut site.error_key, only(&child, "Key")?),
            "RedirectAllRequestsTo" => fill(&mut site.redirect_all, parse_redirect(&child, true)?),
            "RoutingRules" => {
                site.rules = child.children.iter().map(parse_rule).collect::<Result<Vec<_>>>()?;
                Ok(())
            }
            _ => Err(malformed()),
        })?;
        site.check()?;
        Ok(site)
    }

    fn render(&self, out: &mut Writer) {
        out.root("WebsiteConfiguration");
        if let Some(redirect) = &self.redirect_all {
            render_redirect("RedirectAllRequestsTo", redirect, out);
        }
        for (element, inner, text) in [
            ("IndexDocument", "Suffix", &self.index_suffix),
            ("ErrorDocument", "Key", &self.error_key),
        ] {
            if let Some(text) = text {
                out.open(element);
                out.text(inner, text);
                out.close(element);
            }
        }
        if !self.rules.is_empty() {
            render_rules(&self.rules, out);
        }
        out.close("WebsiteConfiguration");
    }
}

/// The bucket of a web site's host.
pub(super) fn bucket_of(headers: &HeaderMap, deps: &ProxyDeps) -> Option<String> {
    address::bucket_of_host(headers, &deps.config.website_domains)
}

/// A request to a web site.
struct SiteRequest<'a> {
    deps: &'a ProxyDeps,
    bucket: String,
    account: AccountName,
    key: String,
    method: Method,
    headers: HeaderMap,
    trans_id: Arc<str>,
    facts: Arc<dyn RequestFacts>,
}

impl SiteRequest<'_> {
    /// The request for an object with these headers.
    fn object(&self, key: &str, headers: HeaderMap) -> Result<S3Request> {
        let mut head = Request::builder().method(self.method.clone());
        if let Some(known) = head.headers_mut() {
            *known = headers;
        }
        let (head, ()) = head.body(()).map_err(|_| S3Error::new(Code::InvalidURI))?.into_parts();
        let referrer = header(&self.headers, "referer").map(str::to_owned);
        Ok(S3Request {
            operation: Operation::GetObject,
            head,
            body: Body::default(),
            payload: Payload::Unsigned,
            query: Vec::new(),
            account: self.account.clone(),
            source_account: None,
            bucket: Some(self.bucket.clone()),
            key: Some(key.to_owned()),
            cx: Context {
                facts: Some(self.facts.clone()),
                ..request::context(
                    self.trans_id.clone(),
                    Identity { referrer, ..Identity::default() },
                )
            },
            owner: self.account.to_string(),
        })
    }

    /// The configuration of the site.
    async fn site(&self) -> Result<Website> {
        let request = self.object("", HeaderMap::new())?;
        let container = request.container()?;
        let cx = request.cx.as_system(SYSTEM);
        let head = self.deps.store.head_container(&cx, HeadContainer { container }).await?;
        stored::load(Website::KIND, &head.headers)?.ok_or_else(|| {
            S3Error::new(Code::NoSuchWebsiteConfiguration).with("BucketName", &*self.bucket)
        })
    }

    /// Whether anonymous callers may read an object of this key, which exists.
    async fn exists(&self, key: &str) -> Result<bool> {
        let request = self.object(key, HeaderMap::new())?;
        let op = HeadObject::new(request.object()?);
        Ok(self.deps.store.head_object(&request.cx, op).await.is_ok())
    }

    async fn serve(&self, site: &Website) -> Result<Reply> {
        if let Some(target) = site.redirect(&self.key, None) {
            return Ok(self.redirected(&target));
        }
        let request = self.object(&site.document_key(&self.key), self.headers.clone())?;
        let error = match get::get(self.deps, request).await {
            Ok(reply) => return Ok(reply),
            Err(error) => error,
        };
        if error.code == Code::NoSuchKey
            && let Some(index) = site.folder_index(&self.key)
            && self.exists(&index).await?
        {
            let key = format!("{}/", self.key);
            let target = RedirectTarget { status: 302, scheme: None, host: None, key };
            return Ok(self.redirected(&target));
        }
        let status = error.code.status();
        if status < 400 || status == 416 || status == 412 {
            return Err(error);
        }
        if let Some(target) = site.redirect(&self.key, Some(status)) {
            return Ok(self.redirected(&target));
        }
        if status < 500
            && let Some(key) = &site.error_key
            && let Ok(mut reply) = get::get(self.deps, self.object(key, HeaderMap::new())?).await
        {
            *reply.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::NOT_FOUND);
            return Ok(reply);
        }
        Err(error)
    }

    /// A redirect. What the rule leaves open stays that of the request, since the URL is relative then.
    fn redirected(&self, target: &RedirectTarget) -> Reply {
        let path = percent::encode_path(&target.key);
        let own = header(&self.headers, "host").unwrap_or_default();
        let host = target.host.as_deref().unwrap_or(own);
        let url = match (target.scheme, &target.host) {
            (Some(scheme), _) => format!("{}://{host}/{path}", scheme.name()),
            (None, Some(_)) => format!("//{host}/{path}"),
            // A path that begins with a slash would name a host.
            (None, None) if path.starts_with('/') => format!("//{host}/{path}"),
            (None, None) => format!("/{path}"),
        };
        let mut response =
            status(StatusCode::from_u16(target.status).unwrap_or(StatusCode::MOVED_PERMANENTLY));
        set(response.headers_mut(), "location", &url);
        response
    }
}

/// Serves a request to the host of a bucket's web site.
///
/// # Errors
/// `MethodNotAllowed`; the errors of the object, if the site has no document for them.
pub(super) async fn serve(
    deps: &ProxyDeps,
    head: http::request::Parts,
    bucket: String,
    trans_id: Arc<str>,
) -> Result<Reply> {
    let facts = facts::of(deps, &head, Operation::GetObject, AuthType::None, &[]);
    let method = head.method;
    if !matches!(method, Method::GET | Method::HEAD) {
        return Err(S3Error::new(Code::MethodNotAllowed)
            .with("Method", method.as_str())
            .with("ResourceType", "OBJECT"));
    }
    let cx = request::context(trans_id.clone(), Identity::default());
    let account = namespace::account(deps, &cx, None, &bucket).await?;
    let path = head.uri.path();
    let key = percent::decode_utf8(path.strip_prefix('/').unwrap_or(path))
        .filter(|key| !key.contains('\0'))
        .ok_or_else(|| S3Error::new(Code::InvalidURI))?;
    let headers = head.headers;
    let site = SiteRequest { deps, bucket, account, key, method, headers, trans_id, facts };
    let website = site.site().await?;
    site.serve(&website).await
}

/// An error of a web site as a page, which browsers show.
pub(super) fn error_page(error: &S3Error, trans_id: &str) -> Reply {
    let status = StatusCode::from_u16(error.code.status()).unwrap_or(StatusCode::BAD_REQUEST);
    let title = status.to_string();
    let mut out = Writer::html();
    for name in ["html", "head"] {
        out.open(name);
    }
    out.text("title", &title);
    out.close("head");
    out.open("body");
    out.text("h1", &title);
    out.open("ul");
    let shown = [("Code", error.code.name()), ("Message", &*error.message)];
    let extra = error.extra.iter().map(|(name, value)| (*name, value.as_str()));
    for (name, value) in shown.into_iter().chain(extra).chain([("RequestId", trans_id)]) {
        out.text("li", &format!("{name}: {value}"));
    }
    out.close("ul");
    out.close("body");
    out.close("html");
    let mut response = Response::new(full(out.finish()));
    *response.status_mut() = status;
    set(response.headers_mut(), "content-type", "text/html; charset=utf-8");
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_read_strictly_and_written_back() {
        let document = "<WebsiteConfiguration><IndexDocument><Suffix>i</Suffix></IndexDocument>\
            <ErrorDocument><Key>e</Key></ErrorDocument><RoutingRules><RoutingRule><Condition>\
            <KeyPrefixEquals>a</KeyPrefixEquals><HttpErrorCodeReturnedEquals>404\
            </HttpErrorCodeReturnedEquals></Condition><Redirect><Protocol>https</Protocol>\
            <HostName>h</HostName><ReplaceKeyWith>k</ReplaceKeyWith><HttpRedirectCode>302\
            </HttpRedirectCode></Redirect></RoutingRule></RoutingRules></WebsiteConfiguration>";
        let site = <Website as BucketDocument>::parse(document.as_bytes()).unwrap();
        let mut out = Writer::new();
        site.render(&mut out);
        assert_eq!(<Website as BucketDocument>::parse(out.finish().as_bytes()).unwrap(), site);
        let index = "<IndexDocument><Suffix>i</Suffix></IndexDocument>";
        let rule = |inner: &str| {
            format!("{index}<RoutingRules><RoutingRule>{inner}</RoutingRule></RoutingRules>")
        };
        for (inner, code) in [
            (String::new(), Code::InvalidArgument),
            ("<IndexDocument/>".to_owned(), Code::MalformedXML),
            (format!("{index}{index}"), Code::MalformedXML),
            (format!("{index}<Other/>"), Code::MalformedXML),
            (format!("{index}<RedirectAllRequestsTo/>"), Code::InvalidRequest),
            ("<RedirectAllRequestsTo/>".to_owned(), Code::InvalidRequest),
            (rule(""), Code::MalformedXML),
            (rule("<Redirect/>"), Code::MalformedXML),
            (rule("<Condition/><Redirect><HostName>h</HostName></Redirect>"), Code::MalformedXML),
            (rule("<Redirect><Protocol>ftp</Protocol></Redirect>"), Code::InvalidRequest),
            (
                rule("<Redirect><HttpRedirectCode>x</HttpRedirectCode></Redirect>"),
                Code::MalformedXML,
            ),
        ] {
            let document = format!("<WebsiteConfiguration>{inner}</WebsiteConfiguration>");
            let refused = <Website as BucketDocument>::parse(document.as_bytes()).unwrap_err();
            assert_eq!(refused.code, code, "{inner}");
        }
    }
}
