//! Conditional writes: the proxy's part.
//!
//! The name is taken on a majority of the primaries at the time of the write; the newest version
//! that they tell is the one to judge by, since every acknowledged write is on a majority; then
//! the write commits at that very time. `apus_object::reservation` has the rules by which only one
//! of several writers gets there. A writer that came too early for somebody's promise tries again
//! at a later time, after a moment of chance.

use std::time::Duration;

use apus_cluster::policy::majority;
use apus_cluster::{ObjectPath, PolicyIndex, Timestamp};
use apus_daemon::http::{empty, header, set};
use apus_daemon::seed;
use apus_daemon::task::{TaskKind, spawn};
use apus_ring::Device;
use apus_wire::{NodeRequest, headers, methods};
use http::{Method, StatusCode};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Quorum;
use super::head::object_head;
use super::nodes::{Enough, Nodes};
use super::version::Version;
use crate::context::Context;
use crate::operation::{ObjectHead, WriteConditions};
use crate::{Error, Kind, Result, Subject};

/// How long a writer tries.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long one primary may take: longer than a lost holder is waited for.
const ANSWER: Duration = Duration::from_secs(4);
/// How long the rest of the primaries get after a majority has answered.
const AFTER_MAJORITY: Duration = Duration::from_millis(100);
/// The longest wait between two tries.
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// What one primary says.
#[derive(Debug, Clone)]
pub enum Reply {
    /// The name is taken, and this is there, be it a tombstone.
    Granted(Version),
    /// A later time is needed.
    TooEarly,
    /// It does not know of taking names: Python Swift's.
    Unsupported,
    /// It did not answer, or its disk failed.
    Silent,
}

/// What all of them mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The name is taken; the newest version is that of this reply.
    Taken {
        /// Index of the reply that told the newest version.
        newest: usize,
    },
    /// Try again at a later time.
    Again,
    /// Too few know of taking names.
    Unsupported,
    /// Too few answered.
    Unreachable,
}

/// Judges the replies of `primaries` nodes.
pub fn verdict(replies: &[Reply], primaries: usize) -> Verdict {
    let enough = Enough::OfEach(vec![((0..primaries).collect(), majority(primaries))]);
    let replies: Vec<_> = replies.iter().cloned().enumerate().collect();
    verdict_of(&replies, &enough)
}

/// The same of voters, each with its index.
fn verdict_of(replies: &[(usize, Reply)], enough: &Enough) -> Verdict {
    let those = |wanted: fn(&Reply) -> bool| {
        let chosen = replies.iter().filter(|(_, reply)| wanted(reply));
        chosen.map(|(voter, _)| Some(*voter)).collect::<Vec<_>>()
    };
    let granted = replies.iter().enumerate().filter_map(|(index, (_, reply))| match reply {
        Reply::Granted(version) => Some((index, *version)),
        _ => None,
    });
    let met = |wanted| enough.is_met(&those(wanted));
    // Without these nobody could be enough.
    let others = those(|reply| !matches!(reply, Reply::Unsupported));
    let unsupported = match enough {
        Enough::Any(_) => false,
        Enough::OfEach(sets) => sets.iter().any(|(set, needed)| {
            let silent = set.iter().filter(|v| !replies.iter().any(|(voter, _)| voter == *v));
            let others = others.iter().flatten().filter(|voter| set.contains(voter));
            silent.count() + others.count() < *needed
        }),
    };
    match granted.max_by_key(|(_, version)| *version) {
        Some((newest, _)) if met(|reply| matches!(reply, Reply::Granted(_))) => {
            Verdict::Taken { newest }
        }
        _ if met(|reply| matches!(reply, Reply::Granted(_) | Reply::TooEarly)) => Verdict::Again,
        _ if unsupported => Verdict::Unsupported,
        _ => Verdict::Unreachable,
    }
}

/// A name that was taken.
#[derive(Debug)]
pub(super) struct Held {
    /// When, which is the time to write at.
    pub(super) time: Timestamp,
    /// Indexes of the primaries that gave it.
    pub(super) voters: Vec<usize>,
}

/// How a write is to go on.
#[derive(Debug)]
pub(super) enum Hold {
    /// It has no conditions.
    None,
    /// The conditions hold, and nobody else gets in between.
    Held(Held),
    /// Too few nodes can take names: they judge by themselves, as Swift's.
    AskNodes,
}

impl Hold {
    /// The time to write at, if that is settled.
    pub(super) fn time(&self) -> Option<Timestamp> {
        match self {
            Self::Held(held) => Some(held.time),
            Self::None | Self::AskNodes => None,
        }
    }

