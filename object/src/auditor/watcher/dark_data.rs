//! The watcher `swift#dark_data`: finds objects that no listing knows, such as those that a node
//! brings back which was away for longer than tombstones are kept.
//!
//! Source: `swift/obj/watchers/dark_data.py`. An object is dark when all primaries of its container
//! answered and none lists it. Whenever one did not answer, does not know the container, has shards,
//! or lists another policy's objects, nobody knows, and the object stays.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use apus_cluster::Timestamp;
use apus_cluster::percent::encode_into;
use apus_daemon::Body;
use apus_daemon::config::Section;
use apus_daemon::http::{empty, header};
use apus_ring::Device;
use apus_wire::{NodeRequest, headers};
use async_trait::async_trait;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;

use super::{Kind, Seen, Surroundings, Watcher, Wish};

/// Swift's name.
pub(super) const NAME: &str = "swift#dark_data";
/// How long one server may take (Swift's `response_timeout`).
const ANSWER: Duration = Duration::from_secs(15);
/// One row in JSON has a name, a content type and an ETag, and is never this long.
const ANSWER_BYTES: usize = 256 * 1024;
/// Seconds for which a new object is not looked for: its row may still be on its way (Swift's).
const GRACE_AGE: u64 = 604_800;

/// What was found in a sweep.
#[derive(Debug, Clone, Copy, Default)]
struct Totals {
    unknown: u64,
    ok: u64,
    dark: u64,
}

/// The watcher.
#[derive(Debug)]
pub(super) struct DarkData {
    around: Surroundings,
    /// What is wished for dark objects.
    action: Wish,
    grace_age: Duration,
    totals: Mutex<Totals>,
}

/// What listings say of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listed {
    Yes,
    No,
    /// Not everybody answered as needed.
    Unknown,
}

impl DarkData {
    /// With its options, `action` and `grace_age`.
    pub(super) fn new(section: &Section<'_>, around: &Surroundings) -> Result<Self, String> {
        let action = match section.get("action").unwrap_or("log") {
            "log" => Wish::Keep,
            "delete" => Wish::Delete,
            "quarantine" => Wish::Quarantine,
            // Swift logs it and goes on with `log`.
            other => {
                return Err(section.refuse("action", other, "log, delete or quarantine").into());
            }
        };
        let grace_age = section.parse("grace_age", GRACE_AGE, "whole seconds")?;
        Ok(Self {
            around: around.clone(),
            action,
            grace_age: Duration::from_secs(grace_age),
            totals: Mutex::default(),
        })
    }

    fn totals(&self) -> MutexGuard<'_, Totals> {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the servers of an object's container one after the other, until one lists it.
    async fn listed(&self, seen: &Seen<'_>) -> Listed {
        let mut names = seen.name.splitn(4, '/').skip(1);
        let (Some(account), Some(container), Some(object)) =
            (names.next(), names.next(), names.next())
        else {
            return Listed::Unknown;
        };
        let (partition, mut nodes) = {
            let ring = self.around.containers.get();
            let partition = ring.partition_of(&self.around.hash, &[account, container]);
            (partition, ring.primaries(partition).into_iter().cloned().collect::<Vec<_>>())
        };
        // Not always the same one first.
        let first = usize::from(u16::from_le_bytes(apus_daemon::seed::bytes()));
        let turn = first.checked_rem(nodes.len()).unwrap_or(0);
        nodes.rotate_left(turn);
        let request = request(partition, account, container, object);
        let mut listed = if nodes.is_empty() { Listed::Unknown } else { Listed::No };
        for node in &nodes {
            match self.ask(node, &request, object, seen).await {
                Listed::Yes => return Listed::Yes,
                Listed::Unknown => listed = Listed::Unknown,
                Listed::No => {}
            }
        }
        listed
    }

    /// What one server says.
    async fn ask(
        &self,
        node: &Device,
        request: &NodeRequest,
        object: &str,
        seen: &Seen<'_>,
    ) -> Listed {
        let answered = tokio::time::timeout(ANSWER, async {
            let answer = self.around.client.send_regardless(node, request, empty(), ANSWER).await;
            let (head, body) = answer.ok()?.into_parts();
            let rows = match head.status {
                StatusCode::OK => read(body).await?,
                StatusCode::NO_CONTENT => b"[]".to_vec(),
                _ => return None,
            };
            judge(&head.headers, &rows, object, seen.policy.0)
        });
        match answered.await.ok().flatten() {
            Some(true) => Listed::Yes,
            Some(false) => Listed::No,
            None => Listed::Unknown,
        }
    }
}

/// A body that is whole and not too long.
async fn read(mut body: Body) -> Option<Vec<u8>> {
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(bytes) = frame.ok()?.into_data() {
            read.extend_from_slice(&bytes);
        }
        if read.len() > ANSWER_BYTES {
            return None;
        }
    }
    Some(read)
}

