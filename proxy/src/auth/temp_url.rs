//! Temporary URLs: what a request claims, and whether a key of the owner signed it.
//!
//! Source: `swift/common/middleware/tempurl.py`, `swift/common/digest.py`.

use std::net::IpAddr;

use apus_cluster::timestamp::days_from_civil;
use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use subtle::ConstantTimeEq;

/// Base64 of signatures, with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A digest of signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TempUrlDigest {
    /// HMAC-SHA1, which Swift deprecates.
    Sha1,
    /// HMAC-SHA256.
    Sha256,
    /// HMAC-SHA512.
    Sha512,
}

impl TempUrlDigest {
    /// All digests by name.
    pub const ALL: [(&'static str, Self); 3] =
        [("sha1", Self::Sha1), ("sha256", Self::Sha256), ("sha512", Self::Sha512)];

    /// A digest by its name.
    pub fn parse(name: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        Some(found.1)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, digest)| *digest == self).map_or("", |(name, _)| name)
    }

    fn of_hex(length: usize) -> Option<Self> {
        match length {
            40 => Some(Self::Sha1),
            64 => Some(Self::Sha256),
            128 => Some(Self::Sha512),
            _ => None,
        }
    }

    pub(super) fn sign(self, key: &str, message: &str) -> Vec<u8> {
        fn mac<M: Mac + KeyInit>(key: &str, message: &str) -> Vec<u8> {
            // HMAC takes keys of any length.
            let Ok(mut mac) = <M as KeyInit>::new_from_slice(key.as_bytes()) else {
                return Vec::new();
            };
            mac.update(message.as_bytes());
            mac.finalize().into_bytes().to_vec()
        }
        match self {
            Self::Sha1 => mac::<Hmac<Sha1>>(key, message),
            Self::Sha256 => mac::<Hmac<Sha256>>(key, message),
            Self::Sha512 => mac::<Hmac<Sha512>>(key, message),
        }
    }
}

/// Names of headers; one that ends in `*` stands for all that begin so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderPatterns(Vec<String>);

impl HeaderPatterns {
    /// Parses names between blanks.
    pub fn parse(text: &str) -> Self {
        Self(text.split_whitespace().map(str::to_ascii_lowercase).collect())
    }

    /// Whether a name, in lower case, is one of them.
    pub(crate) fn matches(&self, name: &str) -> bool {
        self.0.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == pattern,
        })
    }

    /// The names.
    pub(crate) fn names(&self) -> &[String] {
        &self.0
    }
}

/// The settings of `[filter:tempurl]`.
#[derive(Debug, Clone, Default)]
pub struct TempUrlConfig {
    /// Methods that temporary URLs may have.
    pub methods: Vec<String>,
    /// Digests of their signatures.
    pub digests: Vec<TempUrlDigest>,
    /// Headers that are removed from requests.
    pub incoming_remove: HeaderPatterns,
    /// Those that are not, nevertheless.
    pub incoming_allow: HeaderPatterns,
    /// Headers that are removed from responses.
    pub outgoing_remove: HeaderPatterns,
    /// Those that are not, nevertheless.
    pub outgoing_allow: HeaderPatterns,
}

/// A URL that is not, or no longer, valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid temporary URL")]
pub struct InvalidTempUrl;

/// What the parameters of a temporary URL say.
#[derive(Clone)]
pub struct TempUrl {
    signature: Vec<u8>,
    /// The digest of the signature.
    pub digest: TempUrlDigest,
    /// End of its validity, in seconds since 1970.
    pub expires: u64,
    /// Prefix of the objects that it opens; it opens one object when absent.
    pub prefix: Option<String>,
    /// Addresses that may use it.
    ip_range: Option<String>,
    /// Name under which a browser saves the object.
    pub filename: Option<String>,
    /// Whether a browser shows the object and does not save it.
    pub inline: bool,
}

impl std::fmt::Debug for TempUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TempUrl").field("expires", &self.expires).finish_non_exhaustive()
    }
}

/// Whether a request claims to be one with a temporary URL.
pub fn is_claimed(query: &[(String, String)]) -> bool {
    query.iter().any(|(name, _)| name == "temp_url_sig" || name == "temp_url_expires")
}

