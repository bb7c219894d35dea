//! A response body that continues on another node when its own node fails.

use std::sync::Arc;

use apus_cluster::byte_range::ByteRanges;
use apus_daemon::Body;
use apus_daemon::http::{BodyError, empty, stream};
use apus_daemon::task::{TaskKind, spawn};
use apus_ring::Device;
use apus_wire::Client;
use apus_wire::message::object::{ObjectVersion, ReadObjectRequest};
use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::sync::mpsc;

/// A body that continues at the same byte on another node that has the same version.
pub(super) struct ResumableBody {
    pub(super) client: Arc<Client>,
    /// The request, whose range becomes that of the rest.
    pub(super) request: ReadObjectRequest,
    pub(super) version: ObjectVersion,
    /// The next byte of the object.
    pub(super) next: u64,
    /// The end of the wanted range.
    pub(super) end: u64,
    /// The node that sends the body now.
    pub(super) node: Device,
    /// The nodes that were not tried yet.
    pub(super) others: Vec<Device>,
}

impl ResumableBody {
    /// Forwards `body` and what continues it.
    pub(super) fn start(mut self, body: Body) -> Body {
        let (sender, receiver) = mpsc::channel(2);
        spawn(TaskKind::Request, async move {
            let mut body = body;
            while self.next < self.end {
                match self.next_piece(&mut body).await {
                    Ok(piece) => {
                        self.next += piece.len() as u64;
                        if sender.send(Ok(piece)).await.is_err() {
                            return;
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, node = self.node.address(), device = self.node.device, at = self.next, "the body of an object broke off; trying another node");
                        self.client.note_error(&self.node);
                        match self.open_next().await {
                            Some(more) => body = more,
                            None => {
                                let _ = sender.send(Err(error)).await;
                                return;
                            }
                        }
                    }
                }
            }
        });
        stream(receiver)
    }

    async fn next_piece(&self, body: &mut Body) -> Result<Bytes, BodyError> {
        loop {
            let deadline = self.client.deadlines().chunk;
            match tokio::time::timeout(deadline, body.frame()).await {
                Err(_) => return Err("no data within the deadline".into()),
                Ok(None) => return Err("the body ended too early".into()),
                Ok(Some(Err(error))) => return Err(error),
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data()
                        && !data.is_empty()
                    {
                        return Ok(data);
                    }
                }
            }
        }
    }

    /// Opens the rest of the same version on another node.
    async fn open_next(&mut self) -> Option<Body> {
        while let Some(node) = (!self.others.is_empty()).then(|| self.others.remove(0)) {
            self.request.ranges = Some(ByteRanges::single(self.next, self.end - self.next));
            let request = self.request.encode();
            let Ok(answer) = self.client.send(&node, &request, empty()).await else { continue };
            let version = ObjectVersion::decode(answer.headers());
            if answer.status().is_success() && version == self.version {
                self.node = node;
                return Some(answer.into_body());
            }
        }
        None
    }
}
