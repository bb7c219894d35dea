//! Errors that `swift-drive-audit` found in the kernel's log.

use super::Session;
use super::report::CheckReport;

pub(super) async fn check(session: &Session<'_>) -> CheckReport {
    let mut report = session.begin("Checking drive-audit errors");
    let answers = session.ask("driveaudit", &mut report).await;
    let errors: Vec<_> = answers.iter().map(|answer| answer.number("drive_audit_errors")).collect();
    report.stats(
        "drive_audit_errors",
        &errors,
        "[drive_audit_errors] - No hosts returned valid data.",
    );
    report
}
