//! What is encoded is decoded to the same, and malformed requests are refused.

use apus_cluster::{AccountName, ContainerName, ContainerPath, Metadata, PolicyIndex, Timestamp};
use apus_daemon::http::set;
use apus_ring::Device;
use http::request::Parts;
use http::{HeaderMap, StatusCode};

use super::super::object::ReadVerb;
use super::super::{InvalidRequest, Received, RowTargets};
use super::*;
use crate::{NodePath, NodeRequest};

fn address() -> ContainerAddress {
    ContainerAddress {
        container: ContainerPath::new(
            AccountName::parse("AUTH_ü").unwrap(),
            ContainerName::parse("c d").unwrap(),
        ),
        partition: 9,
        trans_id: Some("tx2".to_owned()),
    }
}

fn arrived(request: NodeRequest) -> Parts {
    let NodeRequest { method, partition, names, headers, query } = request;
    let path = NodePath { device: "sdb".to_owned(), partition, names }.encode();
    let uri = if query.is_empty() { path } else { format!("{path}?{query}") };
    let mut request = http::Request::builder().method(method).uri(uri).body(()).unwrap();
    *request.headers_mut() = headers;
    request.into_parts().0
}

fn received(parts: &Parts) -> Received<ContainerAddress> {
    let (received, object) = ContainerAddress::decode(parts).unwrap();
    assert_eq!((object, received.device.as_str()), (None, "sdb"));
    received
}

fn metadata(name: &str, value: &str) -> Metadata {
    Metadata::from([(name.to_owned(), value.to_owned())])
}

fn account_rows() -> RowTargets {
    RowTargets { partition: 3, nodes: vec![Device::at("127.0.0.1:6202", "sda").unwrap()] }
}

#[test]
fn every_request_survives_a_round_trip() {
    let timestamp = Timestamp::parse("1700000000.00001").unwrap();
    for policy in
        [ContainerPolicy::Explicit(PolicyIndex(4)), ContainerPolicy::Default(PolicyIndex(1))]
    {
        let put = PutContainerRequest {
            address: address(),
            timestamp,
            policy,
            metadata: metadata("X-Container-Read", ".r:*"),
            account_rows: account_rows(),
        };
        let parts = arrived(put.encode());
        let decoded = PutContainerRequest::decode(received(&parts), &parts);
        assert_eq!(decoded.unwrap().message, put);
    }
    let post = PostContainerRequest {
        address: address(),
        timestamp,
        metadata: metadata("X-Container-Meta-A", ""),
        keeps_timestamp: true,
        account_rows: RowTargets::default(),
    };
    let parts = arrived(post.encode());
    let decoded = PostContainerRequest::decode(received(&parts), &parts);
    assert_eq!(decoded.unwrap().message, post);
    let delete =
        DeleteContainerRequest { address: address(), timestamp, account_rows: account_rows() };
    let parts = arrived(delete.encode());
    let decoded = DeleteContainerRequest::decode(received(&parts), &parts);
    assert_eq!(decoded.unwrap().message, delete);
    let update = UpdateRowsRequest {
        address: address(),
        timestamp,
        policy: PolicyIndex(0),
        auto_create: true,
    };
    let parts = arrived(update.encode());
    let decoded = UpdateRowsRequest::decode(received(&parts), &parts);
    assert_eq!(decoded.unwrap().message, update);
    let read = ReadContainerRequest {
        verb: ReadVerb::Get,
        allow_reserved: true,
        with_deleted: true,
        record_type: Some(RecordType::Shard),
        shard_format: ListingFormat::Namespace,
        ..ReadContainerRequest::list(address(), "format=json&limit=3".to_owned())
    };
    let parts = arrived(read.encode());
    assert_eq!(ReadContainerRequest::decode(received(&parts), &parts).message, read);
}

