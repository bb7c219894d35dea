//! What is encoded is decoded to the same, as Swift writes it, and malformed calls are refused.

use apus_cluster::{PathHash, Timestamp};
use http::HeaderMap;
use http::request::Parts;
use serde_json::{Value, json};

use super::*;
use crate::{NodePath, NodeRequest};

fn address() -> ReplicaAddress {
    ReplicaAddress { partition: 12, hash: PathHash([0xab; 16]) }
}

fn arrived(request: NodeRequest) -> Parts {
    let NodeRequest { method, partition, names, headers, .. } = request;
    let path = NodePath { device: "sdc".to_owned(), partition, names }.encode();
    let mut request = http::Request::builder().method(method).uri(path).body(()).unwrap();
    *request.headers_mut() = headers;
    request.into_parts().0
}

#[test]
fn heads_survive_a_round_trip() {
    let upload = DatabaseUpload { id: "6a-sd1".to_owned(), length: 40_960, md5: "5a".repeat(16) };
    for upload in [None, Some(upload)] {
        let request = ReplicateDatabaseRequest { address: address(), upload };
        let parts = arrived(request.encode());
        assert_eq!(parts.method.as_str(), "REPLICATE");
        let received = ReplicateDatabaseRequest::decode(&parts).unwrap();
        assert_eq!((received.device.as_str(), received.message), ("sdc", request));
    }
    let reply = ReplicateDatabaseReply {
        takes_databases: true,
        mark: Some("0123".to_owned()),
        new_rows: Some(3),
        salvaged: Some("/srv/sd1/quarantined/x.db".to_owned()),
    };
    for reply in [ReplicateDatabaseReply::default(), reply] {
        let mut head = HeaderMap::new();
        reply.encode(&mut head);
        assert_eq!(ReplicateDatabaseReply::decode(&head), reply);
    }
}

#[test]
fn a_database_without_a_good_id_length_or_md5_is_refused() {
    let upload = DatabaseUpload { id: "id".to_owned(), length: 1, md5: "5a".repeat(16) };
    let request = ReplicateDatabaseRequest { address: address(), upload: Some(upload) };
    for (name, value) in [
        ("x-backend-apus-database", "../id"),
        ("x-backend-apus-database", ".."),
        ("content-length", "many"),
        ("etag", "5a"),
    ] {
        let mut request = request.encode();
        apus_daemon::http::set(&mut request.headers, name, value);
        let refused = ReplicateDatabaseRequest::decode(&arrived(request)).unwrap_err();
        assert!(refused.to_string().to_lowercase().starts_with(name), "{refused}");
    }
    let mut request = request.encode();
    request.names = vec!["name".to_owned()];
    assert!(ReplicateDatabaseRequest::decode(&arrived(request)).is_err());
}

fn info() -> ReplicaInfo {
    ReplicaInfo {
        max_row: 7,
        hash: "h".to_owned(),
        id: "i".to_owned(),
        created_at: "1".to_owned(),
        put_timestamp: "2".to_owned(),
        delete_timestamp: "0".to_owned(),
        metadata: "{}".to_owned(),
        ..ReplicaInfo::default()
    }
}

fn container() -> ReplicaInfo {
    ReplicaInfo {
        status_changed_at: "2".to_owned(),
        count: 3,
        storage_policy_index: Some(1),
        ..info()
    }
}

fn range() -> ShardRange {
    ShardRange {
        name: ".shards_a/c-1".to_owned(),
        timestamp: "1700000000.00000".to_owned(),
        lower: String::new(),
        upper: "m".to_owned(),
        object_count: 5,
        bytes_used: 50,
        meta_timestamp: "1700000001.00000".to_owned(),
        deleted: 0,
        state: 40,
        state_timestamp: "1700000002.00000".to_owned(),
        epoch: None,
        reported: 1,
        tombstones: -1,
    }
}

