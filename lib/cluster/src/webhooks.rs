//! The webhooks that receive events of buckets: `[notify]` of `swift.conf`.
//!
//! Clients can only name a webhook; its URL and token are the operator's. The token must never reach a
//! log: [`WebhookToken`] has no `Display`, and its `Debug` does not show it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use apus_options::{OptionDeclaration, family, list, options, path, text};

use crate::network::{Network, special_class};
use crate::option_error::{GivenOptions, OptionError};

/// The section's name.
pub const SECTION: &str = "notify";
/// Longest name of a webhook, in bytes.
const NAME_BYTES_MAX: usize = 64;
const WEBHOOK: &str = "webhook_";
const TOKEN: &str = "token_";
const URL_EXPECTED: &str = "https:// or http://, a host and perhaps a port and a path";
const TOKEN_EXPECTED: &str = "printable ASCII without blanks";
const NAME_EXPECTED: &str =
    "a name of at most 64 letters in lower case, digits, `-` and `_` in the option";

options! {
    /// Options of `[notify]`.
    #[derive(Debug)]
    pub struct NotifyOptions {
        /// Networks that webhooks may be in although they are not on the public Internet.
        allowed_networks: Vec<String> = list("", "networks such as 10.0.0.0/8 between commas")
            .checked(are_networks)
            .example("10.0.0.0/8"),
        /// File with the certificates of the authorities that webhooks' certificates are checked against, in PEM.
        ca_file: PathBuf = path("/etc/ssl/certs/ca-certificates.crt", "a file"),
        /// Region that events name.
        region: String = text("us-east-1", "a region"),
    }
}

/// The options with the name of a webhook in their names.
pub const WEBHOOKS: &[OptionDeclaration] = &[
    family(
        "webhook_<name>",
        text("", URL_EXPECTED).checked(is_webhook_url).unset("none"),
        "URL of a webhook. Buckets name it as `arn:apus:sqs::<name>:webhook`.",
    ),
    family(
        "token_<name>",
        text("", TOKEN_EXPECTED).checked(is_token).unset("none").secret(),
        "Text after `Bearer` in the `Authorization` header of requests to that webhook.",
    ),
];

fn are_networks(text: &str) -> bool {
    text.split(',').map(str::trim).all(|one| one.is_empty() || Network::parse(one).is_some())
}

fn is_webhook_url(text: &str) -> bool {
    WebhookUrl::parse(text).is_some()
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Whether a webhook may have this name: letters in lower case, digits, `-` and `_`.
pub fn is_webhook_name(name: &str) -> bool {
    let is_valid = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_')
    };
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_valid)
}

/// The URL of a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookUrl {
    /// Whether the connection is encrypted.
    pub is_https: bool,
    /// Name or address of the host; an IPv6 address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Path and query.
    pub path: String,
}

impl WebhookUrl {
    /// Parses a URL; `None` for one with a user, a fragment, or characters that URLs do not have.
    pub fn parse(text: &str) -> Option<Self> {
        let (is_https, rest) = match text.split_once("://")? {
            ("https", rest) => (true, rest),
            ("http", rest) => (false, rest),
            _ => return None,
        };
        let is_valid = |byte: u8| byte.is_ascii_graphic() && !b"\"#<>@\\^`{|}".contains(&byte);
        if !rest.bytes().all(is_valid) {
            return None;
        }
        let (authority, path) = match rest.find(['/', '?']) {
            Some(at) => rest.split_at_checked(at)?,
            None => (rest, "/"),
        };
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']')?;
                host.parse::<std::net::Ipv6Addr>().ok()?;
                (host, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
        if host.is_empty() || !host.bytes().all(is_name) {
            return None;
        }
        let port = match port {
            None => {
                if is_https {
                    443
                } else {
                    80
                }
            }
            Some(port) => port.parse().ok().filter(|port| *port != 0)?,
        };
        let path = if path.starts_with('?') { format!("/{path}") } else { path.to_owned() };
        Some(Self { is_https, host: host.to_owned(), port, path })
    }

    /// Host and port as the `Host` header has them.
    pub fn authority(&self) -> String {
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        match (self.is_https, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

/// The secret that a webhook knows its sender by.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookToken(String);

impl std::fmt::Debug for WebhookToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WebhookToken(..)")
    }
}

impl WebhookToken {
    /// The secret itself.
    pub fn text(&self) -> &str {
        &self.0
    }
}

/// A webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Its URL.
    pub url: WebhookUrl,
    /// The secret that requests have, if it needs one.
    pub token: Option<WebhookToken>,
}

/// The webhooks of a cluster.
#[derive(Debug, Clone)]
pub struct Webhooks {
    /// By name.
    pub by_name: BTreeMap<String, Webhook>,
    /// Networks that are allowed although they are not public.
    allowed: Vec<Network>,
    /// File with the certificates of authorities.
    pub ca_file: PathBuf,
    /// Region that events name.
    pub region: String,
}

impl Default for Webhooks {
    fn default() -> Self {
        Self {
            by_name: BTreeMap::new(),
            allowed: Vec::new(),
            ca_file: PathBuf::from("/etc/ssl/certs/ca-certificates.crt"),
            region: "us-east-1".to_owned(),
        }
    }
}

