//! Fuzzing of requests between servers: whatever head arrives, it is decoded or refused, and what is
//! decoded stays the same when it is encoded and decoded again.

use apus_wire::message::{Received, account, container, database, object};
use apus_wire::{NodePath, NodeRequest};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use serde_json::Value;

/// Heads that Swift's proxy and ours send, one header a line.
pub(crate) fn heads() -> Vec<Vec<u8>> {
    let object = "/sda1/513/AUTH_t/c/o%C3%BC";
    let hash = "5a".repeat(16);
    let common =
        "x-timestamp: 1700000000.12345\nx-trans-id: tx1\nx-backend-storage-policy-index: 1\n";
    let rows = "x-container-host: 127.0.0.1:6201,[::1]:6201\nx-container-device: sda,sdb\n\
                x-container-partition: 7\nx-delete-at-host: 127.0.0.1:6201\nx-delete-at-device: sda\n\
                x-delete-at-partition: 9\nx-delete-at-container: 1699919962\n\
                x-backend-quoted-container-path: .shards_a/c-1\n\
                x-backend-clean-expiring-object-queue: f\n";
    let texts = [
        format!(
            "PUT {object}\n{common}{rows}content-type: text/plain\nx-object-meta-a: 1\n\
             x-delete-at: 1800000000\nx-backend-obj-metadata-footer: yes\n\
             x-backend-obj-multipart-mime-boundary: b1\nx-backend-obj-content-length: 12\n\
             x-backend-obj-multiphase-commit: yes\nif-none-match: *\netag: abc\n\
             x-backend-container-update-override-etag: e; s3_etag=f\n\
             x-backend-next-part-power: 11\n"
        ),
        format!(
            "POST {object}\n{common}{rows}content-type-timestamp: 1700000001.00000\n\
             content-type: a/b\nx-backend-replication: True\n"
        ),
        format!("DELETE {object}\n{common}{rows}x-if-delete-at: 1700000000\n"),
        format!(
            "GET {object}\n{common}range: bytes=0-4,-3\nif-match: \"a\", W/\"b\"\n\
             if-modified-since: Tue, 14 Nov 2023 22:13:21 GMT\n\
             x-backend-etag-is-at: X-Object-Sysmeta-A,X-B\n\
             x-backend-ignore-range-if-metadata-present: X-Static-Large-Object\n"
        ),
        format!(
            "REPAIR {object}\n{common}x-backend-apus-repair-to: 127.0.0.1:6200/sda,[::1]:1/b\n"
        ),
        format!(
            "PUT /sda1/5/AUTH_t/c\n{common}x-container-meta-a: 1\nx-container-read: .r:*\n\
             x-account-host: 127.0.0.1:6202\nx-account-device: sda\nx-account-partition: 2\n\
             x-backend-storage-policy-default: 0\nx-backend-no-timestamp-update: true\n"
        ),
        format!(
            "PUT /sda1/5/AUTH_t/c/o\n{common}x-size: 7\nx-content-type: a/b\nx-etag: e\n\
             x-content-type-timestamp: 1700000001.00000\nx-meta-timestamp: 1700000002.00000\n"
        ),
        format!(
            "GET /sda1/5/AUTH_t/c?format=json&limit=10\n{common}\
             x-backend-record-type: shard\nx-backend-record-shard-format: namespace\n"
        ),
        format!(
            "PUT /sda1/5/AUTH_t/c\n{common}x-put-timestamp: 1700000000.00000\n\
             x-delete-timestamp: 0000000000.00000\nx-object-count: 3\nx-bytes-used: -1\n\
             x-account-override-deleted: yes\nx-account-meta-a: 1\n"
        ),
        format!("REPLICATE /sda1/5/{hash}\ncontent-type: application/json\n"),
        format!(
            "REPLICATE /sda1/5/{hash}\nx-backend-apus-database: 6a-sda1\netag: {hash}\n\
             content-length: 40960\nx-backend-apus-file-mark: 0123\n\
             x-backend-apus-new-rows: 3\nx-backend-apus-salvaged: /srv/x.db\n"
        ),
        format!("REPLICATE /sda1/5/abc-def\n{common}x-backend-apus-partition-marks: 1,2\n"),
        format!("SSYNC /sda1/5\n{common}x-backend-apus-present-since: ?\n"),
    ];
    texts.map(String::into_bytes).to_vec()
}

fn parts(input: &[u8]) -> Option<Parts> {
    let mut lines = input.split(|byte| *byte == b'\n');
    let mut first = lines.next()?.splitn(2, |byte| *byte == b' ');
    let (method, path) = (first.next()?, first.next()?);
    let mut head = HeaderMap::new();
    for line in lines {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = line.split_at(colon);
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value[1..].trim_ascii()))
        {
            head.append(name, value);
        }
    }
    let mut request = Request::builder().method(method).uri(path).body(()).ok()?;
    *request.headers_mut() = head;
    Some(request.into_parts().0)
}

fn sent(request: NodeRequest, device: &str) -> Parts {
    let NodeRequest { method, partition, names, headers, query } = request;
    let path = NodePath { device: device.to_owned(), partition, names }.encode();
    let uri = if query.is_empty() { path } else { format!("{path}?{query}") };
    let mut request = Request::builder().method(method).uri(uri).body(()).unwrap();
    *request.headers_mut() = headers;
    request.into_parts().0
}

/// A message in the form that it has once it was encoded is the same when it is sent on again.
macro_rules! repeats {
    ($decoded:expr, $decode:expr) => {
        if let Ok(Received { device, message }) = $decoded {
            let message = $decode(&sent(message.encode(), &device)).unwrap().message;
            let again = $decode(&sent(message.encode(), &device));
            assert_eq!(again.map(|again| again.message), Ok(message));
        }
    };
}

