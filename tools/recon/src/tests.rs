use std::sync::Arc;

use apus_daemon::Body;
use apus_daemon::http::{Handler, full};
use async_trait::async_trait;
use http::{Request, Response};

use super::*;

/// Responds to every request with the same text.
struct Says(&'static str);

#[async_trait]
impl Handler for Says {
    async fn call(&self, _: Request<Body>) -> Response<Body> {
        Response::new(full(self.0))
    }
}

fn scout(text: &'static str) -> Scout {
    let transport = Transport::new(None);
    transport.register("127.0.0.1:6200", Arc::new(Says(text)));
    Scout { transport, timeout: Duration::from_secs(5), verbose: false, suppress: true }
}

const SERVERS: [ServerType; 3] = [ServerType::Account, ServerType::Container, ServerType::Object];

async fn report(text: &'static str, server: ServerType, check: Check) -> CheckReport {
    let options = Options { all: true, ..Options::default() };
    let hosts = [Host { ip: "127.0.0.1".to_owned(), address: "127.0.0.1:6200".to_owned() }];
    let scout = scout(text);
    let session =
        Session { options: &options, scout: &scout, server, hosts: &hosts, policies: &[] };
    check.run(&session).await
}

#[tokio::test]
async fn every_check_ends_for_any_response() {
    let strange = [
        "",
        "null",
        "7",
        "\"text\"",
        "[]",
        "[null, 7, {}]",
        "{}",
        "{\"async_pending\": \"many\", \"policies\": [1], \"replication_stats\": 3, \"policies\": {\"0\": null}}",
        "[{\"device\": 3, \"mounted\": true, \"size\": 0, \"used\": 0, \"avail\": 0}]",
    ];
    for text in strange {
        for server in SERVERS {
            let options = Options { all: true, ..Options::default() };
            for check in plan(&options, server) {
                let report = report(text, server, check).await;
                assert!(!report.lines.is_empty(), "{text}: {check:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_check_of_another_server_type_is_refused_in_swifts_words() {
    for (server, check, words) in [
        (ServerType::Account, Check::Async, "Error: Can't check asyncs on non object servers."),
        (ServerType::Account, Check::Updater, "Error: Can't check updaters on account servers."),
        (
            ServerType::Object,
            Check::Sharding,
            "Error: Can't check sharding on non container servers.",
        ),
    ] {
        let report = report("{}", server, check).await;
        assert_eq!((report.lines, report.failed), (vec![words.to_owned()], true));
    }
}

#[tokio::test]
async fn failures_are_reported_in_swifts_words() {
    let unmounted =
        "[{\"device\": \"sd1\", \"mounted\": false}, {\"device\": \"sd2\", \"mounted\": \"EIO\"}]";
    let found = report(unmounted, ServerType::Object, Check::Unmounted).await;
    assert_eq!(
        found.lines[1..],
        ["Not mounted: sd1 on 127.0.0.1:6200", "Device errors: sd2 on 127.0.0.1:6200"]
    );
    assert!(found.failed);
    let found = report("1700000000.5", ServerType::Object, Check::Time).await;
    assert!(found.lines[1].contains("but remote is 2023-11-14 22:13:20, differs by"), "{found:?}");
    assert_eq!(found.lines[2], "0/1 hosts matched, 0 error[s] while checking hosts.");
    let disks = "[{\"device\": \"sd1\", \"mounted\": true, \"size\": 200, \"used\": 100, \"avail\": 100},
                  {\"device\": \"sd2\", \"mounted\": false, \"size\": \"\", \"used\": \"\", \"avail\": \"\"}]";
    let found = report(disks, ServerType::Object, Check::DiskUsage).await;
    assert_eq!(found.lines[2], format!(" 50%    1 {}", "*".repeat(69)));
    assert_eq!(found.lines[5], "Disk usage: lowest: 50.0%, highest: 50.0%, avg: 50.0%");
    assert!(!found.failed);
}

#[test]
fn checks_come_in_swifts_order() {
    let options =
        Options { time: true, md5: true, async_pending: true, auditor: true, ..Options::default() };
    let checks = plan(&options, ServerType::Object);
    let names: Vec<_> = checks.iter().map(|check| check.name()).collect();
    assert_eq!(names, ["async", "auditor", "ring_md5", "swift_conf_md5", "time"]);
    assert!(plan(&Options::default(), ServerType::Object).is_empty());
}

#[tokio::test]
async fn counts_of_replicators_are_summed_and_missing_hosts_are_reported() {
    let text =
        "{\"container_redundancy\": {\"below\": 3, \"unknown\": 0, \"databases_unknown\": 2},
                 \"container_redundancy_last\": 1700000000.5}";
    let found = report(text, ServerType::Container, Check::Redundancy).await;
    assert_eq!(
        found.lines[1..3],
        [
            "[container rows] below full redundancy: 3, unknown: 0",
            "[container databases] below full redundancy: 0, unknown: 2"
        ]
    );
    assert!(found.failed);
    let found = report("{}", ServerType::Container, Check::Redundancy).await;
    assert_eq!(
        found.lines[1..],
        [
            "[container rows] No hosts returned valid data.",
            "!! 1/1 hosts reported nothing: the real numbers are larger"
        ]
    );
}
