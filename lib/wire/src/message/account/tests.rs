//! What is encoded is decoded to the same, and malformed requests are refused.

use apus_cluster::{AccountName, Metadata, PolicyIndex, Timestamp};
use apus_daemon::http::set;
use http::HeaderMap;
use http::request::Parts;

use super::super::object::ReadVerb;
use super::*;
use crate::{NodePath, NodeRequest};

fn address() -> AccountAddress {
    AccountAddress {
        account: AccountName::parse("AUTH_a").unwrap(),
        partition: 12,
        trans_id: Some("tx".to_owned()),
    }
}

fn arrived(request: NodeRequest) -> Parts {
    let NodeRequest { method, partition, names, headers, query } = request;
    let path = NodePath { device: "sdc".to_owned(), partition, names }.encode();
    let uri = if query.is_empty() { path } else { format!("{path}?{query}") };
    let mut request = http::Request::builder().method(method).uri(uri).body(()).unwrap();
    *request.headers_mut() = headers;
    request.into_parts().0
}

#[test]
fn every_request_survives_a_round_trip() {
    for verb in [ChangeVerb::Put, ChangeVerb::Post, ChangeVerb::Delete] {
        let change = ChangeAccountRequest {
            address: address(),
            verb,
            timestamp: Timestamp::from_seconds(5),
            metadata: Metadata::from([("X-Account-Meta-A".to_owned(), "1".to_owned())]),
        };
        let parts = arrived(change.encode());
        let (received, container) = AccountAddress::decode(&parts).unwrap();
        assert_eq!(container, None);
        let decoded = ChangeAccountRequest::decode(received, &parts, verb).unwrap();
        assert_eq!((decoded.device.as_str(), &decoded.message), ("sdc", &change));
    }
    let read = ReadAccountRequest {
        verb: ReadVerb::Get,
        allow_reserved: true,
        ..ReadAccountRequest::list(address(), "limit=2".to_owned())
    };
    let parts = arrived(read.encode());
    let (received, _) = AccountAddress::decode(&parts).unwrap();
    assert_eq!(ReadAccountRequest::decode(received, &parts).message, read);
}

fn row() -> ContainerRowRequest {
    ContainerRowRequest {
        address: address(),
        container: "c".to_owned(),
        timestamp: Some(Timestamp::from_seconds(9)),
        put: Timestamp::from_seconds(7),
        deleted: Timestamp::ZERO,
        object_count: 3,
        bytes_used: 4000,
        policy: PolicyIndex(1),
        override_deleted: true,
    }
}

#[test]
fn a_row_survives_a_round_trip_and_needs_all_its_numbers() {
    let parts = arrived(row().encode());
    let (received, container) = AccountAddress::decode(&parts).unwrap();
    let decoded = ContainerRowRequest::decode((received, container.unwrap()), &parts);
    assert_eq!(decoded.unwrap().message, row());
    for (name, value) in [
        ("x-put-timestamp", "yesterday"),
        ("x-delete-timestamp", ""),
        ("x-object-count", "many"),
        ("x-bytes-used", "1.5"),
    ] {
        let mut request = row().encode();
        set(&mut request.headers, name, value);
        let parts = arrived(request);
        let (received, container) = AccountAddress::decode(&parts).unwrap();
        let decoded = ContainerRowRequest::decode((received, container.unwrap()), &parts);
        assert!(decoded.unwrap_err().to_string().starts_with(name), "{name}");
    }
}

#[test]
fn a_deleted_account_is_distinguished_from_one_that_never_was() {
    for deleted in [true, false] {
        let mut head = HeaderMap::new();
        AbsentAccount { deleted }.encode(&mut head);
        assert_eq!(AbsentAccount::decode(&head), AbsentAccount { deleted });
    }
}

#[test]
fn usage_is_spelled_by_the_policys_name_in_lower_case() {
    let usage = PolicyUsage { policy: "Gold".to_owned(), containers: 1, objects: 2, bytes: 3 };
    let account = AccountDescription { policies: vec![usage], ..AccountDescription::default() };
    let mut head = HeaderMap::new();
    account.encode(&mut head);
    assert_eq!(head["x-account-storage-policy-gold-object-count"], "2");
    assert_eq!(AccountDescription::shown_headers(&head)["X-Account-Container-Count"], "0");
}
