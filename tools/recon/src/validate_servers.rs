//! Whether servers are of the type that the ring has them as.

use super::Session;
use super::told::Told;

pub(super) async fn check(session: &Session<'_>) -> Told {
    let (server, count) = (session.server.name(), session.hosts.len());
    let mut told = session.begin(&format!("Validating server type '{server}' on {count} hosts..."));
    let types = session.scout.server_types(session.hosts, &mut told).await;
    let expected = format!("{server}-server");
    let right = types.iter().filter(|(_, found)| *found == expected).count();
    told.line(format!(
        "{right}/{count} hosts ok, {} error[s] while checking hosts.",
        count.saturating_sub(right)
    ));
    for (url, found) in types.iter().filter(|(_, found)| *found != expected) {
        told.amiss(format!("Invalid: {url} is {found}"));
    }
    told.set("ok", right);
    told.set("hosts", count);
    told
}
