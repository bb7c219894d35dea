//! Conditional writes: the proxy's part.
//!
//! The name is reserved on a majority of the primaries at the time of the write. The newest version
//! that they report is the one to which the conditions apply, since every acknowledged write is on a
//! majority; then the write commits at that very time. `apus_object::reservation` has the rules by
//! which only one of several writers can commit. A writer whose time is too early for a promise that
//! a server gave tries again at a later time, after a random pause.

use std::time::Duration;

use apus_cluster::Timestamp;
use apus_cluster::policy::majority;
use apus_daemon::Body;
use apus_daemon::http::empty;
use apus_daemon::random;
use apus_daemon::task::{TaskKind, spawn};
use apus_ring::Device;
use apus_wire::NodeRequest;
use apus_wire::message::object::{ObjectVersion, ReleaseRequest, ReserveReply, ReserveRequest};
use http::Response;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::call::ObjectCall;
use super::head::object_head;
use super::nodes::QuorumRule;
use crate::context::Context;
use crate::operation::{ObjectHead, WriteConditions};
use crate::{Error, Kind, Result, Subject};

/// Time after which a writer stops to retry.
const RETRY_MAX: Duration = Duration::from_secs(15);
/// Deadline of one primary: longer than it waits for a lease holder that was lost.
const ANSWER: Duration = Duration::from_secs(4);
/// Grace period of the other primaries after a majority has answered.
const AFTER_MAJORITY: Duration = Duration::from_millis(100);
/// The longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// One primary's reply to RESERVE.
#[derive(Debug, Clone)]
pub enum Reply {
    /// The name is reserved, and this version exists, be it a tombstone.
    Granted(ObjectVersion),
    /// A later time is needed.
    TooEarly,
    /// The server does not support reservations: Python Swift's.
    Unsupported,
    /// The server did not answer, or its disk failed.
    Silent,
}

/// What the replies of all primaries mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The name is reserved; the newest version is that of this reply.
    Taken {
        /// Index of the reply with the newest version.
        newest: usize,
    },
    /// Try again at a later time.
    Again,
    /// Too few support reservations.
    Unsupported,
    /// Too few answered.
    Unreachable,
}

/// Judges the replies of `primaries` nodes.
pub fn verdict(replies: &[Reply], primaries: usize) -> Verdict {
    let rule = QuorumRule::OfEach(vec![((0..primaries).collect(), majority(primaries))]);
    verdict_of(&replies.iter().enumerate(), &rule)
}