impl Webhooks {
    /// Reads the options of `[notify]`.
    ///
    /// # Errors
    /// An invalid option, or the token of a webhook that does not exist.
    pub(crate) fn from_options(options: &[(&str, &str)]) -> Result<Self, OptionError> {
        let given = NotifyOptions::read(&GivenOptions { section: SECTION, options })?;
        let mut by_name = BTreeMap::new();
        for (option, value) in options {
            let Some(name) = option.strip_prefix(WEBHOOK) else { continue };
            let url = WebhookUrl::parse(value.trim())
                .ok_or_else(|| OptionError::value(SECTION, option, value, URL_EXPECTED))?;
            if !is_webhook_name(name) {
                return Err(OptionError::value(SECTION, option, value, NAME_EXPECTED));
            }
            by_name.insert(name.to_owned(), Webhook { url, token: None });
        }
        for (option, value) in options {
            let Some(name) = option.strip_prefix(TOKEN) else { continue };
            let value = value.trim();
            if !is_token(value) {
                return Err(OptionError::hidden(SECTION, option, TOKEN_EXPECTED));
            }
            let expected = format!("an option {WEBHOOK}{name} as well");
            let webhook = by_name
                .get_mut(name)
                .ok_or_else(|| OptionError::hidden(SECTION, option, &expected))?;
            webhook.token = Some(WebhookToken(value.to_owned()));
        }
        let networks = given.allowed_networks.iter().filter_map(|text| Network::parse(text));
        let allowed = networks.collect();
        Ok(Self { by_name, allowed, ca_file: given.ca_file, region: given.region })
    }

    /// The class of an address that events must not be sent to; `None` where they may be.
    pub fn refused_class(&self, address: IpAddr) -> Option<&'static str> {
        let class = special_class(address)?;
        let is_allowed = self.allowed.iter().any(|network| network.contains(address));
        (!is_allowed).then_some(class)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_have_a_host_and_no_user() {
        let url = |is_https, host: &str, port, path: &str| {
            Some(WebhookUrl { is_https, host: host.to_owned(), port, path: path.to_owned() })
        };
        for (text, expected) in [
            ("https://a.example", url(true, "a.example", 443, "/")),
            ("https://a.example/x?y=z", url(true, "a.example", 443, "/x?y=z")),
            ("https://a.example?y=z", url(true, "a.example", 443, "/?y=z")),
            ("http://127.0.0.1:8080/e", url(false, "127.0.0.1", 8080, "/e")),
            ("http://[::1]:81/", url(false, "::1", 81, "/")),
            ("https://[::1]", url(true, "::1", 443, "/")),
            ("", None),
            ("a.example", None),
            ("ftp://a.example", None),
            ("HTTPS://a.example", None),
            ("https://", None),
            ("https:///x", None),
            ("https://user@a.example", None),
            ("https://a.example:0/", None),
            ("https://a.example:99999/", None),
            ("https://a.example:/", None),
            ("https://[::1/", None),
            ("https://[::1]x/", None),
            ("https://[a]/", None),
            ("https://a b/", None),
            ("https://a/\r\nX: y", None),
            ("https://a/#f", None),
            ("https://ü/", None),
        ] {
            assert_eq!(WebhookUrl::parse(text), expected, "{text}");
        }
        let authority = |text: &str| WebhookUrl::parse(text).unwrap().authority();
        assert_eq!(authority("https://a/"), "a");
        assert_eq!(authority("http://a:443/"), "a:443");
        assert_eq!(authority("http://[::1]:81/"), "[::1]:81");
    }

    #[test]
    fn webhooks_are_read_with_their_tokens_and_networks() {
        let read = Webhooks::from_options;
        let webhooks = read(&[
            ("webhook_a", "https://a.example/x"),
            ("token_a", " secret "),
            ("webhook_b-1", "http://10.0.0.1/"),
            ("allowed_networks", "127.0.0.0/8, ::1"),
            ("region", "eu"),
        ])
        .unwrap();
        assert_eq!(webhooks.by_name.keys().collect::<Vec<_>>(), ["a", "b-1"]);
        assert_eq!(webhooks.by_name["a"].token.as_ref().unwrap().text(), "secret");
        assert!(!format!("{webhooks:?}").contains("secret"));
        assert_eq!(webhooks.region, "eu");
        let refused = |address: &str| webhooks.refused_class(address.parse().unwrap());
        assert_eq!(refused("127.0.0.1"), None);
        assert_eq!(refused("::ffff:127.0.0.1"), None);
        assert_eq!(refused("::1"), None);
        assert_eq!(refused("10.0.0.1"), Some("private"));
        assert_eq!(refused("169.254.169.254"), Some("link-local"));
        assert_eq!(refused("1.1.1.1"), None);
        for (options, word) in [
            (vec![("webhook_a", "gopher://x")], "webhook_a"),
            (vec![("webhook_A", "https://x")], "webhook_A"),
            (vec![("webhook_", "https://x")], "webhook_"),
            (vec![("token_a", "secret")], "webhook_a"),
            (vec![("webhook_a", "https://x"), ("token_a", "sec ret")], "token_a"),
            (vec![("allowed_networks", "10.0.0.0/99")], "allowed_networks"),
        ] {
            let error = read(&options).unwrap_err().to_string();
            assert!(error.contains(word) && !error.contains("sec"), "{error}");
        }
    }
}
