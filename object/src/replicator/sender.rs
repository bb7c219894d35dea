//! The sending end of one `SSYNC` exchange.
//!
//! Source: `swift/obj/ssync_sender.py`. The receiver answers each half after reading all of it, so
//! nothing is read while something is sent. A body that is found to be damaged in its middle ends
//! the exchange: the receiver must not store it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use apus_cluster::percent;
use apus_cluster::{Metadata, PartPower, PathHash, Timestamp};
use apus_daemon::http::{BodyError, stream};
use apus_ring::Device;
use apus_wire::Client;
use apus_wire::client::NodeError;
use apus_wire::message::object::{PartitionAddress, SsyncReply, SsyncRequest};
use bytes::Bytes;
use http::StatusCode;
use tokio::sync::mpsc;

use super::verified::{ReadError, VerifiedReader};
use crate::engine::object::{DirectoryState, OpenError, StoredObject};
use crate::engine::place::Partition;
use crate::ssync::input::{InputError, SsyncInput};
use crate::ssync::line::{Offer, Wanted, decode_wanted};
use crate::ssync::{MISSING_CHECK_END, MISSING_CHECK_START, UPDATES_END, UPDATES_START};
use crate::store::{ObjectStore, StoreError};

/// Bytes of lines that go out together.
const LINES_BYTES: usize = 8 * 1024;
/// How long the end of an answer may take after its last line.
const CLOSE_WAIT: Duration = Duration::from_secs(1);
/// Pieces that wait for the network.
const WINDOW: usize = 4;

/// Why an exchange failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SyncError {
    /// The node could not be reached.
    #[error("{0}")]
    Node(NodeError),
    /// The node refused the exchange.
    #[error("the node answered {0}")]
    Status(StatusCode),
    /// The node sent an error, or an unexpected line.
    #[error("the node sent {0:?}")]
    UnexpectedLine(String),
    /// The node stopped sending or receiving.
    #[error(transparent)]
    Input(#[from] InputError),
    /// An object of this node is damaged; it has been quarantined.
    #[error("an object of this node is damaged")]
    Damaged,
    /// This node's disk failed.
    #[error("own disk: {0}")]
    Disk(#[from] StoreError),
}

/// Which of the objects that the receiver wants are sent.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ObjectSelection<'a> {
    /// None: the receiver is only asked what it lacks.
    Nothing,
    /// All but these.
    AllBut(&'a BTreeSet<PathHash>),
}

/// Result of an exchange.
#[derive(Debug, Default)]
pub(crate) struct Exchanged {
    /// What the receiver wants.
    pub(crate) wanted: Vec<(PathHash, Wanted)>,
    /// Objects of which something was sent.
    pub(crate) sent: u64,
    /// Since when the receiver's device is present, if it was asked.
    pub(crate) present_since: Option<Timestamp>,
}

/// The partition from which objects are sent. Cloning shares everything.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) store: Arc<ObjectStore>,
    pub(crate) client: Arc<Client>,
    /// This node's device.
    pub(crate) device: String,
    pub(crate) partition: Partition,
    /// The part power of the other path of each object.
    pub(crate) other_power: Option<PartPower>,
    /// From sending a request to the head of its response.
    pub(crate) node_timeout: Duration,
    /// Between two lines of an exchange.
    pub(crate) http_timeout: Duration,
}

struct Exchange {
    out: mpsc::Sender<Result<Bytes, BodyError>>,
    input: SsyncInput,
    source: Source,
    present_since: Option<Timestamp>,
}

/// Offers objects to a node and sends what it wants of them.
pub(crate) async fn exchange(
    source: &Source,
    node: &Device,
    offers: &[Offer],
    send: ObjectSelection<'_>,
) -> Result<Exchanged, SyncError> {
    let mut open = Exchange::open(source, node, send).await?;
    let wanted = open.missing_check(offers).await?;
    let sent = open.updates(&wanted, send).await?;
    let present_since = open.present_since;
    open.close().await;
    Ok(Exchanged { wanted, sent, present_since })
}

impl Exchange {
    async fn open(
        source: &Source,
        node: &Device,
        send: ObjectSelection<'_>,
    ) -> Result<Self, SyncError> {
        let (policy, number) = (source.partition.policy, source.partition.number);
        let request = SsyncRequest {
            address: PartitionAddress { partition: number, policy },
            next_part_power: source.other_power,
            asks_presence: matches!(send, ObjectSelection::Nothing),
        };
        let (out, pieces) = mpsc::channel(WINDOW);
        let client = &source.client;
        let (node, timeout) = (node.for_replication(), source.node_timeout);
        let answer =
            client.send_regardless(&node, &request.encode(), stream(pieces), timeout).await;
        let answer = answer.map_err(SyncError::Node)?;
        if answer.status() != StatusCode::OK {
            return Err(SyncError::Status(answer.status()));
        }
        let SsyncReply { present_since } = SsyncReply::decode(answer.headers());
        let input = SsyncInput::new(answer.into_body(), source.http_timeout);
        Ok(Self { out, input, source: source.clone(), present_since })
    }

