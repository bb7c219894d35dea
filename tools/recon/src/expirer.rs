//! Object expirers.

use super::Session;
use super::told::Told;

pub(super) async fn check(session: &Session<'_>) -> Told {
    let mut told = session.begin("Checking on expirers");
    let answers = session.ask("expirer/object", &mut told).await;
    for key in ["object_expiration_pass", "expired_last_pass"] {
        let values: Vec<_> = answers.iter().map(|answer| answer.number(key)).collect();
        told.stats(key, &values, &format!("[{key}] - No hosts returned valid data."));
    }
    told
}
