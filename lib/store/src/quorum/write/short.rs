//! PUT of a short body, which is buffered and sent again where a node fails.

use super::super::send::Replayable;
use super::outcome::{PutOutcome, written};
use super::{BodyStart, ObjectPut, RESTAMPS};
use crate::operation::ObjectWritten;
use crate::{Error, Kind, Result, Subject};

impl ObjectPut<'_> {
    pub(super) async fn send_short(mut self, start: BodyStart) -> Result<ObjectWritten> {
        let verified = self.declared.verify(start.digests)?;
        let mut pieces = vec![self.encoder.head()];
        pieces.extend(start.buffered);
        pieces.push(self.encoder.footers(&verified.footers, false));
        let body = Replayable(pieces);
        for attempt in 0..=RESTAMPS {
            let reservation = self.call.reserve(&self.conditions).await?;
            let clock = &self.call.quorum.clock;
            let time = reservation.time().or(self.timestamp).unwrap_or_else(|| clock.stamp());
            let build = self.requests(time);
            let build = |index| reservation.mark(index, build(index));
            let rule = self.call.write_rule(reservation.is_strict(self.call.cx));
            let answers = self.call.broadcast(&rule, body.clone(), build).await;
            apus_fault::point("proxy.put.answered");
            match self.outcome(&reservation, &answers)? {
                PutOutcome::Written => {
                    self.call.send_refused_rows(&answers, self.request.delete_at()).await;
                    return Ok(written(verified, time));
                }
                PutOutcome::TooOld if attempt < RESTAMPS => {}
                // A client that gave its own time learns that it was too old; Swift answers 202.
                PutOutcome::TooOld => return Err(Error::new(Kind::Conflict, Subject::Object)),
            }
        }
        Err(Error::unavailable("the write was repeated too often"))
    }
}