    /// Whether a majority of the primaries must take it.
    pub(super) fn is_strict(&self, cx: &Context) -> bool {
        cx.is_strong() || matches!(self, Self::Held(_))
    }

    /// Whether the primary of this index gave the name.
    pub(super) fn has(&self, index: usize) -> bool {
        matches!(self, Self::Held(held) if held.voters.contains(&index))
    }

    /// The request to the primary of this index, as its commit or with the condition.
    pub(super) fn mark(&self, index: usize, mut request: NodeRequest) -> NodeRequest {
        match self {
            Self::Held(_) if self.has(index) => set(&mut request.headers, headers::RESERVED, "yes"),
            Self::Held(_) | Self::None | Self::AskNodes => {}
        }
        request
    }
}

struct Told {
    index: usize,
    reply: Reply,
    head: Option<ObjectHead>,
}

impl Quorum {
    fn name_request(
        &self,
        cx: &Context,
        verb: &str,
        object: &ObjectPath,
        policy: PolicyIndex,
        nodes: &Nodes,
        time: Timestamp,
    ) -> Result<NodeRequest> {
        let verb = Method::from_bytes(verb.as_bytes()).map_err(Error::unavailable)?;
        let mut request = self.object_request(cx, verb, object, policy, nodes);
        set(&mut request.headers, headers::TIMESTAMP, &time.to_string());
        Ok(request)
    }

    /// Takes the object's name on a majority of its primaries, if there are conditions and they
    /// hold.
    ///
    /// # Errors
    /// `PreconditionFailed` and `NotFound` from the conditions; `Conflict` when others were always
    /// faster; `Unavailable`; `NotSupported` when the nodes are Swift's and cannot judge either.
    pub(super) async fn hold(
        &self,
        cx: &Context,
        object: &ObjectPath,
        policy: PolicyIndex,
        nodes: &Nodes,
        conditions: &WriteConditions,
    ) -> Result<Hold> {
        if conditions.is_empty() {
            return Ok(Hold::None);
        }
        let until = Instant::now() + PATIENCE;
        let mut pause = Duration::from_millis(4);
        loop {
            let time = self.clock.stamp();
            let told = self.ask_primaries(cx, object, policy, nodes, time).await?;
            let replies: Vec<_> =
                told.iter().map(|told| (told.index, told.reply.clone())).collect();
            let granted = |told: &&Told| matches!(told.reply, Reply::Granted(_));
            let voters = told.iter().filter(granted).map(|told| told.index).collect();
            let held = Held { time, voters };
            let error = match verdict_of(&replies, &nodes.enough(majority(nodes.primaries.len()))) {
                Verdict::Taken { newest } => {
                    let current = told.get(newest).and_then(|told| told.head.as_ref());
                    let current = current.filter(|head| !self.has_expired(head));
                    match conditions.check(current) {
                        Ok(()) => return Ok(Hold::Held(held)),
                        Err(error) => error,
                    }
                }
                Verdict::Again if Instant::now() < until => {
                    self.release(cx, object, policy, nodes, &held);
                    tokio::time::sleep(pause.mul_f64(seed::share())).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                    continue;
                }
                Verdict::Again => Error::new(Kind::Conflict, Subject::Object),
                Verdict::Unsupported | Verdict::Unreachable
                    if conditions.is_absent_only() && !cx.is_strong() =>
                {
                    self.release(cx, object, policy, nodes, &held);
                    return Ok(Hold::AskNodes);
                }
                Verdict::Unsupported => Error::new(Kind::NotSupported, Subject::Object)
                    .text("conditional writes need object servers that can take a name"),
                Verdict::Unreachable => Error::unavailable("a majority of primaries is not there"),
            };
            self.release(cx, object, policy, nodes, &held);
            return Err(error);
        }
    }

    fn has_expired(&self, head: &ObjectHead) -> bool {
        let at = head.get("X-Delete-At").and_then(|text| text.parse::<u64>().ok());
        at.is_some_and(|at| at <= self.clock.now_seconds())
    }