impl TempUrl {
    /// Parses the parameters of a request at `now`, in seconds since 1970.
    ///
    /// # Errors
    /// When the URL has expired, or its signature has no known form.
    pub fn parse(query: &[(String, String)], now: u64) -> Result<Self, InvalidTempUrl> {
        let param =
            |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let given = |name: &str| param(name).filter(|value| !value.is_empty());
        let (digest, signature) =
            given("temp_url_sig").and_then(parse_signature).ok_or(InvalidTempUrl)?;
        let expires = given("temp_url_expires").and_then(parse_expiry).ok_or(InvalidTempUrl)?;
        if expires < now || expires == 0 {
            return Err(InvalidTempUrl);
        }
        Ok(Self {
            signature,
            digest,
            expires,
            prefix: param("temp_url_prefix").map(str::to_owned),
            ip_range: given("temp_url_ip_range").map(str::to_owned),
            filename: given("filename").map(str::to_owned),
            inline: param("inline").is_some(),
        })
    }

    /// Whether a client at this address may use it.
    pub fn allows_address(&self, address: Option<IpAddr>) -> bool {
        match &self.ip_range {
            None => true,
            Some(range) => {
                address.is_some_and(|address| is_in_range(range, address.to_canonical()))
            }
        }
    }

    /// The path that is signed, for an object below `/v1/<account>/<container>/`; `None` where the
    /// object does not have the prefix.
    pub fn signed_path(&self, container: &str, object: &str) -> Option<String> {
        match &self.prefix {
            None => Some(format!("/v1{container}/{object}")),
            Some(prefix) => object
                .starts_with(prefix.as_str())
                .then(|| format!("prefix:/v1{container}/{prefix}")),
        }
    }

    /// Whether `key` signed a request with `method` for that path.
    pub fn is_signed(&self, method: &str, path: &str, key: &str) -> bool {
        let address = self.ip_range.as_ref().map(|range| format!("ip={range}\n"));
        let address = address.unwrap_or_default();
        let message = format!("{address}{method}\n{}\n{path}", self.expires);
        let expected = self.digest.sign(key, &message);
        !expected.is_empty() && bool::from(expected.ct_eq(&self.signature))
    }
}

/// A signature in hexadecimal, or as `<digest>:<base64>` in either alphabet.
pub(super) fn parse_signature(text: &str) -> Option<(TempUrlDigest, Vec<u8>)> {
    let Some((digest, encoded)) = text.split_once(':') else {
        let digest = TempUrlDigest::of_hex(text.len())?;
        let digits = text.as_bytes().chunks_exact(2);
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        return digits.map(byte).collect::<Option<Vec<u8>>>().map(|bytes| (digest, bytes));
    };
    // An unknown digest is refused, as one that is not allowed.
    let digest = TempUrlDigest::ALL.iter().find(|(name, _)| *name == digest)?.1;
    let is_standard = encoded.contains(['+', '/']);
    let encoded = match is_standard {
        true => encoded.to_owned(),
        false => encoded.replace('-', "+").replace('_', "/"),
    };
    Some((digest, BASE64.decode(encoded).ok()?))
}

/// Seconds since 1970, as a number or as `2026-01-31T12:00:00Z`.
fn parse_expiry(text: &str) -> Option<u64> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(seconds);
    }
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let numbers = |text: &str, between: char, lengths: [usize; 3]| {
        let mut words = text.split(between);
        let mut next = |length: usize| {
            let word = words.next().filter(|word| word.len() == length)?;
            word.bytes().all(|byte| byte.is_ascii_digit()).then(|| word.parse::<u64>().ok())?
        };
        let found = (next(lengths[0])?, next(lengths[1])?, next(lengths[2])?);
        words.next().is_none().then_some(found)
    };
    let (year, month, day) = numbers(date, '-', [4, 2, 2])?;
    let (hour, minute, second) = numbers(time, ':', [2, 2, 2])?;
    if hour > 23 || minute > 59 || second > 61 {
        return None;
    }
    let days = days_from_civil(year, month, day)?;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Whether an address is in a network, such as `10.1.0.0/16`, whose host bits must be 0.
