//! Load averages.

use super::Session;
use super::told::Told;

pub(super) async fn check(session: &Session<'_>) -> Told {
    let mut told = session.begin("Checking load averages");
    let answers = session.ask("load", &mut told).await;
    for key in ["1m", "5m", "15m"] {
        let loads: Vec<_> = answers.iter().map(|answer| answer.number(key)).collect();
        let name = format!("{key}_load_avg");
        told.stats(&name, &loads, &format!("[{name}] - No hosts returned valid data."));
    }
    told
}
