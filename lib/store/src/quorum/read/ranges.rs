//! Reads of several ranges of one version, one request each.

use apus_cluster::byte_range::{ByteRanges, Resolved};
use apus_cluster::{ObjectPath, PolicyIndex};
use apus_daemon::Body;
use apus_daemon::http::{BodyError, stream};
use apus_daemon::task::{TaskKind, spawn};
use apus_wire::message::object::{ReadObjectRequest, ReadVerb};
use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::sync::mpsc;

use super::super::call::ObjectCall;
use super::super::head::response_head;
use super::super::nodes::Nodes;
use crate::Error;
use crate::context::Context;
use crate::operation::{GetObject, ObjectHead};
use crate::quorum::Quorum;

/// A read of several ranges in the background.
pub(super) struct RangesRead {
    quorum: Quorum,
    cx: Context,
    object: ObjectPath,
    policy: PolicyIndex,
    nodes: Nodes,
    newest: bool,
    /// Etag of the version to which all ranges must belong.
    etag: String,
}

impl RangesRead {
    pub(super) fn new(call: &ObjectCall<'_>, op: &GetObject, head: &ObjectHead) -> Self {
        Self {
            quorum: call.quorum.clone(),
            cx: call.cx.clone(),
            object: call.object.clone(),
            policy: call.policy,
            nodes: call.nodes.clone(),
            newest: op.head.newest,
            etag: head.etag.clone(),
        }
    }

    /// Streams the ranges one after another.
    pub(super) fn start(self, ranges: Vec<Resolved>) -> Body {
        let (sender, receiver) = mpsc::channel(2);
        let Self { quorum, cx, object, policy, nodes, newest, etag } = self;
        spawn(TaskKind::Request, async move {
            let (quorum, cx, object) = (&quorum, &cx, &object);
            let call = ObjectCall { quorum, cx, object, policy, nodes };
            for range in ranges {
                let sent = match open(&call, newest, &etag, range).await {
                    Ok(body) => forward(&call, body, &sender).await,
                    Err(error) => {
                        // Without a receiver the client has disconnected.
                        let _ = sender.send(Err(error.into())).await;
                        return;
                    }
                };
                if !sent {
                    return;
                }
            }
        });
        stream(receiver)
    }
}

/// Opens one range of the version with this etag.
async fn open(
    call: &ObjectCall<'_>,
    newest: bool,
    etag: &str,
    range: Resolved,
) -> crate::Result<Body> {
    let ranges = Some(ByteRanges::single(range.start, range.length));
    let request = ReadObjectRequest { ranges, ..call.read_request(ReadVerb::Get) };
    let answer = call.read_one(&request, newest).await?;
    match response_head(&answer.response).etag == etag {
        true => Ok(answer.response.into_body()),
        false => Err(Error::unavailable("the object was overwritten while its ranges were read")),
    }
}

/// Forwards the body of one range; `false` when it failed or the client has disconnected.
async fn forward(
    call: &ObjectCall<'_>,
    mut body: Body,
    sender: &mpsc::Sender<Result<Bytes, BodyError>>,
) -> bool {
    let deadline = call.client().deadlines().chunk;
    loop {
        let frame = match tokio::time::timeout(deadline, body.frame()).await {
            Ok(Some(frame)) => frame,
            Ok(None) => return true,
            Err(late) => Err(late.into()),
        };
        let piece = match frame.map(http_body::Frame::into_data) {
            Ok(Ok(data)) => Ok(data),
            Ok(Err(_)) => continue,
            Err(error) => Err(error),
        };
        let has_failed = piece.is_err();
        if sender.send(piece).await.is_err() || has_failed {
            return false;
        }
    }
}
