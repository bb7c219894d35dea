//! The canonical request, from the raw path and query and the raw bytes of headers.

use apus_cluster::percent;
use http::HeaderMap;
use sha2::{Digest, Sha256};

use crate::header_value;

/// SHA-256 in hex.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// The path decoded once and encoded again byte for byte; S3 does not normalise it.
fn path(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len() + 8);
    percent::encode_into(&mut out, &percent::decode(raw), b"/");
    if out.is_empty() { "/".to_owned() } else { out }
}

/// The query's pairs, encoded again and sorted; `X-Amz-Signature` left out.
fn query(raw: &str) -> String {
    let encode = |text: &str| {
        let mut out = String::with_capacity(text.len() + 8);
        // A plus sign is a plus sign to S3, not a space.
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

/// One header's values: each trimmed, runs of blanks folded, joined by commas.
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
        // Clients sign the text, whatever bytes they send it in.
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

/// The canonical request.
///
/// # Errors
/// The name of a signed header that is not there.
pub(super) fn request<'a>(
    method: &str,
    raw_path: &str,
    raw_query: &str,
    headers: &HeaderMap,
    signed: &[&'a str],
    payload_hash: &str,
) -> Result<Vec<u8>, &'a str> {
    let mut out = format!("{method}\n{}\n{}\n", path(raw_path), query(raw_query)).into_bytes();
    for name in signed {
        out.extend_from_slice(name.as_bytes());
        out.push(b':');
        out.extend(value(headers, name).ok_or(*name)?);
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
    fn two_different_requests_never_have_one_form() {
        let headers = HeaderMap::new();
        let form =
            |path: &str, query: &str| request("GET", path, query, &headers, &[], "x").unwrap();
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