/// Calls with the JSON that Swift's replicator sends, or Apus for its own ones.
fn calls() -> Vec<(DatabaseCall<Value>, Value)> {
    let row = json!({"name": "o"});
    let install = |mode, file| DatabaseCall::Install { mode, id: "id-sd1".to_owned(), file };
    let source = || Some("id".to_owned());
    vec![
        (DatabaseCall::Sync(Box::new(info())), json!(["sync", 7, "h", "i", "1", "2", "0", "{}"])),
        (
            DatabaseCall::Sync(Box::new(container())),
            json!(["sync", 7, "h", "i", "1", "2", "0", "{}", "2", 3, 1]),
        ),
        (
            DatabaseCall::MergeItems { rows: vec![row.clone()], source: source(), reclaimed: None },
            json!(["merge_items", [row.clone()], "id"]),
        ),
        (
            DatabaseCall::MergeItems {
                rows: vec![row.clone()],
                source: None,
                reclaimed: Some(Timestamp::from_seconds(9)),
            },
            json!(["merge_items", [row], null, "0000000009.00000"]),
        ),
        (
            DatabaseCall::MergeSyncs(vec![SyncPoint { remote_id: "r".to_owned(), sync_point: 5 }]),
            json!(["merge_syncs", [{"remote_id": "r", "sync_point": 5}]]),
        ),
        (
            install(InstallMode::New, Some("h.db".to_owned())),
            json!(["complete_rsync", "id-sd1", "h.db"]),
        ),
        (install(InstallMode::Merged, None), json!(["rsync_then_merge", "id-sd1"])),
        (DatabaseCall::Container(ContainerCall::GetShardRanges), json!(["get_shard_ranges"])),
        (
            DatabaseCall::Container(ContainerCall::MergeShardRanges {
                ranges: vec![range()],
                source: source(),
            }),
            json!(["merge_shard_ranges", [{
                "name": ".shards_a/c-1", "timestamp": "1700000000.00000", "lower": "",
                "upper": "m", "object_count": 5, "bytes_used": 50,
                "meta_timestamp": "1700000001.00000", "deleted": 0, "state": 40,
                "state_timestamp": "1700000002.00000", "epoch": null, "reported": 1,
                "tombstones": -1,
            }], "id"]),
        ),
        (DatabaseCall::Container(ContainerCall::Unreported), json!(["apus_unreported"])),
        (
            DatabaseCall::States(vec![(3, PathHash([0; 16]))]),
            json!(["apus_states", [[3, "0".repeat(32)]]]),
        ),
        (DatabaseCall::Quarantine { only_copy: true }, json!(["apus_quarantine", true])),
    ]
}

#[test]
fn calls_are_written_as_lists_and_read_as_they_were_written() {
    for (call, list) in calls() {
        let body = call.encode().unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), list);
        assert_eq!(DatabaseCall::decode(&body).unwrap(), call);
    }
    for call in
        [DatabaseCall::Remove(Box::new(container())), DatabaseCall::Orphan(Box::new(info()))]
    {
        assert_eq!(DatabaseCall::<Value>::decode(&call.encode().unwrap()).unwrap(), call);
    }
}

#[test]
fn malformed_calls_are_refused_with_what_they_lack() {
    let hash = "0".repeat(32);
    let many = vec![json!([1, hash]); MARKS_MAX + 1];
    for (list, expected) in [
        (json!({}), "expected a list"),
        (json!([]), "expected a list"),
        (json!([1]), "expected a list"),
        (json!(["nonsense"]), "unknown operation \"nonsense\""),
        (json!(["sync", 1]), "sync: expected seven or ten arguments"),
        (json!(["sync", "7", "h", "i", "1", "2", "0", "{}"]), "sync: expected"),
        (json!(["merge_items", 5]), "merge_items: invalid type"),
        (json!(["merge_items"]), "merge_items: invalid type"),
        (json!(["merge_syncs", [{"remote_id": "r"}]]), "merge_syncs: missing field"),
        (json!(["merge_shard_ranges", [{}]]), "merge_shard_ranges: missing field"),
        (json!(["complete_rsync", "../../x"]), "complete_rsync: expected the id"),
        (json!(["rsync_then_merge", "x", 5]), "rsync_then_merge: expected the name of a file"),
        (json!(["apus_states", [[1]]]), "apus_states: expected a list of at most"),
        (json!(["apus_states", [["1", hash]]]), "apus_states: expected a list of at most"),
        (json!(["apus_states", many]), "apus_states: expected a list of at most"),
        (json!(["apus_remove", 5]), "apus_remove: invalid type"),
    ] {
        let body = serde_json::to_vec(&list).unwrap();
        let refused = DatabaseCall::<Value>::decode(&body).unwrap_err().to_string();
        assert!(refused.starts_with(expected), "{refused}");
    }
    let refused = DatabaseCall::<Value>::decode(b"no json").unwrap_err().to_string();
    assert!(refused.starts_with("the call is not JSON"), "{refused}");
}