/// The first row from an object's name on.
fn request(partition: u32, account: &str, container: &str, object: &str) -> NodeRequest {
    let mut query = "format=json&limit=1&prefix=".to_owned();
    encode_into(&mut query, object.as_bytes(), b"");
    let set = [(headers::RECORD_TYPE, "auto"), (headers::ALLOW_RESERVED_NAMES, "true")];
    let set = set.into_iter().map(|(name, value)| {
        (http::HeaderName::from_static(name), HeaderValue::from_static(value))
    });
    NodeRequest {
        method: Method::GET,
        partition,
        names: vec![account.to_owned(), container.to_owned()],
        query,
        headers: HeaderMap::from_iter(set),
    }
}

/// Whether an answer lists an object of this policy; `None` when it does not tell.
fn judge(head: &HeaderMap, rows: &[u8], object: &str, policy: u32) -> Option<bool> {
    let rows: Vec<Value> = serde_json::from_slice(rows).ok()?;
    let is = |name, value: &str| header(head, name).is_some_and(|found| found == value);
    // Rows of other policies wait for the reconciler, and are not listed.
    if !is("x-backend-sharding-state", "unsharded")
        || !is(headers::RECORD_TYPE, "object")
        || !is(headers::POLICY_INDEX, &policy.to_string())
    {
        return None;
    }
    // Names come in order, and no other is as short as its own prefix.
    let first = rows.first().map(|row| row.get("name").and_then(Value::as_str));
    Some(first == Some(Some(object)))
}

#[async_trait]
impl Watcher for DarkData {
    fn name(&self) -> &'static str {
        NAME
    }

    fn start(&self, sweep: Kind) {
        if sweep == Kind::All {
            *self.totals() = Totals::default();
        }
    }

    async fn see_object(&self, sweep: Kind, seen: &Seen<'_>) -> Wish {
        if sweep != Kind::All {
            // The containers are asked once for each object, not twice.
            return Wish::Keep;
        }
        let old = Timestamp::from_duration(seen.now.saturating_sub(self.grace_age));
        if seen.time >= old {
            self.totals().ok += 1;
            return Wish::Keep;
        }
        match self.listed(seen).await {
            Listed::Yes => self.totals().ok += 1,
            Listed::Unknown => self.totals().unknown += 1,
            Listed::No => {
                self.totals().dark += 1;
                tracing::info!(object = seen.name, wish = ?self.action, "dark data");
                return self.action;
            }
        }
        Wish::Keep
    }

    fn end(&self, sweep: Kind) {
        if sweep == Kind::All {
            let Totals { unknown, ok, dark } = *self.totals();
            tracing::info!(unknown, ok, dark, "dark data watcher");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let good = [
            ("x-backend-sharding-state", "unsharded"),
            (headers::RECORD_TYPE, "object"),
            (headers::POLICY_INDEX, "0"),
        ];
        let mut head = HeaderMap::new();
        for (name, value) in good.iter().chain(pairs) {
            head.insert(*name, HeaderValue::from_static(value));
        }
        head
    }

    #[test]
    fn only_a_plain_listing_of_the_policy_tells_that_an_object_is_dark() {
        let row = br#"[{"name": "o", "bytes": 3}]"#;
        let longer = br#"[{"name": "o2", "bytes": 3}]"#;
        assert_eq!(judge(&head(&[]), row, "o", 0), Some(true));
        assert_eq!(judge(&head(&[]), b"[]", "o", 0), Some(false));
        assert_eq!(judge(&head(&[]), longer, "o", 0), Some(false));
        for other in [
            ("x-backend-sharding-state", "sharding"),
            ("x-backend-sharding-state", "sharded"),
            ("x-backend-sharding-state", "collapsed"),
            (headers::RECORD_TYPE, "shard"),
            (headers::POLICY_INDEX, "1"),
        ] {
            assert_eq!(judge(&head(&[other]), b"[]", "o", 0), None, "{other:?}");
        }
        assert_eq!(judge(&HeaderMap::new(), b"[]", "o", 0), None, "a proxy's answer");
        for broken in [&b""[..], b"{}", b"[", b"<html>"] {
            assert_eq!(judge(&head(&[]), broken, "o", 0), None);
        }
    }

    #[test]
    fn a_name_is_asked_for_as_it_is() {
        let request = request(7, "a", "c", "\0o/ü&x=1");
        assert_eq!(request.query, "format=json&limit=1&prefix=%00o%2F%C3%BC%26x%3D1");
        assert_eq!(header(&request.headers, headers::ALLOW_RESERVED_NAMES), Some("true"));
    }
}
