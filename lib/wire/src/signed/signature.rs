//! `X-Apus-Signature`: its fields, and what its MAC covers.
//!
//! ```text
//! v1 key=<id> date=<milliseconds since 1970> nonce=<32 hex> body=none|frames|plain [length=<bytes>] mac=<64 hex>
//! ```
//!
//! The MAC goes over lines: `apus v1`, method, path with query, `<name>:<value>` of each header by
//! name, an empty line, and the header's own text before ` mac=`. Neither names nor values can hold
//! a line break.

use hmac::Mac;
use http::{HeaderMap, Method, Uri};

use super::key::{HmacSha256, MAC_BYTES};
use super::{SIGNATURE, VERSION};

/// Headers that are not signed: those of one connection, which servers do not see, and the length,
/// which the signature itself contains.
const NOT_SIGNED: [&str; 9] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    SIGNATURE,
];

/// How a request's body is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyGuard {
    /// There is no body.
    None,
    /// By a MAC in each frame.
    Frames,
    /// Not protected: for a receiver that does not read frames, in an open cluster.
    Plain,
}

impl BodyGuard {
    fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Frames => "frames",
            Self::Plain => "plain",
        }
    }

    fn of(word: &str) -> Option<Self> {
        [Self::None, Self::Frames, Self::Plain].into_iter().find(|guard| guard.word() == word)
    }
}

/// The fields of a signature, without its MAC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) key: String,
    pub(super) date_ms: u64,
    pub(super) nonce: u128,
    pub(super) body: BodyGuard,
    /// Length of the body, when the sender knows it.
    pub(super) length: Option<u64>,
}

impl Claim {
    pub(super) fn text(&self) -> String {
        let Self { key, date_ms, nonce, body, length } = self;
        let length = length.map(|length| format!(" length={length}")).unwrap_or_default();
        format!(
            "{VERSION} key={key} date={date_ms} nonce={nonce:032x} body={}{length}",
            body.word()
        )
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        if words.next() != Some(VERSION) {
            return None;
        }
        let mut next = |name: &str| words.next()?.strip_prefix(name)?.strip_prefix('=');
        let claim = Self {
            key: next("key")?.to_owned(),
            date_ms: next("date")?.parse().ok()?,
            nonce: u128::from_str_radix(next("nonce")?, 16).ok()?,
            body: BodyGuard::of(next("body")?)?,
            length: next("length").map(str::parse).transpose().ok()?,
        };
        // Only one spelling is accepted: missing and repeated fields are errors.
        (claim.text() == text).then_some(claim)
    }
}

/// The header's value.
pub(super) fn header_value(claim: &str, mac: &[u8]) -> String {
    format!("{claim} mac={}", hex::encode(mac))
}

/// Splits the header's value into what is claimed and the MAC.
pub(super) fn parse(value: &str) -> Option<(Claim, [u8; MAC_BYTES])> {
    let (claim, digits) = value.split_once(" mac=")?;
    let mut mac = [0; MAC_BYTES];
    hex::decode_to_slice(digits, &mut mac).ok()?;
    Some((Claim::parse(claim)?, mac))
}

/// Feeds a request to a MAC.
pub(super) fn cover(
    mut mac: HmacSha256,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    claim: &str,
) -> HmacSha256 {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    for part in ["apus ", VERSION, "\n", method.as_str(), "\n", path, "\n"] {
        mac.update(part.as_bytes());
    }
    let mut names: Vec<&str> = headers.keys().map(http::HeaderName::as_str).collect();
    names.retain(|name| !NOT_SIGNED.contains(name));
    names.sort_unstable();
    for name in names {
        for value in headers.get_all(name) {
            mac.update(name.as_bytes());
            mac.update(b":");
            // A receiver drops blanks around a value.
            mac.update(value.as_bytes().trim_ascii());
            mac.update(b"\n");
        }
    }
    mac.update(b"\n");
    mac.update(claim.as_bytes());
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim() -> Claim {
        Claim {
            key: "0011aabb".to_owned(),
            date_ms: 1_700_000_000_123,
            nonce: 0xfeed,
            body: BodyGuard::Frames,
            length: Some(5),
        }
    }

    #[test]
    fn a_signature_is_read_as_it_was_written_and_in_no_other_spelling() {
        let mac = [0xab; MAC_BYTES];
        for claim in [claim(), Claim { length: None, body: BodyGuard::None, ..claim() }] {
            let value = header_value(&claim.text(), &mac);
            assert_eq!(parse(&value).unwrap(), (claim, mac));
            let shorter = &value[..value.len() - 2];
            for wrong in [
                value.replace("v1", "v2"),
                value.replace("date=1", "date=01"),
                value.replace("mac=", "x=1 mac="),
                value.replace("nonce=0", "nonce="),
                value.replace("body=", "body=x"),
                value.replace("mac=ab", "mac=+b"),
                shorter.to_owned(),
                format!("{value}ab"),
            ] {
                assert!(parse(&wrong).is_none(), "{wrong}");
            }
        }
    }
}
