//! The audit log: one line of JSON for each request that changes something or is refused.
//!
//! While a request is handled, its dialect notes who asks and for what. When it is answered, the edge makes
//! the line. Queries are not recorded, and of the headers only `User-Agent`: no secret, token or signature
//! is in a line.

use std::sync::{Arc, Mutex, PoisonError};

use apus_cluster::Timestamp;
use apus_daemon::http::header;
use apus_daemon::serve::Peer;
use http::{HeaderMap, Method, Request, StatusCode};
use serde::Serialize;

/// Receives the lines of the audit log. A request must not wait for it.
pub trait AuditSink: Send + Sync + std::fmt::Debug {
    /// Takes a line without its line end.
    fn record(&self, line: String);
}

/// Longest `User-Agent` in a line, in bytes.
const AGENT_BYTES_MAX: usize = 256;
/// Longest name in a line, in bytes: those of requests that are refused have any length.
const NAME_BYTES_MAX: usize = 2048;

/// What a dialect notes of a request. Names are as the client gave them.
#[derive(Debug, Default, Clone)]
pub(crate) struct Noted {
    /// `s3` or `swift`; `None` for what has no dialect.
    pub(crate) dialect: Option<&'static str>,
    /// The operation, in AWS's or Swift's words.
    pub(crate) operation: Option<String>,
    /// The access key or user that the request claims to be of.
    pub(crate) claimed: Option<String>,
    /// The user, when the claim was verified.
    pub(crate) user: Option<String>,
    /// The account of the bucket or container.
    pub(crate) account: Option<String>,
    pub(crate) bucket: Option<String>,
    pub(crate) key: Option<String>,
    /// Code of the error document.
    pub(crate) error: Option<String>,
}

/// The notes of one request; a clone shares them.
#[derive(Debug, Default, Clone)]
pub(crate) struct RequestNotes(Arc<Mutex<Noted>>);

impl RequestNotes {
    /// Those of a request, which the edge gave it.
    pub(crate) fn of(extensions: &http::Extensions) -> Self {
        extensions.get::<Self>().cloned().unwrap_or_default()
    }

