//! How long updaters take.

use super::Session;
use super::told::Told;

pub(super) async fn check(session: &Session<'_>) -> Told {
    let mut told = session.begin("Checking updater times");
    let server = session.server.name();
    let answers = session.ask(&format!("updater/{server}"), &mut told).await;
    let key = format!("{server}_updater_sweep");
    let sweeps = answers.iter().map(|answer| answer.number(&key));
    // One that has not swept yet tells 0 or nothing.
    let sweeps: Vec<_> = sweeps.filter(|sweep| sweep.is_some_and(|sweep| sweep != 0.0)).collect();
    let none = "[updater_last_sweep] - No hosts returned valid data.";
    told.stats("updater_last_sweep", &sweeps, none);
    told
}
