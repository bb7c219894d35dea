//! One long body on its way to several nodes, each through a bounded queue of its own.
//!
//! A node that fails while everything sent so far is still held is replaced by a handoff; one that
//! fails later is dropped, and the caller decides whether enough go on. A node that is being avoided
//! is replaced from the beginning, and opened after all when another fails.

use std::collections::VecDeque;
use std::sync::Arc;

use apus_daemon::http::{BodyError, stream};
use apus_daemon::task::{TaskKind, spawn};
use apus_ring::Device;
use apus_wire::NodeRequest;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::nodes::Enough;
use super::send::{Answer, is_failure};
use crate::body::{ANSWER_BYTES_MAX, collect_answer};

/// Pieces that wait for one node.
const WINDOW: usize = 8;
/// Pieces kept for a node that replaces another.
const REPLAY: usize = 8;

type Piece = std::result::Result<Bytes, BodyError>;

struct FanNode {
    /// The replica that it takes.
    index: usize,
    voter: Option<usize>,
    sender: Option<mpsc::Sender<Piece>>,
    answer: tokio::task::JoinHandle<Option<Answer>>,
}

/// One body on its way to several nodes.
pub(super) struct Fan {
    client: Arc<apus_wire::Client>,
    requests: Vec<NodeRequest>,
    /// How many voters are primaries, which come first.
    primaries: usize,
    handoffs: VecDeque<Device>,
    /// The pieces sent so far, while a replacement can still get them all.
    replay: Option<Vec<Bytes>>,
    nodes: Vec<FanNode>,
    /// Voters that are being avoided, with the replica that each takes.
    avoided: Vec<(usize, Device)>,
    /// Answers that came before the body had ended: refusals.
    refusals: Vec<Answer>,
}

impl Fan {
    /// To nobody yet; `requests` has one for each replica.
    pub(super) fn new(
        client: Arc<apus_wire::Client>,
        requests: Vec<NodeRequest>,
        primaries: usize,
        handoffs: VecDeque<Device>,
    ) -> Self {
        let (nodes, avoided, refusals) = (Vec::new(), Vec::new(), Vec::new());
        let replay = Some(Vec::new());
        Self { client, requests, primaries, handoffs, replay, nodes, avoided, refusals }
    }

    /// Opens the way of request `index` to the voter of this index, or to a handoff if the voter is
    /// being avoided and can be done without.
    pub(super) fn open_voter(&mut self, index: usize, node: Device, is_needed: bool) {
        if is_needed || !self.client.is_limited(&node) {
            self.open(index, node, Some(index));
            return;
        }
        self.avoided.push((index, node));
        if let Some(handoff) = self.handoffs.pop_front() {
            self.open(index, handoff, None);
        }
    }

    fn open(&mut self, index: usize, node: Device, voter: Option<usize>) {
        let Some(request) = self.requests.get(index).cloned() else { return };
        let (sender, receiver) = mpsc::channel(WINDOW);
        let (client, primaries) = (self.client.clone(), self.primaries);
        let answer = spawn(TaskKind::Request, async move {
            // The answer comes when the body has ended, which may take long.
            let deadline = std::time::Duration::from_secs(24 * 3600);
            let body = stream(receiver);
            let response = match voter {
                Some(_) => client.send_anyway(&node, &request, body, deadline).await,
                None => client.send_within(&node, &request, body, deadline).await,
            };
            match response {
                Ok(response) => {
                    let (head, body) = response.into_parts();
                    let body = collect_answer(body, ANSWER_BYTES_MAX).await;
                    Some(Answer {
                        status: head.status,
                        headers: head.headers,
                        body: body.unwrap_or_default(),
                        primary: voter.is_some_and(|index| index < primaries),
                        node: node.id,
                        replica: index,
                        voter,
                    })
                }
                Err(error) => {
                    tracing::debug!(%error, node = node.address(), device = node.device, "write");
                    None
                }
            }
        });
        self.nodes.push(FanNode { index, voter, sender: Some(sender), answer });
    }

