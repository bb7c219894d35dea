//! Hosting of a web site from a bucket: index and error documents, redirects.
//!
//! Source: `PutBucketWebsite` and "Configuring advanced conditional redirects" in AWS's documentation.

use serde::{Deserialize, Serialize};

/// Most routing rules.
const RULES_MAX: usize = 50;
/// Status of a redirect that names none.
const REDIRECT_STATUS: u16 = 301;

/// The scheme of a redirect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RedirectScheme {
    /// `http`
    Http,
    /// `https`
    Https,
}

impl RedirectScheme {
    /// The scheme of this name.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "http" => Some(Self::Http),
            "https" => Some(Self::Https),
            _ => None,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Where requests are redirected to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WebsiteRedirect {
    /// Scheme; that of the request when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<RedirectScheme>,
    /// Host, perhaps with a port; that of the request when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Replaces the prefix that the rule's condition names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replace_prefix: Option<String>,
    /// Replaces the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replace_key: Option<String>,
    /// Status of the response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
}

/// A rule: a condition on a request, and the redirect of those that meet it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoutingRule {
    /// Start of the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Status of the error that the request would have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_status: Option<u16>,
    /// The redirect.
    pub redirect: WebsiteRedirect,
}

/// The configuration of a web site.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Website {
    /// Redirects all requests; excludes everything else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect_all: Option<WebsiteRedirect>,
    /// Name of the index documents of all folders.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index_suffix: Option<String>,
    /// Key of the document for errors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_key: Option<String>,
    /// Rules, the first of which that holds counts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RoutingRule>,
}

/// Reasons why a configuration is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WebsiteError {
    /// There is no index document.
    #[error("A value for IndexDocument Suffix must be provided if RedirectAllRequestsTo is empty")]
    NoIndex,
    /// The name of index documents is empty or has a slash.
    #[error("The IndexDocument Suffix is not well formed: {0:?} is empty or has a slash")]
    Index(String),
    /// The key of the error document is empty.
    #[error("The ErrorDocument Key is not well formed: it is empty")]
    ErrorKey,
    /// All requests are redirected, and there is more.
    #[error("RedirectAllRequestsTo cannot be provided in conjunction with other elements")]
    MoreThanRedirect,
    /// There are too many rules.
    #[error(
        "{0} routing rules provided, the number of routing rules in a website configuration is limited to 50."
    )]
    TooManyRules(usize),
    /// A redirect's host is empty or has characters that a host cannot have.
    #[error("The HostName {0:?} is not the name of a host")]
    Host(String),
    /// A redirect changes nothing.
    #[error("A Redirect needs at least one element")]
    EmptyRedirect,
    /// A redirect's status is not one of a redirect.
    #[error("The provided HTTP redirect code ({0}) is not valid. Valid codes are 3XX except 300.")]
    RedirectStatus(u16),
    /// A condition's status is not one of an error.
    #[error("The provided HTTP error code ({0}) is not valid. Valid codes are 4XX or 5XX.")]
    ErrorStatus(u16),
    /// A redirect replaces the key and its prefix.
    #[error("You can only define ReplaceKeyPrefix or ReplaceKey but not both.")]
    TwoReplacements,
}

/// A redirect as a response has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedirectTarget {
    /// Status.
    pub status: u16,
    /// Scheme, if it is another than the request's.
    pub scheme: Option<RedirectScheme>,
    /// Host, if it is another than the request's.
    pub host: Option<String>,
    /// The key, not encoded.
    pub key: String,
}

fn check_host(host: &str) -> Result<(), WebsiteError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    match !host.is_empty() && host.bytes().all(allowed) {
        true => Ok(()),
        false => Err(WebsiteError::Host(host.to_owned())),
    }
}

impl RoutingRule {
    fn check(&self) -> Result<(), WebsiteError> {
        let redirect = &self.redirect;
        if *redirect == WebsiteRedirect::default() {
            return Err(WebsiteError::EmptyRedirect);
        }
        if redirect.replace_key.is_some() && redirect.replace_prefix.is_some() {
            return Err(WebsiteError::TwoReplacements);
        }
        if let Some(status) = redirect.status.filter(|status| !(301..=399).contains(status)) {
            return Err(WebsiteError::RedirectStatus(status));
        }
        if let Some(status) = self.error_status.filter(|status| !(400..=599).contains(status)) {
            return Err(WebsiteError::ErrorStatus(status));
        }
        redirect.host.as_deref().map_or(Ok(()), check_host)
    }

