//! Tests of nested, repeated, broken and circular manifests, with the requests that they cost.

use apus_cluster::byte_range::ByteRanges;
use apus_cluster::constraints::SLO_NESTING_MAX;
use http_body_util::BodyExt;

use super::*;
use crate::body::collect;
use crate::stage::memory_store::{MemoryStore, STALLED, object, test_context};

const UPLOAD_ID: &str = "X-Object-Sysmeta-S3Api-Upload-Id";

fn stage() -> (Arc<MemoryStore>, Slo) {
    let store = Arc::new(MemoryStore::default());
    (store.clone(), Slo::new(store))
}

fn named(path: &str) -> Segment {
    Segment { path: path.to_owned(), ..Segment::default() }
}

async fn write(slo: &Slo, name: &str, segments: Vec<Segment>) -> Result<ObjectWritten> {
    let op = PutManifest {
        object: object(name),
        segments,
        content_type: "text/plain".to_owned(),
        metadata: Metadata::new(),
        etag: None,
        conditions: crate::operation::WriteConditions::default(),
        trusted: false,
    };
    slo.put_manifest(&test_context(), op).await
}

async fn open(slo: &Slo, name: &str, range: Option<(u64, u64)>) -> Result<ObjectRead> {
    let mut op = GetObject::new(object(name));
    op.ranges = range.map(|(start, length)| ByteRanges::single(start, length));
    slo.get_object(&test_context(), op).await
}

async fn text(slo: &Slo, name: &str, range: Option<(u64, u64)>) -> Result<String> {
    let bytes = collect(open(slo, name, range).await?.body, u64::MAX).await?;
    Ok(String::from_utf8(bytes.to_vec()).unwrap())
}

async fn delete(slo: &Slo, name: &str, segments: SegmentFate) -> Result<Deleted> {
    let op = DeleteObject { segments, ..DeleteObject::new(object(name)) };
    slo.delete_object(&test_context(), op).await
}

/// Stores a manifest of any content.
fn store_manifest(store: &MemoryStore, name: &str, json: &str, metadata: &[(&str, &str)]) {
    let mut metadata = metadata.to_vec();
    metadata.push(("X-Static-Large-Object", "True"));
    store.put_with(name, json.as_bytes(), &metadata);
}

