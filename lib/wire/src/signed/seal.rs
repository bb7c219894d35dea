//! Sealed answers: those that make a node's configuration or let an operator pull a disk.
//!
//! Ordinary answers are not signed. A server that needs a signed one sends a nonce with its signed
//! request; the answer carries an HMAC-SHA256 under the cluster key over that nonce, the request's
//! method, host and path with query, and the answer's status and body. Only a server with the key can
//! make such an answer, and it is not valid for a new nonce, another server or another path. An
//! unsigned request gets no seal, whatever nonce it sends, so a peer without the key cannot obtain one.

use apus_cluster::backend_auth::BackendAuth;
use apus_daemon::http::{Body, Handler, SharedHandler, full, header, set, text};
use async_trait::async_trait;
use hmac::Mac;
use http::{Method, Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;

use super::VerifiedRequest;
use super::key::{HmacSha256, Key};

/// Header of a request: a nonce.
pub const NONCE: &str = "x-apus-nonce";
/// Header of its answer.
pub const SEAL: &str = "x-apus-seal";
/// Longest sealed answer in bytes. No answer that needs a seal is longer.
const SEALED_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Makes and verifies seals.
#[derive(Debug)]
pub struct Sealer(Vec<Key>);

/// The parts of a request that its sealed answer is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Method of the request.
    pub method: Method,
    /// `Host` of the request: the address of the server that is asked.
    pub host: String,
    /// Path and query.
    pub path: String,
    /// Value of [`NONCE`].
    pub nonce: String,
}

impl Question {
    /// The question of a received request; `None` without a nonce.
    fn of<B>(request: &Request<B>) -> Option<Self> {
        let nonce = header(request.headers(), NONCE)?.to_owned();
        let host = header(request.headers(), http::header::HOST.as_str())?.to_owned();
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Some(Self { method: request.method().clone(), host, path, nonce })
    }
}

/// Each field is preceded by its length, so that no field can be taken for part of the next.
fn cover(key: &Key, question: &Question, status: u16, body: &[u8]) -> HmacSha256 {
    let Question { method, host, path, nonce } = question;
    let mut mac = key.answer();
    for field in ["apus v2 answer", nonce, method.as_str(), host, path] {
        mac.update(&(field.len() as u64).to_be_bytes());
        mac.update(field.as_bytes());
    }
    mac.update(&status.to_be_bytes());
    mac.update(body);
    mac
}

impl Sealer {
    /// With the keys of a cluster.
    pub fn new(auth: &BackendAuth) -> Self {
        Self(auth.keys.iter().map(Key::new).collect())
    }

    /// The seal of an answer; `None` without a key.
    pub fn seal(&self, question: &Question, status: u16, body: &[u8]) -> Option<String> {
        let key = self.0.first()?;
        let mac = cover(key, question, status, body).finalize().into_bytes();
        Some(format!("{} {}", key.id, hex::encode(mac)))
    }

    /// Whether a server that has the key gave this answer to this question.
    pub fn is_good(&self, seal: &str, question: &Question, status: u16, body: &[u8]) -> bool {
        let Some((id, mac)) = seal.split_once(' ') else { return false };
        let (key, mac) = (self.0.iter().find(|key| key.id == id), hex::decode(mac).ok());
        key.zip(mac)
            .is_some_and(|(key, mac)| cover(key, question, status, body).verify_slice(&mac).is_ok())
    }
}

/// Seals what a handler answers below some paths to signed requests with a nonce. It stands behind
/// the [`Guard`](super::Guard), which marks the requests that are signed.
pub struct Sealed {
    inner: SharedHandler,
    sealer: Sealer,
    paths: &'static [&'static str],
}

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealed").field("paths", &self.paths).finish_non_exhaustive()
    }
}

impl Sealed {
    /// `paths`: beginnings of those whose answers are sealed.
    pub fn new(inner: SharedHandler, auth: &BackendAuth, paths: &'static [&'static str]) -> Self {
        Self { inner, sealer: Sealer::new(auth), paths }
    }
}

#[async_trait]
impl Handler for Sealed {
    async fn call(&self, request: Request<Body>) -> Response<Body> {
        let path = request.uri().path();
        let is_sealed = self.paths.iter().any(|beginning| path.starts_with(beginning));
        let is_signed = request.extensions().get::<VerifiedRequest>().is_some();
        let question = if is_sealed && is_signed { Question::of(&request) } else { None };
        let answer = self.inner.call(request).await;
        let is_short = |most: u64| most <= SEALED_BYTES_MAX;
        let Some(question) =
            question.filter(|_| answer.body().size_hint().upper().is_some_and(is_short))
        else {
            return answer;
        };
        let (mut head, body) = answer.into_parts();
        let body = match body.collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => return text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        };
        if let Some(seal) = self.sealer.seal(&question, head.status.as_u16(), &body) {
            set(&mut head.headers, SEAL, &seal);
        }
        Response::from_parts(head, full(body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(digit: &str) -> Sealer {
        let key = digit.repeat(64);
        Sealer::new(&BackendAuth::from_options(&[("cluster_key", &key)]).unwrap())
    }

    fn question() -> Question {
        Question {
            method: Method::GET,
            host: "10.0.0.1:6200".to_owned(),
            path: "/recon/redundancy/object?policy=0".to_owned(),
            nonce: "nonce".to_owned(),
        }
    }

    #[test]
    fn a_seal_fits_one_answer_to_one_question_under_one_key() {
        let ours = sealer("a");
        let asked = question();
        let seal = ours.seal(&asked, 200, b"body").unwrap();
        assert!(ours.is_good(&seal, &asked, 200, b"body"));
        let with = |change: fn(&mut Question)| {
            let mut other = question();
            change(&mut other);
            other
        };
        for (asked, status, body) in [
            (with(|asked| asked.nonce = "other".to_owned()), 200, "body"),
            (with(|asked| asked.nonce = "nonc".to_owned()), 200, "ebody"),
            (with(|asked| asked.method = Method::HEAD), 200, "body"),
            (with(|asked| asked.method = Method::POST), 200, "body"),
            (with(|asked| asked.host = "10.0.0.2:6200".to_owned()), 200, "body"),
            (with(|asked| asked.host = "10.0.0.1:6201".to_owned()), 200, "body"),
            (
                with(|asked| asked.path = "/recon/replication/object?policy=0".to_owned()),
                200,
                "body",
            ),
            (
                with(|asked| asked.path = "/recon/redundancy/object?policy=1".to_owned()),
                200,
                "body",
            ),
            (with(|asked| asked.path = "/recon/redundancy/object".to_owned()), 200, "body"),
            (
                with(|asked| {
                    asked.host = "10.0.0.1:620".to_owned();
                    asked.path = format!("0{}", asked.path);
                }),
                200,
                "body",
            ),
            (question(), 409, "body"),
            (question(), 200, "bodz"),
            (question(), 200, ""),
        ] {
            assert!(
                !ours.is_good(&seal, &asked, status, body.as_bytes()),
                "{asked:?} {status} {body}"
            );
        }
        assert!(!sealer("b").is_good(&seal, &asked, 200, b"body"));
        for bad in ["", " ", "x y", &seal[..seal.len() - 2], &seal.replace(' ', "")] {
            assert!(!ours.is_good(bad, &asked, 200, b"body"), "{bad}");
        }
        assert_eq!(Sealer::new(&BackendAuth::default()).seal(&asked, 200, b"body"), None);
    }
}
