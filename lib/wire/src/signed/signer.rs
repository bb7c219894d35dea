//! Signs requests that leave by TCP.

use std::sync::Arc;

use apus_cluster::backend_auth::{BackendAuth, Mode};
use apus_daemon::{Body, Clock, random};
use hmac::Mac;
use http::{HeaderValue, Request, header};
use http_body::Body as _;
use http_body_util::BodyExt;

use super::SIGNATURE;
use super::frames::Framed;
use super::key::{Key, MAC_BYTES};
use super::signature::{BodyGuard, Claim, cover, header_value};

/// Signs requests with the cluster's first key.
#[derive(Debug)]
pub struct Signer {
    key: Key,
    clock: Arc<dyn Clock>,
    mode: Mode,
}

impl Signer {
    /// `None` when the cluster has no key.
    pub fn new(auth: &BackendAuth, clock: Arc<dyn Clock>) -> Option<Self> {
        let key = Key::new(auth.keys.first()?);
        Some(Self { key, clock, mode: auth.mode })
    }

    /// Whether peers must be asked if they read frames, since they may be Swift's servers or servers
    /// without a key. In a closed cluster they are not asked, since the answer could be forged.
    pub(crate) fn asks(&self) -> bool {
        self.mode == Mode::Open
    }

    /// Signs a request for the server at `address`, and puts its body into frames if the server
    /// reads them. `None` when HTTP cannot carry the address.
    pub(crate) fn sign(
        &self,
        address: &str,
        frames: bool,
        request: Request<Body>,
    ) -> Option<Request<Body>> {
        let (mut head, body) = request.into_parts();
        head.headers.insert(header::HOST, HeaderValue::from_str(address).ok()?);
        let guard = match (body.is_end_stream(), frames) {
            (true, _) => BodyGuard::None,
            (false, true) => BodyGuard::Frames,
            (false, false) => BodyGuard::Plain,
        };
        let given = apus_daemon::http::header(&head.headers, header::CONTENT_LENGTH.as_str());
        let length = given.and_then(|text| text.parse().ok()).or(body.size_hint().exact());
        if guard != BodyGuard::Plain {
            // The length on the wire is that of the frames.
            head.headers.remove(header::CONTENT_LENGTH);
        }
        let claim = Claim {
            key: self.key.id.clone(),
            date_ms: u64::try_from(self.clock.now().as_millis()).unwrap_or(u64::MAX),
            nonce: u128::from_le_bytes(random::bytes()),
            body: guard,
            length: length.filter(|_| guard == BodyGuard::Frames),
        };
        let claim = claim.text();
        let mac = cover(self.key.request(), &head.method, &head.uri, &head.headers, &claim);
        let mac: [u8; MAC_BYTES] = mac.finalize().into_bytes().into();
        let value = HeaderValue::from_str(&header_value(&claim, &mac)).ok()?;
        head.headers.insert(SIGNATURE, value);
        let body = match guard {
            BodyGuard::Frames => Framed::new(body, self.key.body(&mac)).boxed_unsync(),
            BodyGuard::None | BodyGuard::Plain => body,
        };
        Some(Request::from_parts(head, body))
    }
}
