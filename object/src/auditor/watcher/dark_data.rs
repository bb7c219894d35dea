//! The watcher `swift#dark_data`: finds objects that no listing contains.
//!
//! Such objects come from a node that was away for longer than tombstones are kept. Source:
//! `swift/obj/watchers/dark_data.py`. An object is dark when all primaries of its container answer
//! and none lists it. When one does not answer, does not have the container, has shards, or lists
//! objects of another policy, the state is unknown and the object stays.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use apus_cluster::percent::encode_into;
use apus_cluster::{AccountName, ContainerName, ContainerPath, PolicyIndex, Timestamp};
use apus_daemon::Body;
use apus_daemon::config::{ConfigError, Section};
use apus_daemon::http::empty;
use apus_options::{choice, options, whole};
use apus_ring::Device;
use apus_wire::NodeRequest;
use apus_wire::message::container::{
    ContainerAddress, ListingContents, ReadContainerRequest, RecordType,
};
use async_trait::async_trait;
use http::StatusCode;
use http_body_util::BodyExt;
use serde_json::Value;

use super::{AuditedObject, SweepKind, Watcher, WatcherContext, WatcherVerdict};

/// Swift's name.
pub(super) const NAME: &str = "swift#dark_data";
/// Timeout for one server (Swift's `response_timeout`).
const ANSWER: Duration = Duration::from_secs(15);
/// One row in JSON has a name, a content type and an ETag, and is never this long.
const ANSWER_BYTES: usize = 256 * 1024;

options! {
    /// Options of `[object-auditor:watcher:swift#dark_data]`, with Swift's names and defaults.
    #[derive(Debug)]
    pub struct DarkDataOptions {
        /// What happens to an object that no listing contains.
        action: String = choice("log", &["log", "delete", "quarantine"]),
        /// Age up to which an object is not checked: its row may still be pending.
        grace_age: u64 = whole(604_800).unit("seconds"),
    }
}

/// Counts of a sweep.
#[derive(Debug, Clone, Copy, Default)]
struct Totals {
    unknown: u64,
    ok: u64,
    dark: u64,
}

/// The watcher.
#[derive(Debug)]
pub(super) struct DarkData {
    around: WatcherContext,
    /// Verdict on dark objects.
    action: WatcherVerdict,
    grace_age: Duration,
    totals: Mutex<Totals>,
}

/// Whether listings contain an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listed {
    Yes,
    No,
    /// Not all servers gave a usable answer.
    Unknown,
}

impl DarkData {
    /// With its options, `action` and `grace_age`.
    pub(super) fn new(section: &Section<'_>, around: &WatcherContext) -> Result<Self, ConfigError> {
        let given = DarkDataOptions::read(section)?;
        // Swift logs another word, and goes on with `log`.
        let action = match given.action.as_str() {
            "delete" => WatcherVerdict::Delete,
            "quarantine" => WatcherVerdict::Quarantine,
            _ => WatcherVerdict::Keep,
        };
        Ok(Self {
            around: around.clone(),
            action,
            grace_age: Duration::from_secs(given.grace_age),
            totals: Mutex::default(),
        })
    }

