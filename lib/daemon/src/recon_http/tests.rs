use http_body_util::BodyExt;

use super::*;
use crate::clock::SystemClock;
use crate::http::{empty, status};

struct Teapot;

#[async_trait]
impl Handler for Teapot {
    async fn call(&self, _: Request<Body>) -> Response<Body> {
        status(StatusCode::IM_A_TEAPOT)
    }
}

/// A server over a directory that is removed with it.
struct Node {
    root: PathBuf,
    server: ReconHttp,
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

fn node(name: &str, mount_check: bool) -> Node {
    let root = std::env::temp_dir().join(format!("apus-recon-{name}-{}", std::process::id()));
    for directory in [
        "devices/sd1/quarantined/objects/a",
        "devices/sd1/quarantined/objects-1/b",
        "devices/sd2/quarantined/objects/c",
        "devices/sd2/quarantined/containers/d",
        "cache",
    ] {
        std::fs::create_dir_all(root.join(directory)).unwrap();
    }
    std::fs::write(root.join("devices/no-device"), "").unwrap();
    std::fs::write(root.join("object.ring.gz"), "a").unwrap();
    std::fs::write(root.join("swift.conf"), "").unwrap();
    let parts = ReconParts {
        server: "container",
        devices: root.join("devices"),
        mount_check,
        swift_conf: root.join("swift.conf"),
        rings: vec![root.join("object.ring.gz"), root.join("object-1.ring.gz")],
        cache: ReconCache::new(&root.join("cache")),
        clock: Arc::new(SystemClock),
    };
    Node { root, server: ReconHttp::new(Arc::new(Teapot), parts) }
}

async fn ask(node: &Node, method: &str, path: &str) -> (u16, Value) {
    let request = Request::builder().method(method).uri(path).body(empty()).unwrap();
    let answer = node.server.call(request).await;
    let status = answer.status().as_u16();
    let text = answer.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&text).unwrap_or(Value::Null))
}

#[tokio::test]
async fn devices_are_reported_with_their_quarantined_files() {
    let node = node("devices", false);
    let quarantined = json!({"accounts": 0, "containers": 1, "objects": 3,
        "policies": {"0": {"objects": 2}, "1": {"objects": 1}}});
    assert_eq!(ask(&node, "GET", "/recon/quarantined").await.1, quarantined);
    assert_eq!(ask(&node, "GET", "/recon/unmounted").await.1, json!([]));
    let usage = ask(&node, "GET", "/recon/diskusage").await.1;
    let first = &usage[0];
    assert_eq!((first["device"].as_str(), usage.as_array().unwrap().len()), (Some("sd1"), 2));
    let bytes = |name: &str| first[name].as_u64().unwrap();
    assert_eq!(bytes("used") + bytes("avail"), bytes("size"));
}

#[tokio::test]
async fn a_device_that_is_not_mounted_is_reported() {
    let node = node("unmounted", true);
    let missing = json!([{"device": "sd1", "mounted": false}, {"device": "sd2", "mounted": false}]);
    assert_eq!(ask(&node, "GET", "/recon/unmounted").await.1, missing);
    let usage = ask(&node, "GET", "/recon/diskusage").await.1;
    assert_eq!(
        usage[1],
        json!({"device": "sd2", "mounted": false, "size": "", "used": "", "avail": ""})
    );
}

#[tokio::test]
async fn files_are_reported_by_digest_and_missing_ones_are_left_out() {
    let node = node("digests", false);
    let ring = node.root.join("object.ring.gz").display().to_string();
    assert_eq!(
        ask(&node, "GET", "/recon/ringmd5").await.1,
        Value::Object(Map::from_iter([(ring, json!("0cc175b9c0f1b6a831c399e269772661"))]))
    );
    let conf = ask(&node, "GET", "/recon/swiftconfmd5").await.1;
    assert!(conf.to_string().contains("d41d8cd98f00b204e9800998ecf8427e"));
}

#[tokio::test]
async fn cached_figures_of_daemons_are_reported_and_null_for_missing_ones() {
    let node = node("cache", false);
    let cache = ReconCache::new(&node.root.join("cache"));
    let entries = Map::from_iter([("object_updater_sweep".to_owned(), json!(1.5))]);
    cache.merge("object.recon", entries).unwrap();
    assert_eq!(
        ask(&node, "GET", "/recon/updater/object").await.1,
        json!({"object_updater_sweep": 1.5, "object_updater_stats": null, "object_updater_last": null})
    );
    for path in [
        "auditor/account",
        "auditor/container",
        "auditor/object",
        "replication/account",
        "replication/container",
        "replication",
        "expirer/object",
        "async",
        "updater/container",
        "sharding",
        "relinker",
        "driveaudit",
        "reconstruction/object",
        "redundancy/account",
        "redundancy/object",
    ] {
        let (status, content) = ask(&node, "GET", &format!("/recon/{path}")).await;
        let content = content.as_object().unwrap();
        assert!(
            status == 200 && !content.is_empty() && content.values().all(Value::is_null),
            "{path}"
        );
    }
}

#[tokio::test]
async fn only_checks_are_answered_and_only_for_reading() {
    let node = node("paths", false);
    for path in ["mem", "load", "sockstat", "mounted", "time", "version", "devices"] {
        assert_eq!(ask(&node, "GET", &format!("/recon/{path}")).await.0, 200, "{path}");
    }
    assert_eq!(ask(&node, "GET", "/recon/nonsense").await.0, 404);
    assert_eq!(ask(&node, "GET", "/recon/updater/account").await.0, 404);
    assert_eq!(ask(&node, "GET", "/healthcheck").await.0, 200);
    // Objects on a device called `recon`, and writes.
    assert_eq!(ask(&node, "GET", "/recon/0/a/c/o").await.0, 418);
    assert_eq!(ask(&node, "PUT", "/recon/mem").await.0, 418);
    assert_eq!(ask(&node, "GET", "/sd1/0/a").await.0, 418);
}

#[tokio::test]
async fn a_server_says_what_it_is() {
    let node = node("options", false);
    let ask = |path| Request::builder().method("OPTIONS").uri(path).body(empty()).unwrap();
    let answer = node.server.call(ask("/")).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(answer.headers()["server"].to_str().unwrap().starts_with("container-server/"));
    assert!(answer.headers()["allow"].to_str().unwrap().contains("UPDATE"));
    assert_eq!(node.server.call(ask("/sd1/0/a/c")).await.status(), StatusCode::IM_A_TEAPOT);
}
