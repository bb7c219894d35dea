//! `SSYNC /device/partition`: receives what is newer on another node.
//!
//! Source: `swift/obj/ssync_receiver.py`. Both nodes compare first, then the sender sends. The
//! response begins at once and continues while the request is still being read. Updates go through
//! the handlers of `PUT`, `POST` and `DELETE`: nothing is published before its length and digest are
//! verified. An exchange that fails drops the connection, so that the sender stops as well.

use std::time::Duration;

use apus_cluster::metadata::title_case;
use apus_cluster::percent;
use apus_cluster::{PartPower, PathHash, Timestamp};
use apus_daemon::Body;
use apus_daemon::http::{BodyError, set, status, stream};
use apus_daemon::task::{TaskKind, spawn};
use apus_disk::Priority;
use apus_wire::headers;
use apus_wire::message::Received;
use apus_wire::message::object::{SsyncReply, SsyncRequest};
use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use tokio::sync::mpsc;

use super::replicate::partition;
use super::write::write;
use crate::engine::object::{DirectoryState, OpenError, Times};
use crate::engine::place::Partition;
use crate::replication::Replicated;
use crate::server::{Refusal, Server, malformed};
use crate::ssync::input::{InputError, SsyncInput};
use crate::ssync::line::{Offer, Wanted, encode_wanted};
use crate::ssync::{MISSING_CHECK_END, MISSING_CHECK_START, UPDATES_END, UPDATES_START};
use crate::store::StoreError;
use crate::store::presence;
use crate::store::replication_lock::{LockError, LockOptions};

/// How long the end of a request may take after its last line.
const CLOSE_WAIT: Duration = Duration::from_secs(1);
/// Objects that one exchange may request: 17 bytes of memory each.
const WANTED_MAX: usize = 1_000_000;
/// Header lines of one object.
const HEADERS_MAX: usize = 1024;
/// Bytes of response lines that are sent together.
const REPLY_BYTES: usize = 8 * 1024;

type Replies = mpsc::Sender<Result<Bytes, BodyError>>;

/// Why an exchange ended early.
enum Failure {
    /// An error to report to the sender: a status (0 when none fits) and a text.
    Reported(u16, String),
    /// The sender disconnected.
    Disconnected(InputError),
}

impl From<InputError> for Failure {
    fn from(error: InputError) -> Self {
        match error {
            InputError::Timeout => Self::Reported(408, error.to_string()),
            InputError::Broken(_) => Self::Disconnected(error),
            InputError::Malformed(_) => Self::Reported(0, error.to_string()),
        }
    }
}

fn failed(text: impl Into<String>) -> Failure {
    Failure::Reported(0, text.into())
}

struct Receiver {
    server: Server,
    device: String,
    partition: Partition,
    /// The part power of the other path of each object.
    other_power: Option<PartPower>,
    replies: Replies,
}

/// Begins an exchange; the response goes on while the request is being read.
pub(crate) async fn ssync(
    server: &Server,
    head: &Parts,
    body: Body,
) -> Result<Response<Body>, Refusal> {
    let Received { device, message: request } =
        SsyncRequest::decode(head).map_err(|error| malformed(&error))?;
    let partition = partition(server, &device, request.address)?;
    let mut present_since = None;
    if request.asks_presence {
        let (root, now) = (partition.device.clone(), server.store.clock.now());
        let reclaim_age = server.replication.reclaim_age;
        let look = move || presence::present_since(&root, now, reclaim_age);
        present_since = server.store.background(&device, look).await?;
    }
    let (replies, lines) = mpsc::channel(4);
    let input = SsyncInput::new(body, server.replication.client_timeout);
    let (server, other_power) = (server.clone(), request.next_part_power);
    let receiver = Receiver { server, device, partition, other_power, replies };
    spawn(TaskKind::Request, receiver.run(input));
    let mut response = status(StatusCode::OK);
    SsyncReply { present_since }.encode(response.headers_mut());
    *response.body_mut() = stream(lines);
    Ok(response)
}