    /// Nodes that still take pieces.
    pub(super) fn alive(&self) -> usize {
        self.nodes.iter().filter(|node| node.sender.is_some()).count()
    }

    /// Sends a piece to every node; one that is stuck or gone for longer than the chunk deadline
    /// is given up.
    pub(super) async fn send(&mut self, piece: Bytes) {
        self.send_each(|_| piece.clone()).await;
        if let Some(replay) = &mut self.replay {
            replay.push(piece);
        }
        self.replace_failed().await;
        if self.replay.as_ref().is_some_and(|replay| replay.len() > REPLAY) {
            self.replay = None;
        }
    }

    /// Sends each node a piece of its own, the last of the body; `of` is given the index of the
    /// voter, or nothing for a handoff.
    pub(super) async fn send_each(&mut self, of: impl Fn(Option<usize>) -> Bytes) {
        self.replace_failed().await;
        let deadline = self.client.deadlines().chunk;
        let sends = self.nodes.iter_mut().map(|node| {
            let piece = of(node.voter);
            async move {
                if let Some(sender) = &node.sender {
                    let sent = tokio::time::timeout(deadline, sender.send(Ok(piece))).await;
                    if !matches!(sent, Ok(Ok(()))) {
                        node.sender = None;
                    }
                }
            }
        });
        futures_util::future::join_all(sends).await;
    }

    /// Replaces nodes that failed while everything sent can still be sent again.
    async fn replace_failed(&mut self) {
        let Some(replay) = self.replay.clone() else { return };
        let mut at = 0;
        while at < self.nodes.len() {
            let failed = self
                .nodes
                .get(at)
                .is_some_and(|node| node.sender.is_none() && node.answer.is_finished());
            if !failed {
                at += 1;
                continue;
            }
            let node = self.nodes.swap_remove(at);
            let answer = node.answer.await.ok().flatten();
            let refusal = answer.filter(|answer| !is_failure(answer.status));
            // A refusal such as 409 is an answer, not a failure.
            let has_failed = refusal.is_none();
            self.refusals.extend(refusal);
            if has_failed && let Some(handoff) = self.handoffs.pop_front() {
                self.open(node.index, handoff, None);
                self.catch_up(&replay).await;
            }
            if has_failed
                && node.voter.is_some()
                && let Some((index, avoided)) = self.avoided.pop()
            {
                self.open(index, avoided, Some(index));
                self.catch_up(&replay).await;
            }
        }
    }

    /// Sends the node that was opened last what the others have.
    async fn catch_up(&mut self, replay: &[Bytes]) {
        let Some(sender) = self.nodes.last().and_then(|node| node.sender.clone()) else { return };
        for piece in replay {
            // It failed as well, which the next piece will show.
            let _ = sender.send(Ok(piece.clone())).await;
        }
    }

    /// Breaks the bodies off, so that nothing is published.
    pub(super) async fn abort(self, reason: &'static str) {
        for node in self.nodes {
            if let Some(sender) = node.sender {
                let _ = sender.send(Err(reason.into())).await;
            }
        }
    }

    /// Ends the bodies and collects the answers; after a quorum the rest get a short grace.
    pub(super) async fn finish(self, enough: &Enough) -> Vec<Answer> {
        let mut waiting: futures_util::stream::FuturesUnordered<_> = self
            .nodes
            .into_iter()
            .map(|node| {
                drop(node.sender);
                node.answer
            })
            .collect();
        use futures_util::StreamExt;
        let mut answers = self.refusals;
        loop {
            let good = answers.iter().filter(|answer| answer.status.is_success());
            let good: Vec<_> = good.map(|answer| answer.voter).collect();
            let grace = if enough.is_met(&good) { 500 } else { 60_000 };
            let grace = std::time::Duration::from_millis(grace);
            match tokio::time::timeout(grace, waiting.next()).await {
                Ok(Some(answer)) => answers.extend(answer.ok().flatten()),
                Ok(None) | Err(_) => return answers,
            }
        }
    }
}
