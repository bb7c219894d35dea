//! Sends `REPLICATE` calls to the server of a device.
//!
//! Not through `wire::Client`, whose error limits are for requests of clients, which can go to
//! another server. A replicator calls each replica in each pass.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use apus_daemon::Body;
use apus_daemon::http::{BodyError, empty, full, stream};
use apus_ring::Device;
use apus_wire::transport::SendError;
use apus_wire::{NodePath, NodeRequest, Transport, headers};
use bytes::Bytes;
use http::{Request, StatusCode, header};
use serde::Serialize;
use tokio::sync::mpsc;

use super::body::BodyReadError;
use crate::mark::FileMark;

/// Bytes of a response at most: a state with its metadata, or a list of shard ranges.
const RESPONSE_MAX: usize = 64 * 1024 * 1024;
/// Bytes of a database in one piece.
const PIECE: usize = 256 * 1024;
/// Rate of a transfer at least: its timeout is that of a call and the time for its bytes.
const BYTES_PER_SECOND: u64 = 4 * 1024 * 1024;

/// Reasons why a call got no response.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error("the call cannot be encoded: {0}")]
    Encode(#[from] serde_json::Error),
    #[error("the request is invalid: {0}")]
    Request(#[from] http::Error),
    #[error(transparent)]
    Send(#[from] SendError),
    #[error(transparent)]
    Body(#[from] BodyReadError),
    #[error("no response in time")]
    Timeout,
}

/// Response to a call.
#[derive(Debug)]
pub(super) struct CallReply {
    pub(super) status: StatusCode,
    /// Whether this server accepts whole databases as bodies.
    pub(super) takes_databases: bool,
    /// The mark of the database's files before it was read.
    pub(super) mark: Option<FileMark>,
    /// How many of the rows that it was sent were new to it. Swift's servers do not report it.
    pub(super) new_rows: Option<u64>,
    pub(super) body: Bytes,
}

/// One database on one device of another server, or of this node.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) transport: Arc<Transport>,
    /// With its replication address.
    pub(super) node: Device,
    pub(super) partition: u32,
    pub(super) hash: String,
    pub(super) timeout: Duration,
}

impl Peer {
    /// Calls an operation: a JSON list of its name and arguments.
    pub(super) async fn call(&self, call: &impl Serialize) -> Result<CallReply, CallError> {
        let call = full(serde_json::to_vec(call)?);
        let request = self.replicate().header(header::CONTENT_TYPE, "application/json").body(call);
        self.send(request?, self.timeout).await
    }

    /// As [`Peer::call`], for work that takes longer for a larger database.
    pub(super) async fn call_long(
        &self,
        call: &impl Serialize,
        bytes: u64,
    ) -> Result<CallReply, CallError> {
        let patient = Self { timeout: self.timeout + for_bytes(bytes), ..self.clone() };
        patient.call(call).await
    }

    /// Sends a whole database.
    pub(super) async fn send_file(
        &self,
        id: &str,
        file: &Path,
        length: u64,
        md5: &str,
    ) -> Result<CallReply, CallError> {
        let (sender, pieces) = mpsc::channel(4);
        let request = self
            .replicate()
            .header(headers::DATABASE, id)
            .header(header::ETAG, md5)
            .header(header::CONTENT_LENGTH, length)
            .body(stream(pieces))?;
        let file = file.to_owned();
        let read = apus_daemon::task::spawn_blocking(move || read_pieces(&file, &sender));
        let reply = self.send(request, self.timeout + for_bytes(length)).await;
        // An error of the file has ended the body.
        let _ = read.await;
        reply
    }

    /// Creates the database by an ordinary `PUT` of its names.
    pub(super) async fn put(&self, put: NodeRequest) -> Result<CallReply, CallError> {
        let NodeRequest { method, partition, names, headers, .. } = put;
        let path = NodePath { device: self.node.device.clone(), partition, names };
        let mut request = Request::builder().method(method).uri(path.encode()).body(empty())?;
        *request.headers_mut() = headers;
        self.send(request, self.timeout).await
    }

    /// A `REPLICATE` of this database.
    fn replicate(&self) -> http::request::Builder {
        let (device, names) = (self.node.device.clone(), vec![self.hash.clone()]);
        let path = NodePath { device, partition: self.partition, names };
        Request::builder().method("REPLICATE").uri(path.encode())
    }

    async fn send(
        &self,
        request: Request<Body>,
        timeout: Duration,
    ) -> Result<CallReply, CallError> {
        let address = self.node.address();
        let response = tokio::time::timeout(timeout, async {
            let response = self.transport.send(&address, request).await?;
            let (head, body) = response.into_parts();
            let body = super::body::read(body, RESPONSE_MAX).await?;
            let text = |name| apus_daemon::http::header(&head.headers, name);
            Ok(CallReply {
                status: head.status,
                mark: text(headers::FILE_MARK).and_then(FileMark::parse),
                takes_databases: head.headers.contains_key(headers::DATABASE),
                new_rows: text(headers::NEW_ROWS).and_then(|rows| rows.parse().ok()),
                body,
            })
        });
        response.await.unwrap_or(Err(CallError::Timeout))
    }
}

fn for_bytes(bytes: u64) -> Duration {
    Duration::from_secs(bytes / BYTES_PER_SECOND)
}

fn read_pieces(file: &Path, sender: &mpsc::Sender<Result<Bytes, BodyError>>) -> io::Result<()> {
    use std::io::Read;
    let mut file = std::fs::File::open(file)?;
    loop {
        let mut piece = vec![0; PIECE];
        let read = match file.read(&mut piece) {
            Ok(read) => read,
            Err(error) => {
                let _ = sender.blocking_send(Err(error.to_string().into()));
                return Err(error);
            }
        };
        if read == 0 {
            return Ok(());
        }
        piece.truncate(read);
        if sender.blocking_send(Ok(piece.into())).is_err() {
            // The receiver is gone.
            return Ok(());
        }
    }
}
