//! Headers in the query of a presigned URL.
//!
//! Tools that presign a request move its `x-amz-` headers into the query, where the signature covers
//! them. They have the same meaning there.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::s3::error::{Code, Result, S3Error};
use crate::s3::request_headers::{Meaning, meaning};

/// The checksum of an empty body, with its algorithm. AWS's SDK for JavaScript adds them to every
/// presigned upload, since it does not have the body.
const EMPTY_CHECKSUM: [(&str, &str); 2] =
    [("x-amz-checksum-crc32", "AAAAAA=="), ("x-amz-sdk-checksum-algorithm", "CRC32")];

fn refuse(key: &str, value: &str, text: String) -> S3Error {
    S3Error::new(Code::InvalidArgument)
        .text(text)
        .with("ArgumentName", key)
        .with("ArgumentValue", value)
}

fn add(headers: &mut HeaderMap, key: &str, value: &str) -> Result<()> {
    let name = HeaderName::from_bytes(key.as_bytes())
        .map_err(|_| refuse(key, value, format!("{key:?} is not the name of a header")))?;
    let header = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| {
        refuse(key, value, format!("{key}: {value:?} is not the value of a header"))
    })?;
    let mut known = headers.get_all(&name).iter();
    match (known.next(), known.next()) {
        (None, _) => {
            headers.insert(name, header);
            Ok(())
        }
        (Some(known), None) if *known == header => Ok(()),
        _ => Err(refuse(
            key,
            value,
            format!("{name} is given twice with different values, in the query or as a header"),
        )),
    }
}

/// Adds the headers in a presigned query to those of the request. `more` are the names that the
/// version of the signature has in addition to `x-amz-` ones.
///
/// # Errors
/// `InvalidArgument` for the source of a copy, which AWS does not accept in a query either; for two
/// values of one header; and for names and values that are not valid.
pub(super) fn fold(
    headers: &mut HeaderMap,
    query: &[(String, String)],
    more: &[&str],
) -> Result<()> {
    let has = |(name, value): &(&str, &str)| {
        query
            .iter()
            .any(|(key, given)| key.eq_ignore_ascii_case(name) && given.eq_ignore_ascii_case(value))
    };
    let is_empty = EMPTY_CHECKSUM.iter().all(has);
    for (key, value) in query {
        let lower = key.to_ascii_lowercase();
        let extra = more.contains(&lower.as_str());
        if !extra && (!lower.starts_with("x-amz-") || meaning(&lower) == Some(Meaning::Signature)) {
            continue;
        }
        if lower.starts_with("x-amz-copy-source") {
            return Err(refuse(
                key,
                value,
                format!(
                    "{key} is not accepted in the query of a presigned URL: sign it as a header and send it with the request"
                ),
            ));
        }
        // An algorithm without a value declares nothing.
        let [(checksum, _), (algorithm, _)] = EMPTY_CHECKSUM;
        if lower == algorithm || (is_empty && lower == checksum) {
            continue;
        }
        // The other headers of a version 2 signature may also be sent as headers.
        if extra && headers.contains_key(&lower) {
            continue;
        }
        add(headers, &lower, value)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(headers: &[(&'static str, &str)], query: &str) -> Result<HeaderMap> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let query = crate::s3::address::query(query).unwrap();
        fold(&mut map, &query, &[]).map(|()| map)
    }

    #[test]
    fn parameters_become_headers_whatever_their_case() {
        let query = "x-amz-meta-colour=red&X-Amz-Acl=private&X-AMZ-Tagging=a%3Db&x-id=PutObject\
                     &X-Amz-Signature=s&X-Amz-Date=d&x-amz-security-token=t&prefix=p";
        let headers = folded(&[], query).unwrap();
        let mut found: Vec<_> =
            headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        found.sort_unstable();
        let expected =
            [("x-amz-acl", "private"), ("x-amz-meta-colour", "red"), ("x-amz-tagging", "a=b")];
        assert_eq!(found, expected);
    }

    #[test]
    fn values_beyond_ascii_are_kept_byte_for_byte() {
        let headers = folded(&[], "x-amz-meta-name=gr%C3%BCn").unwrap();
        assert_eq!(headers["x-amz-meta-name"].as_bytes(), "grün".as_bytes());
    }

    #[test]
    fn the_source_of_a_copy_is_refused_in_a_query() {
        for name in [
            "x-amz-copy-source",
            "X-Amz-Copy-Source",
            "x-amz-copy-source-if-match",
            "x-amz-copy-source-range",
        ] {
            let refused = folded(&[], &format!("{name}=b/k")).unwrap_err();
            assert_eq!(refused.code, Code::InvalidArgument, "{name}");
        }
    }

    #[test]
    fn two_values_of_one_header_are_refused() {
        let header = [("x-amz-meta-a", "1")];
        for (headers, query) in [
            (&header[..], "x-amz-meta-a=2"),
            (&header[..], "X-Amz-Meta-A=2"),
            (&[], "x-amz-meta-a=1&X-Amz-Meta-A=2"),
            (&[("x-amz-meta-a", "1"), ("x-amz-meta-a", "2")], "x-amz-meta-a=1"),
        ] {
            assert!(folded(headers, query).is_err(), "{query}");
        }
        assert_eq!(folded(&header, "x-amz-meta-a=1").unwrap().len(), 1);
    }

    #[test]
    fn names_and_values_that_headers_cannot_have_are_refused() {
        for query in ["x-amz-meta-a%20b=1", "x-amz-meta-a=1%0A2", "x-amz-meta-%C3%BC=1"] {
            assert_eq!(folded(&[], query).unwrap_err().code, Code::InvalidArgument, "{query}");
        }
    }

    #[test]
    fn the_checksum_of_an_empty_body_is_dropped_and_others_are_kept() {
        let sdk = "x-amz-checksum-crc32=AAAAAA%3D%3D&x-amz-sdk-checksum-algorithm=CRC32";
        assert!(folded(&[], sdk).unwrap().is_empty());
        for query in [
            "x-amz-checksum-crc32=AAAAAA%3D%3D",
            "x-amz-checksum-crc32=NhCmhg%3D%3D&x-amz-sdk-checksum-algorithm=CRC32",
            "x-amz-checksum-crc32=AAAAAA%3D%3D&x-amz-sdk-checksum-algorithm=SHA256",
        ] {
            assert!(folded(&[], query).unwrap().contains_key("x-amz-checksum-crc32"), "{query}");
        }
    }
}