impl Receiver {
    async fn run(self, mut input: SsyncInput) {
        let Err(failure) = self.exchange(&mut input).await else { return };
        let (device, partition) = (&self.device, self.partition.number);
        match failure {
            Failure::Reported(code, text) => {
                tracing::warn!(device, partition, code, text, "Ended an exchange with an error");
                // The sender may have disconnected.
                let _ = self.reply(format!(":ERROR: {code} {text:?}\n")).await;
            }
            Failure::Disconnected(error) => {
                tracing::warn!(device, partition, %error, "The sender of an exchange disconnected");
            }
        }
    }

    async fn reply(&self, text: impl Into<Bytes>) -> Result<(), Failure> {
        let gone =
            |_| Failure::Disconnected(InputError::Broken("the sender disconnected".to_owned()));
        self.replies.send(Ok(text.into())).await.map_err(gone)
    }

    async fn exchange(&self, input: &mut SsyncInput) -> Result<(), Failure> {
        // The head of the response is sent with its first bytes.
        self.reply("\r\n").await?;
        let options = self.server.replication.clone();
        let permit = options
            .concurrency
            .clone()
            .try_acquire_owned()
            .map_err(|_| Failure::Reported(503, "too many exchanges at once".to_owned()))?;
        let (per_device, wait) = (options.concurrency_per_device, options.lock_timeout);
        let options = LockOptions { create: true, per_device, wait };
        let lock = self.server.store.lock_replication(&self.device, &self.partition, options);
        let lock = lock.await.map_err(|error| match error {
            LockError::Busy => failed(format!("{} s: lock timeout", wait.as_secs())),
            LockError::Store(StoreError::Device(error)) => {
                Failure::Reported(503, error.to_string())
            }
            LockError::Store(error) => failed(error.to_string()),
        })?;
        self.missing_check(input).await?;
        self.updates(input).await?;
        drop((lock, permit));
        // An unread end of the request would cost the connection.
        let end = async { while let Ok(Some(_)) = input.line().await {} };
        let _ = tokio::time::timeout(CLOSE_WAIT, end).await;
        Ok(())
    }

    async fn expect(&self, input: &mut SsyncInput, wanted: &str) -> Result<(), Failure> {
        match input.line().await? {
            Some(line) if line == wanted => Ok(()),
            Some(line) => Err(failed(format!("Looking for {wanted} got {}", shown(&line)))),
            None => {
                Err(Failure::Disconnected(InputError::Broken(format!("ended before {wanted}"))))
            }
        }
    }

    /// Compares the sender's objects with those of this node. The reply waits for the end of the list:
    /// a sender does not read before.
    async fn missing_check(&self, input: &mut SsyncInput) -> Result<(), Failure> {
        self.expect(input, MISSING_CHECK_START).await?;
        let mut wanted: Vec<(PathHash, Wanted)> = Vec::new();
        loop {
            let line = input.line().await?;
            let line = line.ok_or_else(|| failed("the list of objects has no end"))?;
            if line == MISSING_CHECK_END {
                break;
            }
            let offer = std::str::from_utf8(&line).ok().and_then(Offer::decode);
            let offer = offer.ok_or_else(|| failed(format!("not an object: {}", shown(&line))))?;
            let parts = self.compare(&offer).await?;
            if parts.any() {
                if wanted.len() >= WANTED_MAX {
                    // An object that is not requested would count as stored.
                    return Err(failed("more objects are missing than one exchange can hold"));
                }
                wanted.push((offer.hash, parts));
            }
        }
        let mut text = format!("{MISSING_CHECK_START}\r\n");
        for (hash, parts) in wanted {
            text.push_str(&encode_wanted(&hash, parts));
            text.push_str("\r\n");
            if text.len() >= REPLY_BYTES {
                self.reply(std::mem::take(&mut text)).await?;
            }
        }
        self.reply(format!("{text}\r\n{MISSING_CHECK_END}\r\n")).await?;
        apus_fault::point("replicate.receive.compared");
        Ok(())
    }

