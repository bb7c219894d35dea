//! The door of a server's listener: verifies before the handler sees anything, and fails closed.
//!
//! Only requests from sockets come here; those of the same process are calls.

use std::net::SocketAddr;
use std::sync::Arc;

use apus_cluster::backend_auth::{BackendAuth, Mode};
use apus_daemon::http::{SharedHandler, empty, format_date, header, set, text};
use apus_daemon::serve::{Peer, Reached};
use apus_daemon::{Body, Clock, Handler};
use async_trait::async_trait;
use hmac::Mac;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;

use super::frames::{Altered, Unframed};
use super::key::{HmacSha256, Key};
use super::nonces::{NonceCache, NonceCheck};
use super::signature::{BodyGuard, cover, parse};
use super::{FRAMES, LogRateLimiter, SIGNATURE, VERSION, VerifiedRequest, WINDOW_MS};

/// Paths that need no signature for `GET` and `HEAD`, in addition to `/recon/<check>`; `OPTIONS` is open on every path. The
/// one list of such paths. A signature that such a request has is checked all the same, since its
/// answer may be sealed.
const OPEN_PATHS: [&str; 2] = ["/healthcheck", "/metrics"];
const OPEN_PREFIX: &str = "/recon/";

/// Whether a request needs no signature. A device may be called `recon`: then a number follows.
fn is_open(method: &Method, path: &str) -> bool {
    let check = path.strip_prefix(OPEN_PREFIX).and_then(|rest| rest.split('/').next());
    let is_check = check.is_some_and(|word| {
        word.starts_with(|first: char| first.is_ascii_lowercase())
            && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    });
    matches!(*method, Method::GET | Method::HEAD) && (OPEN_PATHS.contains(&path) || is_check)
}

/// Why a request is refused. Its text goes to the sender and to the log.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Refusal {
    Unsigned,
    NoKey,
    Malformed,
    UnknownKey(String),
    WrongMac,
    Date { theirs_ms: u64, ours_ms: u64 },
    Elsewhere { host: String, reached: Option<SocketAddr> },
    Again,
    Full,
    BodyUnexpected,
    BodyPlain,
    BodyAltered,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unsigned => f.write_str(
                "not signed; this server wants signed requests (swift.conf: [apus] cluster_key)",
            ),
            Self::NoKey => {
                f.write_str("signed, but this server has no key (swift.conf: [apus] cluster_key)")
            }
            Self::Malformed => write!(f, "{SIGNATURE} is not understood"),
            Self::UnknownKey(id) => {
                write!(f, "signed with another cluster key, {id:?}, than this server has")
            }
            Self::WrongMac => f.write_str("signature does not fit the request"),
            Self::Date { theirs_ms, ours_ms } => write!(
                f,
                "signed at {}, and the clock of this server says {}: {} s apart, at most {} are allowed",
                format_date(theirs_ms / 1000),
                format_date(ours_ms / 1000),
                theirs_ms.abs_diff(*ours_ms) / 1000,
                WINDOW_MS / 1000
            ),
            Self::Elsewhere { host, reached } => {
                let reached = reached.map(|address| address.to_string()).unwrap_or_default();
                write!(
                    f,
                    "signed for {host:?}, but came to {reached}; if rings know this server by another address, name it in `reached_as`"
                )
            }
            Self::Again => f.write_str("came before"),
            Self::Full => f.write_str("too many requests to remember"),
            Self::BodyUnexpected => f.write_str("has a body that was not signed"),
            Self::BodyPlain => f.write_str(
                "body is not covered by the signature; its sender has backend_auth = open",
            ),
            Self::BodyAltered => f.write_str("body is not as its sender signed it"),
        }
    }
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::Full => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::UNAUTHORIZED,
        }
    }
}

/// A request whose head was verified.
struct Verified {
    body: BodyGuard,
    length: Option<u64>,
    /// For its frames.
    key: HmacSha256,
}

/// Lets requests of the cluster's own servers through to a handler.
pub struct Guard {
    inner: SharedHandler,
    mode: Mode,
    keys: Vec<Key>,
    clock: Arc<dyn Clock>,
    reached_as: Vec<String>,
    seen: NonceCache,
    log_limit: LogRateLimiter,
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard")
            .field("mode", &self.mode)
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

impl Guard {
    /// Before `inner`. `reached_as` are addresses, as rings have them, under which others know
    /// this server in addition to the one at which a connection arrives.
    pub fn new(
        inner: SharedHandler,
        auth: &BackendAuth,
        clock: Arc<dyn Clock>,
        reached_as: Vec<String>,
    ) -> Self {
        Self {
            inner,
            mode: auth.mode,
            keys: auth.keys.iter().map(Key::new).collect(),
            clock,
            reached_as,
            seen: NonceCache::default(),
            log_limit: LogRateLimiter::default(),
        }
    }

