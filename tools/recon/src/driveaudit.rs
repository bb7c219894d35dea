//! Errors that `swift-drive-audit` found in the kernel's log.

use super::Session;
use super::told::Told;

pub(super) async fn check(session: &Session<'_>) -> Told {
    let mut told = session.begin("Checking drive-audit errors");
    let answers = session.ask("driveaudit", &mut told).await;
    let errors: Vec<_> = answers.iter().map(|answer| answer.number("drive_audit_errors")).collect();
    told.stats(
        "drive_audit_errors",
        &errors,
        "[drive_audit_errors] - No hosts returned valid data.",
    );
    told
}