    async fn compare(&self, offer: &Offer) -> Result<Wanted, Failure> {
        let (store, place) = (self.server.store.clone(), self.partition.place(offer.hash));
        let look = move || store.find_by_hash(&place).map(|(found, _)| found);
        let found = self.server.store.devices.run(&self.device, Priority::Background, look).await;
        let found = found.map_err(|error| Failure::Reported(503, error.to_string()))?;
        Ok(match found {
            Ok(DirectoryState::Present(stored)) => {
                let local = Times {
                    data: stored.data_time,
                    meta: Some(stored.time),
                    content_type: Some(stored.content_type_time()),
                };
                offer.wanted(Some(&local), false)
            }
            Ok(DirectoryState::Deleted(time, _)) => {
                let local = Times { data: time, meta: None, content_type: None };
                offer.wanted(Some(&local), true)
            }
            Ok(DirectoryState::Absent) | Err(OpenError::Corrupt(_) | OpenError::OtherName(_)) => {
                offer.wanted(None, false)
            }
            Err(error) => return Err(failed(format!("{}: {error:?}", offer.hash))),
        })
    }

    /// Receives updates until the sender ends them.
    async fn updates(&self, input: &mut SsyncInput) -> Result<(), Failure> {
        self.expect(input, UPDATES_START).await?;
        let options = self.server.replication.clone();
        let (mut successes, mut failures) = (0_u64, 0_u64);
        loop {
            let line = input.line().await?;
            let line = line.ok_or_else(|| failed("the updates have no end"))?;
            if line == UPDATES_END {
                break;
            }
            let status = self.update(input, &line).await?;
            if status.is_success() || status == StatusCode::NOT_FOUND {
                successes += 1;
                apus_fault::point("replicate.receive.stored");
            } else {
                let device = &self.device;
                tracing::warn!(device, %status, update = %shown(&line), "Refused an update of an exchange");
                failures += 1;
            }
            let ratio = failures as f64 / successes as f64;
            if failures >= options.failure_threshold
                && failures > 0
                && (successes == 0 || ratio > options.failure_ratio)
            {
                return Err(failed(format!(
                    "Too many {failures} failures to {successes} successes"
                )));
            }
        }
        if failures > 0 {
            return Err(Failure::Reported(
                500,
                format!("ERROR: With :UPDATES: {failures} failures to {successes} successes"),
            ));
        }
        self.reply(format!("{UPDATES_START}\r\n{UPDATES_END}\r\n")).await
    }

    /// Reads one update and applies it; returns the status of its handler.
    async fn update(&self, input: &mut SsyncInput, line: &[u8]) -> Result<StatusCode, Failure> {
        let first = std::str::from_utf8(line).ok().and_then(|line| line.split_once(' '));
        let (method, path) =
            first.ok_or_else(|| failed(format!("not an update: {}", shown(line))))?;
        let UpdateHeaders { lines, replicated, length, time } = read_headers(input, line).await?;
        let name = percent::decode_utf8(path).unwrap_or_default();
        let body = match (method, length) {
            ("PUT", None) => return Err(failed(format!("No content-length sent for {path}"))),
            ("PUT", Some(length)) => length,
            ("DELETE" | "POST", None | Some(0)) => 0,
            ("DELETE" | "POST", Some(_)) => {
                return Err(failed(format!("{method} subrequest with content-length {path}")));
            }
            _ => return Err(failed(format!("Invalid subrequest method {method}"))),
        };
        let method = match method {
            "PUT" => Method::PUT,
            "POST" => Method::POST,
            _ => Method::DELETE,
        };
        let (pieces, stream_of_pieces) = mpsc::channel(2);
        let request = self.request((method, path), &lines, replicated, stream(stream_of_pieces))?;
        let (status, fed) = tokio::join!(self.write(request), feed(input, pieces, body));
        fed?;
        match status {
            StatusCode::CONFLICT if self.has_newer(&name, time).await? => Ok(StatusCode::OK),
            status => Ok(status),
        }
    }

    /// Applies an update; returns the status of its handler.
    async fn write(&self, request: Request<Body>) -> StatusCode {
        let (head, body) = request.into_parts();
        let answer = write(&self.server, head, body, None).await;
        answer.unwrap_or_else(|refusal| *refusal).status()
    }

