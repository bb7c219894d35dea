//! TCP sockets.

use super::Session;
use super::report::CheckReport;

pub(super) async fn check(session: &Session<'_>) -> CheckReport {
    let mut report = session.begin("Checking socket usage");
    let answers = session.ask("sockstat", &mut report).await;
    for key in ["tcp_in_use", "tcp_mem_allocated_bytes", "tcp6_in_use", "time_wait", "orphan"] {
        // A host without IPv6 does not report the number of its sockets.
        let of = |answer: &super::scout::Answer| match key {
            "tcp6_in_use" => answer.first_number([key, key]),
            key => answer.number(key),
        };
        let values: Vec<_> = answers.iter().map(of).collect();
        report.stats(key, &values, "No hosts returned valid data.");
    }
    report
}
