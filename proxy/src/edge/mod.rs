//! The steps of every request before its dialect.
//!
//! In this order: a transaction id, a guard against panics, an access log line, refusals of invalid
//! HTTP, a deadline for each piece of the body, fixed paths, and then the dialect of the request.

pub(crate) mod deadline;
mod info;
pub(crate) mod name_check;
mod refusal;

use std::sync::Arc;

use apus_daemon::http::{format_date, full, header, new_trans_id, record_trans_id, set, text};
use apus_daemon::{Body, Handler, Malformed};
use apus_store::access::noted::{self, RequestTrail};
use async_trait::async_trait;
use futures_util::FutureExt;
use http::{Method, Request, Response, StatusCode};
use http_body::Body as _;

use crate::access_log::LoggedRequest;
use crate::audit::AuditedRequest;
use crate::deps::ProxyDeps;
use crate::s3::S3;
use crate::swift::Swift;

/// The proxy server.
#[derive(Debug)]
pub struct Server {
    swift: Swift,
    s3: S3,
    deps: ProxyDeps,
}

impl Server {
    /// A proxy server with these dependencies.
    pub fn new(deps: ProxyDeps) -> Self {
        Self { swift: Swift::new(deps.clone()), s3: S3::new(deps.clone()), deps }
    }

    async fn route(&self, request: Request<Body>, trans_id: &Arc<str>) -> Response<Body> {
        if let Some(refusal) = refusal::of(&request, &self.deps) {
            return refusal.render(refusal::is_s3(&request, &self.deps), trans_id);
        }
        if let Some(check) = &self.deps.config.name_check
            && let Err(refusal) = check.check(request.uri().path())
        {
            return refusal.render(refusal::is_s3(&request, &self.deps), trans_id);
        }
        // Set here for all bodies, so that no dialect waits for a client indefinitely.
        let limit = std::time::Duration::from_secs(self.deps.config.client_timeout_seconds);
        let request = request.map(|body| match body.is_end_stream() {
            true => body,
            false => deadline::per_piece(body, limit),
        });
        let path = request.uri().path();
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        match path {
            "/healthcheck" if reads => return text(StatusCode::OK, "OK"),
            "/info" if reads => {
                let mut response = Response::new(full(info::document(&self.deps)));
                set(response.headers_mut(), "content-type", "application/json; charset=UTF-8");
                return response;
            }
            "/crossdomain.xml" if *request.method() == Method::GET => {
                if let Some(policy) = &self.deps.config.cross_domain_policy {
                    return cross_domain_document(policy);
                }
            }
            _ => {}
        }
        if self.deps.config.s3api
            && !self.swift.is_named_by(request.headers())
            && S3::speaks(&request, &self.deps)
        {
            self.s3.handle(request, trans_id.clone()).await
        } else {
            self.swift.handle(request, trans_id.clone()).await
        }
    }
}

/// `/crossdomain.xml`, with which plug-ins of browsers ask for the sites that may use this one.
///
/// Source: `swift/common/middleware/crossdomain.py`.
fn cross_domain_document(policy: &str) -> Response<Body> {
    let document = format!(
        "<?xml version=\"1.0\"?>\n<!DOCTYPE cross-domain-policy SYSTEM \
         \"http://www.adobe.com/xml/dtds/cross-domain-policy.dtd\" >\n\
         <cross-domain-policy>\n{policy}\n</cross-domain-policy>"
    );
    let mut response = Response::new(full(document));
    set(response.headers_mut(), "content-type", "application/xml; charset=UTF-8");
    response
}

#[async_trait]
impl Handler for Server {
    async fn call(&self, mut request: Request<Body>) -> Response<Body> {
        let started = self.deps.clock.now();
        let trans_id: Arc<str> = new_trans_id(self.deps.clock.as_ref(), "").into();
        record_trans_id(&trans_id);
        let method = request.method().clone();
        // Query strings may contain signatures, and are not logged.
        let path = request.uri().path().to_owned();
        let agent = header(request.headers(), "user-agent").unwrap_or("-").to_owned();
        let audited = AuditedRequest::begin(&mut request);
        let logged = LoggedRequest::begin(&request, started);
        let route = noted::during(self.route(request, &trans_id));
        let guarded = std::panic::AssertUnwindSafe(route).catch_unwind();
        let (mut response, trail) = guarded.await.unwrap_or_else(|_| {
            tracing::error!(%trans_id, %method, path, "request handler panicked");
            (text(StatusCode::INTERNAL_SERVER_ERROR, "internal error"), RequestTrail::default())
        });
        if let Some(sink) = &self.deps.audit {
            let line = audited.line(&trans_id, started, response.status(), trail.rule.as_deref());
            line.into_iter().for_each(|line| sink.record(line));
        }
        if !trail.logged.is_empty() {
            let logs = &self.deps.access_logs;
            logs.record(&logged, &audited.noted(), &trail, &trans_id, &response);
        }
        let out = response.headers_mut();
        set(out, "x-trans-id", &trans_id);
        set(out, "x-openstack-request-id", &trans_id);
        set(out, "date", &format_date(self.deps.clock.now().as_secs()));
        if method == Method::HEAD {
            *response.body_mut() = apus_daemon::http::empty();
        }
        let elapsed_ms = self.deps.clock.now().saturating_sub(started).as_millis();
        tracing::info!(
            target: "access",
            %method,
            path,
            status = response.status().as_u16(),
            %trans_id,
            elapsed_ms,
            agent,
        );
        response
    }

    fn malformed(&self, refusal: Malformed, head: &str) -> (&'static str, String) {
        refusal::malformed(refusal, head, &self.deps.constraints.valid_api_versions)
    }
}
