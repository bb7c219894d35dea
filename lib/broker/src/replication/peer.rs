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
use apus_wire::message::database::{
    DatabaseCall, DatabaseUpload, ReplicaAddress, ReplicateDatabaseReply, ReplicateDatabaseRequest,
};
use apus_wire::transport::SendError;
use apus_wire::{NodePath, NodeRequest, Transport};
use bytes::Bytes;
use http::{Request, StatusCode};
use serde::Serialize;
use tokio::sync::mpsc;

use super::body::BodyReadError;

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

/// The rows of calls that have none.
#[derive(Debug, Serialize)]
pub(super) enum NoRow {}

/// Response to a call.
#[derive(Debug)]
pub(super) struct CallReply {
    pub(super) status: StatusCode,
    pub(super) head: ReplicateDatabaseReply,
    pub(super) body: Bytes,
}

/// One database on one device of another server, or of this node.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) transport: Arc<Transport>,
    /// With its replication address.
    pub(super) node: Device,
    pub(super) address: ReplicaAddress,
    pub(super) timeout: Duration,
}

impl Peer {
    /// Sends a call whose rows are those of a kind.
    pub(super) async fn call<R: Serialize + Sync>(
        &self,
        call: &DatabaseCall<R>,
    ) -> Result<CallReply, CallError> {
        let call = full(call.encode()?);
        let request = ReplicateDatabaseRequest::call(self.address).encode();
        self.send(request, call, self.timeout).await
    }

    /// Sends a call without rows.
    pub(super) async fn ask(&self, call: &DatabaseCall<NoRow>) -> Result<CallReply, CallError> {
        self.call(call).await
    }

    /// As [`Peer::ask`], for work that takes longer for a larger database.
    pub(super) async fn ask_long(
        &self,
        call: &DatabaseCall<NoRow>,
        bytes: u64,
    ) -> Result<CallReply, CallError> {
        let patient = Self { timeout: self.timeout + for_bytes(bytes), ..self.clone() };
        patient.ask(call).await
    }

    /// Sends a whole database.
    pub(super) async fn send_file(
        &self,
        file: &Path,
        upload: DatabaseUpload,
    ) -> Result<CallReply, CallError> {
        let (sender, pieces) = mpsc::channel(4);
        let timeout = self.timeout + for_bytes(upload.length);
        let request = ReplicateDatabaseRequest { address: self.address, upload: Some(upload) };
        let file = file.to_owned();
        let read = apus_daemon::task::spawn_blocking(move || read_pieces(&file, &sender));
        let reply = self.send(request.encode(), stream(pieces), timeout).await;
        // An error of the file has ended the body.
        let _ = read.await;
        reply
    }

    /// Creates the database by an ordinary `PUT` of its names.
    pub(super) async fn put(&self, put: NodeRequest) -> Result<CallReply, CallError> {
        self.send(put, empty(), self.timeout).await
    }

    async fn send(
        &self,
        request: NodeRequest,
        body: Body,
        timeout: Duration,
    ) -> Result<CallReply, CallError> {
        let NodeRequest { method, partition, names, headers, .. } = request;
        let path = NodePath { device: self.node.device.clone(), partition, names };
        let mut request = Request::builder().method(method).uri(path.encode()).body(body)?;
        *request.headers_mut() = headers;
        let address = self.node.address();
        let response = tokio::time::timeout(timeout, async {
            let response = self.transport.send(&address, request).await?;
            let (head, body) = response.into_parts();
            let body = super::body::read(body, RESPONSE_MAX).await?;
            let status = head.status;
            Ok(CallReply { status, head: ReplicateDatabaseReply::decode(&head.headers), body })
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
