//! Swift's REST API: parses a request, performs one operation, renders the reply.

mod account;
mod account_quotas;
pub(crate) mod bulk_delete;
pub(crate) mod bulk_upload;
mod byteranges;
mod container;
mod cors;
mod domain_remap;
mod error;
mod error_response;
pub(crate) mod etag_quoter;
mod form_post;
mod format;
pub(crate) mod fuzzing;
pub(crate) mod heartbeat;
mod listing;
mod manifest;
mod manifest_report;
mod object;
mod object_head;
mod object_read;
mod page;
mod path;
mod report;
mod request;
mod segment_json;
mod segment_list;
mod sign_in;
#[cfg(test)]
mod snapshots;
mod static_web;
mod static_web_page;
mod symlink;
mod symlink_row;
mod tar_stream;
mod temp_url;
mod unsupported;
mod versions;
mod xml;

use std::net::IpAddr;
use std::sync::Arc;

use apus_cluster::percent;
use apus_daemon::Body;
use apus_daemon::http::{header, set};
use apus_daemon::serve::Peer;
use http::{HeaderMap, Request, StatusCode};

use self::cors::PageOrigin;
use self::error::{Result, SwiftError};
use self::etag_quoter::EtagQuoter;
use self::path::Path;
use self::request::SwiftRequest;
use crate::audit::{Noted, RequestNotes};
use crate::deps::ProxyDeps;
use crate::reply::Reply;

/// The Swift dialect.
#[derive(Debug)]
pub(crate) struct Swift {
    deps: ProxyDeps,
}

impl Swift {
    pub(crate) fn new(deps: ProxyDeps) -> Self {
        Self { deps }
    }

    /// Whether the host of a request stands for an account or container of this dialect.
    pub(crate) fn is_named_by(&self, headers: &HeaderMap) -> bool {
        self.deps.config.domain_remap.as_ref().is_some_and(|config| config.names(headers))
    }

    pub(crate) async fn handle(&self, mut request: Request<Body>, trans_id: Arc<str>) -> Reply {
        let Some(config) = &self.deps.config.domain_remap else {
            return self.handle_path(request, trans_id).await;
        };
        match config.remap(request.headers(), request.uri()) {
            Err(error) => error_response::render(&error),
            Ok(None) => self.handle_path(request, trans_id).await,
            Ok(Some(remapped)) => {
                *request.uri_mut() = remapped.uri.clone();
                let mut response = Box::pin(self.handle_path(request, trans_id)).await;
                remapped.show(&mut response);
                response
            }
        }
    }

