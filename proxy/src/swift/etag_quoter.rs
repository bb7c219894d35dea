//! ETags of objects in quotes, where their container, account or cluster asks for them.
//!
//! Source: `swift/common/middleware/etag_quoter.py`.

use apus_cluster::{ContainerPath, Metadata};
use apus_daemon::config::value::flag;
use apus_daemon::http::{header, set};
use apus_store::operation::{HeadAccount, HeadContainer};
use apus_store::{Context, Store};
use http::HeaderMap;

use super::path::Path;
use super::request::SwiftRequest;
use crate::deps::ProxyDeps;
use crate::reply::Reply;

/// The settings of `[filter:etag_quoter]`.
#[derive(Debug, Clone, Copy, Default)]
pub struct EtagQuoterConfig {
    /// Whether ETags are quoted where neither the container nor the account has a setting.
    pub enable_by_default: bool,
}

/// The resource that has a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum QuotedIn {
    /// Of all objects of an account.
    Account,
    /// Of the objects of a container.
    Container,
}

impl QuotedIn {
    fn word(self) -> &'static str {
        match self {
            Self::Account => "Account",
            Self::Container => "Container",
        }
    }

    /// The system metadata with the setting.
    fn key(self) -> String {
        format!("X-{}-Sysmeta-Rfc-Compliant-Etags", self.word())
    }

    /// The header of requests and responses.
    fn header(self) -> String {
        format!("x-{}-rfc-compliant-etags", self.word().to_ascii_lowercase())
    }

    /// Adds the system metadata that a request sets.
    pub(super) fn add(self, deps: &ProxyDeps, request: &SwiftRequest, metadata: &mut Metadata) {
        if deps.config.etag_quoter.is_none() {
            return;
        }
        let name = self.header();
        let removed = request.given(&name.replacen("x-", "x-remove-", 1)).is_some();
        let value = match request.header(&name) {
            _ if removed => "",
            None => return,
            Some("") => "",
            Some(value) if flag(value) == Some(true) => "True",
            Some(_) => "False",
        };
        metadata.insert(self.key(), value.to_owned());
    }

    /// Shows the setting.
    pub(super) fn show(self, deps: &ProxyDeps, stored: &Metadata, out: &mut HeaderMap) {
        let value = stored.get(&self.key()).filter(|value| !value.is_empty());
        if let Some(value) = value.filter(|_| deps.config.etag_quoter.is_some()) {
            set(out, &self.header(), value);
        }
    }

    /// The setting in metadata.
    fn stored(self, metadata: &Metadata) -> Option<bool> {
        let value = metadata.get(&self.key()).filter(|value| !value.is_empty())?;
        Some(flag(value) == Some(true))
    }
}

/// Quotes the ETag of a response about an object.
pub(super) struct EtagQuoter {
    config: EtagQuoterConfig,
    cx: Context,
    container: ContainerPath,
}

impl EtagQuoter {
    /// For a request about an object.
    pub(super) fn of(deps: &ProxyDeps, request: &SwiftRequest) -> Option<Self> {
        let config = deps.config.etag_quoter?;
        let Path::Object(object) = &request.path else { return None };
        let cx = request.cx.as_system("etag_quoter");
        Some(Self { config, cx, container: object.container.clone() })
    }

    /// Whether the container, else its account, else the cluster asks for quotes. Nothing is quoted
    /// where the container or account cannot be read.
    async fn is_asked_for(&self, store: &dyn Store) -> bool {
        let container = HeadContainer { container: self.container.clone() };
        let Ok(container) = store.container_info(&self.cx, container).await else { return false };
        if let Some(own) = QuotedIn::Container.stored(&container.headers) {
            return own;
        }
        let account = HeadAccount { account: self.container.account.clone() };
        let Ok(account) = store.account_info(&self.cx, account).await else { return false };
        QuotedIn::Account.stored(&account.headers).unwrap_or(self.config.enable_by_default)
    }

    /// Quotes the ETag of the response.
    pub(super) async fn quote(&self, deps: &ProxyDeps, reply: &mut Reply) {
        let Some(etag) = header(reply.headers(), "etag").filter(|etag| !is_quoted(etag)) else {
            return;
        };
        let quoted = format!("\"{etag}\"");
        if self.is_asked_for(&*deps.store).await {
            set(reply.headers_mut(), "etag", &quoted);
        }
    }
}

fn is_quoted(etag: &str) -> bool {
    (etag.starts_with('"') || etag.starts_with("W/\"")) && etag.ends_with('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weak_and_strong_etags_have_quotes() {
        for (etag, expected) in [("\"a\"", true), ("W/\"a\"", true), ("a", false), ("\"a", false)] {
            assert_eq!(is_quoted(etag), expected, "{etag}");
        }
    }

    #[test]
    fn a_setting_is_on_off_or_absent() {
        for (value, expected) in
            [("True", Some(true)), ("False", Some(false)), ("", None), ("x", Some(false))]
        {
            let stored = Metadata::from([(QuotedIn::Container.key(), value.to_owned())]);
            assert_eq!(QuotedIn::Container.stored(&stored), expected, "{value}");
            assert_eq!(QuotedIn::Account.stored(&stored), None);
        }
    }
}