    /// Whether a refused update is not needed, since what is stored is as new. A name may also be
    /// promised to a conditional write: then the sender must repeat the update.
    async fn has_newer(&self, name: &str, time: Timestamp) -> Result<bool, Failure> {
        let place = self.partition.place(self.server.store.hash.hash_joined(name));
        let engine = self.server.store.engine(place.policy).clone();
        let look = move || engine.newest(&place, true);
        let newest = self.server.store.devices.run(&self.device, Priority::Background, look).await;
        let newest = newest.map_err(|error| Failure::Reported(503, error.to_string()))?;
        Ok(newest.is_ok_and(|newest| newest.any.is_some_and(|newest| newest >= time)))
    }

    fn request(
        &self,
        (method, path): (Method, &str),
        lines: &[(String, String)],
        replicated: Replicated,
        body: Body,
    ) -> Result<Request<Body>, Failure> {
        let mut uri = String::from("/");
        percent::encode_into(&mut uri, self.device.as_bytes(), b"");
        uri.push_str(&format!("/{}{path}", self.partition.number));
        let built = Request::builder().method(method).uri(uri).extension(replicated).body(body);
        let mut request = built.map_err(|error| failed(format!("{path}: {error}")))?;
        let head = request.headers_mut();
        for (name, value) in lines {
            set(head, name, value);
        }
        set(head, headers::POLICY_INDEX, &self.partition.policy.to_string());
        set(head, headers::REPLICATION, "True");
        if let Some(power) = self.other_power {
            set(head, headers::NEXT_PART_POWER, &power.to_string());
        }
        Ok(request)
    }
}

/// The header lines of an update.
#[derive(Default)]
struct UpdateHeaders {
    /// Names and values as they were received.
    lines: Vec<(String, String)>,
    /// The same as they are stored.
    replicated: Replicated,
    /// `Content-Length`.
    length: Option<u64>,
    /// `X-Timestamp`; zero when it is missing.
    time: Timestamp,
}

/// Reads header lines up to an empty one.
async fn read_headers(input: &mut SsyncInput, context: &[u8]) -> Result<UpdateHeaders, Failure> {
    let mut read = UpdateHeaders::default();
    for _ in 0..HEADERS_MAX {
        let line = input.line().await?;
        let line = line.ok_or_else(|| failed(format!("Got no headers for {}", shown(context))))?;
        if line.is_empty() {
            return Ok(read);
        }
        // Names and values are UTF-8 in what we and Swift write.
        let text = String::from_utf8_lossy(&line);
        let malformed = || failed(format!("not a header: {text}"));
        let (name, value) = text.split_once(':').ok_or_else(malformed)?;
        let (name, value) = (name.trim(), value.trim().to_owned());
        read.lines.push((name.to_owned(), value.clone()));
        let stored = &mut read.replicated.0;
        match name.to_ascii_lowercase().as_str() {
            "content-length" => read.length = Some(value.parse().map_err(|_| malformed())?),
            // The etag is stored under another spelling, the other is not metadata.
            "etag" | "x-backend-no-commit" => {}
            lower if name.is_ascii() => {
                if lower == headers::TIMESTAMP {
                    read.time = Timestamp::parse(&value).unwrap_or_default();
                }
                stored.insert(title_case(name), value);
            }
            _ => drop(stored.insert(name.to_owned(), value)),
        }
    }
    Err(failed(format!("too many headers for {}", shown(context))))
}

/// Passes the body of an update to its handler. Bytes that it does not accept are read nevertheless.
async fn feed(input: &mut SsyncInput, pieces: Replies, length: u64) -> Result<(), Failure> {
    let mut left = length;
    let mut pieces = Some(pieces);
    while left > 0 {
        match input.piece(left).await {
            Ok(piece) => {
                left -= piece.len() as u64;
                if let Some(open) = &pieces
                    && open.send(Ok(piece)).await.is_err()
                {
                    pieces = None;
                }
            }
            Err(error) => {
                if let Some(open) = pieces {
                    // The handler must not store an incomplete body.
                    let _ = open.send(Err(error.to_string().into())).await;
                }
                return Err(error.into());
            }
        }
    }
    Ok(())
}

/// Bytes of the peer, for a log line.
fn shown(line: &[u8]) -> String {
    const SHOWN_MAX: usize = 1024;
    String::from_utf8_lossy(line.get(..SHOWN_MAX).unwrap_or(line)).into_owned()
}