fn nested_entry(path: &str, bytes: u64) -> String {
    format!(r#"{{"name":"/{path}","bytes":{bytes},"hash":"","sub_slo":true}}"#)
}

/// `c/m1` is 1,000 times the first byte of `c/x`, `c/m2` of `c/m1` and so on.
async fn repeated(slo: &Slo, levels: usize) {
    for level in 1..=levels {
        let below = if level == 1 { "/c/x".to_owned() } else { format!("/c/m{}", level - 1) };
        let segment = Segment { range: Some("0-0".to_owned()), ..named(&below) };
        write(slo, &format!("c/m{level}"), vec![segment; 1000]).await.unwrap();
    }
}

#[tokio::test]
async fn one_byte_of_nested_manifests_costs_one_manifest_of_each_level() {
    let (store, slo) = stage();
    store.put("c/x", b"xyz");
    repeated(&slo, SLO_NESTING_MAX).await;
    assert_eq!(store.heads(), SLO_NESTING_MAX, "an object that is named often is checked once");
    for (range, expected) in [((0, 1), "x"), ((999, 1), "x"), ((500, 2), "xx")] {
        let before = store.gets();
        let top = format!("c/m{SLO_NESTING_MAX}");
        assert_eq!(text(&slo, &top, Some(range)).await.unwrap(), expected);
        assert_eq!(store.gets() - before, SLO_NESTING_MAX + expected.len());
    }
    let before = store.gets();
    assert_eq!(text(&slo, "c/m3", None).await.unwrap(), "x".repeat(1000));
    assert_eq!(store.gets() - before, 3 + 1000, "a repeated manifest is read once");
}

#[tokio::test]
async fn manifests_outside_the_range_are_not_opened() {
    let (store, slo) = stage();
    for name in ["a", "b", "c"] {
        store.put(&format!("s/{name}"), name.repeat(10).as_bytes());
        write(&slo, &format!("c/{name}"), vec![named(&format!("/s/{name}"))]).await.unwrap();
    }
    let inline = Segment { data: Some("LQ==".to_owned()), ..Segment::default() };
    let all = vec![named("/c/a"), inline, named("/c/b"), named("/c/c")];
    write(&slo, "c/all", all).await.unwrap();
    let whole = format!("{}-{}{}", "a".repeat(10), "b".repeat(10), "c".repeat(10));
    assert_eq!(text(&slo, "c/all", None).await.unwrap(), whole);
    for (start, length, gets) in [(12, 3, 3), (10, 1, 1), (9, 2, 3), (8, 23, 7), (30, 1, 3)] {
        let before = store.gets();
        let expected = &whole[usize::try_from(start).unwrap()..][..length];
        let got = text(&slo, "c/all", Some((start, length as u64))).await.unwrap();
        assert_eq!((got.as_str(), store.gets() - before), (expected, gets), "{start} {length}");
    }
}

#[tokio::test]
async fn a_body_reads_at_most_one_piece_ahead() {
    let (store, slo) = stage();
    store.put("c/x", b"x");
    let mut list = Vec::new();
    for number in 0..100 {
        write(&slo, &format!("c/n{number}"), vec![named("/c/x")]).await.unwrap();
        list.push(named(&format!("/c/n{number}")));
    }
    write(&slo, "c/top", list).await.unwrap();
    let read = open(&slo, "c/top", None).await.unwrap();
    assert_eq!(store.gets(), 3, "the manifest, the first one in it, the first piece");
    assert_eq!(read.head.length, 100);
}

#[tokio::test]
async fn the_work_ends_when_the_body_is_dropped() {
    for stalled in ["c/stalled-manifest", "c/stalled-segment"] {
        let (store, slo) = stage();
        store.put("c/x", b"x");
        let entry = if stalled == "c/stalled-manifest" {
            nested_entry(&format!("c/{STALLED}"), 5)
        } else {
            format!(r#"{{"name":"/c/{STALLED}","bytes":5,"hash":""}}"#)
        };
        let json = format!(r#"[{{"name":"/c/x","bytes":1,"hash":""}},{entry}]"#);
        store_manifest(&store, "c/m", &json, &[]);
        let mut read = open(&slo, "c/m", None).await.unwrap();
        assert!(read.body.frame().await.unwrap().is_ok());
        store.stalled.notified().await;
        drop(read);
        store.cancelled.notified().await;
    }
}

#[tokio::test]
async fn nesting_too_deep_is_refused_when_written_and_when_read() {
    let (store, slo) = stage();
    store.put("c/m0", b"x");
    for level in 1..=SLO_NESTING_MAX {
        let below = named(&format!("/c/m{}", level - 1));
        write(&slo, &format!("c/m{level}"), vec![below]).await.unwrap();
    }
    let top = format!("/c/m{SLO_NESTING_MAX}");
    assert_eq!(text(&slo, &top[1..], None).await.unwrap(), "x");
    // Swift accepts one level more, which cannot be read.
    write(&slo, "c/over", vec![named(&top)]).await.unwrap();
    assert_eq!(open(&slo, "c/over", None).await.unwrap_err().kind, Kind::Conflict);
    let refused = write(&slo, "c/deeper", vec![named("/c/m1"), named("/c/over")]);
    let refused = refused.await.unwrap_err();
    assert_eq!(refused.kind, Kind::InvalidPart);
    assert!(refused.client_text.contains("/c/over, Manifests nested more than 10 deep"));
    // Written before its segment was nested, or by Swift.
    let size = [(SIZE_KEY, "1")];
    store_manifest(&store, "c/deeper", &format!("[{}]", nested_entry(&top[1..], 1)), &size);
    let before = store.gets();
    assert_eq!(open(&slo, "c/deeper", None).await.unwrap_err().kind, Kind::Conflict);
    assert_eq!(store.gets() - before, SLO_NESTING_MAX);
}

/// `c/0` names `c/1` and so on; the last one names the first.
fn cycle(store: &MemoryStore, length: usize) {
    for number in 0..length {
        let json = format!("[{}]", nested_entry(&format!("c/{}", (number + 1) % length), 1));
        store_manifest(store, &format!("c/{number}"), &json, &[(SIZE_KEY, "1")]);
    }
}

#[tokio::test]
async fn manifests_that_name_one_another_are_deleted_once_and_cannot_be_read() {
    for length in [1, 2, 3, 9] {
        let (store, slo) = stage();
        cycle(&store, length);
        assert_eq!(open(&slo, "c/0", None).await.unwrap_err().kind, Kind::Conflict);
        assert!(store.gets() <= SLO_NESTING_MAX);
        let report = delete(&slo, "c/0", SegmentFate::Deleted).await.unwrap();
        assert_eq!((report.deleted, report.missing), (length as u64, 0));
        assert!(report.failed.is_empty() && store.names().is_empty(), "{length}");
    }
}

#[tokio::test]
async fn a_long_chain_is_neither_walked_nor_broken() {
    let (store, slo) = stage();
    cycle(&store, 10_000);
    let report = delete(&slo, "c/0", SegmentFate::Deleted).await.unwrap();
    assert_eq!((report.deleted, report.failed.len()), (0, 1));
    assert_eq!(report.failed[0].object, object("c/10"));
    assert_eq!(report.failed[0].error.kind, Kind::Invalid);
    assert_eq!(store.gets(), SLO_NESTING_MAX);
    assert_eq!(store.names().len(), 10_000);
    assert_eq!(delete(&slo, "c/0", SegmentFate::OwnParts).await.unwrap().deleted, 1);
    assert_eq!(store.names().len(), 9999);
}

#[tokio::test]
async fn a_deletion_stops_at_its_limit_and_continues_when_it_is_repeated() {
    let (store, slo) = stage();
    let mut list = Vec::new();
    for manifest in 0..12 {
        let name = |segment: usize| format!("s/{manifest}-{segment}");
        (0..1000).for_each(|segment| store.put(&name(segment), b"x"));
        let segments = (0..1000).map(|segment| named(&format!("/{}", name(segment)))).collect();
        write(&slo, &format!("c/m{manifest}"), segments).await.unwrap();
        list.push(named(&format!("/c/m{manifest}")));
    }
    write(&slo, "c/top", list).await.unwrap();
    let first = delete(&slo, "c/top", SegmentFate::Deleted).await.unwrap();
    assert!(first.cut_short && first.failed.is_empty());
    assert!((9000..=10_000).contains(&first.deleted), "{first:?}");
    assert!(store.names().contains(&"c/top".to_owned()));
    let second = delete(&slo, "c/top", SegmentFate::Deleted).await.unwrap();
    assert!(!second.cut_short);
    assert_eq!(first.deleted + second.deleted, 12_013);
    assert!(store.names().is_empty());
}

#[tokio::test]
async fn a_manifest_is_kept_while_one_of_its_segments_is() {
    let (store, slo) = stage();
    for name in ["c/a", "c/b", "c/d"] {
        store.put(name, b"x");
    }
    write(&slo, "c/low", vec![named("/c/a"), named("/c/b")]).await.unwrap();
    write(&slo, "c/other", vec![named("/c/d"), named("/c/a")]).await.unwrap();
    write(&slo, "c/same", vec![named("/c/b")]).await.unwrap();
    let list = ["/c/low", "/c/other", "/c/same", "/c/low"].map(named);
    write(&slo, "c/top", list.to_vec()).await.unwrap();
    store.keep("c/b");
    let report = delete(&slo, "c/top", SegmentFate::Deleted).await.unwrap();
    assert_eq!((report.deleted, report.missing, report.failed.len()), (3, 0, 1));
    assert_eq!(report.failed[0].object, object("c/b"));
    assert_eq!(store.names(), ["c/b", "c/low", "c/same", "c/top"]);
}

#[tokio::test]
async fn only_parts_of_the_own_upload_are_deleted() {
    let upload = "VXBsb2FkIElEIGZvciBlbHZpbmcncyBteS1tb3ZpZQ";
    let own = [format!("w+segments/k/{upload}/1"), format!("w+segments/k/{upload}/2")];
    let foreign = [
        "r/victim".to_owned(),
        "w+segments/k/anotheranotheranotheranotheranoth/1".to_owned(),
        format!("w+segments/kk/{upload}/1"),
        format!("w+segments/k/{upload}"),
        format!("x+segments/k/{upload}/1"),
        format!("w/k/{upload}/1"),
    ];
    for (metadata, deleted) in [(vec![(UPLOAD_ID, upload)], 3), (Vec::new(), 1)] {
        let (store, slo) = stage();
        let names = own.iter().chain(&foreign);
        names.clone().for_each(|name| store.put(name, b"x"));
        let entry = |name: &String| format!(r#"{{"name":"/{name}","bytes":1,"hash":""}}"#);
        let json = format!("[{}]", names.map(entry).collect::<Vec<_>>().join(","));
        store_manifest(&store, "w/k", &json, &metadata);
        let report = delete(&slo, "w/k", SegmentFate::OwnParts).await.unwrap();
        assert_eq!(report.deleted, deleted);
        let left = store.names();
        assert!(foreign.iter().all(|name| left.contains(name)), "{left:?}");
        assert_eq!(own.iter().any(|name| left.contains(name)), metadata.is_empty());
        assert!(!left.contains(&"w/k".to_owned()));
    }
}

#[tokio::test]
async fn a_manifest_that_cannot_be_read_is_deleted_through_s3() {
    let (store, slo) = stage();
    store_manifest(&store, "w/k", "nonsense", &[(UPLOAD_ID, "0123456789abcdef")]);
    assert_eq!(delete(&slo, "w/k", SegmentFate::OwnParts).await.unwrap().deleted, 1);
    assert!(store.names().is_empty());
}

#[tokio::test]
async fn lengths_that_cannot_be_added_are_refused() {
    let (store, slo) = stage();
    let bytes = (1_u64 << 20).to_string();
    let mut below = "/c/x".to_owned();
    store_manifest(&store, "c/x", "[]", &[(SIZE_KEY, &bytes)]);
    for level in 1..=4 {
        let name = format!("c/m{level}");
        write(&slo, &name, vec![named(&below); 1000]).await.unwrap();
        below = format!("/{name}");
    }
    let head = slo.head_object(&test_context(), HeadObject::new(object("c/m4"))).await.unwrap();
    assert_eq!(head.length, 1000_u64.pow(4) << 20);
    let refused = write(&slo, "c/m5", vec![named(&below); 1000]).await.unwrap_err();
    assert_eq!(refused.kind, Kind::TooLarge);
    let max = u64::MAX;
    for json in [
        format!(
            r#"[{{"name":"/c/y","bytes":{max},"hash":""}},{{"name":"/c/y","bytes":2,"hash":""}}]"#
        ),
        format!("[{},{}]", nested_entry("c/m4", max / 2), nested_entry("c/m4", max / 2)),
        format!(r#"[{{"name":"/c/y","bytes":9,"hash":"","range":"0-{max}"}}]"#),
        r#"[{"name":"/c/y","bytes":9,"hash":"","range":"5-4"}]"#.to_owned(),
        r#"[{"name":"/c/y","bytes":-9,"hash":""}]"#.to_owned(),
    ] {
        store_manifest(&store, "c/broken", &json, &[]);
        assert_eq!(open(&slo, "c/broken", None).await.unwrap_err().kind, Kind::Conflict, "{json}");
        let head = slo.head_object(&test_context(), HeadObject::new(object("c/broken"))).await;
        assert_eq!(head.unwrap_err().kind, Kind::Conflict, "{json}");
    }
}

#[tokio::test]
async fn a_nested_manifest_that_became_shorter_or_was_deleted_is_a_conflict() {
    let (store, slo) = stage();
    store.put("c/x", b"xyz");
    write(&slo, "c/low", vec![named("/c/x"), named("/c/x")]).await.unwrap();
    write(&slo, "c/top", vec![named("/c/low")]).await.unwrap();
    write(&slo, "c/low", vec![named("/c/x")]).await.unwrap();
    assert_eq!(open(&slo, "c/top", Some((4, 1))).await.unwrap_err().kind, Kind::Conflict);
    assert_eq!(text(&slo, "c/top", Some((1, 1))).await.unwrap(), "y");
    store.put("c/low", b"not a manifest");
    assert_eq!(open(&slo, "c/top", None).await.unwrap_err().kind, Kind::Conflict);
    delete(&slo, "c/low", SegmentFate::Kept).await.unwrap();
    assert_eq!(open(&slo, "c/top", None).await.unwrap_err().kind, Kind::Conflict);
}

#[tokio::test]
async fn only_the_last_segment_may_be_empty_and_all_problems_are_reported() {
    let (store, slo) = stage();
    store.put("c/x", b"x");
    store.put("c/empty", b"");
    write(&slo, "c/m", vec![named("/c/x"), named("/c/empty")]).await.unwrap();
    assert_eq!(text(&slo, "c/m", None).await.unwrap(), "x");
    let wrong = Segment { size: Some(5), etag: Some("e".to_owned()), ..named("/c/x") };
    let list = vec![named("/c/empty"), wrong, named("/c/a b"), named("/c/x")];
    assert_eq!(
        write(&slo, "c/m", list).await.unwrap_err().client_text,
        "Errors:\n/c/empty, Too small; each segment must be at least 1 byte.\n\
         /c/x, Size Mismatch\n/c/x, Etag Mismatch\n/c/a%20b, 404 Not Found\n"
    );
}

#[tokio::test]
async fn a_part_is_served_by_its_number() {
    let (store, slo) = stage();
    store.put("c/x", b"xyz");
    let part = Segment { range: Some("1-2".to_owned()), ..named("/c/x") };
    write(&slo, "c/m", vec![named("/c/x"), part]).await.unwrap();
    let mut op = GetObject::new(object("c/m"));
    op.head.part = Some(2);
    let read = slo.get_object(&test_context(), op.clone()).await.unwrap();
    assert_eq!((read.head.parts_count, read.head.length), (Some(2), 5));
    assert_eq!(collect(read.body, 9).await.unwrap().as_ref(), b"yz");
    op.head.part = Some(3);
    let error = slo.get_object(&test_context(), op).await.unwrap_err();
    assert_eq!(error.kind, Kind::InvalidPart);
}
