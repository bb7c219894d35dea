//! Bucket and key of a request: in the path, or the bucket in the host name.

use apus_cluster::percent;
use apus_daemon::http::header;
use http::HeaderMap;

use super::Result;
use super::error::{Code, S3Error};

/// What a request names.
pub(super) struct Address {
    pub(super) bucket: Option<String>,
    pub(super) key: Option<String>,
}

/// The bucket in a host name below one of our domains.
pub(super) fn bucket_of_host(headers: &HeaderMap, domains: &[String]) -> Option<String> {
    let host = header(headers, "host")?;
    let host = host.rsplit_once(':').map_or(host, |(name, port)| {
        if port.bytes().all(|byte| byte.is_ascii_digit()) { name } else { host }
    });
    domains.iter().find_map(|domain| {
        let domain = domain.trim_start_matches('.');
        let bucket = host.strip_suffix(domain)?.strip_suffix('.')?;
        (!bucket.is_empty()).then(|| bucket.to_ascii_lowercase())
    })
}

/// Reads names from the raw path.
pub(super) fn parse(head: &http::request::Parts, domains: &[String]) -> Result<Address> {
    let raw = head.uri.path();
    let raw = raw.strip_prefix('/').unwrap_or(raw);
    let decode = |text: &str| {
        percent::decode_utf8(text)
            .filter(|text| !text.contains('\0'))
            .ok_or_else(|| S3Error::new(Code::InvalidURI))
    };
    let (bucket, key) = match bucket_of_host(&head.headers, domains) {
        Some(bucket) => (bucket, decode(raw)?),
        None => {
            let (bucket, key) = raw.split_once('/').unwrap_or((raw, ""));
            (decode(bucket)?, decode(key)?)
        }
    };
    let some = |text: String| Some(text).filter(|text| !text.is_empty());
    Ok(Address { bucket: some(bucket), key: some(key) })
}

/// The query's pairs, decoded.
pub(super) fn query(raw: &str) -> Result<Vec<(String, String)>> {
    raw.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decode = |text: &str| {
                percent::decode_utf8(&text.replace('+', " "))
                    .ok_or_else(|| S3Error::new(Code::InvalidURI))
            };
            Ok((decode(key)?, decode(value)?))
        })
        .collect()
}

/// Whether a bucket may have this name (AWS's general purpose bucket rules).
pub(super) fn is_bucket_name(name: &str) -> bool {
    let edge = |byte: Option<&u8>| {
        byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    let bytes = name.as_bytes();
    (3..=63).contains(&name.len())
        && bytes.iter().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-')
        })
        && edge(bytes.first())
        && edge(bytes.last())
        && !name.contains("..")
        && name.parse::<std::net::Ipv4Addr>().is_err()
}

/// Whether an existing container of this name is reachable as a bucket: S3's oldest, widest rule,
/// so that containers which Swift clients made are, and the hidden `+segments` ones are not.
pub(super) fn may_be_bucket(name: &str) -> bool {
    (3..=255).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_names_follow_awss_rules() {
        for good in
            ["abc", "a.b-c1", "x23456789012345678901234567890123456789012345678901234567890123"]
        {
            assert!(is_bucket_name(good), "{good}");
        }
        for bad in ["ab", "Abc", "a_b", "-abc", "abc-", "a..b", "192.168.5.4", "a/b", ".abc"] {
            assert!(!is_bucket_name(bad), "{bad}");
        }
    }

    #[test]
    fn a_host_below_a_domain_names_a_bucket() {
        let mut headers = HeaderMap::new();
        headers.insert("host", "photos.localhost:8080".parse().unwrap());
        let domains = ["localhost".to_owned()];
        assert_eq!(bucket_of_host(&headers, &domains).as_deref(), Some("photos"));
        headers.insert("host", "localhost:8080".parse().unwrap());
        assert_eq!(bucket_of_host(&headers, &domains), None);
        headers.insert("host", "127.0.0.1:8080".parse().unwrap());
        assert_eq!(bucket_of_host(&headers, &domains), None);
    }
}