    /// The redirect of a request, if the condition holds for its key and error.
    fn apply(&self, key: &str, error_status: Option<u16>) -> Option<RedirectTarget> {
        let prefix = self.prefix.as_deref().unwrap_or_default();
        let rest = key.strip_prefix(prefix)?;
        if self.error_status != error_status {
            return None;
        }
        let redirect = &self.redirect;
        let key = match (&redirect.replace_key, &redirect.replace_prefix) {
            (Some(whole), _) => whole.clone(),
            (None, Some(start)) => format!("{start}{rest}"),
            (None, None) => key.to_owned(),
        };
        Some(RedirectTarget {
            status: redirect.status.unwrap_or(REDIRECT_STATUS),
            scheme: redirect.scheme,
            host: redirect.host.clone(),
            key,
        })
    }
}

impl Website {
    /// Checks the configuration.
    ///
    /// # Errors
    /// See [`WebsiteError`].
    pub fn check(&self) -> Result<(), WebsiteError> {
        if let Some(redirect) = &self.redirect_all {
            let more = self.index_suffix.is_some() || self.error_key.is_some();
            if more || !self.rules.is_empty() {
                return Err(WebsiteError::MoreThanRedirect);
            }
            return check_host(redirect.host.as_deref().unwrap_or_default());
        }
        let index = self.index_suffix.as_deref().ok_or(WebsiteError::NoIndex)?;
        if index.is_empty() || index.contains('/') {
            return Err(WebsiteError::Index(index.to_owned()));
        }
        if self.error_key.as_deref() == Some("") {
            return Err(WebsiteError::ErrorKey);
        }
        if self.rules.len() > RULES_MAX {
            return Err(WebsiteError::TooManyRules(self.rules.len()));
        }
        self.rules.iter().try_for_each(RoutingRule::check)
    }

    /// The redirect of a request for a key (`None`: before anything is read; else: that has this
    /// error).
    pub fn redirect(&self, key: &str, error_status: Option<u16>) -> Option<RedirectTarget> {
        if let Some(all) = &self.redirect_all {
            return Some(RedirectTarget {
                status: REDIRECT_STATUS,
                scheme: all.scheme,
                host: all.host.clone(),
                key: key.to_owned(),
            });
        }
        self.rules.iter().find_map(|rule| rule.apply(key, error_status))
    }

    /// The key of the document for a path: that of the index in a folder.
    pub fn document_key(&self, key: &str) -> String {
        match &self.index_suffix {
            Some(suffix) if key.is_empty() || key.ends_with('/') => format!("{key}{suffix}"),
            _ => key.to_owned(),
        }
    }

