//! What happens to every request, in this order: a transaction id; a guard against panics; an
//! access log line; refusals of what is wrong as HTTP; a deadline for each piece of the body; fixed
//! paths; then the dialect that the request speaks.

pub(crate) mod deadline;
mod info;
mod public_url;
mod refusal;

/// When to come back after a refusal for want of memory, in seconds.
pub(crate) const RETRY_AFTER_SECONDS: &str = "1";

use std::sync::Arc;

use apus_cluster::Policies;
use apus_cluster::constraints::Constraints;
use apus_daemon::http::{format_date, full, header, new_trans_id, record_trans_id, set, text};
use apus_daemon::{Body, Clock, Handler, Malformed};
use apus_store::Store;
use async_trait::async_trait;
use futures_util::FutureExt;
use http::{Method, Request, Response, StatusCode};
use http_body::Body as _;

pub use self::public_url::PublicUrl;
use crate::auth::tempauth::TempAuth;
use crate::s3::S3;
use crate::swift::Swift;

/// What a proxy is given at start.
#[derive(Clone)]
pub struct Parts {
    /// The operations.
    pub store: Arc<dyn Store>,
    /// The users.
    pub auth: Arc<TempAuth>,
    /// The policies, for their names.
    pub policies: Policies,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// What clients may send and ask for.
    pub constraints: Arc<Constraints>,
    /// Whether S3 is spoken at all.
    pub s3api: bool,
    /// Host names below which buckets are host names (virtual-host style).
    pub storage_domains: Vec<String>,
    /// Region that S3 signatures must name; empty accepts any.
    pub region: String,
    /// Whether requests signed by version 2 are accepted (presigned URLs always are).
    pub sigv2: bool,
    /// Whether resellers may make and delete accounts (`allow_account_management`).
    pub allow_account_management: bool,
    /// Whether accounts are made by their first write (`account_autocreate`).
    pub account_autocreate: bool,
    /// Most symbolic links in a row (`symloop_max`).
    pub symloop_max: usize,
    /// Whether clients may open what has expired (`allow_open_expired`).
    pub allow_open_expired: bool,
    /// Whether the expirer may be told to delete a manifest's segments (`allow_async_delete`).
    pub allow_async_delete: bool,
    /// Where clients reach this cluster.
    pub public_url: PublicUrl,
    /// Seconds that a client may take between two pieces of a body.
    pub client_timeout_seconds: u64,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("region", &self.region).finish_non_exhaustive()
    }
}

/// The proxy server.
#[derive(Debug)]
pub struct Server {
    swift: Swift,
    s3: S3,
    parts: Parts,
}

impl Server {
    /// A proxy over its parts.
    pub fn new(parts: Parts) -> Self {
        Self { swift: Swift::new(parts.clone()), s3: S3::new(parts.clone()), parts }
    }

    async fn route(&self, request: Request<Body>, trans_id: &Arc<str>) -> Response<Body> {
        if let Some(refusal) = refusal::of(&request, &self.parts) {
            return refusal.render(refusal::is_s3(&request, &self.parts), trans_id);
        }
        // Here for all bodies, so that no dialect waits for a client for ever.
        let limit = std::time::Duration::from_secs(self.parts.client_timeout_seconds);
        let request = request.map(|body| match body.is_end_stream() {
            true => body,
            false => deadline::per_piece(body, limit),
        });
        let path = request.uri().path();
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        match path {
            "/healthcheck" if reads => return text(StatusCode::OK, "OK"),
            "/info" if reads => {
                let mut response = Response::new(full(info::document(&self.parts)));
                set(response.headers_mut(), "content-type", "application/json; charset=UTF-8");
                return response;
            }
            _ => {}
        }
        if self.parts.s3api && S3::speaks(&request, &self.parts) {
            self.s3.handle(request, trans_id.clone()).await
        } else {
            self.swift.handle(request, trans_id.clone()).await
        }
    }
}

#[async_trait]
impl Handler for Server {
    async fn call(&self, request: Request<Body>) -> Response<Body> {
        let started = self.parts.clock.now();
        let trans_id: Arc<str> = new_trans_id(self.parts.clock.as_ref(), "").into();
        record_trans_id(&trans_id);
        let method = request.method().clone();
        // Query strings may hold signatures: they stay out of the log.
        let path = request.uri().path().to_owned();
        let agent = header(request.headers(), "user-agent").unwrap_or("-").to_owned();
        let guarded = std::panic::AssertUnwindSafe(self.route(request, &trans_id)).catch_unwind();
        let mut response = guarded.await.unwrap_or_else(|_| {
            tracing::error!(%trans_id, %method, path, "a handler panicked");
            text(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
        });
        let out = response.headers_mut();
        set(out, "x-trans-id", &trans_id);
        set(out, "x-openstack-request-id", &trans_id);
        set(out, "date", &format_date(self.parts.clock.now().as_secs()));
        if method == Method::HEAD {
            *response.body_mut() = apus_daemon::http::empty();
        }
        let elapsed_ms = self.parts.clock.now().saturating_sub(started).as_millis();
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
        refusal::malformed(refusal, head, &self.parts.constraints.valid_api_versions)
    }
}
