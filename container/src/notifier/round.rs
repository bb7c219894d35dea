//! One look at the queues of a webhook: what is listed is sent in order, and removed once it was.
//!
//! The events of one key are sent one after another, those of other keys at the same time. An event
//! that the webhook refuses holds back the later ones of its key only; a webhook that does not work
//! ends the round. Both are tried again after a wait that grows.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use apus_bucket::event::{QueuedEvent, parse_row_name};
use apus_cluster::listing::{ListQuery, ObjectEntry};
use apus_cluster::{ContainerPath, Timestamp};
use apus_daemon::{Clock, random};
use apus_store::operation::{ListObjects, QueueRow, UpdateQueue};
use apus_store::{Context, Primitive};
use bytes::Bytes;
use futures_util::{StreamExt, stream};

use super::backoff::Backoff;
use super::client::{DeliveryError, WebhookClient};
use super::options::NotifierOptions;

/// Rows of a page, and of one removal.
const PAGE: usize = 200;
/// Most rows of a queue that one round looks at.
const ROUND_ROWS_MAX: usize = 10_000;
/// Most keys whose failures are remembered.
const KEYS_MAX: usize = 10_000;

/// Counts of deliveries.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
pub(crate) struct DeliveryReport {
    /// Events that webhooks confirmed.
    pub(crate) delivered: u64,
    /// Attempts that failed.
    pub(crate) failed: u64,
    /// Events that were listed and are still in their queues.
    pub(crate) left: u64,
    /// Events that were dropped since they were too old.
    pub(crate) dropped: u64,
    /// Rows of queues that are damaged.
    pub(crate) damaged: u64,
    /// Queues that could not be read or changed.
    pub(crate) errors: u64,
}

impl DeliveryReport {
    pub(crate) fn add(&mut self, other: Self) {
        self.delivered += other.delivered;
        self.failed += other.failed;
        self.left += other.left;
        self.dropped += other.dropped;
        self.damaged += other.damaged;
        self.errors += other.errors;
    }
}

/// A webhook with its failures.
pub(super) struct WebhookState {
    pub(super) name: String,
    client: WebhookClient,
    backoff: Backoff,
    /// Failures of keys, by their ids in the names of rows.
    keys: HashMap<String, Backoff>,
}

impl WebhookState {
    pub(super) fn new(name: String, client: WebhookClient) -> Self {
        Self { name, client, backoff: Backoff::default(), keys: HashMap::new() }
    }

    /// Whether it may be tried at `now`, since 1970.
    pub(super) fn is_due(&self, now: Duration) -> bool {
        self.backoff.is_due(now)
    }
}

/// What a round works with.
pub(super) struct RoundContext<'a> {
    pub(super) store: &'a Arc<dyn Primitive>,
    pub(super) clock: &'a Arc<dyn Clock>,
    pub(super) options: &'a NotifierOptions,
    /// Region that events name.
    pub(super) region: &'a str,
    pub(super) system: Context,
}

/// A row of a queue.
#[derive(Debug, Clone)]
struct EventRow {
    name: String,
    /// When the change was made.
    time: Timestamp,
    /// When the row was written.
    written: Timestamp,
    content_type: String,
}

/// The events of one key on a page, in order.
#[derive(Debug, Default)]
struct KeyEvents {
    key: String,
    rows: Vec<EventRow>,
}

/// Outcome of the events of one key.
#[derive(Debug, Default)]
struct KeyOutcome {
    key: String,
    /// Rows to remove.
    done: Vec<EventRow>,
    report: DeliveryReport,
    /// Whether an event was held back by a failure.
    blocked: bool,
    /// Whether the webhook confirmed an event.
    confirmed: bool,
}

/// The rows of a page by key, in the order in which the keys come.
fn by_key(entries: Vec<ObjectEntry>, report: &mut DeliveryReport) -> Vec<KeyEvents> {
    let mut found: Vec<KeyEvents> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for entry in entries {
        let ObjectEntry::Object(row) = entry else { continue };
        let Some((key, time)) = parse_row_name(&row.name) else {
            tracing::error!(row = row.name, "A queue of events has a row that is not an event");
            report.damaged += 1;
            continue;
        };
        let key = key.to_owned();
        let at = *places.entry(key.clone()).or_insert_with(|| {
            found.push(KeyEvents { key, rows: Vec::new() });
            found.len() - 1
        });
        let written = row.last_modified();
        let (name, content_type) = (row.name, row.content_type);
        if let Some(events) = found.get_mut(at) {
            events.rows.push(EventRow { name, time, written, content_type });
        }
    }
    found
}

