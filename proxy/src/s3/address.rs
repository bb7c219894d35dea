//! Bucket and key of a request, from the path or the host name.

use apus_cluster::percent;
use apus_daemon::http::header;
use http::{HeaderMap, Uri};

use super::error::{Code, Result, S3Error};
use crate::deps::ProxyDeps;

/// The bucket and key that a request names.
pub(super) struct Address {
    pub(super) bucket: Option<String>,
    pub(super) key: Option<String>,
}

/// The bucket in a host name below one of `domains`.
pub(super) fn bucket_of_host(headers: &HeaderMap, domains: &[String]) -> Option<String> {
    let host = header(headers, "host")?;
    let host = host.rsplit_once(':').map_or(host, |(name, port)| {
        if port.bytes().all(|byte| byte.is_ascii_digit()) { name } else { host }
    });
    domains.iter().find_map(|domain| {
        let domain = domain.trim_start_matches('.');
        let (bucket, rest) = host.split_at_checked(host.len().checked_sub(domain.len())?)?;
        let bucket = bucket.strip_suffix('.').filter(|bucket| !bucket.is_empty())?;
        rest.eq_ignore_ascii_case(domain).then(|| bucket.to_ascii_lowercase())
    })
}

/// Parses the names in the raw path and the host of a request.
pub(super) fn of(uri: &Uri, headers: &HeaderMap, deps: &ProxyDeps) -> Result<Address> {
    names(uri, headers, &deps.config.storage_domains)
}

/// Parses the names in the raw path and the host.
pub(super) fn parse(head: &http::request::Parts, domains: &[String]) -> Result<Address> {
    names(&head.uri, &head.headers, domains)
}

fn names(uri: &Uri, headers: &HeaderMap, domains: &[String]) -> Result<Address> {
    let raw = uri.path();
    let raw = raw.strip_prefix('/').unwrap_or(raw);
    let decode = |text: &str| {
        percent::decode_utf8(text)
            .filter(|text| !text.contains('\0'))
            .ok_or_else(|| S3Error::new(Code::InvalidURI))
    };
    let (bucket, key) = match bucket_of_host(headers, domains) {
        Some(bucket) => (bucket, decode(raw)?),
        // Only the path `/` is the list of buckets: a key needs a bucket.
        None if raw.starts_with('/') => {
            return Err(invalid_bucket_name("")
                .text("The path begins with two slashes: bucket names are not empty"));
        }
        None => {
            let (bucket, key) = raw.split_once('/').unwrap_or((raw, ""));
            (decode(bucket)?, decode(key)?)
        }
    };
    let some = |text: String| Some(text).filter(|text| !text.is_empty());
    Ok(Address { bucket: some(bucket), key: some(key) })
}

/// The parameters of a query.
pub(super) fn query(raw: &str) -> Result<Vec<(String, String)>> {
    crate::query::parse(raw).map_err(|_| S3Error::new(Code::InvalidURI))
}

/// The error for a name that a bucket cannot have.
pub(super) fn invalid_bucket_name(name: &str) -> S3Error {
    S3Error::new(Code::InvalidBucketName)
        .text(format!(
            "The specified bucket is not valid: {name:?} is not 3 to 255 letters, digits, '.', '_' or '-'"
        ))
        .with("BucketName", name)
}

/// The error for a name that a new bucket must not have.
pub(super) fn invalid_new_bucket_name(name: &str) -> S3Error {
    S3Error::new(Code::InvalidBucketName)
        .text(format!(
            "The specified bucket is not valid: {name:?}: a name has 3 to 63 lower-case letters, digits, \
             '.' and '-', begins and ends with a letter or digit, and has no \"..\" and not the form of \
             an IP address"
        ))
        .with("BucketName", name)
}

/// Whether a container of this name is accessible as a bucket: by S3's oldest, widest rule, so that
/// containers of Swift clients are, and the hidden `+segments` ones are not.
pub(super) fn may_be_bucket(name: &str) -> bool {
    (3..=255).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_below_a_domain_names_a_bucket() {
        let mut headers = HeaderMap::new();
        headers.insert("host", "photos.localhost:8080".parse().unwrap());
        let domains = ["localhost".to_owned()];
        assert_eq!(bucket_of_host(&headers, &domains).as_deref(), Some("photos"));
        for (host, bucket) in [
            ("Photos.LOCALHOST:8080", Some("photos")),
            ("photos.LocalHost", Some("photos")),
            ("a.b.localhost", Some("a.b")),
            (".localhost", None),
            ("xlocalhost", None),
            ("photos.localhost.example", None),
            ("\u{fc}.localhost", Some("\u{fc}")),
            ("\u{fc}ocalhost", None),
        ] {
            headers.insert("host", host.parse().unwrap());
            assert_eq!(bucket_of_host(&headers, &domains).as_deref(), bucket, "{host}");
        }
        headers.insert("host", "localhost:8080".parse().unwrap());
        assert_eq!(bucket_of_host(&headers, &domains), None);
        headers.insert("host", "127.0.0.1:8080".parse().unwrap());
        assert_eq!(bucket_of_host(&headers, &domains), None);
    }

    #[test]
    fn a_path_that_begins_with_two_slashes_is_refused() {
        let parse = |path: &str, host: &str| {
            let request = http::Request::builder().uri(path).header("host", host);
            let (head, ()) = request.body(()).unwrap().into_parts();
            super::parse(&head, &["localhost".to_owned()])
        };
        for path in ["//", "//demo", "//demo/a", "///"] {
            let refused = parse(path, "127.0.0.1").err().unwrap();
            assert_eq!(refused.code, Code::InvalidBucketName, "{path}");
        }
        let service = parse("/", "127.0.0.1").unwrap();
        assert_eq!((service.bucket, service.key), (None, None));
        let slashes = parse("/demo//a", "127.0.0.1").unwrap();
        assert_eq!(slashes.key.as_deref(), Some("/a"));
        // In a bucket's own host name the whole path is the key.
        let own = parse("//a", "demo.localhost").unwrap();
        assert_eq!((own.bucket.as_deref(), own.key.as_deref()), (Some("demo"), Some("/a")));
    }
}