fn row_parts(row: &RowHeaders, verb: RowVerb) -> Parts {
    let names = ["AUTH_ü", "c d", "o/p"].map(str::to_owned).to_vec();
    arrived(row.encode(verb, 9, names))
}

fn decode_row(row: &RowHeaders, verb: RowVerb) -> Result<ObjectRowRequest, InvalidRequest> {
    let parts = row_parts(row, verb);
    let (address, object) = ContainerAddress::decode(&parts).unwrap();
    ObjectRowRequest::decode((address, object.unwrap()), &parts, verb).map(|row| row.message)
}

#[test]
fn a_row_says_what_the_object_server_reported() {
    let time = Timestamp::from_seconds(100);
    let mut row = RowHeaders::stored(time, "7", "text/plain", "abc");
    row.set_origin(PolicyIndex(1), Some("tx3"));
    row.override_field("Etag", "\"def\"; slo_etag=x");
    row.set_meta_timestamp(Timestamp::from_seconds(102));
    row.set_content_type_timestamp("0000000101.00000");
    let decoded = decode_row(&row, RowVerb::Put).unwrap().row;
    assert_eq!((decoded.name.as_str(), decoded.size, decoded.policy), ("o/p", 7, 1));
    assert_eq!(decoded.etag, "def\"; slo_etag=x");
    assert_eq!(decoded.times.data, time);
    assert_eq!(decoded.last_modified(), Timestamp::from_seconds(102));
    let deleted = decode_row(&RowHeaders::deleted(time), RowVerb::Delete).unwrap().row;
    assert!(deleted.deleted && deleted.times.data == time && deleted.size == 0);
}

#[test]
fn a_row_without_a_field_it_needs_is_refused() {
    for (missing, time) in [("x-size", "1"), ("x-content-type", "1"), ("x-etag", "1")] {
        let mut row = RowHeaders::stored(Timestamp::parse(time).unwrap(), "7", "a/b", "e");
        row.0.remove(missing);
        let error = decode_row(&row, RowVerb::Put).unwrap_err().to_string();
        assert!(error.starts_with(missing), "{error}");
    }
    let row = RowHeaders::stored(Timestamp::ZERO, "-7", "a/b", "e");
    assert!(decode_row(&row, RowVerb::Put).is_err());
}

#[test]
fn times_survive_a_round_trip_and_the_newest_decides() {
    let at = |seconds| Some(Timestamp::from_seconds(seconds));
    let times = ContainerTimes {
        created: at(1),
        put: at(2),
        deleted: at(3),
        status_changed: at(4),
        policy: Some(PolicyIndex(5)),
    };
    let mut head = HeaderMap::new();
    times.encode(&mut head);
    assert_eq!(ContainerTimes::decode(&head), times);
    assert_eq!(times.newest(), at(4));
    assert_eq!(ContainerTimes { status_changed: None, ..times }.newest(), at(2));
}

#[test]
fn a_redirect_names_a_shard_and_its_time() {
    let redirect = |pairs: &[(&str, &str)]| {
        let mut head = HeaderMap::new();
        pairs.iter().for_each(|(name, value)| set(&mut head, name, value));
        RowRedirect::decode(StatusCode::MOVED_PERMANENTLY, &head)
    };
    let time = ("x-backend-redirect-timestamp", "0000000005.00000");
    let plain = redirect(&[("location", "/.shards_a/c-1/o"), time]).unwrap();
    assert_eq!((plain.path.as_str(), plain.time), (".shards_a/c-1", Timestamp::from_seconds(5)));
    let quoted = redirect(&[
        ("location", "http://h:1/.shards_a/c%2D%C3%BC/o"),
        ("x-backend-location-is-quoted", "true"),
        time,
    ]);
    assert_eq!(quoted.unwrap().path, ".shards_a/c-ü");
    assert_eq!(redirect(&[("location", "/.shards_a/c-1/o")]), None);
    assert_eq!(redirect(&[("location", "/.shards_a"), time]), None);
}