    async fn handle_path(&self, request: Request<Body>, trans_id: Arc<str>) -> Reply {
        if request.uri().path().starts_with("/auth/") {
            let notes = RequestNotes::of(request.extensions());
            notes.note(|noted| {
                let user = |name: &str| header(request.headers(), name).map(str::to_owned);
                noted.dialect = Some("swift");
                noted.operation = Some("SignIn".to_owned());
                noted.claimed = user("x-storage-user").or_else(|| user("x-auth-user"));
            });
            let (head, _body) = request.into_parts();
            let signed_in = sign_in::sign_in(&self.deps, &head).await;
            return signed_in.unwrap_or_else(|error| error_response::render(&error));
        }
        let notes = RequestNotes::of(request.extensions());
        notes.note(|noted| noted.dialect = Some("swift"));
        let uri = request.uri().clone();
        let keep_alive = header(request.headers(), "connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("keep-alive"));
        let peer = request.extensions().get::<Peer>().map(|peer| peer.0.ip());
        let mut response = match SwiftRequest::parse(&self.deps, request, trans_id).await {
            Ok((request, body)) => {
                notes.note(|noted| note_names(noted, &request));
                let origin = PageOrigin::of(&self.deps, &request).await;
                let quoter = EtagQuoter::of(&self.deps, &request);
                let result = match request.has_temp_url(&self.deps) {
                    true => Box::pin(self.open(request, peer, body)).await,
                    false => self.dispatch(&request, body).await,
                };
                let mut response = result.unwrap_or_else(|error| error_response::render(&error));
                if let Some(quoter) = quoter {
                    quoter.quote(&self.deps, &mut response).await;
                }
                if let Some(origin) = origin {
                    origin.add(&self.deps.config, response.headers_mut());
                }
                response
            }
            Err(error) => error_response::render(&error),
        };
        let status = response.status();
        let out = response.headers_mut();
        match status {
            // Swift's clients read the length of every response, even of an empty one.
            StatusCode::NO_CONTENT => set(out, "content-length", "0"),
            StatusCode::UNAUTHORIZED => set(out, "www-authenticate", &challenge(uri.path())),
            _ => {}
        }
        if keep_alive {
            set(out, "connection", "keep-alive");
        }
        response
    }

    /// Performs a request with a temporary URL.
    async fn open(
        &self,
        mut request: SwiftRequest,
        peer: Option<IpAddr>,
        body: Body,
    ) -> Result<Reply> {
        let url = temp_url::admit(&self.deps, &mut request, peer).await?;
        let result = self.dispatch(&request, body).await;
        let mut response = result.unwrap_or_else(|error| error_response::render(&error));
        temp_url::render(&self.deps, &request, &url, &mut response);
        Ok(response)
    }

    async fn dispatch(&self, request: &SwiftRequest, body: Body) -> Result<Reply> {
        let deps = &self.deps;
        let manages = deps.config.allow_account_management;
        unsupported::refuse(request, &deps.config)?;
        if form_post::is_requested(request) {
            return Box::pin(form_post::post(deps, request, body)).await;
        }
        if bulk_upload::is_requested(request) {
            return Box::pin(bulk_upload::extract(deps, request, body)).await;
        }
        if bulk_delete::is_requested(request) {
            return bulk_delete::delete(deps, request, body).await;
        }
        match (&request.path, request.head.method.as_str()) {
            (Path::Account(_), "HEAD") => account::head(deps, request).await,
            (Path::Account(_), "GET") => account::get(deps, request).await,
            (Path::Account(_), "POST") => account::post(deps, request).await,
            // A DELETE with a query meant an extension that does not exist here, not the account.
            (Path::Account(_), "DELETE") if request.head.uri.query().is_some() => {
                Err(SwiftError::refused(StatusCode::BAD_REQUEST, ""))
            }
            (Path::Account(_), "PUT") if manages => account::put(deps, request).await,
            (Path::Account(_), "DELETE") if manages => account::delete(deps, request).await,
            (Path::Container(_), "GET" | "HEAD") if static_web::applies(deps, request) => {
                Box::pin(static_web::of_container(deps, request)).await
            }
            (Path::Object(_), "GET" | "HEAD") if static_web::applies(deps, request) => {
                Box::pin(static_web::of_object(deps, request)).await
            }
            (Path::Container(_), "HEAD") => container::head(deps, request).await,
            (Path::Container(_), "GET") if versions::are_listed(request) => {
                versions::list(deps, request).await
            }
            (Path::Container(_), "GET") => container::get(deps, request).await,
            (Path::Container(_), "PUT") => container::put(deps, request).await,
            (Path::Container(_), "POST") => container::post(deps, request).await,
            (Path::Container(_), "DELETE") => container::delete(deps, request).await,
            (Path::Object(_), "HEAD") => object_read::head(deps, request).await,
            (Path::Object(_), "GET") => object_read::get(deps, request).await,
            (Path::Object(_), "PUT") => object::put(deps, request, body).await,
            (Path::Object(_), "POST") => object::post(deps, request).await,
            (Path::Object(_), "DELETE") => object::delete(deps, request).await,
            (Path::Object(_), "COPY") => object::copy(deps, request).await,
            (path, "OPTIONS") => cors::options(deps, request, allowed(path, manages)).await,
            (path, _) => Err(SwiftError::refused(StatusCode::METHOD_NOT_ALLOWED, "")
                .with_header("allow", allowed(path, manages))),
        }
    }
}

/// Notes the caller, the operation and the names of a request for the audit log.
fn note_names(noted: &mut Noted, request: &SwiftRequest) {
    let method = &request.head.method;
    let (kind, account, container, object) = match &request.path {
        Path::Account(account) => ("account", account, None, None),
        Path::Container(path) => ("container", &path.account, Some(&path.container), None),
        Path::Object(path) => {
            let container = &path.container;
            ("object", &container.account, Some(&container.container), Some(&path.object))
        }
    };
    noted.user.clone_from(&request.cx.identity.user);
    noted.operation = Some(match () {
        () if bulk_delete::is_requested(request) => "bulk-delete".to_owned(),
        () if bulk_upload::is_requested(request) => "extract-archive".to_owned(),
        () => format!("{method} {kind}"),
    });
    noted.account = Some(account.as_str().to_owned());
    noted.bucket = container.map(|name| name.as_str().to_owned());
    noted.key = object.map(|name| name.as_str().to_owned());
}

/// The methods that a resource has.
fn allowed(path: &Path, manages_accounts: bool) -> &'static str {
    match path {
        Path::Account(_) if manages_accounts => "DELETE, GET, HEAD, OPTIONS, POST, PUT",
        Path::Account(_) => "GET, HEAD, OPTIONS, POST",
        Path::Container(_) => "DELETE, GET, HEAD, OPTIONS, POST, PUT",
        Path::Object(_) => "COPY, DELETE, GET, HEAD, OPTIONS, POST, PUT",
    }
}

