//! What is encoded is decoded to the same, and spelled as Swift 2.38 spells it.
use apus_cluster::byte_range::ByteRanges;
use apus_cluster::etag::EtagList;
use apus_cluster::{
    AccountName, ContainerName, ContainerPath, Metadata, ObjectName, ObjectPath, PartPower,
    PolicyIndex, Timestamp,
};
use apus_ring::Device;
use http::request::Parts;

use super::super::{Received, RowTargets};
use super::*;
use crate::{NodePath, NodeRequest};

fn path(account: &str, container: &str, object: &str) -> ObjectPath {
    let account = AccountName::parse(account).unwrap();
    ObjectPath {
        container: ContainerPath::new(account, ContainerName::parse(container).unwrap()),
        object: ObjectName::parse(object).unwrap(),
    }
}

fn address() -> ObjectAddress {
    ObjectAddress {
        object: path("AUTH_t", "c", "a b/ü"),
        partition: 513,
        policy: PolicyIndex(2),
        next_part_power: PartPower::new(11),
        trans_id: Some("tx1-apus".to_owned()),
    }
}

fn targets(count: usize) -> RowTargets {
    let node = |index: usize| Device::at(&format!("127.0.0.{index}:6201"), "sda").unwrap();
    RowTargets { partition: 77, nodes: (1..=count).map(node).collect() }
}

fn rows() -> ObjectRowTargets {
    ObjectRowTargets {
        listing: targets(2),
        shard: Some(".shards_AUTH_t/c-ü".to_owned()),
        root_state: Some("sharded".to_owned()),
        queue: Some(QueueTargets { container: Some("1699919962".to_owned()), targets: targets(1) }),
        cleans_queue: Some(false),
    }
}

fn arrived(request: NodeRequest, device: &str) -> Parts {
    let NodeRequest { method, partition, names, headers, .. } = request;
    let path = NodePath { device: device.to_owned(), partition, names }.encode();
    let mut parts = http::Request::builder().method(method).uri(path).body(()).unwrap();
    *parts.headers_mut() = headers;
    parts.into_parts().0
}

