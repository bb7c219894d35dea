//! Host names of accounts and containers: `<container>.<account>.<domain>/<object>`.
//!
//! Source: `swift/common/middleware/domain_remap.py`.

use apus_daemon::http::{header, set};
use http::{HeaderMap, Uri};

use super::error::SwiftError;
use crate::config::DomainRemapConfig;
use crate::reply::Reply;

/// A path that a host name stands for, and the one that the client sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RemappedPath {
    pub(super) uri: Uri,
    requested: String,
}

impl DomainRemapConfig {
    /// The labels before the domain, without the port.
    fn labels<'a>(&self, host: &'a str) -> Option<&'a str> {
        let host = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        self.storage_domains.iter().find_map(|domain| {
            let domain = domain.trim_start_matches('.');
            let at = host.len().checked_sub(domain.len() + 1)?;
            let (labels, rest) = host.split_at_checked(at)?;
            rest.strip_prefix('.')?.eq_ignore_ascii_case(domain).then_some(labels)
        })
    }

    /// Whether the host of a request is below one of the domains.
    pub(super) fn names(&self, headers: &HeaderMap) -> bool {
        header(headers, "host").is_some_and(|host| self.labels(host).is_some())
    }

    /// The account that a label names: with one of the prefixes in their own spelling.
    fn account(&self, label: &str) -> Option<String> {
        if self.reseller_prefixes.is_empty() {
            return Some(label.to_owned());
        }
        let label = match label.contains('_') {
            true => label.to_owned(),
            false => label.replacen('-', "_", 1),
        };
        let (prefix, rest) = label.split_once('_').unwrap_or((&label, ""));
        let known = self.reseller_prefixes.iter().find(|known| known.eq_ignore_ascii_case(prefix));
        match known {
            Some(known) if label.contains('_') => Some(format!("{known}_{rest}")),
            Some(known) => Some(known.clone()),
            None if self.default_reseller_prefix.is_empty() => None,
            None => Some(format!("{}_{label}", self.default_reseller_prefix)),
        }
    }

    /// The path that the request's host and path stand for; `None` for a host that is none of these.
    ///
    /// # Errors
    /// 400 for more labels than a container and an account.
    pub(super) fn remap(
        &self,
        headers: &HeaderMap,
        uri: &Uri,
    ) -> Result<Option<RemappedPath>, SwiftError> {
        let host = header(headers, "host").unwrap_or_default();
        let Some(labels) = self.labels(host) else { return Ok(None) };
        let labels: Vec<&str> = labels.trim_matches('.').split('.').collect();
        let (container, account) = match labels.as_slice() {
            [account] => ("", *account),
            [container, account] => (*container, *account),
            _ => {
                let status = http::StatusCode::BAD_REQUEST;
                return Err(SwiftError::refused(status, "Bad domain in host header"));
            }
        };
        let Some(account) = self.account(account) else { return Ok(None) };
        let root = self.path_root.trim_matches('/');
        let requested = uri.path();
        let mut rest = requested.strip_prefix('/').unwrap_or(requested);
        if self.mangle_client_paths
            && let Some(below) = rest.strip_prefix(root)
            && (below.is_empty() || below.starts_with('/'))
        {
            rest = below.strip_prefix('/').unwrap_or(below);
        }
        let container = if container.is_empty() { String::new() } else { format!("/{container}") };
        let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        let path = format!("/{root}/{account}{container}/{rest}{query}");
        let uri = path.parse().map_err(|_| {
            SwiftError::refused(http::StatusCode::BAD_REQUEST, "Bad domain in host header")
        })?;
        Ok(Some(RemappedPath { uri, requested: requested.to_owned() }))
    }
}

impl RemappedPath {
    /// Shows a redirect to the remapped path as one to the path that the client sent.
    pub(super) fn show(&self, reply: &mut Reply) {
        let Some(location) = header(reply.headers(), "location") else { return };
        if let Some((base, rest)) = location.split_once(self.uri.path()) {
            let shown = format!("{base}{}{rest}", self.requested);
            set(reply.headers_mut(), "location", &shown);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remapped(host: &str, path: &str, mangles: bool) -> Result<Option<String>, u16> {
        let config = DomainRemapConfig {
            storage_domains: vec!["example.com".to_owned(), ".other.org".to_owned()],
            path_root: "v1".to_owned(),
            reseller_prefixes: vec!["AUTH".to_owned()],
            default_reseller_prefix: String::new(),
            mangle_client_paths: mangles,
        };
        let mut headers = HeaderMap::new();
        headers.insert("host", host.parse().unwrap());
        let found = config.remap(&headers, &path.parse().unwrap());
        found
            .map(|found| found.map(|found| found.uri.to_string()))
            .map_err(|error| error.status().as_u16())
    }

    #[test]
    fn host_names_stand_for_accounts_and_containers() {
        for (host, path, expected) in [
            ("AUTH_test.example.com", "/c/o?x=1", Ok(Some("/v1/AUTH_test/c/o?x=1"))),
            ("auth-test.example.com:8080", "/", Ok(Some("/v1/AUTH_test/"))),
            ("c.auth-te-st.EXAMPLE.com", "/d%20/o", Ok(Some("/v1/AUTH_te-st/c/d%20/o"))),
            ("c.AUTH_test.other.org", "/v1/o", Ok(Some("/v1/AUTH_test/c/v1/o"))),
            ("b.c.AUTH_test.example.com", "/", Err(400)),
            ("unknown.example.com", "/", Ok(None)),
            ("example.com", "/v1/a", Ok(None)),
            ("AUTH_test.example.net", "/", Ok(None)),
        ] {
            let expected = expected.map(|path| path.map(str::to_owned));
            assert_eq!(remapped(host, path, false), expected, "{host}");
        }
        let mangled = remapped("c.AUTH_test.example.com", "/v1/o", true);
        assert_eq!(mangled, Ok(Some("/v1/AUTH_test/c/o".to_owned())));
    }

    #[test]
    fn redirects_have_the_path_of_the_client() {
        let remapped =
            RemappedPath { uri: "/v1/AUTH_test/c/d".parse().unwrap(), requested: "/d".to_owned() };
        let mut reply = Reply::default();
        let location = "http://c.AUTH_test.example.com/v1/AUTH_test/c/d/";
        reply.headers_mut().insert("location", location.parse().unwrap());
        remapped.show(&mut reply);
        assert_eq!(reply.headers()["location"], "http://c.AUTH_test.example.com/d/");
    }
}
