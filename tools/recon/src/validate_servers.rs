//! Check that each server is of the type that its ring names.

use super::Session;
use super::report::CheckReport;

pub(super) async fn check(session: &Session<'_>) -> CheckReport {
    let (server, count) = (session.server.name(), session.hosts.len());
    let mut report =
        session.begin(&format!("Validating server type '{server}' on {count} hosts..."));
    let types = session.scout.server_types(session.hosts, &mut report).await;
    let expected = format!("{server}-server");
    let right = types.iter().filter(|(_, found)| *found == expected).count();
    report.line(format!(
        "{right}/{count} hosts ok, {} error[s] while checking hosts.",
        count.saturating_sub(right)
    ));
    for (url, found) in types.iter().filter(|(_, found)| *found != expected) {
        report.fail(format!("Invalid: {url} is {found}"));
    }
    report.set("ok", right);
    report.set("hosts", count);
    report
}
