//! Symbolic links as Swift's clients name them: `X-Symlink-Target` and its companions,
//! `?symlink=get`, and what listings show of them.
//!
//! Source: `swift/common/middleware/symlink.py`.

use apus_cluster::etag::unquote;
use apus_cluster::metadata::has_prefix;
use apus_cluster::{AccountName, Metadata, ObjectPath, percent};
use apus_daemon::Body;
use apus_daemon::http::set;
use apus_store::operation::{LinkTarget, ObjectHead, PutSymlink, WriteConditions};
use apus_store::stage::symlink::link;
use apus_store::{Error, Kind, Result, Subject};
use http::HeaderMap;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::error::Reply;
use super::object::{content_type, created};
use super::request::SwiftRequest;
use crate::edge::Parts;

const TARGET: &str = "x-symlink-target";
const TARGET_ACCOUNT: &str = "x-symlink-target-account";
const TARGET_ETAG: &str = "x-symlink-target-etag";
const TARGET_BYTES: &str = "x-symlink-target-bytes";

/// Whether a request is about the link and not what it leads to.
pub(super) fn is_asked_itself(request: &SwiftRequest) -> bool {
    request.param("symlink") == Some("get")
}

/// Whether a PUT writes a link.
pub(super) fn is_written(request: &SwiftRequest) -> bool {
    request.header(TARGET).is_some()
}

/// A link gets its target when it is made.
pub(super) fn refuse_on_post(request: &SwiftRequest) -> Result<()> {
    match is_written(request) {
        true => Err(Error::invalid("A PUT request is required to set a symlink target")),
        false => Ok(()),
    }
}

/// A copy has bytes, or is a link already.
pub(super) fn refuse_on_copy(request: &SwiftRequest) -> Result<()> {
    match is_written(request) {
        true => Err(Error::invalid("Symlink requests require a zero byte body")),
        false => Ok(()),
    }
}

/// Writes a link.
pub(super) async fn put(
    parts: &Parts,
    request: SwiftRequest,
    object: ObjectPath,
    metadata: Metadata,
    conditions: WriteConditions,
) -> Result<Reply> {
    let target = target(&request)?;
    let target_etag = request.header(TARGET_ETAG).map(unquote).filter(|etag| !etag.is_empty());
    if target_etag.is_some_and(|etag| etag.contains([';', '"', '\\'])) {
        return Err(Error::invalid("Bad X-Symlink-Target-Etag format"));
    }
    let given = request.given("content-type").is_some() || request.flag("x-detect-content-type");
    let op = PutSymlink {
        target,
        target_etag: target_etag.map(str::to_owned),
        content_type: if given { Some(content_type(&request, &object)?) } else { None },
        metadata,
        etag: request.header("etag").map(|etag| unquote(etag).to_owned()),
        conditions,
        object,
    };
    if has_bytes(request.body).await? {
        return Err(Error::invalid("Symlink requests require a zero byte body"));
    }
    let written = parts.store.put_symlink(&request.cx, op).await?;
    Ok(created(&written, &written.etag))
}

