//! The stage above a store in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use apus_cluster::Metadata;
use apus_cluster::byte_range::ByteRanges;
use apus_cluster::etag::EtagList;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::Kind;
use crate::body::{LateMetadata, collect};
use crate::encryption::*;
use crate::stage::memory_store::{MemoryStore, object, test_context};

const BODY: &[u8] = b"The quick brown fox jumps over the lazy dog";
const BODY_ETAG: &str = "9e107d9d372bb6826bd81d3542a419d6";

fn root(secret: u8, id: Option<&str>) -> RootSecrets {
    let option =
        id.map_or("encryption_root_secret".to_owned(), |id| format!("encryption_root_secret_{id}"));
    let value = STANDARD.encode([secret; 32]);
    let options = [(option.as_str(), value.as_str())];
    RootSecrets::from_options(options.into_iter(), id, MetaVersion::V2).unwrap().unwrap()
}

fn keys(root: Option<RootSecrets>) -> EncryptionKeys {
    let kms = BTreeMap::from([("k".to_owned(), SecretKey::new([8; 32]))]);
    EncryptionKeys { root, encrypts_all: false, kms: KmsKeys { keys: kms, default_key: None } }
}

fn stage(store: &Arc<MemoryStore>, keys: EncryptionKeys) -> Encryption {
    Encryption::new(store.clone(), Arc::new(keys))
}

fn cx(read: ReadKey, write: Option<WriteEncryption>) -> Context {
    Context { encryption: Some(Arc::new(RequestEncryption { read, write })), ..test_context() }
}

fn writing(write: WriteEncryption) -> Context {
    cx(ReadKey::Unchecked, Some(write))
}

fn put(body: &'static [u8]) -> PutObject {
    let color = ("X-Object-Meta-Color".to_owned(), "grün".to_owned());
    PutObject {
        object: object("c/o"),
        body: apus_daemon::http::full(body),
        length: None,
        content_type: "a/b".to_owned(),
        metadata: Metadata::from([color]),
        etag: None,
        timestamp: None,
        conditions: WriteConditions::default(),
        late: LateMetadata::default(),
    }
}

async fn read(stage: &Encryption, cx: &Context, range: Option<(u64, u64)>) -> Result<Vec<u8>> {
    let mut op = GetObject::new(object("c/o"));
    op.ranges = range.map(|(start, length)| ByteRanges::single(start, length));
    let read = stage.get_object(cx, op).await?;
    Ok(collect(read.body, 1 << 20).await?.to_vec())
}

async fn head(stage: &Encryption, cx: &Context) -> Result<ObjectHead> {
    stage.head_object(cx, HeadObject::new(object("c/o"))).await
}

#[tokio::test]
async fn what_is_stored_is_not_what_is_read() {
    let store = Arc::new(MemoryStore::default());
    let stage = stage(&store, keys(Some(root(7, None))));
    let written = stage.put_object(&writing(WriteEncryption::Managed), put(BODY)).await.unwrap();
    assert_eq!((written.etag.as_str(), written.late.len()), (BODY_ETAG, 0));
    let plain = test_context();
    let stored = store.get_object(&plain, GetObject::new(object("c/o"))).await.unwrap();
    assert_ne!(stored.head.etag, BODY_ETAG);
    assert!(stored.head.get("X-Object-Meta-Color").is_none());
    assert!(!format!("{:?}", stored.head.metadata).contains(BODY_ETAG));
    let bytes = collect(stored.body, 1 << 20).await.unwrap();
    assert!(bytes.len() == BODY.len() && bytes.as_ref() != BODY);
    let found = head(&stage, &plain).await.unwrap();
    assert_eq!(found.etag, BODY_ETAG);
    assert_eq!(found.get("X-Object-Meta-Color"), Some("grün"));
    assert_eq!(found.metadata.len(), 3, "{:?}", found.metadata);
    let encryption = ObjectEncryption::of(&found.metadata).unwrap();
    assert_eq!(encryption, Some(ObjectEncryption::Managed));
    assert_eq!(read(&stage, &plain, None).await.unwrap(), BODY);
    for (start, length) in [(0, 1), (15, 2), (16, 16), (42, 1)] {
        let part = read(&stage, &plain, Some((start, length))).await.unwrap();
        let from = usize::try_from(start).unwrap();
        assert_eq!(part, BODY[from..from + usize::try_from(length).unwrap()]);
    }
}

#[tokio::test]
async fn plain_objects_pass_unchanged() {
    let store = Arc::new(MemoryStore::default());
    let stage = stage(&store, keys(Some(root(7, None))));
    for cx in [test_context(), writing(WriteEncryption::Plain)] {
        stage.put_object(&cx, put(BODY)).await.unwrap();
        let found = head(&stage, &cx).await.unwrap();
        assert_eq!((found.etag.as_str(), found.metadata.len()), (BODY_ETAG, 1));
    }
    assert_eq!(read(&stage, &test_context(), None).await.unwrap(), BODY);
}