fn is_in_range(range: &str, address: IpAddr) -> bool {
    let (network, bits) = match range.split_once('/') {
        Some((network, bits)) => (network, Some(bits)),
        None => (range, None),
    };
    let Ok(network) = network.parse::<IpAddr>() else { return false };
    let (network, address, width) = match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            (u128::from(network.to_bits()), u128::from(address.to_bits()), 32)
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => (network.to_bits(), address.to_bits(), 128),
        _ => return false,
    };
    let bits = match bits.map(str::parse::<u32>) {
        None => width,
        Some(Ok(bits)) if bits <= width => bits,
        Some(_) => return false,
    };
    let host = match width - bits {
        128 => u128::MAX,
        free => (1_u128 << free) - 1,
    };
    network & host == 0 && address & !host == network
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000;

    fn query(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// HMAC-SHA256 of `GET\n1700000001\n/v1/a/c/o` with the key `k`, by Python's `hmac`.
    const SIGNATURE: &str = "8018b79044d6c912d9c0427898820ce59d5a8e68c97bbd640f3f3e04ef422540";

    fn url(more: &[(&str, &str)]) -> Result<TempUrl, InvalidTempUrl> {
        let mut pairs = vec![("temp_url_sig", SIGNATURE), ("temp_url_expires", "1700000001")];
        pairs.extend(more);
        TempUrl::parse(&query(&pairs), NOW)
    }

    #[test]
    fn a_signature_is_of_method_time_and_path() {
        let url = url(&[]).unwrap();
        let path = url.signed_path("/a/c", "o").unwrap();
        assert!(url.is_signed("GET", &path, "k"));
        assert!(!url.is_signed("PUT", &path, "k"));
        assert!(!url.is_signed("GET", "/v1/a/c/p", "k"));
        assert!(!url.is_signed("GET", &path, "other"));
        let later = TempUrl { expires: url.expires + 1, ..url };
        assert!(!later.is_signed("GET", &path, "k"));
    }

    #[test]
    fn a_prefix_and_an_address_are_signed_as_well() {
        let url = url(&[("temp_url_prefix", "o/"), ("temp_url_ip_range", "10.0.0.0/8")]).unwrap();
        assert_eq!(url.signed_path("/a/c", "o/1").unwrap(), "prefix:/v1/a/c/o/");
        assert_eq!(url.signed_path("/a/c", "p"), None);
        assert!(!url.is_signed("GET", "/v1/a/c/o", "k"));
        assert!(url.allows_address("10.1.2.3".parse().ok()));
        assert!(!url.allows_address("11.1.2.3".parse().ok()) && !url.allows_address(None));
    }

    #[test]
    fn signatures_are_in_hexadecimal_or_base64() {
        let bytes = parse_signature(SIGNATURE).unwrap().1;
        let standard = base64::engine::general_purpose::STANDARD.encode(&bytes);
        let safe = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&bytes);
        for text in [format!("sha256:{standard}"), format!("sha256:{safe}")] {
            assert_eq!(parse_signature(&text), Some((TempUrlDigest::Sha256, bytes.clone())));
        }
        for bad in ["", "zz", "md5:AAAA", "sha256:!", &SIGNATURE[1..], &SIGNATURE.replace('a', "g")]
        {
            assert!(parse_signature(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_url_expires() {
        let at = |text: &str| {
            let pairs = [("temp_url_sig", SIGNATURE), ("temp_url_expires", text)];
            TempUrl::parse(&query(&pairs), NOW).map(|url| url.expires)
        };
        assert_eq!(at("1700000000"), Ok(NOW));
        assert_eq!(at("2023-11-14T22:13:21Z"), Ok(NOW + 1));
        for bad in ["", "0", "-5", "1699999999", "2023-11-14", "2023-13-14T22:13:21Z", "x"] {
            assert_eq!(at(bad), Err(InvalidTempUrl), "{bad}");
        }
    }

    #[test]
    fn ranges_are_addresses_or_networks() {
        for (range, address, expected) in [
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("127.0.0.0/8", "127.9.9.9", true),
            ("127.0.0.1/8", "127.0.0.1", false),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("0.0.0.0/33", "8.8.8.8", false),
            ("::/0", "::1", true),
            ("fe80::/10", "fe80::1", true),
            ("fe80::/10", "10.0.0.1", false),
            ("x", "10.0.0.1", false),
            ("10.0.0.0/x", "10.0.0.1", false),
        ] {
            assert_eq!(is_in_range(range, address.parse().unwrap()), expected, "{range} {address}");
        }
    }
}
