//! Confirmation of strong reads: what a read returned, no later read takes back.
//!
//! A write that failed may be on a minority of the servers. A read that asks one of them finds it,
//! and a read that asks the others does not: the object would come and go. So a read that finds its
//! version on a minority waits for the write, which may still be in progress, and then has the
//! version copied to the primaries that lack it before it returns it, as readers of replicated
//! registers do (Attiya, Bar-Noy and Dolev, *Sharing memory robustly in message-passing systems*).
//! Where a server does not take the copy, because it promised a later time or is Swift's, the version
//! is returned as it is.

use std::time::Duration;

use apus_cluster::policy::majority;

use super::super::call::ObjectCall;
use super::agreed::Comparison;
use crate::Result;

/// Pauses before the copies are compared again: servers commit a write within milliseconds of each
/// other.
const PAUSES: [Duration; 5] = [
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(20),
    Duration::from_millis(40),
    Duration::from_millis(80),
];

impl ObjectCall<'_> {
    /// Compares copies until a majority has the newest version, or a copy was attempted.
    ///
    /// # Errors
    /// Those of `compare`.
    pub(super) async fn confirmed<F>(&self, compare: impl Fn() -> F) -> Result<Comparison>
    where
        F: Future<Output = Result<Comparison>>,
    {
        let mut compared = compare().await?;
        for pause in PAUSES {
            if self.is_confirmed(&compared) {
                return Ok(compared);
            }
            // The bodies of answers are not kept open meanwhile.
            drop(compared);
            tokio::time::sleep(pause).await;
            compared = compare().await?;
        }
        if !self.is_confirmed(&compared)
            && let Some(source) = compared.source()
        {
            match self.quorum.write_back(self.address(), source, compared.behind()).await {
                true => compared.set_repaired(),
                false => {
                    tracing::debug!(trans_id = %self.cx.trans_id, "The newest version could not be copied to a majority.");
                }
            }
        }
        Ok(compared)
    }

    /// Whether a majority has the newest version. What a handoff has does not count: reads ask
    /// handoffs only when others differ.
    fn is_confirmed(&self, compared: &Comparison) -> bool {
        let voters = compared.holders().filter(|node| self.nodes.voter(node).is_some()).count();
        compared.judgement.newest.is_none() || voters >= majority(self.nodes.primaries.len())
    }
}