    /// `None`: not signed, which is accepted here.
    fn check(&self, head: &Parts, body: &Body) -> Result<Option<Verified>, Refusal> {
        let mut signatures = head.headers.get_all(SIGNATURE).iter();
        let Some(signature) = signatures.next() else {
            return match self.mode {
                Mode::Open => Ok(None),
                Mode::Signed => Err(Refusal::Unsigned),
            };
        };
        let signature = signature.to_str().ok().filter(|_| signatures.next().is_none());
        let (signature, (claim, mac)) =
            signature.and_then(|text| Some((text, parse(text)?))).ok_or(Refusal::Malformed)?;
        if self.keys.is_empty() {
            // Frames are not for us to read; without them this is as good as unsigned.
            return match claim.body {
                BodyGuard::Frames => Err(Refusal::NoKey),
                BodyGuard::None | BodyGuard::Plain => Ok(None),
            };
        }
        let key = self.keys.iter().find(|key| key.id == claim.key);
        let key = key.ok_or_else(|| Refusal::UnknownKey(claim.key.clone()))?;
        let said = signature.split_once(" mac=").map_or("", |(said, _)| said);
        cover(key.request(), &head.method, &head.uri, &head.headers, said)
            .verify_slice(&mac)
            .map_err(|_| Refusal::WrongMac)?;
        let ours_ms = u64::try_from(self.clock.now().as_millis()).unwrap_or(u64::MAX);
        let theirs_ms = claim.date_ms;
        if theirs_ms.abs_diff(ours_ms) > WINDOW_MS {
            return Err(Refusal::Date { theirs_ms, ours_ms });
        }
        self.check_host(head)?;
        match (claim.body, self.mode) {
            (BodyGuard::None, _) if !body.is_end_stream() => return Err(Refusal::BodyUnexpected),
            (BodyGuard::Plain, Mode::Signed) => return Err(Refusal::BodyPlain),
            _ => {}
        }
        // Half of the nonce is enough to distinguish it from some millions of others.
        match self.seen.note(claim.nonce as u64, theirs_ms, ours_ms) {
            NonceCheck::First => {}
            NonceCheck::Again => return Err(Refusal::Again),
            NonceCheck::Full => return Err(Refusal::Full),
        }
        Ok(Some(Verified { body: claim.body, length: claim.length, key: key.body(&mac) }))
    }

    /// The request must be meant for this server.
    fn check_host(&self, head: &Parts) -> Result<(), Refusal> {
        let host = header(&head.headers, http::header::HOST.as_str()).unwrap_or_default();
        let reached = head.extensions.get::<Reached>().map(|reached| reached.0);
        let plain = |address: SocketAddr| (address.ip().to_canonical(), address.port());
        let is_here = host
            .parse()
            .is_ok_and(|host: SocketAddr| reached.is_some_and(|here| plain(here) == plain(host)));
        if is_here || self.reached_as.iter().any(|known| known.eq_ignore_ascii_case(host)) {
            return Ok(());
        }
        Err(Refusal::Elsewhere { host: host.to_owned(), reached })
    }

    fn refuse(&self, request: &RefusedRequest, refusal: &Refusal) -> Response<Body> {
        if let Some(silent) = self.log_limit.permit(self.clock.now()) {
            let RefusedRequest { peer, method, path } = request;
            let peer = peer.map(|peer| peer.to_string()).unwrap_or_default();
            tracing::warn!(peer, %method, path, silent, "request refused: {refusal}");
        }
        text(refusal.status(), &format!("Request refused: {refusal}\n"))
    }
}

/// Facts of a refused request for its log line.
struct RefusedRequest {
    peer: Option<SocketAddr>,
    method: Method,
    path: String,
}

#[async_trait]
impl Handler for Guard {
    async fn call(&self, request: Request<Body>) -> Response<Body> {
        let (mut head, body) = request.into_parts();
        if head.method == Method::OPTIONS {
            let mut answer = self.inner.call(Request::from_parts(head, empty())).await;
            if !self.keys.is_empty() {
                set(answer.headers_mut(), FRAMES, VERSION);
            }
            return answer;
        }
        let is_signed = head.headers.contains_key(SIGNATURE);
        if !is_signed && is_open(&head.method, head.uri.path()) {
            return self.inner.call(Request::from_parts(head, empty())).await;
        }
        let checked = self.check(&head, &body);
        let refused = RefusedRequest {
            peer: head.extensions.get::<Peer>().map(|peer| peer.0),
            method: head.method.clone(),
            path: head.uri.path().to_owned(),
        };
        let Verified { body: guard, length, key } = match checked {
            Ok(Some(verified)) => verified,
            Ok(None) => return self.inner.call(Request::from_parts(head, body)).await,
            Err(refusal) => return self.refuse(&refused, &refusal),
        };
        head.headers.remove(SIGNATURE);
        head.extensions.insert(VerifiedRequest);
        let altered = Altered::default();
        let body = match guard {
            BodyGuard::Plain => body,
            BodyGuard::None => empty(),
            BodyGuard::Frames => Unframed::new(body, key, altered.clone()).boxed_unsync(),
        };
        if guard != BodyGuard::Plain {
            // What stood here was the length of the frames.
            head.headers.remove(http::header::CONTENT_LENGTH);
        }
        if let Some(length) = length {
            set(&mut head.headers, http::header::CONTENT_LENGTH.as_str(), &length.to_string());
        }
        let answer = self.inner.call(Request::from_parts(head, body)).await;
        if altered.is_set() { self.refuse(&refused, &Refusal::BodyAltered) } else { answer }
    }
}

#[cfg(test)]
mod tests;
