//! Devices that are not mounted, or whose state is unknown.

use serde_json::{Value, json};

use super::Session;
use super::report::CheckReport;

pub(super) async fn check(session: &Session<'_>) -> CheckReport {
    let title = format!("Getting unmounted drives from {} hosts...", session.hosts.len());
    let mut report = session.begin(&title);
    let answers = session.ask("unmounted", &mut report).await;
    let (mut unmounted, mut broken) = (Vec::new(), Vec::new());
    for answer in &answers {
        for entry in answer.content.as_array().into_iter().flatten() {
            let device = entry.get("device").and_then(Value::as_str).unwrap_or("?");
            let named = (device.to_owned(), answer.address.clone());
            match entry.get("mounted") {
                Some(Value::Bool(_)) => unmounted.push(named),
                _ => broken.push(named),
            }
        }
    }
    let as_json = |devices: &[(String, String)]| -> Value {
        devices.iter().map(|(device, host)| json!({ "device": device, "host": host })).collect()
    };
    report.set("unmounted", as_json(&unmounted));
    report.set("device_errors", as_json(&broken));
    for (device, host) in unmounted {
        report.fail(format!("Not mounted: {device} on {host}"));
    }
    for (device, host) in broken {
        report.fail(format!("Device errors: {device} on {host}"));
    }
    report
}
