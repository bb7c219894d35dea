//! Answers that must be believed: what makes a node's configuration, or lets an operator pull a disk.
//!
//! Ordinary answers are not signed. Whoever asks for one that is sends a nonce with its (signed)
//! request; the answer has an HMAC-SHA256 under the cluster key of that nonce, its status and its
//! body. So nobody without the key makes an answer, and an old one fits no new question.

use apus_cluster::backend_auth::BackendAuth;
use apus_daemon::http::{Body, Handler, SharedHandler, full, header, set, text};
use async_trait::async_trait;
use hmac::Mac;
use http::{Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;

use super::key::{HmacSha256, Key};

/// Header of a request: a text that is used once.
pub const NONCE: &str = "x-apus-nonce";
/// Header of its answer.
pub const SEAL: &str = "x-apus-seal";
/// Longer answers are not sealed: none that is waited for is.
const SEALED_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Seals answers, and looks at seals.
#[derive(Debug)]
pub struct Sealer(Vec<Key>);

fn cover(key: &Key, nonce: &str, status: u16, body: &[u8]) -> HmacSha256 {
    let mut mac = key.answer();
    mac.update(&(nonce.len() as u64).to_be_bytes());
    mac.update(nonce.as_bytes());
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
    pub fn seal(&self, nonce: &str, status: u16, body: &[u8]) -> Option<String> {
        let key = self.0.first()?;
        let mac = cover(key, nonce, status, body).finalize().into_bytes();
        Some(format!("{} {}", key.id, hex::encode(mac)))
    }

    /// Whether somebody who has the key gave this answer to the question with this nonce.
    pub fn is_good(&self, seal: &str, nonce: &str, status: u16, body: &[u8]) -> bool {
        let Some((id, mac)) = seal.split_once(' ') else { return false };
        let (key, mac) = (self.0.iter().find(|key| key.id == id), hex::decode(mac).ok());
        key.zip(mac)
            .is_some_and(|(key, mac)| cover(key, nonce, status, body).verify_slice(&mac).is_ok())
    }
}

/// Seals what a handler answers below some paths to whoever asks with a nonce.
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
        let nonce = header(request.headers(), NONCE).filter(|_| is_sealed).map(str::to_owned);
        let answer = self.inner.call(request).await;
        let is_short = |most: u64| most <= SEALED_BYTES_MAX;
        let Some(nonce) = nonce.filter(|_| answer.body().size_hint().upper().is_some_and(is_short))
        else {
            return answer;
        };
        let (mut head, body) = answer.into_parts();
        let body = match body.collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => return text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        };
        if let Some(seal) = self.sealer.seal(&nonce, head.status.as_u16(), &body) {
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

    #[test]
    fn a_seal_fits_one_answer_to_one_question_under_one_key() {
        let ours = sealer("a");
        let seal = ours.seal("nonce", 200, b"body").unwrap();
        assert!(ours.is_good(&seal, "nonce", 200, b"body"));
        for (nonce, status, body) in [
            ("other", 200, "body"),
            ("nonce", 409, "body"),
            ("nonce", 200, "bodz"),
            ("nonc", 200, "ebody"),
        ] {
            assert!(
                !ours.is_good(&seal, nonce, status, body.as_bytes()),
                "{nonce} {status} {body}"
            );
        }
        assert!(!sealer("b").is_good(&seal, "nonce", 200, b"body"));
        for bad in ["", " ", "x y", &seal[..seal.len() - 2], &seal.replace(' ', "")] {
            assert!(!ours.is_good(bad, "nonce", 200, b"body"), "{bad}");
        }
        assert_eq!(Sealer::new(&BackendAuth::default()).seal("nonce", 200, b"body"), None);
    }
}
