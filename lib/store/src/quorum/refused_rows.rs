//! The rows of a committed write that a refusing server did not send.
//!
//! Each object server of a write sends the row to its share of the container's replicas. A server
//! that promised a later time to another writer refuses a write that the others commit. Its share
//! would lack the row until the databases are replicated: it would list a deleted object, and the
//! container could not be deleted. A server that has the write sends that share as well.

use apus_daemon::http::empty;
use apus_ring::Device;
use apus_wire::message::object::{ObjectRowTargets, RepairRequest};
use http::StatusCode;

use super::call::ObjectCall;
use super::object_rows::ObjectRows;
use super::send::NodeAnswer;

/// The replicas whose servers refused a write.
fn refused(answers: &[NodeAnswer]) -> impl Iterator<Item = usize> + '_ {
    let refusals = answers.iter().filter(|answer| answer.status() == StatusCode::CONFLICT);
    refusals.map(|answer| answer.replica)
}

impl ObjectCall<'_> {
    /// Has the rows of a committed write sent that servers which refused it were to send.
    /// `delete_at` is the expiry that was written. What does not succeed is left to the replicators.
    pub(super) async fn send_refused_rows(&self, answers: &[NodeAnswer], delete_at: Option<u64>) {
        if refused(answers).next().is_none() {
            return;
        }
        let replicas = self.nodes.primaries.len();
        let rows = ObjectRows::new(self.quorum, self.object, delete_at, replicas).keeping_tasks();
        let accepted = answers.iter().filter(|answer| answer.status() != StatusCode::CONFLICT);
        let accepted = accepted.filter_map(|answer| self.nodes.voters().nth(answer.voter?));
        let accepted: Vec<&Device> = accepted.collect();
        for replica in refused(answers) {
            let share = rows.of(replica);
            if !share.listing.is_empty() || share.queue.is_some() {
                self.send_share(share, &accepted).await;
            }
        }
    }

    /// Has one share of the rows sent by the first of `sources` that does.
    async fn send_share(&self, share: &ObjectRowTargets, sources: &[&Device]) {
        let (address, rows) = (self.address(), share.clone());
        let request = RepairRequest { address, nodes: Vec::new(), rows }.encode();
        for source in sources {
            match self.client().send(source, &request, empty()).await {
                Ok(answer) if answer.status().is_success() => return,
                Ok(answer) => {
                    tracing::debug!(status = %answer.status(), node = source.address(), device = source.device, "a node did not send the rows of a write");
                }
                Err(error) => {
                    tracing::debug!(%error, node = source.address(), device = source.device, "no answer from a node that was to send the rows of a write");
                }
            }
        }
        tracing::info!(object = %self.object, "the rows that a refusing server was to send are left to the replicators");
    }
}
