//! Reconstructors of erasure-coded policies.

use super::Session;
use super::told::Told;

pub(super) async fn check(session: &Session<'_>) -> Told {
    let mut told = session.begin("Checking on reconstructors");
    let answers = session.ask("reconstruction/object", &mut told).await;
    let name = "object_reconstruction_time";
    let times: Vec<_> = answers.iter().map(|answer| answer.number(name)).collect();
    told.stats(name, &times, &format!("[{name}] - No hosts returned valid data."));
    let key = "object_reconstruction_last";
    let last: Vec<_> = answers
        .iter()
        .map(|answer| (answer.address.clone(), answer.first_number([key, key])))
        .collect();
    told.completions(&last);
    told
}