    /// Asks every primary for the name; ends when all have answered, or soon after a majority
    /// gave it. What is given later is given back.
    async fn ask_primaries(
        &self,
        cx: &Context,
        object: &ObjectPath,
        policy: PolicyIndex,
        nodes: &Nodes,
        time: Timestamp,
    ) -> Result<Vec<Told>> {
        let request = self.name_request(cx, methods::RESERVE, object, policy, nodes, time)?;
        let count = nodes.voters().count();
        let enough = nodes.enough(majority(nodes.primaries.len()));
        // Those that are being avoided are asked when the others are not enough.
        let (free, mut avoided): (Vec<_>, Vec<_>) =
            nodes.voters().enumerate().partition(|(_, voter)| !self.client.is_limited(voter));
        let (sender, mut receiver) = mpsc::channel::<Told>(count.max(1));
        let ask = |(index, primary): (usize, &Device), sender: mpsc::Sender<Told>| {
            let (request, primary) = (request.clone(), primary.clone());
            let (quorum, cx, object, nodes) =
                (self.clone(), cx.clone(), object.clone(), nodes.clone());
            spawn(TaskKind::Request, async move {
                let sent = quorum.client.send_anyway(&primary, &request, empty(), ANSWER).await;
                let mut told = Told { index, reply: Reply::Silent, head: None };
                if let Ok(answer) = sent {
                    let head = answer.headers();
                    let version = Version::of(head);
                    let reserved = header(head, headers::RESERVED).is_some();
                    if let Some(newest) = version.newest {
                        quorum.clock.saw(newest);
                    }
                    told.reply = match answer.status() {
                        StatusCode::OK if reserved => {
                            told.head = Some(object_head(head));
                            Reply::Granted(version)
                        }
                        StatusCode::NOT_FOUND if reserved => Reply::Granted(version),
                        StatusCode::CONFLICT => Reply::TooEarly,
                        StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {
                            Reply::Unsupported
                        }
                        _ => Reply::Silent,
                    };
                }
                if let Err(late) = sender.send(told).await
                    && matches!(late.0.reply, Reply::Granted(_))
                {
                    let held = Held { time, voters: vec![index] };
                    quorum.release(&cx, &object, policy, &nodes, &held);
                }
            });
        };
        for voter in free {
            ask(voter, sender.clone());
        }
        let mut sender = (!avoided.is_empty()).then_some(sender);
        let mut told: Vec<Told> = Vec::with_capacity(count);
        loop {
            let replies: Vec<_> =
                told.iter().map(|told| (told.index, told.reply.clone())).collect();
            let have_all_told = told.len() == count - avoided.len();
            let next = match verdict_of(&replies, &enough) {
                Verdict::Taken { .. } | Verdict::Again if have_all_told => break,
                Verdict::Taken { .. } => {
                    match tokio::time::timeout(AFTER_MAJORITY, receiver.recv()).await {
                        Ok(next) => next,
                        Err(_) => break,
                    }
                }
                _ if have_all_told => {
                    let Some(sender) = sender.take() else { break };
                    for voter in avoided.drain(..) {
                        ask(voter, sender.clone());
                    }
                    continue;
                }
                _ => receiver.recv().await,
            };
            match next {
                Some(one) => told.push(one),
                None => break,
            }
        }
        Ok(told)
    }

    /// Gives a name back, in the background: whoever waits for it is faster served.
    pub(super) fn release(
        &self,
        cx: &Context,
        object: &ObjectPath,
        policy: PolicyIndex,
        nodes: &Nodes,
        held: &Held,
    ) {
        let Ok(request) = self.name_request(cx, methods::RELEASE, object, policy, nodes, held.time)
        else {
            return;
        };
        for primary in held.voters.iter().filter_map(|index| nodes.voters().nth(*index)) {
            let (client, primary, request) =
                (self.client.clone(), primary.clone(), request.clone());
            spawn(TaskKind::Request, async move {
                // Nobody gave it back: then it is overtaken after a while.
                let _ = client.send_within(&primary, &request, empty(), ANSWER).await;
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Version {
        Some(Timestamp::from_seconds(seconds)).into()
    }

    fn nothing() -> Version {
        Version::default()
    }

    #[test]
    fn the_newest_version_of_a_majority_is_judged_by() {
        let replies = [Reply::Granted(nothing()), Reply::Silent, Reply::Granted(at(3))];
        assert_eq!(verdict(&replies, 3), Verdict::Taken { newest: 2 });
        let replies = [Reply::Granted(at(4)), Reply::TooEarly, Reply::Granted(at(3))];
        assert_eq!(verdict(&replies, 3), Verdict::Taken { newest: 0 });
        assert_eq!(verdict(&[Reply::Granted(nothing())], 1), Verdict::Taken { newest: 0 });
    }

    #[test]
    fn less_than_a_majority_is_no_name() {
        let early = [Reply::Granted(at(4)), Reply::TooEarly, Reply::Silent];
        assert_eq!(verdict(&early, 3), Verdict::Again);
        let gone = [Reply::Granted(at(4)), Reply::Silent, Reply::Silent];
        assert_eq!(verdict(&gone, 3), Verdict::Unreachable);
        let swift = [Reply::Granted(at(4)), Reply::Unsupported, Reply::Unsupported];
        assert_eq!(verdict(&swift, 3), Verdict::Unsupported);
        assert_eq!(verdict(&[], 3), Verdict::Unreachable);
    }
}
