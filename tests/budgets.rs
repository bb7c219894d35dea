//! What one request may cost, counted in the seams: syncs, file calls, thread hops, transactions,
//! backend requests and bytes through MD5. Numbers, never times.
//!
//! A whole cluster runs in this process, and its front door is called as a function. Background
//! work can only add to a count, so the least of several requests is what one costs.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use apus_daemon::Clock;
use apus_daemon::clock::SystemClock;
use apus_daemon::http::{SharedHandler, full};
use apus_node::Node;
use apus_node::counts::Counts;
use apus_node::saio::{self, Options};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;

const REPLICAS: u64 = 3;
/// Requests of each kind; the cheapest counts.
const TRIES: usize = 12;
const KIB_4: usize = 4096;

/// The variable with the folder of a cluster to create.
const FOLDER: &str = "APUS_BUDGETS_FOLDER";

fn options(data: PathBuf) -> Options {
    Options {
        data,
        port: Some(0),
        devices: Some(4),
        replicas: Some(3),
        dev_users: true,
        no_daemons: true,
    }
}

#[tokio::test]
#[ignore = "the test of the budgets runs it in a process of its own"]
async fn a_cluster_is_created() {
    let folder = PathBuf::from(std::env::var_os(FOLDER).unwrap());
    saio::open(&options(folder)).await.unwrap();
}

struct Cluster {
    node: Node,
    proxy: SharedHandler,
    token: String,
    folder: PathBuf,
}

/// `Authorization` in S3's older way, which needs no more than this.
fn sign(method: &str, date: &str, path: &str, headers: &[(&str, &str)]) -> String {
    // Of the parameters only sub-resources are signed.
    let signed = ["?notification", "?versioning", "?versions"];
    let resource = match signed.iter().any(|sub| path.ends_with(sub)) {
        true => path,
        false => path.split('?').next().unwrap(),
    };
    let mut mac = Hmac::<sha1::Sha1>::new_from_slice(b"testing").unwrap();
    let amz = headers.iter().filter(|(name, _)| name.starts_with("x-amz-"));
    let amz: String = amz.map(|(name, value)| format!("{name}:{value}\n")).collect();
    mac.update(format!("{method}\n\n\n{date}\n{amz}{resource}").as_bytes());
    format!("AWS test:tester:{}", STANDARD.encode(mac.finalize().into_bytes()))
}

type Reply = Response<bytes::Bytes>;

async fn call(proxy: &SharedHandler, request: Request<apus_daemon::Body>) -> Reply {
    let (head, body) = proxy.call(request).await.into_parts();
    Response::from_parts(head, body.collect().await.unwrap().to_bytes())
}

impl Cluster {
    async fn start() -> Self {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("budgets-{}", std::process::id()));
        // The first start writes the configuration. A process owns the devices until it ends.
        let mut first = std::process::Command::new(std::env::current_exe().unwrap());
        first.args(["--exact", "--ignored", "a_cluster_is_created"]).env(FOLDER, &folder);
        assert!(first.output().unwrap().status.success());
        let swift_conf = folder.join("etc/swift.conf");
        let text = std::fs::read_to_string(&swift_conf).unwrap();
        std::fs::write(&swift_conf, text + "[notify]\nwebhook_hook = http://127.0.0.1:9/\n")
            .unwrap();
        let node = saio::open(&options(folder.clone())).await.unwrap().node;
        let proxy = node.proxy().unwrap();
        let auth = Request::get("/auth/v1.0")
            .header("x-auth-user", "test:tester")
            .header("x-auth-key", "testing");
        let reply = call(&proxy, auth.body(full("")).unwrap()).await;
        let token = reply.headers()["x-auth-token"].to_str().unwrap().to_owned();
        Self { node, proxy, token, folder }
    }

    /// `/v1/…` with the token, anything else signed for S3.
    async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Reply {
        let date = httpdate::fmt_http_date(UNIX_EPOCH + SystemClock.now());
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "127.0.0.1")
            .header("date", &date)
            .header("content-length", body.len());
        request = if path.starts_with("/v1/") {
            request.header("x-auth-token", &self.token)
        } else {
            request.header("authorization", sign(method, &date, path, headers))
        };
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        call(&self.proxy, request.body(full(body)).unwrap()).await
    }

    /// The cheapest of several requests. `path` may differ from try to try.
    async fn cost(
        &self,
        (method, body, expected): (&str, &[u8], StatusCode),
        headers: &[(&str, &str)],
        path: impl Fn(usize) -> String,
    ) -> Counts {
        let mut costs = Vec::new();
        for index in 0..TRIES {
            let before = self.node.counts();
            let reply = self.send(method, &path(index), headers, body.to_vec()).await;
            costs.push(self.node.counts().since(before));
            assert_eq!(reply.status(), expected, "{method} {}", path(index));
        }
        let least = |of: fn(&Counts) -> u64| costs.iter().map(of).min().unwrap();
        Counts {
            syncs: least(|counts| counts.syncs),
            file_calls: least(|counts| counts.file_calls),
            thread_hops: least(|counts| counts.thread_hops),
            database_opens: least(|counts| counts.database_opens),
            transactions: least(|counts| counts.transactions),
            database_writes: least(|counts| counts.database_writes),
            backend_requests: least(|counts| counts.backend_requests),
            md5_bytes: least(|counts| counts.md5_bytes),
        }
    }
}