fn metadata(pairs: &[(&str, &str)]) -> Metadata {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn put() -> PutObjectRequest {
    PutObjectRequest {
        address: address(),
        timestamp: Timestamp::parse("1700000000.12345").unwrap(),
        content_type: Some("text/plain; charset=utf-8".to_owned()),
        length: Some(3),
        etag: Some("900150983cd24fb0d6963f7d28e17f72".to_owned()),
        metadata: metadata(&[
            ("X-Object-Meta-Colour", "rot"),
            ("X-Object-Sysmeta-S3Api-Etag", "x"),
            ("X-Delete-At", "1800000000"),
        ]),
        if_none_match: Some(EtagList::parse("*")),
        framing: PutFraming::Footers { boundary: "b1".to_owned() },
        sends_crc: true,
        fence: WriteFence { strong: true, reserved: false },
        is_replication: false,
        row_overrides: metadata(&[("etag", "e; s3_etag=f"), ("size", "9")]),
        rows: rows(),
    }
}

#[test]
fn every_request_survives_a_round_trip() {
    let arrives = |request| arrived(request, "sd b");
    let at = |message| Ok(Received { device: "sd b".to_owned(), message });
    for framing in [
        PutFraming::Plain,
        PutFraming::Footers { boundary: "b".to_owned() },
        PutFraming::TwoPhase { boundary: "b".to_owned() },
    ] {
        let request = PutObjectRequest { framing, ..put() };
        assert_eq!(PutObjectRequest::decode(&arrives(request.encode())), at(request));
    }
    let post = PostObjectRequest {
        address: address(),
        timestamp: Timestamp::from_seconds(5),
        content_type: Some("text/x".to_owned()),
        content_type_timestamp: Some(Timestamp::from_seconds(4)),
        metadata: metadata(&[("X-Object-Meta-A", "1")]),
        open_expired: true,
        fence: WriteFence::default(),
        is_replication: true,
        row_overrides: Metadata::new(),
        rows: ObjectRowTargets { queue: None, cleans_queue: Some(true), ..rows() },
    };
    let decoded = PostObjectRequest::decode(&arrives(post.encode()));
    assert_eq!(decoded.unwrap().message, post);
    let delete = DeleteObjectRequest {
        address: ObjectAddress { next_part_power: None, trans_id: None, ..address() },
        timestamp: Timestamp::from_seconds(6),
        if_delete_at: Some(Timestamp::from_seconds(6)),
        fence: WriteFence { strong: true, reserved: true },
        is_replication: false,
        rows: ObjectRowTargets::default(),
    };
    let decoded = DeleteObjectRequest::decode(&arrives(delete.encode()));
    assert_eq!(decoded.unwrap().message, delete);
    for verb in [ReadVerb::Get, ReadVerb::Head] {
        let read = ReadObjectRequest {
            conditions: ReadConditions {
                if_match: Some(EtagList::parse("\"a\", \"b\"")),
                if_none_match: Some(EtagList::parse("\"c\"")),
                if_modified_since: Some(784_111_777),
                if_unmodified_since: Some(1_700_000_000),
                etag_at: vec!["X-Object-Sysmeta-Slo-Etag".to_owned()],
            },
            ranges: ByteRanges::parse("bytes=0-4,-3"),
            ignore_range_if: vec!["X-Static-Large-Object".to_owned()],
            open_expired: true,
            is_replication: true,
            ..ReadObjectRequest::new(verb, address())
        };
        let decoded = ReadObjectRequest::decode(&arrives(read.encode()));
        assert_eq!(decoded.unwrap().message, read);
    }
    let reserve = ReserveRequest { address: address(), timestamp: Timestamp::from_seconds(7) };
    let decoded = ReserveRequest::decode(&arrives(reserve.encode()));
    assert_eq!(decoded.unwrap().message, reserve);
    for (nodes, rows) in [(3, ObjectRowTargets::default()), (0, rows()), (2, rows())] {
        let repair = RepairRequest { address: address(), nodes: targets(nodes).nodes, rows };
        let decoded = RepairRequest::decode(&arrives(repair.encode()));
        assert_eq!(decoded.unwrap().message, repair);
    }
}

#[test]
fn a_put_is_spelled_as_swifts_proxy_spells_it() {
    let request = put().encode();
    let value = |name: &str| request.headers.get(name).unwrap().to_str().unwrap().to_owned();
    assert_eq!(request.names, ["AUTH_t", "c", "a b/ü"]);
    for (name, expected) in [
        ("x-timestamp", "1700000000.12345"),
        ("x-backend-storage-policy-index", "2"),
        ("x-backend-next-part-power", "11"),
        ("x-container-host", "127.0.0.1:6201,127.0.0.2:6201"),
        ("x-container-device", "sda,sda"),
        ("x-container-partition", "77"),
        ("x-backend-quoted-container-path", ".shards_AUTH_t/c-%C3%BC"),
        ("x-delete-at-container", "1699919962"),
        ("x-delete-at-host", "127.0.0.1:6201"),
        ("x-delete-at", "1800000000"),
        ("x-backend-obj-metadata-footer", "yes"),
        ("x-backend-obj-multipart-mime-boundary", "b1"),
        ("x-backend-obj-content-length", "3"),
        ("x-backend-container-update-override-size", "9"),
        ("x-backend-clean-expiring-object-queue", "f"),
        ("x-object-meta-colour", "rot"),
        ("if-none-match", "*"),
    ] {
        assert_eq!(value(name), expected, "{name}");
    }
}

#[test]
fn requests_that_are_malformed_are_refused_with_the_header_they_fail_at() {
    for (name, value, text) in [
        ("x-timestamp", "soon", "X-Timestamp \"soon\""),
        ("x-backend-storage-policy-index", "-1", "X-Backend-Storage-Policy-Index \"-1\""),
        ("x-backend-next-part-power", "33", "X-Backend-Next-Part-Power \"33\""),
        ("x-delete-at", "tomorrow", "X-Delete-At \"tomorrow\""),
    ] {
        let mut request = put().encode();
        apus_daemon::http::set(&mut request.headers, name, value);
        let error = PutObjectRequest::decode(&arrived(request, "sda")).unwrap_err().to_string();
        assert!(error.starts_with(text), "{error}");
    }
    let mut parts = arrived(put().encode(), "sda");
    let latin1 = http::HeaderValue::from_bytes(b"180000000\xe9").unwrap();
    parts.headers.insert("x-delete-at", latin1);
    assert!(PutObjectRequest::decode(&parts).is_err(), "not UTF-8");
    let mut parts = arrived(put().encode(), "sda");
    parts.uri = "/sda/1/a/c".parse().unwrap();
    assert!(PutObjectRequest::decode(&parts).is_err());
}

#[test]
fn replies_survive_a_round_trip() {
    let metadata = metadata(&[("X-Object-Meta-A", "1"), ("X-Static-Large-Object", "True")]);
    let object = StoredObject {
        timestamp: Timestamp::from_seconds(9),
        data_timestamp: Some(Timestamp::from_seconds(8)),
        etag: "abc".into(),
        content_type: "text/plain".into(),
        length: 12,
        metadata: std::borrow::Cow::Owned(metadata.clone()),
    };
    let range = ByteRanges::single(2, 3).resolve(12);
    let apus_cluster::byte_range::Resolution::Ranges(ranges) = range else { panic!("{range:?}") };
    for served in [ServedBody::Whole, ServedBody::Range(ranges[0]), ServedBody::Unsatisfiable] {
        let mut head = http::HeaderMap::new();
        object.encode(served, &mut head);
        assert_eq!(StoredObject::decode(&head), object, "{served:?}");
    }
    let absent = AbsentObject { deleted: Some(Timestamp::from_seconds(3)) };
    for reply in [
        ReserveReply::Stored(Box::new(object)),
        ReserveReply::Absent(absent),
        ReserveReply::TooEarly { newest: absent.deleted },
        ReserveReply::Unsupported,
        ReserveReply::Failed,
    ] {
        let mut head = http::HeaderMap::new();
        let status = reply.encode(&mut head);
        assert_eq!(ReserveReply::decode(status, &head), reply);
    }
    let written = ObjectWriteReply {
        newest: absent.deleted,
        etag: Some("abc".to_owned()),
        content_type: Some("a/b".to_owned()),
        system_metadata: Metadata::from([("X-Object-Sysmeta-A".to_owned(), "1".to_owned())]),
    };
    let mut head = http::HeaderMap::new();
    written.encode(&mut head);
    assert_eq!(ObjectWriteReply::decode(&head), written);
}
