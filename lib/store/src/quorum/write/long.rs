//! PUT of a long body, which is streamed to all nodes at once.

use apus_cluster::Timestamp;
use apus_daemon::Body;
use apus_wire::headers;
use bytes::Bytes;

use super::super::fan::Fan;
use super::super::reserve::Reservation;
use super::outcome::{PutOutcome, written};
use super::{BodyStart, ObjectPut, VerifiedBody, needed, next_piece};
use crate::operation::ObjectWritten;
use crate::{Error, Kind, Result, Subject};

/// A long PUT that was aborted before its footers were sent: the reason for the nodes, and the error
/// for the client.
struct AbortedPut {
    reason: &'static str,
    error: Error,
}

impl AbortedPut {
    fn because(reason: &'static str) -> impl FnOnce(Error) -> Self {
        move |error| Self { reason, error }
    }
}

impl ObjectPut<'_> {
    pub(super) async fn send_long(mut self, start: BodyStart, body: Body) -> Result<ObjectWritten> {
        let clock = &self.call.quorum.clock;
        let first_time = self.timestamp.unwrap_or_else(|| clock.stamp());
        let mut fan = self.open_fan(first_time);
        let sent = match self.stream(&mut fan, start, body).await {
            Ok(Some(verified)) => self.commit(&mut fan, verified).await.map(Some),
            // Too few nodes are left: their answers have the reason.
            Ok(None) => Ok(None),
            Err(aborted) => Err(aborted),
        };
        let sent = match sent {
            Ok(sent) => sent,
            Err(aborted) => {
                fan.abort(aborted.reason).await;
                return Err(aborted.error);
            }
        };
        let unconditional = Reservation::Unconditional;
        let reservation = sent.as_ref().map_or(&unconditional, |commit| &commit.reservation);
        let rule = self.call.write_rule(reservation.is_strict(self.call.cx));
        let answers = fan.finish(&rule).await;
        self.call.observe(&answers);
        match (self.outcome(reservation, &answers)?, sent) {
            (PutOutcome::Written, Some(commit)) => {
                self.call.send_refused_rows(&answers, self.request.delete_at()).await;
                Ok(written(commit.verified, commit.time.unwrap_or(first_time)))
            }
            // Another proxy's clock is ahead. Ours has moved past it, so a retry will succeed.
            _ if self.call.cx.is_strong() => {
                Err(Error::unavailable("a newer version of the object exists"))
            }
            _ => Err(Error::new(Kind::Conflict, Subject::Object)),
        }
    }

    /// Opens the requests to the nodes.
    fn open_fan(&mut self, time: Timestamp) -> Fan {
        let build = self.requests(time);
        let call = &self.call;
        let replicas = call.nodes.primaries.len();
        // Every node that may have to be counted gets the body.
        let strict = call.cx.is_strong() || !self.conditions.is_empty();
        let asked = if strict { call.nodes.voters().count() } else { replicas };
        let requests = (0..asked).map(build).collect();
        let handoffs = call.nodes.fallbacks(strict).into();
        let is_needed = !call.nodes.can_avoid(call.client(), &call.write_rule(strict));
        let mut fan = Fan::new(call.quorum.client.clone(), requests, replicas, handoffs);
        for (index, node) in call.nodes.voters().take(asked).enumerate() {
            fan.open_voter(index, node.clone(), is_needed);
        }
        fan
    }

    /// Streams the body; `None` when too few nodes are left to accept it.
    async fn stream(
        &self,
        fan: &mut Fan,
        start: BodyStart,
        mut body: Body,
    ) -> std::result::Result<Option<VerifiedBody>, AbortedPut> {
        let needed = needed(self.call.cx.is_strong(), self.call.nodes.primaries.len());
        let mut digests = start.digests;
        fan.send(self.encoder.head()).await;
        for piece in start.buffered {
            fan.send(piece).await;
        }
        let broken = AbortedPut::because("the client's body broke off");
        loop {
            match next_piece(&mut body).await {
                Ok(Some(piece)) => {
                    digests.update(&piece);
                    fan.send(piece).await;
                    if fan.alive() < needed {
                        return Ok(None);
                    }
                }
                Ok(None) => break,
                Err(error) => return Err(broken(error)),
            }
        }
        let differs = AbortedPut::because("the body is not what the client declared");
        self.declared.verify(digests).map(Some).map_err(differs)
    }

    /// Reserves the name for a conditional write, and sends the footers with the final time.
    async fn commit(
        &self,
        fan: &mut Fan,
        mut verified: VerifiedBody,
    ) -> std::result::Result<SentCommit, AbortedPut> {
        // The body has arrived: reserving the name earlier would block other writers for long.
        let reservation = self
            .call
            .reserve(&self.conditions)
            .await
            .map_err(AbortedPut::because("the conditions do not hold"))?;
        let stamps = self.call.cx.is_strong() && self.timestamp.is_none();
        // Of two uploads the one that ends later wins, as in S3.
        let time = reservation.time().or_else(|| stamps.then(|| self.call.quorum.clock.stamp()));
        let footers = &mut verified.footers;
        if let Some(time) = time {
            footers.insert(headers::FINAL_TIMESTAMP.to_owned(), time.to_string());
        }
        let common = self.encoder.footers(footers, false);
        footers.insert(headers::RESERVED.to_owned(), "yes".to_owned());
        let leased = self.encoder.footers(footers, false);
        let of_voter = |voter: Option<usize>| -> Bytes {
            match voter.is_some_and(|index| reservation.is_granted_by(index)) {
                true => leased.clone(),
                false => common.clone(),
            }
        };
        fan.send_each(of_voter).await;
        Ok(SentCommit { verified, reservation, time })
    }
}

/// A long PUT whose footers were sent.
struct SentCommit {
    verified: VerifiedBody,
    reservation: Reservation,
    /// The time of the write, where it is not that of its start.
    time: Option<Timestamp>,
}
