//! The URL under which clients reach this cluster: configured, or from each request's `Host`.

use apus_daemon::http::header;
use http::HeaderMap;

/// The base of URLs in responses: scheme, host, port, and a path that a gateway removes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PublicUrl(Option<String>);

/// A `public_url` that is not a URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "public_url = {text:?}: expected http:// or https://, a host and perhaps a port and a path"
)]
pub struct InvalidPublicUrl {
    text: String,
}

impl PublicUrl {
    /// Parses `public_url` of `[app:proxy-server]`; when it is empty, each request's `Host` is used.
    ///
    /// # Errors
    /// For a text that is not such a URL.
    pub fn parse(text: &str) -> Result<Self, InvalidPublicUrl> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(Self(None));
        }
        let url = text.trim_end_matches('/');
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        let (host, path) = rest.map_or(("", ""), |rest| rest.split_once('/').unwrap_or((rest, "")));
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/%".contains(&byte);
        if !is_host(host) || !path.bytes().all(is_plain) {
            return Err(InvalidPublicUrl { text: text.to_owned() });
        }
        Ok(Self(Some(url.to_owned())))
    }

    /// The `Host` that clients of the configured URL send, without the scheme's own port, and the path that
    /// a gateway removes, with a slash before it or empty.
    pub(crate) fn parts(&self) -> Option<(&str, &str)> {
        let (scheme, rest) = self.0.as_deref()?.split_once("://")?;
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let own_port = if scheme == "https" { ":443" } else { ":80" };
        Some((host.strip_suffix(own_port).unwrap_or(host), path))
    }

    /// Whether clients reach the cluster by an encrypted connection, which a gateway ends.
    pub(crate) fn is_secure(&self) -> bool {
        self.0.as_deref().is_some_and(|url| url.starts_with("https://"))
    }

    /// Whether the URL is configured.
    pub(crate) fn is_set(&self) -> bool {
        self.0.is_some()
    }

    /// The base of URLs in the response to a request, without a slash at the end; `None` when it
    /// depends on a `Host` that is not valid.
    pub(crate) fn base(&self, headers: &HeaderMap) -> Option<String> {
        if let Some(url) = &self.0 {
            return Some(url.clone());
        }
        let host = match headers.contains_key("host") {
            true => header(headers, "host").filter(|host| is_host(host))?,
            false => "127.0.0.1",
        };
        Some(format!("http://{host}"))
    }
}

/// Whether a text can be a host, with or without a port.
fn is_host(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(public: &str, host: Option<&str>) -> Option<String> {
        let mut headers = HeaderMap::new();
        if let Some(host) = host {
            headers.insert("host", host.parse().unwrap());
        }
        PublicUrl::parse(public).unwrap().base(&headers)
    }

    #[test]
    fn a_configured_url_does_not_follow_the_request() {
        for public in ["https://store.example", "https://store.example:8443/", "http://[::1]/gate"]
        {
            let expected = Some(public.trim_end_matches('/').to_owned());
            assert_eq!(base(public, Some("evil.example")), expected);
            assert_eq!(base(public, Some("e\"vil")), expected);
            assert_eq!(base(public, None), expected);
        }
    }

    #[test]
    fn a_url_has_a_host_and_a_path() {
        for (url, host, path) in [
            ("https://store.example", "store.example", ""),
            ("https://store.example:443/", "store.example", ""),
            ("http://store.example:443", "store.example:443", ""),
            ("http://store.example:80/gate/s3", "store.example", "/gate/s3"),
            ("http://[::1]:8080/gate", "[::1]:8080", "/gate"),
        ] {
            assert_eq!(PublicUrl::parse(url).unwrap().parts(), Some((host, path)), "{url}");
        }
        assert_eq!(PublicUrl::parse("").unwrap().parts(), None);
    }

    #[test]
    fn without_a_url_a_valid_host_is_used() {
        assert_eq!(base("", Some("h.example:8080")).unwrap(), "http://h.example:8080");
        assert_eq!(base("", Some("[2001:db8::1]:80")).unwrap(), "http://[2001:db8::1]:80");
        assert_eq!(base("", None).unwrap(), "http://127.0.0.1");
        for host in ["", "a/b", "a b", "u@h", "h?x", "h#x", "\"h\"", "h\\x", "<h>"] {
            assert_eq!(base("", Some(host)), None, "{host}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "store.example",
            "ftp://h",
            "https://",
            "http:///x",
            "http://u:p@h",
            "http://h/?a",
            "http://h /",
        ] {
            let error = PublicUrl::parse(text).unwrap_err().to_string();
            assert!(error.contains("public_url") && error.contains("expected"), "{error}");
        }
    }
}
