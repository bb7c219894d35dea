//! Listing updates that wait on object servers.

use super::Session;
use super::told::Told;

pub(super) async fn check(session: &Session<'_>) -> Told {
    let mut told = session.begin("Checking async pendings");
    let answers = session.ask("async", &mut told).await;
    let waiting: Vec<_> = answers.iter().map(|answer| answer.number("async_pending")).collect();
    told.stats("async_pending", &waiting, "[async_pending] - No hosts returned valid data.");
    told
}