#[tokio::test]
async fn a_body_without_bytes_is_not_encrypted_and_hides_its_metadata() {
    let store = Arc::new(MemoryStore::default());
    let all = EncryptionKeys { encrypts_all: true, ..keys(Some(root(7, None))) };
    let stage = stage(&store, all);
    stage.put_object(&test_context(), put(b"")).await.unwrap();
    let stored = store.head_object(&test_context(), HeadObject::new(object("c/o"))).await.unwrap();
    let names: Vec<&str> = stored.metadata.keys().map(String::as_str).collect();
    assert_eq!(names, [USER_META, &format!("{USER_PREFIX}Color")]);
    assert_eq!(head(&stage, &test_context()).await.unwrap().metadata.len(), 1);
}

#[tokio::test]
async fn a_lost_or_other_secret_is_an_error() {
    let store = Arc::new(MemoryStore::default());
    let writer = stage(&store, keys(Some(root(7, Some("a")))));
    writer.put_object(&writing(WriteEncryption::Managed), put(BODY)).await.unwrap();
    for (secrets, expected) in [
        (None, "no root secret is configured"),
        (Some(root(7, Some("b"))), "the root secret with the id \"a\" is not configured"),
        (Some(root(6, Some("a"))), "not the one that encrypted it"),
    ] {
        let reader = stage(&store, keys(secrets));
        let cx = test_context();
        for error in
            [read(&reader, &cx, None).await.unwrap_err(), head(&reader, &cx).await.unwrap_err()]
        {
            assert_eq!(error.kind, Kind::Undecryptable);
            assert!(error.client_text.contains(expected), "{error}");
        }
    }
}

#[tokio::test]
async fn a_body_that_is_not_the_declared_one_is_refused() {
    let store = Arc::new(MemoryStore::default());
    let stage = stage(&store, keys(Some(root(7, None))));
    for (etag, holds) in [(BODY_ETAG, true), ("d41d8cd98f00b204e9800998ecf8427e", false)] {
        let put = PutObject { etag: Some(etag.to_owned()), ..put(BODY) };
        let written = stage.put_object(&writing(WriteEncryption::Managed), put).await;
        assert_eq!(written.map_err(|error| error.kind).is_ok(), holds);
    }
}

#[tokio::test]
async fn a_clients_key_is_needed_and_compared() {
    let store = Arc::new(MemoryStore::default());
    let stage = stage(&store, keys(None));
    let (key, other) = (SecretKey::new([1; 32]), SecretKey::new([2; 32]));
    let record = stage.keys.describe(&WriteEncryption::Customer(key.clone())).unwrap().unwrap();
    let mut op = put(BODY);
    op.metadata.insert(ENCRYPTION.to_owned(), record.to_stored());
    let write = writing(WriteEncryption::Customer(key.clone()));
    let written = stage.put_object(&write, op).await.unwrap();
    assert_ne!(written.etag, BODY_ETAG);
    let right = cx(ReadKey::Customer(key), None);
    assert_eq!(read(&stage, &right, None).await.unwrap(), BODY);
    assert_eq!(head(&stage, &right).await.unwrap().etag, written.etag);
    for (given, fault) in [
        (ReadKey::Absent, EncryptionFault::KeyNeeded),
        (ReadKey::Customer(other), EncryptionFault::OtherKey),
    ] {
        let cx = cx(given, None);
        for error in
            [read(&stage, &cx, None).await.unwrap_err(), head(&stage, &cx).await.unwrap_err()]
        {
            assert_eq!(error.cause_as::<EncryptionFault>(), Some(&fault));
        }
    }
    // Swift's dialect has no such keys.
    assert!(head(&stage, &test_context()).await.is_ok());
    assert_eq!(read(&stage, &test_context(), None).await.unwrap_err().kind, Kind::Invalid);
}

#[tokio::test]
async fn keys_of_the_service_are_found_by_their_ids() {
    let store = Arc::new(MemoryStore::default());
    let stage = stage(&store, keys(None));
    let kms = |key: &str| WriteEncryption::Kms {
        key: Some(key.to_owned()),
        context: "{}".to_owned(),
        bucket_key: false,
    };
    stage.put_object(&writing(kms("k")), put(BODY)).await.unwrap();
    assert_eq!(read(&stage, &test_context(), None).await.unwrap(), BODY);
    let unknown = stage.put_object(&writing(kms("x")), put(BODY)).await.unwrap_err();
    assert_eq!(unknown.kind, Kind::Invalid);
    let lost = Encryption::new(store.clone(), Arc::default());
    let error = read(&lost, &test_context(), None).await.unwrap_err();
    assert_eq!(error.kind, Kind::Undecryptable);
    assert!(error.client_text.contains("no key_k in [kms]"), "{error}");
}

#[test]
fn conditions_are_compared_with_macs_of_each_secret() {
    let stage = stage(&Arc::default(), keys(Some(root(7, None))));
    let path = object("c/o");
    let mut conditions = WriteConditions {
        if_match: Some(EtagList::parse(BODY_ETAG)),
        ..WriteConditions::default()
    };
    stage.mask_write(&path, &mut conditions);
    assert_eq!(conditions.etag_at, [ETAG_MAC, EXTERNAL_ETAG]);
    let list = conditions.if_match.unwrap();
    assert!(list.matches(BODY_ETAG) && list.tags().count() == 2);
    for text in ["*", ""] {
        let list = Some(EtagList::parse(text));
        let mut conditions =
            WriteConditions { if_none_match: list.clone(), ..WriteConditions::default() };
        stage.mask_write(&path, &mut conditions);
        assert!(conditions.etag_at.is_empty() && conditions.if_none_match == list);
    }
}