    async fn send(&mut self, text: impl Into<Bytes>) -> Result<(), SyncError> {
        let sent = self.out.send(Ok(text.into()));
        match tokio::time::timeout(self.source.http_timeout, sent).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(self.disconnect_reason().await),
            Err(_) => Err(InputError::Timeout.into()),
        }
    }

    /// The last error of a receiver that disconnected.
    async fn disconnect_reason(&mut self) -> SyncError {
        loop {
            match self.input.line().await {
                Ok(Some(line)) if line.starts_with(b":ERROR:") => return unexpected(&line),
                Ok(Some(_)) => {}
                Ok(None) => {
                    return InputError::Broken("the receiver disconnected".to_owned()).into();
                }
                Err(error) => return error.into(),
            }
        }
    }

    /// Reads up to a line; only blank lines may precede it.
    async fn expect(&mut self, wanted: &str) -> Result<(), SyncError> {
        loop {
            match self.input.line().await? {
                Some(line) if line == wanted => return Ok(()),
                Some(line) if line.is_empty() => {}
                Some(line) => return Err(unexpected(&line)),
                None => return Err(InputError::Broken(format!("ended before {wanted}")).into()),
            }
        }
    }

    async fn missing_check(
        &mut self,
        offers: &[Offer],
    ) -> Result<Vec<(PathHash, Wanted)>, SyncError> {
        let mut text = format!("{MISSING_CHECK_START}\r\n");
        for offer in offers {
            text.push_str(&offer.encode());
            text.push_str("\r\n");
            if text.len() >= LINES_BYTES {
                self.send(std::mem::take(&mut text)).await?;
            }
        }
        self.send(format!("{text}{MISSING_CHECK_END}\r\n")).await?;
        self.expect(MISSING_CHECK_START).await?;
        let mut open: BTreeSet<PathHash> = offers.iter().map(|offer| offer.hash).collect();
        let mut wanted = Vec::new();
        loop {
            let line = self.input.line().await?;
            let line = line
                .ok_or_else(|| InputError::Broken("its list of objects has no end".to_owned()))?;
            if line == MISSING_CHECK_END {
                return Ok(wanted);
            }
            if line.is_empty() {
                continue;
            }
            // Each at most once, and nothing that was not offered.
            let read = std::str::from_utf8(&line).ok().and_then(decode_wanted);
            let read =
                read.filter(|(hash, _)| open.remove(hash)).ok_or_else(|| unexpected(&line))?;
            wanted.push(read);
        }
    }

    async fn updates(
        &mut self,
        wanted: &[(PathHash, Wanted)],
        send: ObjectSelection<'_>,
    ) -> Result<u64, SyncError> {
        self.send(format!("{UPDATES_START}\r\n")).await?;
        let mut sent = 0;
        if let ObjectSelection::AllBut(held) = send {
            for (hash, parts) in wanted.iter().filter(|(hash, _)| !held.contains(hash)) {
                if self.object(*hash, *parts).await? {
                    sent += 1;
                    apus_fault::point("replicate.object.sent");
                }
            }
        }
        self.send(format!("{UPDATES_END}\r\n")).await?;
        self.expect(UPDATES_START).await?;
        self.expect(UPDATES_END).await?;
        Ok(sent)
    }

    /// Ends both streams in order, so that the connection can be used again.
    async fn close(self) {
        let Self { out, mut input, .. } = self;
        drop(out);
        let end = async { while let Ok(Some(_)) = input.line().await {} };
        // Everything was sent: a receiver that does not end only loses the connection.
        let _ = tokio::time::timeout(CLOSE_WAIT, end).await;
    }

    /// Sends the wanted parts of one object; returns `false` when it does not exist any longer.
    async fn object(&mut self, hash: PathHash, wanted: Wanted) -> Result<bool, SyncError> {
        let source = self.source.clone();
        let (store, place) = (source.store.clone(), source.partition.place(hash));
        let look = move || Ok(store.find_by_hash(&place));
        let found = source.store.background(&source.device, look).await;
        match found? {
            // The next sweep reports its new state.
            Ok((DirectoryState::Absent, _))
            | Err(OpenError::Corrupt(_) | OpenError::OtherName(_)) => Ok(false),
            Err(error) => {
                tracing::warn!(%error, %hash, "Failed to open an object to send");
                Ok(false)
            }
            Ok((DirectoryState::Deleted(time, _), name)) => {
                if !wanted.data || apus_fault::planted("bug.send-no-tombstones") {
                    return Ok(false);
                }
                let stored = Metadata::from([("X-Timestamp".to_owned(), time.to_string())]);
                let Some(head) = update("DELETE", &name, &stored) else { return Ok(false) };
                self.send(head).await.map(|()| true)
            }
            Ok((DirectoryState::Present(stored), name)) => {
                self.present(hash, Arc::new(*stored), &name, wanted).await
            }
        }
    }

    async fn present(
        &mut self,
        hash: PathHash,
        stored: Arc<StoredObject>,
        name: &str,
        wanted: Wanted,
    ) -> Result<bool, SyncError> {
        let mut sent = false;
        if wanted.data {
            let mut own = stored.data.clone();
            own.insert("Content-Length".to_owned(), stored.length.to_string());
            let Some(head) = update("PUT", name, &own) else { return Ok(false) };
            if !self.body(hash, &stored, head).await? {
                return Ok(false);
            }
            sent = true;
        }
        if let (true, Some(meta)) = (wanted.meta, &stored.meta) {
            let Some(head) = update("POST", name, meta) else { return Ok(false) };
            self.send(head).await?;
            sent = true;
        }
        Ok(sent)
    }

    /// Sends a body; returns `false` when it is found to be damaged before anything was sent.
    async fn body(
        &mut self,
        hash: PathHash,
        stored: &Arc<StoredObject>,
        head: String,
    ) -> Result<bool, SyncError> {
        let source = self.source.clone();
        let (store, device) = (&source.store, &source.device);
        let mut head = Some(head);
        let damaged = async |reason: &'static str| {
            let (place, seen) = (source.partition.place(hash), stored.identity());
            let own = store.clone();
            let quarantine = move || {
                let engine = own.engine(place.policy);
                if seen.is_some_and(|seen| engine.holds(&place, &seen)) {
                    own.quarantine_now(&place, reason);
                }
                Ok(())
            };
            // When the threads are busy, the next reader quarantines it.
            let _ = store.background(device, quarantine).await;
        };
        let mut body = match VerifiedReader::new(stored.clone()) {
            Ok(body) => body,
            Err(ReadError::Damaged(reason)) => {
                damaged(reason).await;
                return Ok(false);
            }
            Err(ReadError::Disk(error)) => return Err(StoreError::from(error).into()),
        };
        loop {
            let piece = match body.next(store, device).await {
                Ok(piece) => piece,
                Err(error) => {
                    if let ReadError::Damaged(reason) = error {
                        damaged(reason).await;
                    }
                    return match (head, error) {
                        (Some(_), ReadError::Damaged(_)) => Ok(false),
                        (_, error) => Err(self.break_off(error).await),
                    };
                }
            };
            if let Some(head) = head.take() {
                self.send(head).await?;
            }
            match piece {
                Some(piece) => self.send(piece).await?,
                None => return Ok(true),
            }
        }
    }

    /// Ends the request in the middle, so that the receiver discards the object.
    async fn break_off(&mut self, error: ReadError) -> SyncError {
        let reason = match error {
            ReadError::Damaged(_) => SyncError::Damaged,
            ReadError::Disk(error) => StoreError::from(error).into(),
        };
        // The receiver may have disconnected.
        let _ = self.out.send(Err(reason.to_string().into())).await;
        reason
    }
}