    /// The key of the index of the folder that a path without a slash at its end may mean.
    pub fn folder_index(&self, key: &str) -> Option<String> {
        let suffix = self.index_suffix.as_ref()?;
        (!key.is_empty() && !key.ends_with('/')).then(|| format!("{key}/{suffix}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    fn site(rules: Vec<RoutingRule>) -> Website {
        Website { index_suffix: text("index.html"), rules, ..Website::default() }
    }

    fn rule(prefix: &str, error: u16, redirect: WebsiteRedirect) -> RoutingRule {
        RoutingRule {
            prefix: text(prefix).filter(|prefix| !prefix.is_empty()),
            error_status: Some(error).filter(|error| *error != 0),
            redirect,
        }
    }

    fn to_host(host: &str) -> WebsiteRedirect {
        WebsiteRedirect { host: text(host), ..WebsiteRedirect::default() }
    }

    #[test]
    fn the_first_rule_whose_condition_holds_redirects() {
        let site = site(vec![
            rule(
                "docs/",
                0,
                WebsiteRedirect {
                    replace_prefix: text("documents/"),
                    ..WebsiteRedirect::default()
                },
            ),
            rule(
                "images/",
                0,
                WebsiteRedirect {
                    replace_key: text("none.html"),
                    status: Some(302),
                    ..WebsiteRedirect::default()
                },
            ),
            rule(
                "old/",
                404,
                WebsiteRedirect {
                    scheme: Some(RedirectScheme::Https),
                    host: text("old.example"),
                    replace_prefix: text(""),
                    ..WebsiteRedirect::default()
                },
            ),
            rule("", 403, to_host("login.example:8080")),
        ]);
        site.check().unwrap();
        for (key, error, expected) in [
            ("docs/a", None, Some((301, None, None, "documents/a"))),
            ("docs", None, None),
            ("images/x/y", None, Some((302, None, None, "none.html"))),
            ("old/a", None, None),
            (
                "old/a",
                Some(404),
                Some((301, Some(RedirectScheme::Https), Some("old.example"), "a")),
            ),
            ("old/a", Some(403), Some((301, None, Some("login.example:8080"), "old/a"))),
            ("new", Some(404), None),
            ("", None, None),
        ] {
            let found = site.redirect(key, error);
            let found = found.as_ref().map(|target| {
                (target.status, target.scheme, target.host.as_deref(), target.key.as_str())
            });
            assert_eq!(found, expected, "{key} {error:?}");
        }
    }

    #[test]
    fn all_requests_may_be_redirected() {
        let site = Website { redirect_all: Some(to_host("other")), ..Website::default() };
        site.check().unwrap();
        let target = site.redirect("a/b", None).unwrap();
        assert_eq!(
            (target.status, target.host.as_deref(), &*target.key),
            (301, Some("other"), "a/b")
        );
    }

    #[test]
    fn folders_have_an_index() {
        let site = site(Vec::new());
        for (key, document, folder) in [
            ("", "index.html", None),
            ("a/", "a/index.html", None),
            ("a", "a", Some("a/index.html")),
            ("a/b.html", "a/b.html", Some("a/b.html/index.html")),
        ] {
            assert_eq!(site.document_key(key), document);
            assert_eq!(site.folder_index(key).as_deref(), folder);
        }
    }

    #[test]
    fn configurations_that_are_not_valid_are_refused() {
        let redirect = |change: &dyn Fn(&mut WebsiteRedirect)| {
            let mut redirect = to_host("h");
            change(&mut redirect);
            site(vec![rule("", 0, redirect)])
        };
        let all = |more: Website| Website { redirect_all: Some(to_host("h")), ..more };
        let index = |name: &str| Website { index_suffix: text(name), ..Website::default() };
        for (site, error) in [
            (Website::default(), WebsiteError::NoIndex),
            (index(""), WebsiteError::Index(String::new())),
            (index("a/b"), WebsiteError::Index("a/b".to_owned())),
            (Website { error_key: text(""), ..index("i") }, WebsiteError::ErrorKey),
            (all(index("i")), WebsiteError::MoreThanRedirect),
            (site(vec![rule("", 0, to_host("h")); 51]), WebsiteError::TooManyRules(51)),
            (site(vec![rule("", 0, to_host("a b"))]), WebsiteError::Host("a b".to_owned())),
            (site(vec![rule("", 0, to_host("a\r\n"))]), WebsiteError::Host("a\r\n".to_owned())),
            (site(vec![rule("", 0, to_host("a/b"))]), WebsiteError::Host("a/b".to_owned())),
            (site(vec![rule("a", 0, WebsiteRedirect::default())]), WebsiteError::EmptyRedirect),
            (redirect(&|to| to.status = Some(300)), WebsiteError::RedirectStatus(300)),
            (redirect(&|to| to.status = Some(200)), WebsiteError::RedirectStatus(200)),
            (site(vec![rule("", 200, to_host("h"))]), WebsiteError::ErrorStatus(200)),
            (
                redirect(&|to| {
                    to.replace_key = text("a");
                    to.replace_prefix = text("b");
                }),
                WebsiteError::TwoReplacements,
            ),
        ] {
            assert_eq!(site.check().unwrap_err(), error, "{site:?}");
        }
        assert!(site(vec![rule("", 404, to_host("h")); 50]).check().is_ok());
    }
}