impl RoundContext<'_> {
    /// Whether a row is too old to be kept after a failure.
    fn is_too_old(&self, row: &EventRow) -> bool {
        let written = Duration::from_micros(row.written.steps().saturating_mul(10));
        self.clock.now().saturating_sub(written) > self.options.max_age
    }

    /// Sends the events of one key until one fails. `is_down` is set when the webhook does not work.
    async fn send_key(
        &self,
        client: &WebhookClient,
        events: KeyEvents,
        is_down: &AtomicBool,
    ) -> KeyOutcome {
        let mut outcome = KeyOutcome { key: events.key, ..KeyOutcome::default() };
        for row in events.rows {
            let is_too_old = self.is_too_old(&row);
            let sent = match is_down.load(Ordering::Acquire) {
                true => None,
                false => Some(self.send(client, &row).await),
            };
            let is_delivered = match sent {
                Some(Ok(true)) => {
                    apus_fault::point("notifier.event.delivered");
                    outcome.report.delivered += 1;
                    outcome.confirmed = true;
                    true
                }
                Some(Ok(false)) => {
                    outcome.report.damaged += 1;
                    false
                }
                Some(Err(error)) => {
                    tracing::warn!(%error, "Failed to deliver an event");
                    outcome.report.failed += 1;
                    if !error.is_of_event() {
                        is_down.store(true, Ordering::Release);
                    }
                    false
                }
                None => false,
            };
            if !is_delivered && !is_too_old {
                outcome.blocked = true;
                break;
            }
            if !is_delivered {
                tracing::error!(
                    row = row.name,
                    "Dropped an event that could not be delivered in time"
                );
                outcome.report.dropped += 1;
            }
            outcome.done.push(row);
        }
        outcome
    }

    /// Sends one event; `false` if its row is damaged.
    async fn send(&self, client: &WebhookClient, row: &EventRow) -> Result<bool, DeliveryError> {
        let Some(event) = QueuedEvent::of_row(&row.content_type) else {
            tracing::error!(row = row.name, "An event in a queue is damaged");
            return Ok(false);
        };
        let document = event.document(row.time, self.region).to_string();
        client.send(Bytes::from(document)).await.map(|()| true)
    }

    /// Removes rows of a queue.
    async fn remove(
        &self,
        queue: &ContainerPath,
        rows: Vec<EventRow>,
    ) -> Result<(), apus_store::Error> {
        if rows.is_empty() {
            return Ok(());
        }
        let remove =
            |row: EventRow| QueueRow { name: row.name, content_type: None, replaces: row.written };
        let rows = rows.into_iter().map(remove).collect();
        self.store.update_queue(&self.system, UpdateQueue { queue: queue.clone(), rows }).await?;
        apus_fault::point("notifier.rows.removed");
        Ok(())
    }

    /// Sends what a queue has. Returns whether nothing is left in it.
    ///
    /// # Errors
    /// A queue that cannot be listed or changed.
    pub(super) async fn queue(
        &self,
        state: &mut WebhookState,
        queue: &ContainerPath,
        report: &mut DeliveryReport,
    ) -> Result<bool, apus_store::Error> {
        let mut query = ListQuery { limit: PAGE, ..ListQuery::default() };
        let (mut blocked, mut rows_seen, mut is_empty) = (HashSet::new(), 0, true);
        let is_down = AtomicBool::new(false);
        while rows_seen < ROUND_ROWS_MAX {
            let op = ListObjects { container: queue.clone(), query: query.clone() };
            let entries = self.store.list_objects(&self.system, op).await?.page.entries()?;
            let Some(last) = entries.last() else { break };
            query.marker = last.name().to_owned();
            let listed = entries.len();
            rows_seen += listed;
            let mut keys = by_key(entries, report);
            let now = self.clock.now();
            let before = keys.len();
            keys.retain(|events| {
                !blocked.contains(&events.key)
                    && state.keys.get(&events.key).is_none_or(|backoff| backoff.is_due(now))
            });
            is_empty &= before == keys.len();
            let client = &state.client;
            let sending = keys.into_iter().map(|events| self.send_key(client, events, &is_down));
            let outcomes: Vec<KeyOutcome> =
                stream::iter(sending).buffer_unordered(self.options.concurrency).collect().await;
            let (mut done, mut is_stopped) = (Vec::new(), false);
            for outcome in outcomes {
                report.add(outcome.report);
                done.extend(outcome.done);
                if outcome.confirmed {
                    state.backoff.succeed();
                }
                if !outcome.blocked {
                    state.keys.remove(&outcome.key);
                    continue;
                }
                is_empty = false;
                is_stopped |= is_down.load(Ordering::Acquire);
                if !is_stopped && state.keys.len() < KEYS_MAX {
                    let backoff = state.keys.entry(outcome.key.clone()).or_default();
                    backoff.fail(now, self.options.backoff_max, random::share());
                }
                blocked.insert(outcome.key);
            }
            report.left += listed.saturating_sub(done.len()) as u64;
            self.remove(queue, done).await?;
            if is_stopped {
                state.backoff.fail(self.clock.now(), self.options.backoff_max, random::share());
                return Ok(false);
            }
        }
        Ok(is_empty && rows_seen < ROUND_ROWS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use apus_bucket::event::{EventContent, EventSource};
    use apus_cluster::listing::ObjectRow;
    use apus_cluster::timestamp::RowTimes;

    use super::*;

    fn row(bucket: &str, time: u64) -> ObjectEntry {
        let event = QueuedEvent {
            account: "a".to_owned(),
            bucket: bucket.to_owned(),
            source: EventSource::default(),
            content: EventContent::Test,
        };
        let event = event.row(Timestamp::from_seconds(time)).unwrap();
        ObjectEntry::Object(ObjectRow {
            name: event.name,
            times: RowTimes::all(Timestamp::from_seconds(time + 1)),
            size: 0,
            content_type: event.content_type,
            etag: String::new(),
            deleted: false,
            policy: 0,
        })
    }

    #[test]
    fn rows_are_grouped_by_key_in_order_and_damaged_ones_are_counted() {
        let ObjectEntry::Object(other) = row("x", 9) else { unreachable!() };
        let damaged = ObjectEntry::Object(ObjectRow { name: "x".to_owned(), ..other });
        let mut report = DeliveryReport::default();
        let entries = vec![row("b", 1), row("c", 2), damaged, row("b", 3)];
        let keys = by_key(entries, &mut report);
        let seconds = |events: &KeyEvents| {
            events.rows.iter().map(|row| (row.time.seconds(), row.written.seconds())).collect()
        };
        let found: Vec<Vec<(u64, u64)>> = keys.iter().map(seconds).collect();
        assert_eq!(found, [vec![(1, 2), (3, 4)], vec![(2, 3)]]);
        assert_ne!(keys[0].key, keys[1].key);
        assert_eq!(report.damaged, 1);
    }
}