async fn has_bytes(mut body: Body) -> Result<bool> {
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|error| Error::new(Kind::ClientGone, Subject::Request).because(error))?;
        if frame.data_ref().is_some_and(|data| !data.is_empty()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The account that a link is to lead into, if a request names one.
pub(super) fn target_account(request: &SwiftRequest) -> Result<Option<AccountName>> {
    request.account_in(TARGET_ACCOUNT)
}

fn target(request: &SwiftRequest) -> Result<LinkTarget> {
    let value = request.header(TARGET).unwrap_or_default();
    // Other headers that name an object may begin with a slash; this one never does.
    if value.starts_with('/') || has_prefix(value, "%2F") {
        return Err(Error::new(Kind::PreconditionFailed, Subject::Request)
            .text("X-Symlink-Target header must be of the form <container name>/<object name>"));
    }
    let (container, object) = request.object_in("X-Symlink-Target", value)?;
    Ok(LinkTarget { account: target_account(request)?, container, object })
}

/// Writes what clients may see of a link, and where bytes come from that a link led to.
pub(super) fn describe(head: &ObjectHead, out: &mut HeaderMap) {
    for (name, stored) in [
        (TARGET, link::TARGET),
        (TARGET_ACCOUNT, link::TARGET_ACCOUNT),
        (TARGET_ETAG, link::TARGET_ETAG),
        (TARGET_BYTES, link::TARGET_BYTES),
    ] {
        if let Some(value) = head.get(stored) {
            set(out, name, value);
        }
    }
    if let Some(location) = &head.location {
        locate(location, out);
    }
}

/// Tells which path an answer is about.
pub(super) fn locate(location: &str, out: &mut HeaderMap) {
    set(out, "content-location", &format!("/v1{location}"));
}

/// Tells what a link leads to that was posted to.
pub(super) fn redirect(error: &Error, head: &ObjectHead, out: &mut HeaderMap) {
    if let Some(location) = &error.location {
        set(out, "location", &format!("/v1{location}"));
    }
    if let Some(etag) = head.get(link::TARGET_ETAG) {
        set(out, TARGET_ETAG, etag);
    }
}

/// What the row of a link has in its etag.
#[derive(Debug, Default)]
pub(super) struct Row {
    path: Option<String>,
    account: Option<String>,
    etag: Option<String>,
    bytes: Option<u64>,
}

impl Row {
    /// Takes one word; of several of one name the last counts. Others' words are not its own.
    pub(super) fn take(&mut self, word: &str) {
        let Some((name, value)) = word.split_once('=') else { return };
        match name {
            "symlink_target" => self.path = Some(value.to_owned()),
            "symlink_target_account" => self.account = Some(value.to_owned()),
            "symlink_target_etag" => self.etag = Some(value.to_owned()),
            "symlink_target_bytes" => self.bytes = value.parse().ok(),
            _ => {}
        }
    }

    /// ETag and size of the current version of an object, which Swift's versioning makes such a link
    /// to; listings show them as the object's own (`swift/common/middleware/versioned_writes/`).
    pub(super) fn version(&self) -> Option<(String, u64)> {
        let is_version = self.path.as_ref()?.starts_with("%00versions%00");
        is_version.then(|| self.etag.clone().zip(self.bytes)).flatten()
    }

    /// What a JSON listing of a container in `account` shows.
    pub(super) fn shown(
        self,
        account: &AccountName,
    ) -> impl Iterator<Item = (&'static str, Value)> + use<> {
        let account = self.account.unwrap_or_else(|| percent::encode_path(account.as_str()));
        let path = self.path.map(|path| ("symlink_path", json!(format!("/v1/{account}/{path}"))));
        let etag = self.etag.map(|etag| ("symlink_etag", json!(etag)));
        let bytes = self.bytes.map(|bytes| ("symlink_bytes", json!(bytes)));
        [path, etag, bytes].into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_shows_where_a_link_leads() {
        let shown = |etag: &str| {
            let mut row = Row::default();
            etag.split("; ").for_each(|word| row.take(word));
            Value::Object(
                row.shown(&AccountName::parse("a b").unwrap())
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect(),
            )
        };
        assert_eq!(shown("d41d; symlink_target=c/o"), json!({"symlink_path": "/v1/a%20b/c/o"}));
        let all = "d41d; slo_etag=x; symlink_target=c/o%20; symlink_target_account=b; \
                   symlink_target_etag=e; symlink_target_bytes=7";
        let told = json!({"symlink_path": "/v1/b/c/o%20", "symlink_etag": "e", "symlink_bytes": 7});
        assert_eq!(shown(all), told);
        assert_eq!(shown("d41d"), json!({}));
    }

    #[test]
    fn a_link_to_a_version_is_the_object_itself() {
        let version = |etag: &str| {
            let mut row = Row::default();
            etag.split("; ").for_each(|word| row.take(word));
            row.version()
        };
        let words = "d41d; symlink_target=%00versions%00c/%00o%00123; symlink_target_etag=e; \
                     symlink_target_bytes=7";
        assert_eq!(version(words), Some(("e".to_owned(), 7)));
        assert_eq!(version(&words.replace("%00versions%00", "")), None);
    }
}
