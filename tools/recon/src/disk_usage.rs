//! How full disks are. A host is asked at one of its ports only.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Session;
use super::report::CheckReport;

/// A mounted device.
#[derive(Debug)]
struct Disk {
    ip: String,
    device: String,
    used: u64,
    avail: u64,
    percent: f64,
}

fn in_units(bytes: u64) -> String {
    let mut size = bytes;
    for unit in ["bytes", "kB", "MB", "GB", "TB", "PB"] {
        if size < 1000 {
            return format!("{size} {unit}");
        }
        size /= 1000;
    }
    format!("{size} EB")
}

fn hundredths(percent: f64) -> f64 {
    (percent * 100.0).round() / 100.0
}

pub(super) async fn check(session: &Session<'_>) -> CheckReport {
    let mut report = session.begin("Checking disk usage now");
    let by_ip: BTreeMap<_, _> =
        session.hosts.iter().map(|host| (host.ip.clone(), host.clone())).collect();
    let hosts: Vec<_> = by_ip.into_values().collect();
    let answers = session.scout.ask(&hosts, "diskusage", &mut report).await;
    let mut disks = Vec::new();
    for answer in &answers {
        let before = disks.len();
        for entry in answer.content.as_array().into_iter().flatten() {
            let device = entry.get("device").and_then(Value::as_str).unwrap_or("?").to_owned();
            let number = |key: &str| entry.get(key).and_then(Value::as_u64);
            match (entry.get("mounted"), number("size"), number("used"), number("avail")) {
                (Some(Value::Bool(true)), Some(size), Some(used), Some(avail)) if size > 0 => {
                    let percent = used as f64 / size as f64 * 100.0;
                    disks.push(Disk { ip: answer.ip.clone(), device, used, avail, percent });
                }
                // CheckReport by another check.
                (Some(Value::Bool(false)), ..) => {}
                (error, ..) => {
                    let error = error.and_then(Value::as_str).unwrap_or("no numbers");
                    report.fail(format!("-> {}/{device}: Error: {error}", answer.url));
                }
            }
        }
        if disks.len() == before {
            report.fail(format!("-> {}: Error. No drive info available.", answer.url));
        }
    }
    summary(session, &disks, &mut report);
    rank(session, disks, &mut report);
    report
}

fn summary(session: &Session<'_>, disks: &[Disk], report: &mut CheckReport) {
    let percents = || disks.iter().map(|disk| hundredths(disk.percent));
    let (Some(low), Some(high)) = (percents().reduce(f64::min), percents().reduce(f64::max)) else {
        report.line("No hosts returned valid data.");
        return;
    };
    let mut distribution: BTreeMap<u64, u64> = BTreeMap::new();
    for percent in percents() {
        *distribution.entry(percent as u64).or_default() += 1;
    }
    let most = distribution.values().copied().max().unwrap_or(1);
    report.line("Distribution Graph:");
    for (percent, count) in distribution {
        let bar = "*".repeat((count as f64 * (69.0 / most as f64)) as usize);
        let percent = format!(" {percent}");
        report.line(format!("{percent:>3}%{count:5} {bar}"));
    }
    let used: u64 = disks.iter().map(|disk| disk.used).sum();
    let avail: u64 = disks.iter().map(|disk| disk.avail).sum();
    let total = used.saturating_add(avail);
    let average = 100.0 * used as f64 / total.max(1) as f64;
    let text = |bytes: u64| match session.options.human_readable {
        true => in_units(bytes),
        false => bytes.to_string(),
    };
    report.line(format!("Disk usage: space used: {} of {}", text(used), text(total)));
    report.line(format!("Disk usage: space free: {} of {}", text(avail), text(total)));
    report.line(format!("Disk usage: lowest: {low:?}%, highest: {high:?}%, avg: {average:?}%"));
    report.set("used", used);
    report.set("free", avail);
    report.set("percent", json!({ "low": low, "high": high, "average": average }));
}

fn rank(session: &Session<'_>, disks: Vec<Disk>, report: &mut CheckReport) {
    let mut ranked = disks;
    let (top, lowest) = (session.options.top, session.options.lowest);
    let line = |disk: &Disk| format!("{:.2}%  {:<15} {}", disk.percent, disk.ip, disk.device);
    let value =
        |disk: &Disk| json!({ "host": disk.ip, "device": disk.device, "percent": disk.percent });
    if top > 0 {
        ranked.sort_by(|one, other| other.percent.total_cmp(&one.percent));
        report.after.push(format!("TOP {top}"));
        report.after.extend(ranked.iter().take(top).map(line));
        report.set("top", ranked.iter().take(top).map(value).collect::<Value>());
    }
    if lowest > 0 {
        ranked.sort_by(|one, other| one.percent.total_cmp(&other.percent));
        report.after.push(format!("LOWEST {lowest}"));
        report.after.extend(ranked.iter().take(lowest).map(line));
        report.set("lowest", ranked.iter().take(lowest).map(value).collect::<Value>());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_in_swifts_units() {
        for (bytes, text) in
            [(999, "999 bytes"), (1000, "1 kB"), (31_999_999_999, "31 GB"), (u64::MAX, "18 EB")]
        {
            assert_eq!(in_units(bytes), text);
        }
    }
}