/// `WWW-Authenticate` of a request for a path: its account is the realm, when it has one.
///
/// Source: `www_authenticate` in `swift/common/swob.py`.
fn challenge(raw_path: &str) -> String {
    let decoded = percent::decode(raw_path);
    let mut words = decoded.splitn(4, |byte| *byte == b'/');
    let (root, version, account) = (words.next(), words.next(), words.next());
    let is_named = |word: Option<&[u8]>| word.is_some_and(|word| !word.is_empty());
    let realm = account.filter(|realm| {
        root.is_some_and(<[u8]>::is_empty)
            && is_named(version)
            && is_named(account)
            && ![&b"v1.0"[..], b"auth"].contains(realm)
    });
    let mut quoted = String::new();
    percent::encode_into(&mut quoted, realm.unwrap_or(b"unknown"), b"/");
    format!("Swift realm=\"{quoted}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_realm_of_a_challenge_is_the_quoted_account() {
        for (path, realm) in [
            ("/v1/AUTH_test/c/o", "AUTH_test"),
            ("/v1/AUTH_test", "AUTH_test"),
            ("/v1/AUTH_\"x\"/c", "AUTH_%22x%22"),
            ("/v1/AUTH_%22x%22/c", "AUTH_%22x%22"),
            ("/v1/AUTH_a%5C%22,%20b/c", "AUTH_a%5C%22%2C%20b"),
            ("/v1/AUTH_%0d%0aX:/c", "AUTH_%0D%0AX%3A"),
            ("/v1/%ff/c", "%FF"),
            ("/v1%2FAUTH_test", "AUTH_test"),
            ("/v1", "unknown"),
            ("/v1/", "unknown"),
            ("/v1//c", "unknown"),
            ("//AUTH_test", "unknown"),
            ("/auth/v1.0", "unknown"),
        ] {
            assert_eq!(challenge(path), format!("Swift realm=\"{realm}\""), "{path}");
        }
    }

    #[test]
    fn accounts_have_more_methods_where_they_are_managed() {
        let path = path::parse("/v1/a", &apus_cluster::constraints::Constraints::default());
        let path = path.unwrap();
        assert_eq!(allowed(&path, false), "GET, HEAD, OPTIONS, POST");
        assert_eq!(allowed(&path, true), "DELETE, GET, HEAD, OPTIONS, POST, PUT");
    }

    #[test]
    fn every_method_has_a_line_in_the_access_matrix() {
        let matrix = include_str!("../../../tests/fixtures/access-matrix.txt");
        let mut lines: Vec<String> = matrix
            .lines()
            .filter_map(|line| line.strip_prefix("swift "))
            .map(|line| line.split(' ').take(3).collect::<Vec<_>>().join(" "))
            .collect();
        let mut methods = vec!["POST account bulk-delete".to_owned()];
        let constraints = apus_cluster::constraints::Constraints::default();
        for (path, kind) in
            [("/v1/a", "account"), ("/v1/a/c", "container"), ("/v1/a/c/o", "object")]
        {
            let path = path::parse(path, &constraints).unwrap();
            // A preflight has no credential.
            let own = allowed(&path, true).split(", ").filter(|method| *method != "OPTIONS");
            methods.extend(own.map(|method| format!("{method} {kind} -")));
        }
        lines.sort_unstable();
        methods.sort_unstable();
        assert_eq!(lines, methods);
    }
}
