//! The canonical request of a signature, from the raw path, query and headers.

use apus_cluster::percent;
use http::{HeaderMap, request};
use sha2::{Digest, Sha256};

use crate::header_value;

/// SHA-256 in hex.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// The path, decoded and encoded again; S3 does not normalise it.
fn path(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len() + 8);
    percent::encode_into(&mut out, &percent::decode(raw), b"/");
    if out.is_empty() { "/".to_owned() } else { out }
}

/// The query's pairs without `X-Amz-Signature`, encoded again and sorted.
fn query(raw: &str) -> String {
    let encode = |text: &str| {
        let mut out = String::with_capacity(text.len() + 8);
        // S3 does not take a plus sign for a space here.
        percent::encode_into(&mut out, &percent::decode(text), b"");
        out
    };
    let mut pairs: Vec<(String, String)> = raw
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (encode(key), encode(value))
        })
        .filter(|(key, _)| key != "X-Amz-Signature")
        .collect();
    pairs.sort();
    let pairs: Vec<String> =
        pairs.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join("&")
}

/// The values of a header: trimmed, with runs of blanks folded, joined by commas.
fn value(headers: &HeaderMap, name: &str) -> Option<Vec<u8>> {
    let mut joined: Vec<u8> = Vec::new();
    let mut found = false;
    for value in headers.get_all(name) {
        if found {
            joined.push(b',');
        }
        found = true;
        let mut last_blank = true;
        let start = joined.len();
        // Clients sign the text, in whatever encoding they send it.
        for byte in header_value::text(value.as_bytes()).as_bytes() {
            let blank = matches!(byte, b' ' | b'\t');
            if !(blank && last_blank) {
                joined.push(if blank { b' ' } else { *byte });
            }
            last_blank = blank;
        }
        if joined.len() > start && joined.last() == Some(&b' ') {
            joined.pop();
        }
    }
    found.then_some(joined)
}

/// The name of a signed header that is missing.
#[derive(Debug)]
pub(super) struct HeaderMissing<'a>(pub(super) &'a str);

/// The address that a client signed where a gateway passes on its requests with another one.
#[derive(Debug, Clone, Copy)]
pub(super) struct SignedAddress<'a> {
    /// Value of `Host`.
    pub(super) host: &'a str,
    /// What the gateway removed from the beginning of the path.
    pub(super) path: &'a str,
}

/// The canonical request, as the client sent it to `address`, or else as it was received.
///
/// # Errors
/// For a signed header that is missing.
pub(super) fn request<'a>(
    head: &request::Parts,
    signed: &[&'a str],
    payload_hash: &str,
    address: Option<SignedAddress<'_>>,
) -> Result<Vec<u8>, HeaderMissing<'a>> {
    let before = address.map_or("", |address| address.path);
    let path = path(&format!("{before}{}", head.uri.path()));
    let query = query(head.uri.query().unwrap_or_default());
    let mut out = format!("{}\n{path}\n{query}\n", head.method).into_bytes();
    for name in signed {
        out.extend_from_slice(name.as_bytes());
        out.push(b':');
        match address {
            Some(address) if *name == "host" => out.extend_from_slice(address.host.as_bytes()),
            _ => out.extend(value(&head.headers, name).ok_or(HeaderMissing(name))?),
        }
        out.push(b'\n');
    }
    out.push(b'\n');
    out.extend_from_slice(signed.join(";").as_bytes());
    out.push(b'\n');
    out.extend_from_slice(payload_hash.as_bytes());
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_requests_have_different_forms() {
        let form = |path: &str, query: &str| {
            let request = http::Request::builder().uri(format!("{path}?{query}"));
            let (head, ()) = request.body(()).unwrap().into_parts();
            super::request(&head, &[], "x", None).unwrap()
        };
        assert_ne!(form("/a", "k=%ff"), form("/a", "k=%fe"));
        assert_ne!(form("/a", "k=a+b"), form("/a", "k=a%20b"));
        assert_ne!(form("/a//b", ""), form("/a/b", ""));
        assert_ne!(form("/a/../b", ""), form("/b", ""));
        assert_eq!(form("/%61", "b=2&a=1"), form("/a", "a=1&b=2"));
    }

    #[test]
    fn header_values_are_trimmed_and_folded() {
        let mut headers = HeaderMap::new();
        headers.append("x-amz-meta-a", "  one   two ".parse().unwrap());
        headers.append("x-amz-meta-a", "three".parse().unwrap());
        assert_eq!(value(&headers, "x-amz-meta-a").unwrap(), b"one two,three");
        let latin_1 = http::HeaderValue::from_bytes(b"gr\xfcn").unwrap();
        headers.insert("x-amz-meta-b", latin_1);
        assert_eq!(value(&headers, "x-amz-meta-b").unwrap(), "grün".as_bytes());
    }
}
