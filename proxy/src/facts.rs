//! Facts of a client's request for conditions of policies, as both dialects have them.
//!
//! The address is that of the connection: a header that names another one is a claim of the client.
//! Connections are not encrypted here, so a request is secure when clients reach the cluster under an
//! `https` URL (`public_url`).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use apus_cluster::Timestamp;
use apus_daemon::http::header;
use apus_daemon::serve::Peer;
use apus_store::Context;
use apus_store::access::RequestFacts;
use http::request::Parts;

use crate::deps::ProxyDeps;

/// Facts that do not depend on the dialect.
#[derive(Debug, Clone, Default)]
pub(crate) struct ClientFacts {
    address: Option<IpAddr>,
    is_secure: bool,
    user_agent: Option<String>,
    referrer: Option<String>,
    /// Time of the request since 1970.
    now: Duration,
}

impl ClientFacts {
    /// The facts of a request.
    pub(crate) fn of(deps: &ProxyDeps, head: &Parts) -> Self {
        let text = |name: &str| header(&head.headers, name).map(str::to_owned);
        Self {
            address: head.extensions.get::<Peer>().map(|peer| peer.0.ip().to_canonical()),
            is_secure: deps.config.public_url.is_secure(),
            user_agent: text("user-agent"),
            referrer: text("referer"),
            now: deps.clock.now(),
        }
    }

    /// Time of the request since 1970.
    pub(crate) fn now(&self) -> Duration {
        self.now
    }
}

impl RequestFacts for ClientFacts {
    fn values(&self, key: &str) -> Vec<String> {
        let seconds = self.now.as_secs();
        let value = match key {
            "aws:sourceip" => self.address.map(|address| address.to_string()),
            "aws:securetransport" => Some(self.is_secure.to_string()),
            "aws:useragent" => self.user_agent.clone(),
            "aws:referer" => self.referrer.clone(),
            "aws:epochtime" => Some(seconds.to_string()),
            "aws:currenttime" => Some(Timestamp::from_seconds(seconds).iso_millis()),
            _ => None,
        };
        value.into_iter().collect()
    }
}

/// Facts with values that were read after the head of the request.
#[derive(Debug)]
struct LaterFacts {
    values: Vec<(String, String)>,
    earlier: Option<Arc<dyn RequestFacts>>,
}

impl RequestFacts for LaterFacts {
    fn values(&self, key: &str) -> Vec<String> {
        let mut own = self.values.iter().filter(|(name, _)| name == key).peekable();
        match (own.peek(), &self.earlier) {
            (None, Some(earlier)) => earlier.values(key),
            _ => own.map(|(_, value)| value.clone()).collect(),
        }
    }
}

/// The same request, in which these keys have these values.
pub(crate) fn with_values(cx: &Context, values: Vec<(String, String)>) -> Context {
    let facts = LaterFacts { values, earlier: cx.facts.clone() };
    Context { facts: Some(Arc::new(facts)), ..cx.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use apus_store::access::Identity;

    #[test]
    fn facts_are_those_of_the_connection_and_the_head() {
        let facts = ClientFacts {
            address: Some("::ffff:192.0.2.1".parse::<IpAddr>().unwrap().to_canonical()),
            user_agent: Some("agent".to_owned()),
            now: Duration::from_millis(1_709_208_000_700),
            ..ClientFacts::default()
        };
        for (key, value) in [
            ("aws:sourceip", "192.0.2.1"),
            ("aws:securetransport", "false"),
            ("aws:useragent", "agent"),
            ("aws:epochtime", "1709208000"),
            ("aws:currenttime", "2024-02-29T12:00:00.000Z"),
        ] {
            assert_eq!(facts.values(key), [value], "{key}");
        }
        assert!(facts.values("aws:referer").is_empty() && facts.values("s3:prefix").is_empty());
    }

    #[test]
    fn later_values_replace_earlier_ones() {
        let cx = Context::client(Identity::default(), "tx");
        let values = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let first = with_values(&cx, values(&[("a", "1"), ("b", "2")]));
        let second = with_values(&first, values(&[("b", "3"), ("b", "4")]));
        let facts = second.facts.unwrap();
        assert_eq!(facts.values("a"), ["1"]);
        assert_eq!(facts.values("b"), ["3", "4"]);
        assert!(facts.values("c").is_empty());
    }
}