/// Prints the counts, and fails when one is over its budget.
fn hold(what: &str, cost: Counts, budget: Counts) {
    println!(
        "budget: {what:28} syncs {:2}/{:2}  file calls {:2}/{:2}  thread hops {}/{}  transactions {}/{}  \
         backend requests {}/{}  md5 bytes {}/{}",
        cost.syncs,
        budget.syncs,
        cost.file_calls,
        budget.file_calls,
        cost.thread_hops,
        budget.thread_hops,
        cost.transactions,
        budget.transactions,
        cost.backend_requests,
        budget.backend_requests,
        cost.md5_bytes,
        budget.md5_bytes,
    );
    for (name, spent, allowed) in [
        ("syncs", cost.syncs, budget.syncs),
        ("file calls", cost.file_calls, budget.file_calls),
        ("thread hops", cost.thread_hops, budget.thread_hops),
        ("database opens", cost.database_opens, budget.database_opens),
        ("transactions", cost.transactions, budget.transactions),
        ("database writes", cost.database_writes, budget.database_writes),
        ("backend requests", cost.backend_requests, budget.backend_requests),
        ("bytes through MD5", cost.md5_bytes, budget.md5_bytes),
    ] {
        assert!(spent <= allowed, "{what}: {spent} {name}, budget {allowed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_stay_within_their_counted_budgets() {
    let cluster = Cluster::start().await;
    let body = vec![b'x'; KIB_4];
    let put = ("PUT", body.as_slice(), StatusCode::CREATED);
    assert_eq!(
        cluster.send("PUT", "/v1/AUTH_test/box", &[], vec![]).await.status(),
        StatusCode::CREATED
    );
    for index in 0..TRIES {
        let path = format!("/v1/AUTH_test/box/warm{index}");
        assert_eq!(cluster.send("PUT", &path, &[], body.clone()).await.status(), 201);
    }
    // One request to each object server, which sends its row to one container server.
    let write = Counts {
        backend_requests: 2 * REPLICAS,
        transactions: REPLICAS,
        database_writes: REPLICAS,
        md5_bytes: KIB_4 as u64,
        ..Counts::default()
    };
    // File and hash directory; of a new one also the parents that had to be made.
    let new = cluster.cost(put, &[], |index| format!("/v1/AUTH_test/box/new{index}")).await;
    hold("PUT 4 KiB, new", new, Counts { syncs: REPLICAS * 5, file_calls: REPLICAS * 24, ..write });
    let over = cluster.cost(put, &[], |index| format!("/v1/AUTH_test/box/warm{index}")).await;
    let two = Counts { syncs: REPLICAS * 2, file_calls: REPLICAS * 19, ..write };
    // Two servers look whether what is there was to expire.
    let looked_at = 2 * 3;
    hold("PUT 4 KiB, overwrite", over, Counts { file_calls: two.file_calls + looked_at, ..two });
    let post = cluster.cost(("POST", &[], StatusCode::ACCEPTED), &[], |index| {
        format!("/v1/AUTH_test/box/warm{index}")
    });
    hold(
        "POST",
        post.await,
        Counts { file_calls: REPLICAS * 19, ..Counts { md5_bytes: 0, ..two } },
    );

    let read = Counts { backend_requests: 1, file_calls: 8, ..Counts::default() };
    let get = ("GET", [].as_slice(), StatusCode::OK);
    hold(
        "GET 4 KiB",
        cluster.cost(get, &[], |index| format!("/v1/AUTH_test/box/new{index}")).await,
        read,
    );
    let newest = [("x-newest", "true")];
    let all = Counts { backend_requests: REPLICAS, file_calls: 8 * REPLICAS, ..read };
    hold(
        "GET 4 KiB, X-Newest",
        cluster.cost(get, &newest, |index| format!("/v1/AUTH_test/box/new{index}")).await,
        all,
    );
    let head = cluster
        .cost(("HEAD", &[], StatusCode::OK), &[], |index| format!("/v1/AUTH_test/box/new{index}"))
        .await;
    hold("HEAD", head, Counts { file_calls: 7, ..read });
    let list = cluster.cost(get, &[], |_| "/v1/AUTH_test/box?format=json".to_owned()).await;
    // A database is read on its threads; its file calls are SQLite's.
    hold("LIST", list, Counts { file_calls: 0, ..read });

    let delete = ("DELETE", [].as_slice(), StatusCode::NO_CONTENT);
    let deleted = cluster.cost(delete, &[], |index| format!("/v1/AUTH_test/box/new{index}")).await;
    hold("DELETE", deleted, Counts { md5_bytes: 0, ..two });
    let path = |index| format!("/box/warm{index}");
    let over = cluster.cost(("PUT", body.as_slice(), StatusCode::OK), &[], path).await;
    let file_calls = REPLICAS * 21 + looked_at;
    hold("S3 PUT 4 KiB, overwrite", over, Counts { file_calls, ..two });
    // Strong: a majority is asked, one of them for the bytes.
    let s3_read = Counts { backend_requests: 2, file_calls: 8 + 7, ..Counts::default() };
    hold("S3 GET 4 KiB", cluster.cost(get, &[], path).await, s3_read);
    let head = cluster.cost(("HEAD", &[], StatusCode::OK), &[], path).await;
    hold("S3 HEAD", head, Counts { file_calls: 7 + 7, ..s3_read });
    let list = cluster.cost(get, &[], |_| "/box?list-type=2".to_owned()).await;
    hold("S3 LIST", list, Counts { file_calls: 0, ..s3_read });
    // Encryption costs the CPU of the proxy and nothing else.
    let encrypts = [("x-amz-server-side-encryption", "AES256")];
    let over = cluster.cost(("PUT", body.as_slice(), StatusCode::OK), &encrypts, path).await;
    hold("S3 PUT 4 KiB, overwrite, encrypted", over, Counts { file_calls, ..two });
    hold("S3 GET 4 KiB, encrypted", cluster.cost(get, &[], path).await, s3_read);
    let deleted = cluster.cost(delete, &[], path).await;
    // A manifest would take its parts along, so the object is looked at first.
    let looked = Counts { backend_requests: two.backend_requests + 2, md5_bytes: 0, ..two };
    hold("S3 DELETE", deleted, Counts { file_calls: two.file_calls + 7 + 7, ..looked });
    hold_versions(&cluster, &body, (write, two)).await;
    hold_events(&cluster, &body, two).await;
    std::fs::remove_dir_all(&cluster.folder).unwrap();
}

/// A version costs what it costs in Swift: the visible name is looked at, the version is written, and
/// then the link or, for a deletion, the marker and the tombstone.
async fn hold_versions(cluster: &Cluster, body: &[u8], (write, two): (Counts, Counts)) {
    assert_eq!(cluster.send("PUT", "/versions", &[], vec![]).await.status(), StatusCode::OK);
    let enabled = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    let reply = cluster.send("PUT", "/versions?versioning", &[], enabled.to_vec()).await;
    assert_eq!(reply.status(), StatusCode::OK);
    let put = ("PUT", body, StatusCode::OK);
    let path = |index| format!("/versions/o{index}");
    cluster.cost(put, &[], path).await;
    let over = cluster.cost(put, &[], path).await;
    let looked = Counts { backend_requests: 2, file_calls: 7 + 7, ..Counts::default() };
    let both = Counts {
        backend_requests: looked.backend_requests + 2 * write.backend_requests,
        transactions: 2 * write.transactions,
        database_writes: 2 * write.database_writes,
        syncs: REPLICAS * 5 + two.syncs,
        file_calls: looked.file_calls + REPLICAS * (25 + 20),
        ..write
    };
    hold("S3 PUT 4 KiB, version", over, both);
    let get = ("GET", [].as_slice(), StatusCode::OK);
    let link_and_version =
        Counts { backend_requests: 4, file_calls: 2 * (8 + 7), ..Counts::default() };
    hold("S3 GET 4 KiB, current", cluster.cost(get, &[], path).await, link_and_version);
    let head = cluster.cost(("HEAD", &[], StatusCode::OK), &[], path).await;
    hold("S3 HEAD, current", head, link_and_version);
    let list = cluster.cost(get, &[], |_| "/versions?list-type=2".to_owned()).await;
    hold("S3 LIST of current", list, Counts { backend_requests: 2, ..Counts::default() });
    let versions = cluster.cost(get, &[], |_| "/versions?versions".to_owned()).await;
    hold("S3 LIST of versions", versions, Counts { backend_requests: 4, ..Counts::default() });
    let delete = ("DELETE", [].as_slice(), StatusCode::NO_CONTENT);
    let deleted = cluster.cost(delete, &[], path).await;
    hold("S3 DELETE, marker", deleted, Counts { md5_bytes: 0, ..both });
}

/// The event of a change is one more row, in each replica of a queue.
async fn hold_events(cluster: &Cluster, body: &[u8], two: Counts) {
    assert_eq!(cluster.send("PUT", "/events", &[], vec![]).await.status(), StatusCode::OK);
    let rules =
        b"<NotificationConfiguration><QueueConfiguration><Queue>arn:apus:sqs::hook:webhook</Queue>\
        <Event>s3:ObjectCreated:*</Event></QueueConfiguration></NotificationConfiguration>";
    let reply = cluster.send("PUT", "/events?notification", &[], rules.to_vec()).await;
    assert_eq!(reply.status(), StatusCode::OK);
    let put = ("PUT", body, StatusCode::OK);
    let path = |index| format!("/events/o{index}");
    cluster.cost(put, &[], path).await;
    let over = cluster.cost(put, &[], path).await;
    let with_event = Counts {
        backend_requests: two.backend_requests + REPLICAS,
        transactions: two.transactions + REPLICAS,
        database_writes: two.database_writes + REPLICAS,
        file_calls: REPLICAS * 22 + 2 * 3,
        ..two
    };
    hold("S3 PUT 4 KiB, event", over, with_event);
}