    pub(crate) fn note(&self, note: impl FnOnce(&mut Noted)) {
        note(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn noted(&self) -> Noted {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[derive(Serialize)]
struct AuditLine<'a> {
    time: String,
    trans_id: &'a str,
    request_id: &'a str,
    dialect: Option<&'a str>,
    operation: Option<&'a str>,
    method: &'a str,
    user: Option<&'a str>,
    access_key: Option<&'a str>,
    account: Option<&'a str>,
    bucket: Option<&'a str>,
    key: Option<&'a str>,
    status: u16,
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    source_ip: Option<String>,
    agent: &'a str,
}

/// What the edge knows of a request before its dialect consumes it.
#[derive(Debug)]
pub(crate) struct AuditedRequest {
    method: Method,
    agent: String,
    source_ip: Option<String>,
    has_credential: bool,
    notes: RequestNotes,
}

/// Beginnings of parameters that are parts of a credential.
const CREDENTIAL_PARAMETERS: [&str; 4] =
    ["X-Amz-Credential=", "X-Amz-Signature=", "AWSAccessKeyId=", "Signature="];

fn has_credential(headers: &HeaderMap, query: &str) -> bool {
    ["authorization", "x-auth-token", "x-storage-token", "x-auth-user", "x-storage-user"]
        .iter()
        .any(|name| headers.contains_key(*name))
        || query
            .split('&')
            .any(|pair| CREDENTIAL_PARAMETERS.iter().any(|start| pair.starts_with(start)))
}

/// The beginning of a text, cut at a character.
fn cut(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or_default()
}

fn name(text: Option<&String>) -> Option<&str> {
    text.map(|text| cut(text, NAME_BYTES_MAX))
}

/// Codes with which a credential is refused and whose status is not 401 or 403.
const REFUSALS: [&str; 3] =
    ["AuthorizationHeaderMalformed", "AuthorizationQueryParametersError", "InvalidToken"];

impl AuditedRequest {
    /// Gives a request its notes.
    pub(crate) fn begin<B>(request: &mut Request<B>) -> Self {
        let notes = RequestNotes::default();
        request.extensions_mut().insert(notes.clone());
        let headers = request.headers();
        let agent = header(headers, "user-agent").unwrap_or_default();
        Self {
            method: request.method().clone(),
            agent: cut(agent, AGENT_BYTES_MAX).to_owned(),
            source_ip: request.extensions().get::<Peer>().map(|peer| peer.0.ip().to_string()),
            has_credential: has_credential(headers, request.uri().query().unwrap_or_default()),
            notes,
        }
    }

    /// What was noted of the request.
    pub(crate) fn noted(&self) -> Noted {
        self.notes.noted()
    }

    /// Whether the request is recorded: it changes something, or its credential or its sender is refused.
    /// Refused requests without a credential are not: anybody could fill the log with them.
    fn is_recorded(&self, noted: &Noted, status: StatusCode) -> bool {
        let changes = !matches!(self.method, Method::GET | Method::HEAD | Method::OPTIONS);
        let is_refused = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
            || noted.error.as_deref().is_some_and(|code| REFUSALS.contains(&code));
        let has_credential = self.has_credential || noted.claimed.is_some();
        match has_credential {
            true => changes || is_refused,
            false => changes && status.is_success(),
        }
    }

    /// The line of an answered request, if it has one.
    pub(crate) fn line(
        &self,
        trans_id: &str,
        now: std::time::Duration,
        status: StatusCode,
        rule: Option<&str>,
    ) -> Option<String> {
        let noted = self.notes.noted();
        if !self.is_recorded(&noted, status) {
            return None;
        }
        let line = AuditLine {
            time: Timestamp::from_duration(now).iso_millis(),
            trans_id,
            request_id: trans_id,
            dialect: noted.dialect,
            operation: noted.operation.as_deref(),
            method: self.method.as_str(),
            user: name(noted.user.as_ref()),
            access_key: name(noted.claimed.as_ref()),
            account: name(noted.account.as_ref()),
            bucket: name(noted.bucket.as_ref()),
            key: name(noted.key.as_ref()),
            status: status.as_u16(),
            error: noted.error.as_deref(),
            rule,
            source_ip: self.source_ip.clone(),
            agent: &self.agent,
        };
        serde_json::to_string(&line).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
        status: u16,
        error: &str,
    ) -> Option<String> {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(()).unwrap();
        let audited = AuditedRequest::begin(&mut request);
        let notes = RequestNotes::of(request.extensions());
        notes.note(|noted| {
            noted.error = Some(error.to_owned()).filter(|code| !code.is_empty());
            noted.bucket = Some("b\"\n\u{1}".to_owned());
        });
        let status = StatusCode::from_u16(status).unwrap();
        let now = std::time::Duration::from_millis(1_700_000_000_120);
        audited.line("tx1", now, status, Some("the account's own user"))
    }

    #[test]
    fn changes_and_refusals_are_recorded_and_reads_are_not() {
        let signed = [("authorization", "AWS4-HMAC-SHA256 secret")];
        let token = [("x-auth-token", "AUTH_tk_secret")];
        let query = "/b/k?X-Amz-Signature=secret&X-Amz-Credential=x";
        for (method, uri, headers, status, error, recorded) in [
            ("PUT", "/b/k", &signed[..], 200, "", true),
            ("DELETE", "/b/k", &token[..], 204, "", true),
            ("PUT", "/b/k", &signed[..], 503, "SlowDown", true),
            ("PUT", "/b/k", &[][..], 200, "", true),
            ("PUT", "/b/k", &[][..], 403, "AccessDenied", false),
            ("GET", "/b/k", &signed[..], 200, "", false),
            ("GET", "/b/k", &signed[..], 404, "NoSuchKey", false),
            ("GET", "/b/k", &signed[..], 403, "SignatureDoesNotMatch", true),
            ("GET", "/b/k", &signed[..], 400, "AuthorizationHeaderMalformed", true),
            ("GET", "/b/k", &token[..], 401, "", true),
            ("GET", "/b/k", &[][..], 403, "AccessDenied", false),
            ("GET", query, &[][..], 403, "AccessDenied", true),
            ("OPTIONS", "/b/k", &signed[..], 200, "", false),
            (
                "GET",
                "/auth/v1.0",
                &[("x-auth-user", "a:u"), ("x-auth-key", "secret")][..],
                401,
                "",
                true,
            ),
        ] {
            let found = line(method, uri, headers, status, error);
            assert_eq!(found.is_some(), recorded, "{method} {uri} {status}");
            assert!(!found.unwrap_or_default().contains("secret"), "{method} {uri}");
        }
    }

    #[test]
    fn a_line_is_one_line_of_json() {
        let agent = "a".repeat(1000);
        let headers = [("authorization", "x"), ("user-agent", agent.as_str())];
        let line = line("PUT", "/b/k?secret", &headers, 403, "AccessDenied").unwrap();
        assert!(!line.contains('\n') && !line.contains("secret"));
        let parsed: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(parsed["time"], "2023-11-14T22:13:20.120Z");
        assert_eq!(parsed["bucket"], "b\"\n\u{1}");
        assert_eq!(parsed["status"], 403);
        assert_eq!(parsed["agent"].as_str().unwrap().len(), AGENT_BYTES_MAX);
        assert!(parsed["user"].is_null());
    }
}