/// Judges the replies of voters, each with its index.
fn verdict_of<'a>(
    replies: &(impl Iterator<Item = (usize, &'a Reply)> + Clone),
    rule: &QuorumRule,
) -> Verdict {
    let is_met = |wanted: fn(&Reply) -> bool| {
        let chosen = replies.clone().filter(|(_, reply)| wanted(reply));
        rule.is_met(chosen.map(|(voter, _)| Some(voter)))
    };
    let granted = replies.clone().enumerate().filter_map(|(index, (_, reply))| match reply {
        Reply::Granted(version) => Some((index, *version)),
        _ => None,
    });
    // Without the voters that lack support there can be no quorum.
    let is_unsupported = match rule {
        QuorumRule::Any(_) => false,
        QuorumRule::OfEach(sets) => sets.iter().any(|(set, needed)| {
            let lacking = replies.clone().filter(|(voter, reply)| {
                matches!(reply, Reply::Unsupported) && set.contains(voter)
            });
            set.len() - lacking.count() < *needed
        }),
    };
    match granted.max_by_key(|(_, version)| *version) {
        Some((newest, _)) if is_met(|reply| matches!(reply, Reply::Granted(_))) => {
            Verdict::Taken { newest }
        }
        _ if is_met(|reply| matches!(reply, Reply::Granted(_) | Reply::TooEarly)) => Verdict::Again,
        _ if is_unsupported => Verdict::Unsupported,
        _ => Verdict::Unreachable,
    }
}

/// The right to write a name at one time, before all other writers.
#[derive(Debug)]
pub(super) struct Lease {
    /// The time at which it was reserved and must be written.
    time: Timestamp,
    /// Indices of the voters that granted it.
    voters: Vec<usize>,
}

impl Lease {
    /// The time at which the name was reserved and must be written.
    pub(super) fn time(&self) -> Timestamp {
        self.time
    }
}

/// Why a name was not reserved.
#[derive(Debug)]
pub(super) enum ReserveError {
    /// The conditions do not hold, or other writers were always faster.
    Refused(Error),
    /// Too few nodes answered, or too few support reservations.
    NoQuorum(Error),
}

impl From<ReserveError> for Error {
    fn from(error: ReserveError) -> Self {
        match error {
            ReserveError::Refused(error) | ReserveError::NoQuorum(error) => error,
        }
    }
}

/// How a write continues after its conditions were checked.
#[derive(Debug)]
pub(super) enum Reservation {
    /// The write has no conditions.
    Unconditional,
    /// The conditions hold, and no other write can come in between.
    Leased(Lease),
    /// Too few nodes support reservations: they check the condition themselves, as Swift's do.
    LeftToNodes,
}

impl Reservation {
    /// The time to write at, if it is fixed.
    pub(super) fn time(&self) -> Option<Timestamp> {
        match self {
            Self::Leased(lease) => Some(lease.time),
            Self::Unconditional | Self::LeftToNodes => None,
        }
    }

    /// Whether a majority of the primaries must accept the write.
    pub(super) fn is_strict(&self, cx: &Context) -> bool {
        cx.is_strong() || matches!(self, Self::Leased(_))
    }

    /// Whether the voter of this index granted the lease.
    pub(super) fn is_granted_by(&self, index: usize) -> bool {
        matches!(self, Self::Leased(lease) if lease.voters.contains(&index))
    }

    /// The request to the voter of this index, marked as the commit of its lease.
    pub(super) fn mark(&self, index: usize, request: NodeRequest) -> NodeRequest {
        if self.is_granted_by(index) { request.with_reservation() } else { request }
    }
}

/// A voter's reply to RESERVE, with the object that it has.
struct VoterReply {
    index: usize,
    reply: Reply,
    head: Option<ObjectHead>,
}

impl VoterReply {
    fn new(index: usize, answer: &Response<Body>) -> Self {
        let version = ObjectVersion::decode(answer.headers());
        let (reply, head) = match ReserveReply::decode(answer.status(), answer.headers()) {
            ReserveReply::Stored(object) => (Reply::Granted(version), Some(object_head(*object))),
            ReserveReply::Absent(_) => (Reply::Granted(version), None),
            ReserveReply::TooEarly { .. } => (Reply::TooEarly, None),
            ReserveReply::Unsupported => (Reply::Unsupported, None),
            ReserveReply::Failed => (Reply::Silent, None),
        };
        Self { index, reply, head }
    }

    /// When the voter's object was last changed or deleted.
    fn newest(&self) -> Option<Timestamp> {
        match self.reply {
            Reply::Granted(version) => version.newest,
            Reply::TooEarly | Reply::Unsupported | Reply::Silent => None,
        }
    }

    fn is_granted(&self) -> bool {
        matches!(self.reply, Reply::Granted(_))
    }
}

fn judge(replies: &[VoterReply], rule: &QuorumRule) -> Verdict {
    verdict_of(&replies.iter().map(|reply| (reply.index, &reply.reply)), rule)
}

impl ObjectCall<'_> {
    /// A majority of the primaries, by each ring.
    fn majority_rule(&self) -> QuorumRule {
        self.nodes.voter_rule(majority(self.nodes.primaries.len()))
    }

    /// Reserves the object's name on a majority of its primaries, if there are conditions and they
    /// hold.
    ///
    /// # Errors
    /// `PreconditionFailed` and `NotFound` from the conditions; `Conflict` when other writers were
    /// always faster; `Unavailable`; `NotSupported` when the nodes are Swift's and cannot check the
    /// conditions either.
    pub(super) async fn reserve(&self, conditions: &WriteConditions) -> Result<Reservation> {
        if conditions.is_empty() {
            return Ok(Reservation::Unconditional);
        }
        let can_leave_to_nodes = conditions.is_absent_only() && !self.cx.is_strong();
        let check = |current: Option<&ObjectHead>, newest: Option<Timestamp>| {
            // An object that has expired is locked all the same.
            if let (Some(unlocked), Some(current)) = (conditions.unlocked, current) {
                unlocked.check(current)?;
            }
            conditions.check(current.filter(|head| !self.has_expired(head)))?;
            conditions.check_newest(newest)
        };
        match self.reserve_if(check).await {
            Ok((lease, ())) => Ok(Reservation::Leased(lease)),
            Err(ReserveError::NoQuorum(_)) if can_leave_to_nodes => Ok(Reservation::LeftToNodes),
            Err(ReserveError::NoQuorum(error) | ReserveError::Refused(error)) => Err(error),
        }
    }

    /// Reserves the name of an object that expires at exactly this time, if no lock protects it.
    ///
    /// # Errors
    /// `PreconditionFailed` when it expires at another time, or never; otherwise as
    /// [`ObjectCall::reserve_if`].
    pub(super) async fn reserve_expired(
        &self,
        at: Timestamp,
        conditions: &WriteConditions,
    ) -> Result<Reservation> {
        let check = |current: Option<&ObjectHead>, _: Option<Timestamp>| {
            let current = current.ok_or_else(|| Error::new(Kind::NotFound, Subject::Object))?;
            conditions.check(Some(current))?;
            let expiry = current.get("X-Delete-At").and_then(Timestamp::parse);
            match expiry == Some(at) {
                true => Ok(()),
                false => Err(Error::new(Kind::PreconditionFailed, Subject::Object)),
            }
        };
        let (lease, ()) = self.reserve_if(check).await?;
        Ok(Reservation::Leased(lease))
    }

    /// Reserves the object's name on a majority of its primaries, if `check` accepts the newest
    /// version, be it expired, and the time of the newest write or deletion; returns what it made of
    /// that.
    ///
    /// # Errors
    /// The errors of `check`; `Conflict` when other writers were always faster; `Unavailable` and
    /// `NotSupported` when there is no majority that can reserve it.
    pub(super) async fn reserve_if<T>(
        &self,
        check: impl Fn(Option<&ObjectHead>, Option<Timestamp>) -> Result<T>,
    ) -> std::result::Result<(Lease, T), ReserveError> {
        let until = Instant::now() + RETRY_MAX;
        let mut pause = Duration::from_millis(4);
        loop {
            let time = self.quorum.clock.stamp();
            let replies = self.ask_voters(time).await;
            let granted = replies.iter().filter(|reply| reply.is_granted());
            let lease = Lease { time, voters: granted.map(|reply| reply.index).collect() };
            let error = match judge(&replies, &self.majority_rule()) {
                Verdict::Taken { newest } => {
                    let current = replies.get(newest).and_then(|reply| reply.head.as_ref());
                    let newest = replies.get(newest).and_then(VoterReply::newest);
                    match check(current, newest) {
                        Ok(made) => return Ok((lease, made)),
                        Err(error) => ReserveError::Refused(error),
                    }
                }
                Verdict::Again if Instant::now() < until => {
                    self.release(&lease);
                    tokio::time::sleep(pause.mul_f64(random::share())).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                    continue;
                }
                Verdict::Again => {
                    ReserveError::Refused(Error::new(Kind::Conflict, Subject::Object))
                }
                Verdict::Unsupported => ReserveError::NoQuorum(
                    Error::new(Kind::NotSupported, Subject::Object)
                        .text("conditional writes need object servers that support reservations"),
                ),
                Verdict::Unreachable => ReserveError::NoQuorum(Error::unavailable(
                    "a majority of the primaries did not answer",
                )),
            };
            self.release(&lease);
            return Err(error);
        }
    }

    /// Whether the object has expired and is not deleted yet.
    pub(super) fn has_expired(&self, head: &ObjectHead) -> bool {
        let at = head.get("X-Delete-At").and_then(|text| text.parse::<u64>().ok());
        at.is_some_and(|at| at <= self.quorum.clock.now_seconds())
    }

    /// Asks every voter for the name; ends when all have answered, or soon after a majority granted
    /// it. What is granted later is released.
    async fn ask_voters(&self, time: Timestamp) -> Vec<VoterReply> {
        let request = ReserveRequest { address: self.address(), timestamp: time };
        let count = self.nodes.voters().count();
        let rule = self.majority_rule();
        // Nodes that are being avoided are asked when the others are not enough.
        let voters = self.nodes.voters().enumerate();
        let (free, mut avoided): (Vec<_>, Vec<_>) =
            voters.partition(|(_, voter)| !self.client().is_limited(voter));
        let (sender, mut receiver) = mpsc::channel::<VoterReply>(count.max(1));
        for voter in free {
            self.ask_voter(voter, &request, sender.clone());
        }
        let mut sender = (!avoided.is_empty()).then_some(sender);
        let mut replies: Vec<VoterReply> = Vec::with_capacity(count);
        loop {
            let have_all_answered = replies.len() == count - avoided.len();
            let next = match judge(&replies, &rule) {
                Verdict::Taken { .. } | Verdict::Again if have_all_answered => break,
                Verdict::Taken { .. } => match timeout(AFTER_MAJORITY, receiver.recv()).await {
                    Ok(next) => next,
                    Err(_) => break,
                },
                _ if have_all_answered => {
                    let Some(sender) = sender.take() else { break };
                    for voter in avoided.drain(..) {
                        self.ask_voter(voter, &request, sender.clone());
                    }
                    continue;
                }
                _ => receiver.recv().await,
            };
            match next {
                Some(reply) => replies.push(reply),
                None => break,
            }
        }
        replies
    }

    /// Sends RESERVE to one voter in the background. A reply that comes when no receiver is left is
    /// released.
    fn ask_voter(
        &self,
        (index, voter): (usize, &Device),
        request: &ReserveRequest,
        replies: mpsc::Sender<VoterReply>,
    ) {
        let (client, clock) = (self.quorum.client.clone(), self.quorum.clock.clone());
        let (voter, request) = (voter.clone(), request.clone());
        spawn(TaskKind::Request, async move {
            let reply = match client.send_anyway(&voter, &request.encode(), empty(), ANSWER).await {
                Ok(answer) => {
                    if let Some(newest) = ObjectVersion::decode(answer.headers()).newest {
                        clock.observe(newest);
                    }
                    VoterReply::new(index, &answer)
                }
                Err(_) => VoterReply { index, reply: Reply::Silent, head: None },
            };
            if let Err(late) = replies.send(reply).await
                && late.0.is_granted()
            {
                let ReserveRequest { address, timestamp } = request;
                let release = ReleaseRequest { address, timestamp }.encode();
                // A lease that is not released is overridden after a while.
                let _ = client.send_within(&voter, &release, empty(), ANSWER).await;
            }
        });
    }

    /// Releases a name in the background, so that writers that wait for it can continue sooner.
    pub(super) fn release(&self, lease: &Lease) {
        let request = ReleaseRequest { address: self.address(), timestamp: lease.time }.encode();
        for voter in lease.voters.iter().filter_map(|index| self.nodes.voters().nth(*index)) {
            let (client, voter, request) =
                (self.quorum.client.clone(), voter.clone(), request.clone());
            spawn(TaskKind::Request, async move {
                // A lease that is not released is overridden after a while.
                let _ = client.send_within(&voter, &request, empty(), ANSWER).await;
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> ObjectVersion {
        Some(Timestamp::from_seconds(seconds)).into()
    }

    fn nothing() -> ObjectVersion {
        ObjectVersion::default()
    }

    #[test]
    fn the_newest_version_of_a_majority_counts() {
        let replies = [Reply::Granted(nothing()), Reply::Silent, Reply::Granted(at(3))];
        assert_eq!(verdict(&replies, 3), Verdict::Taken { newest: 2 });
        let replies = [Reply::Granted(at(4)), Reply::TooEarly, Reply::Granted(at(3))];
        assert_eq!(verdict(&replies, 3), Verdict::Taken { newest: 0 });
        assert_eq!(verdict(&[Reply::Granted(nothing())], 1), Verdict::Taken { newest: 0 });
    }

    #[test]
    fn less_than_a_majority_does_not_reserve_the_name() {
        let early = [Reply::Granted(at(4)), Reply::TooEarly, Reply::Silent];
        assert_eq!(verdict(&early, 3), Verdict::Again);
        let gone = [Reply::Granted(at(4)), Reply::Silent, Reply::Silent];
        assert_eq!(verdict(&gone, 3), Verdict::Unreachable);
        let swift = [Reply::Granted(at(4)), Reply::Unsupported, Reply::Unsupported];
        assert_eq!(verdict(&swift, 3), Verdict::Unsupported);
        assert_eq!(verdict(&[], 3), Verdict::Unreachable);
    }
}