pub(crate) fn read_object_request(input: &[u8]) {
    let Some(parts) = parts(input) else { return };
    drop(object::ObjectAddress::decode(&parts));
    repeats!(object::PutObjectRequest::decode(&parts), object::PutObjectRequest::decode);
    repeats!(object::PostObjectRequest::decode(&parts), object::PostObjectRequest::decode);
    repeats!(object::DeleteObjectRequest::decode(&parts), object::DeleteObjectRequest::decode);
    repeats!(object::ReadObjectRequest::decode(&parts), object::ReadObjectRequest::decode);
    repeats!(object::ReserveRequest::decode(&parts), object::ReserveRequest::decode);
    repeats!(object::ReleaseRequest::decode(&parts), object::ReleaseRequest::decode);
    repeats!(object::RepairRequest::decode(&parts), object::RepairRequest::decode);
    repeats!(
        object::ReplicatePartitionRequest::decode(&parts),
        object::ReplicatePartitionRequest::decode
    );
    repeats!(object::SsyncRequest::decode(&parts), object::SsyncRequest::decode);
}

pub(crate) fn read_database_request(input: &[u8]) {
    let Some(parts) = parts(input) else { return };
    repeats!(
        database::ReplicateDatabaseRequest::decode(&parts),
        database::ReplicateDatabaseRequest::decode
    );
    if let Ok((address, object)) = container::ContainerAddress::decode(&parts) {
        let put = |parts: &Parts| {
            let (address, _) = container::ContainerAddress::decode(parts).unwrap();
            container::PutContainerRequest::decode(address, parts)
        };
        let post = |parts: &Parts| {
            let (address, _) = container::ContainerAddress::decode(parts).unwrap();
            container::PostContainerRequest::decode(address, parts)
        };
        repeats!(put(&parts), put);
        repeats!(post(&parts), post);
        drop(container::DeleteContainerRequest::decode(address.clone(), &parts));
        drop(container::UpdateRowsRequest::decode(address.clone(), &parts));
        drop(container::ReadContainerRequest::decode(address.clone(), &parts));
        for verb in [container::RowVerb::Put, container::RowVerb::Delete] {
            let row = (address.clone(), object.clone().unwrap_or_default());
            drop(container::ObjectRowRequest::decode(row, &parts, verb));
        }
    }
    if let Ok((address, container)) = account::AccountAddress::decode(&parts) {
        drop(account::ChangeAccountRequest::decode(
            address.clone(),
            &parts,
            account::ChangeVerb::Put,
        ));
        drop(account::ReadAccountRequest::decode(address, &parts));
        if container.is_some() {
            let row = |parts: &Parts| {
                let (address, container) = account::AccountAddress::decode(parts).unwrap();
                account::ContainerRowRequest::decode((address, container.unwrap()), parts)
            };
            repeats!(row(&parts), row);
        }
    }
}

pub(crate) fn read_reply(input: &[u8]) {
    let Some(parts) = parts(input) else { return };
    let head = &parts.headers;
    drop(object::StoredObject::decode(head));
    drop(object::ObjectWriteReply::decode(head));
    let _ = object::AbsentObject::decode(head);
    for status in [http::StatusCode::OK, http::StatusCode::NOT_FOUND, http::StatusCode::CONFLICT] {
        drop(object::ReserveReply::decode(status, head));
    }
    drop(container::RowRedirect::decode(http::StatusCode::MOVED_PERMANENTLY, head));
    let _ = container::ContainerTimes::decode(head).newest();
    drop(container::ContainerDescription::shown_headers(head));
    let _ = account::AbsentAccount::decode(head);
    let _ = object::ObjectVersion::decode(head);
    let _ = container::ListingContents::decode(head);
    let _ = object::ReplicateReply::decode(head);
    let _ = object::SsyncReply::decode(head);
    drop(database::ReplicateDatabaseReply::decode(head));
}

/// Bodies of `REPLICATE` that Swift's replicators and ours send.
pub(crate) fn calls() -> Vec<Vec<u8>> {
    let hash = "5a".repeat(16);
    let texts = [
        r#"["sync", 7, "h", "i", "1", "2", "0", "{\"a\": [\"b\", \"3\"]}", "2", 3, 1]"#.to_owned(),
        r#"["merge_items", [{"ROWID": 1, "name": "o", "created_at": "1700000000.00000",
           "size": 1.5, "deleted": true}], "id", "0000000009.00000"]"#
            .to_owned(),
        r#"["merge_syncs", [{"remote_id": "r", "sync_point": -1}]]"#.to_owned(),
        format!(r#"["rsync_then_merge", "id-sd1", "{hash}.db"]"#),
        r#"["merge_shard_ranges", [{"name": "a/c", "timestamp": "1", "lower": "", "upper": "m",
           "object_count": 5, "bytes_used": 50, "meta_timestamp": "2", "deleted": 0, "state": 40,
           "state_timestamp": "3", "epoch": null}], "id"]"#
            .to_owned(),
        format!(r#"["apus_states", [[3, "{hash}"]]]"#),
        r#"["apus_remove", {"account": "a", "id": "i", "max_row": 3, "object_count": 1e3}]"#
            .to_owned(),
        r#"["apus_quarantine", true]"#.to_owned(),
    ];
    texts.map(String::into_bytes).to_vec()
}

pub(crate) fn read_call(input: &[u8]) {
    if let Ok(call) = database::DatabaseCall::<Value>::decode(input) {
        let body = call.encode().unwrap();
        let call = database::DatabaseCall::<Value>::decode(&body).unwrap();
        assert_eq!(database::DatabaseCall::decode(&call.encode().unwrap()).unwrap(), call);
    }
}