    fn totals(&self) -> MutexGuard<'_, Totals> {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the servers of an object's container in turn, until one lists it.
    async fn listed(&self, seen: &AuditedObject<'_>) -> Listed {
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
        // Begins with a random one.
        let first = usize::from(u16::from_le_bytes(apus_daemon::random::bytes()));
        let turn = first.checked_rem(nodes.len()).unwrap_or(0);
        nodes.rotate_left(turn);
        let Some(request) = request(partition, account, container, object) else {
            return Listed::Unknown;
        };
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

    /// Asks one server.
    async fn ask(
        &self,
        node: &Device,
        request: &NodeRequest,
        object: &str,
        seen: &AuditedObject<'_>,
    ) -> Listed {
        let answered = tokio::time::timeout(ANSWER, async {
            let answer = self.around.client.send_regardless(node, request, empty(), ANSWER).await;
            let (head, body) = answer.ok()?.into_parts();
            let rows = match head.status {
                StatusCode::OK => read(body).await?,
                StatusCode::NO_CONTENT => b"[]".to_vec(),
                _ => return None,
            };
            is_listed(ListingContents::decode(&head.headers), &rows, object, seen.policy)
        });
        match answered.await.ok().flatten() {
            Some(true) => Listed::Yes,
            Some(false) => Listed::No,
            None => Listed::Unknown,
        }
    }
}

/// Reads a body; `None` when it breaks off or is too long.
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

/// Requests the first row from an object's name on; `None` for names that no container can have.
fn request(partition: u32, account: &str, container: &str, object: &str) -> Option<NodeRequest> {
    let mut query = "format=json&limit=1&prefix=".to_owned();
    encode_into(&mut query, object.as_bytes(), b"");
    let container = ContainerPath::new(
        AccountName::parse(account).ok()?,
        ContainerName::parse(container).ok()?,
    );
    let address = ContainerAddress { container, partition, trans_id: None };
    let list = ReadContainerRequest {
        record_type: Some(RecordType::Auto),
        allow_reserved: true,
        ..ReadContainerRequest::list(address, query)
    };
    Some(list.encode())
}

/// Whether a listing contains an object of this policy; `None` when the listing does not show it.
fn is_listed(
    contents: ListingContents,
    rows: &[u8],
    object: &str,
    policy: PolicyIndex,
) -> Option<bool> {
    let rows: Vec<Value> = serde_json::from_slice(rows).ok()?;
    // Rows of other policies wait for the reconciler, and are not listed.
    let complete = ListingContents {
        is_unsharded: true,
        record_type: Some(RecordType::Object),
        policy: Some(policy),
    };
    if contents != complete {
        return None;
    }
    // Names are sorted, and no other name is as short as its own prefix.
    let first = rows.first().map(|row| row.get("name").and_then(Value::as_str));
    Some(first == Some(Some(object)))
}

#[async_trait]
impl Watcher for DarkData {
    fn name(&self) -> &'static str {
        NAME
    }

    fn start(&self, sweep: SweepKind) {
        if sweep == SweepKind::All {
            *self.totals() = Totals::default();
        }
    }

    async fn see_object(&self, sweep: SweepKind, seen: &AuditedObject<'_>) -> WatcherVerdict {
        if sweep != SweepKind::All {
            // Container servers are asked once for each object, not twice.
            return WatcherVerdict::Keep;
        }
        let old = Timestamp::from_duration(seen.now.saturating_sub(self.grace_age));
        if seen.time >= old {
            self.totals().ok += 1;
            return WatcherVerdict::Keep;
        }
        match self.listed(seen).await {
            Listed::Yes => self.totals().ok += 1,
            Listed::Unknown => self.totals().unknown += 1,
            Listed::No => {
                self.totals().dark += 1;
                tracing::info!(object = seen.name, action = ?self.action, "Found an object that no listing contains");
                return self.action;
            }
        }
        WatcherVerdict::Keep
    }

    fn end(&self, sweep: SweepKind) {
        if sweep == SweepKind::All {
            let Totals { unknown, ok, dark } = *self.totals();
            tracing::info!(
                unknown,
                ok,
                dark,
                "Finished looking for objects that no listing contains"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPLETE: ListingContents = ListingContents {
        is_unsharded: true,
        record_type: Some(RecordType::Object),
        policy: Some(PolicyIndex(0)),
    };

    #[test]
    fn only_a_complete_listing_of_the_policy_shows_that_an_object_is_dark() {
        let listed = |contents, rows: &[u8]| is_listed(contents, rows, "o", PolicyIndex(0));
        let row = br#"[{"name": "o", "bytes": 3}]"#;
        let longer = br#"[{"name": "o2", "bytes": 3}]"#;
        assert_eq!(listed(COMPLETE, row), Some(true));
        assert_eq!(listed(COMPLETE, b"[]"), Some(false));
        assert_eq!(listed(COMPLETE, longer), Some(false));
        for other in [
            ListingContents { is_unsharded: false, ..COMPLETE },
            ListingContents { record_type: Some(RecordType::Shard), ..COMPLETE },
            ListingContents { policy: Some(PolicyIndex(1)), ..COMPLETE },
            ListingContents::default(),
        ] {
            assert_eq!(listed(other, b"[]"), None, "{other:?}");
        }
        for broken in [&b""[..], b"{}", b"[", b"<html>"] {
            assert_eq!(listed(COMPLETE, broken), None);
        }
    }

    #[test]
    fn names_are_sent_unchanged() {
        let request = request(7, "a", "c", "\0o/ü&x=1").unwrap();
        assert_eq!(request.query, "format=json&limit=1&prefix=%00o%2F%C3%BC%26x%3D1");
    }
}
