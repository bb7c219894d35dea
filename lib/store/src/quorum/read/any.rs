//! Eventually consistent reads: the first good answer.

use apus_cluster::policy::majority;
use apus_daemon::http::empty;
use apus_wire::NodeRequest;
use http::StatusCode;

use super::super::call::ObjectCall;
use super::CopyAnswer;
use crate::{Error, Result};

impl ObjectCall<'_> {
    /// The first good answer: primaries in turn, then handoffs, then the nodes that are being
    /// avoided.
    ///
    /// # Errors
    /// `Unavailable`, also when the object was not found but too many primaries failed.
    pub(super) async fn read_any(&self, request: &NodeRequest) -> Result<CopyAnswer> {
        let (nodes, client) = (&self.nodes, self.client());
        let turn = self.quorum.clock.stamp().steps();
        let (free, avoided) = nodes.shuffled_primaries(client, turn);
        let needed = majority(nodes.primaries.len());
        let mut missing: Option<CopyAnswer> = None;
        // Of primaries: a handoff normally has no objects.
        let mut failures = avoided.len();
        let free = free.into_iter().map(|node| (node, 1));
        let handoffs = nodes.fallbacks(false).into_iter().map(|node| (node, 0));
        let first = free.len() + handoffs.len();
        let avoided = avoided.into_iter().map(|node| (node, 1));
        for (at, (node, counted)) in free.chain(handoffs).chain(avoided).enumerate() {
            let sent = if at < first {
                client.send(&node, request, empty()).await
            } else {
                if missing.is_some() && failures < needed {
                    break;
                }
                failures -= 1;
                client.send_anyway(&node, request, empty(), client.deadlines().answer).await
            };
            let answer = match sent {
                Ok(response) if response.status().is_server_error() => {
                    failures += counted;
                    continue;
                }
                Ok(response) => CopyAnswer::new(node, response),
                Err(error) => {
                    tracing::debug!(%error, node = node.address(), device = node.device, "no answer from an object server to a read");
                    failures += counted;
                    continue;
                }
            };
            let known = missing.as_ref().map(|missing| missing.version);
            if answer.response.status() == StatusCode::NOT_FOUND {
                // A tombstone is newer than no record of the object.
                if known.is_none_or(|known| known < answer.version) {
                    missing = Some(answer);
                }
            } else if known.is_none_or(|known| known <= answer.version) {
                return Ok(answer);
            }
        }
        // With most copies unreachable, "not found" would be a guess; a tombstone is certain.
        missing
            .filter(|missing| failures < needed || missing.version.newest.is_some())
            .ok_or_else(|| Error::unavailable(format!("{failures} object servers failed")))
    }
}