fn unexpected(line: &[u8]) -> SyncError {
    SyncError::UnexpectedLine(
        String::from_utf8_lossy(line.get(..1024).unwrap_or(line)).into_owned(),
    )
}

/// The head of an update. `None` when a line cannot express what is stored.
fn update(method: &str, name: &str, stored: &Metadata) -> Option<String> {
    let mut text = format!("{method} {}\r\n", percent::encode_path(name));
    for (name, value) in stored.iter().filter(|(name, _)| *name != "name") {
        let breaks = |text: &str| text.contains(['\r', '\n']);
        if breaks(name) || breaks(value) || name.contains(':') {
            tracing::error!(name, value, "Cannot send metadata that does not fit a header line");
            return None;
        }
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_is_swifts_subrequest() {
        let stored = Metadata::from(
            [
                ("name", "/a/c/ü b"),
                ("X-Timestamp", "1.00000"),
                ("ETag", "e"),
                ("X-Object-Meta-Ü", "☃"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        assert_eq!(
            update("POST", "/a/c/ü b", &stored).unwrap(),
            "POST /a/c/%C3%BC%20b\r\nETag: e\r\nX-Object-Meta-Ü: ☃\r\nX-Timestamp: 1.00000\r\n\r\n"
        );
        let mut torn = stored;
        torn.insert("X-Object-Meta-A".to_owned(), "1\r\nX-Evil: 2".to_owned());
        assert_eq!(update("POST", "/a/c/o", &torn), None);
    }
}
