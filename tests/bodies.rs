//! Reads the sources and lists every place that reads a body, with what bounds the memory it takes.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Method calls that read a body.
const READS: [&str; 4] = [".frame()", "Limited::new(", "body.collect()", "into_body().collect()"];
/// Functions that read a body; no letter and no dot comes before them.
const FUNCTIONS: [&str; 2] = ["collect(", "collect_answer("];

/// Files with such calls, how many, and the bound of each.
const PLACES: [(&str, usize, &str); 55] = [
    ("account/src/reaper/remove.rs", 1, "LISTING_BYTES_MAX"),
    ("container/src/notifier/client.rs", 1, "throws each piece away; ANSWER_BYTES_MAX"),
    ("lib/broker/src/replication/body.rs", 1, "its caller's `max`"),
    ("lib/broker/src/replication/transfer.rs", 1, "into a file; a queue of pieces"),
    ("lib/daemon/src/unread.rs", 1, "throws each piece away; REST_BYTES_MAX"),
    ("lib/identity/src/directory.rs", 1, "RECORD_BYTES_MAX"),
    ("lib/store/src/body.rs", 2, "its caller's `max` and the memory for documents"),
    ("lib/store/src/quorum/database.rs", 1, "LISTING_BYTES_MAX"),
    ("lib/store/src/quorum/fan.rs", 1, "ANSWER_BYTES_MAX"),
    ("lib/store/src/quorum/read/ranges.rs", 1, "streams; a queue of pieces"),
    ("lib/store/src/quorum/read/resume.rs", 1, "streams; a queue of pieces"),
    ("lib/store/src/quorum/send.rs", 1, "ANSWER_BYTES_MAX"),
    ("lib/store/src/quorum/write/mod.rs", 1, "SHORT, then a queue of pieces per node; admission"),
    ("lib/store/src/stage/copy.rs", 1, "SLO_MAX_MANIFEST_SIZE"),
    ("lib/store/src/stage/memory_store.rs", 1, "compiled for tests only"),
    ("lib/store/src/stage/segments.rs", 1, "streams; one piece"),
    ("lib/store/src/stage/slo/delete.rs", 2, "MANIFEST_BYTES_MAX"),
    ("lib/store/src/stage/slo/manifest.rs", 2, "MANIFEST_BYTES_MAX, or its caller's `bytes_max`"),
    ("lib/store/src/stage/slo/queued.rs", 1, "MANIFEST_BYTES_MAX"),
    ("lib/store/src/stage/slo/walk.rs", 1, "MANIFEST_BYTES_MAX for all that are open"),
    ("lib/wire/src/pool.rs", 1, "ASKED_BYTES_MAX"),
    ("lib/wire/src/put_stream.rs", 1, "streams; the head of a part is bounded"),
    ("lib/wire/src/rings/body.rs", 1, "its caller's `bytes_max`"),
    ("lib/wire/src/rings/client.rs", 3, "ANSWER_BYTES_MAX, or the signed length"),
    ("lib/wire/src/rings/http.rs", 2, "the signed length; the rest is thrown away"),
    ("lib/wire/src/signed/seal.rs", 1, "SEALED_BYTES_MAX, by its size hint"),
    ("object/src/auditor/watcher/dark_data.rs", 1, "ANSWER_BYTES"),
    ("object/src/handlers/put_body.rs", 1, "streams; one piece"),
    ("object/src/replicator/job.rs", 1, "ANSWER_BYTES_MAX"),
    ("object/src/replicator/unchanged.rs", 1, "ANSWER_BYTES_MAX"),
    ("object/src/ssync/input.rs", 1, "one line, or one piece"),
    ("proxy/src/s3/acl/mod.rs", 1, "DOCUMENT_BYTES_MAX"),
    ("proxy/src/s3/bucket.rs", 1, "DOCUMENT_BYTES_MAX"),
    ("proxy/src/s3/bucket_config.rs", 1, "DOCUMENT_BYTES_MAX"),
    ("proxy/src/s3/bucket_logging.rs", 1, "DOCUMENT_BYTES_MAX"),
    ("proxy/src/s3/bucket_policy.rs", 1, "BODY_BYTES_MAX"),
    ("proxy/src/s3/form/post.rs", 1, "for fuzzing only"),
    ("proxy/src/s3/fuzzing.rs", 1, "for fuzzing only"),
    ("proxy/src/s3/object/delete_many.rs", 1, "DOCUMENT_BYTES_MAX"),
    ("proxy/src/s3/object/lock.rs", 1, "DOCUMENT_BYTES_MAX"),
    ("proxy/src/s3/object/tagging.rs", 1, "DOCUMENT_BYTES_MAX"),
    ("proxy/src/s3/ownership.rs", 1, "DOCUMENT_BYTES_MAX"),
    ("proxy/src/s3/snapshots.rs", 1, "compiled for tests only"),
    ("proxy/src/s3/upload.rs", 1, "DOCUMENT_BYTES_MAX"),
    ("proxy/src/s3/versioning.rs", 1, "DOCUMENT_BYTES_MAX"),
    ("proxy/src/swift/bulk_delete.rs", 1, "DELETES_MAX lines of LINE_BYTES_MAX"),
    ("proxy/src/swift/byteranges.rs", 1, "streams; one piece"),
    ("proxy/src/swift/manifest.rs", 2, "SLO_MAX_MANIFEST_SIZE"),
    ("proxy/src/swift/object.rs", 1, "streams; max_file_size"),
    ("proxy/src/swift/snapshots.rs", 1, "compiled for tests only"),
    ("proxy/src/swift/symlink.rs", 1, "refuses the first byte"),
    ("tools/bench/src/connection.rs", 1, "its caller's `limit`"),
    ("tools/recon/src/scout.rs", 1, "ANSWER_BYTES_MAX"),
    ("tools/ring-manager/src/ask.rs", 2, "its caller's `bytes_max`"),
    ("tools/ring-manager/src/requests.rs", 1, "BODY_BYTES_MAX"),
];

fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = Vec::new();
    let crates = ["account", "container", "lib", "object", "proxy", "ring", "tools"];
    let mut waiting: Vec<PathBuf> = crates.map(|name| root.join(name)).to_vec();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            if !name.ends_with("/tests.rs") && !name.contains("/tests/") {
                found.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found
}

/// Code without comments, tests and blanks.
fn bare(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    // A blank before a call keeps the keyword before it apart.
    lines.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ").replace(" .", ".")
}

fn reads(code: &str) -> usize {
    let calls = |name: &&str| {
        let before = |at: usize| code[..at].chars().next_back().unwrap_or(' ');
        let is_function =
            |at: usize| !before(at).is_alphanumeric() && !matches!(before(at), '.' | '_');
        let is_call = |at: usize| is_function(at) && !code[..at].ends_with("fn ");
        code.match_indices(*name).filter(|(at, _)| is_call(*at)).count()
    };
    let methods = READS.iter().map(|name| code.matches(name).count()).sum::<usize>();
    methods + FUNCTIONS.iter().map(calls).sum::<usize>()
}

#[test]
fn every_place_that_reads_a_body_has_a_bound() {
    let mut listed: BTreeMap<_, _> =
        PLACES.into_iter().map(|(path, count, bound)| (path, (count, bound))).collect();
    assert_eq!(listed.len(), PLACES.len());
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let found = reads(&bare(&text));
        let (count, _) = listed.remove(path.as_str()).unwrap_or((0, ""));
        if found != count {
            wrong.push(format!("{path}: {found} places, {count} are listed"));
        }
    }
    assert!(wrong.is_empty(), "give each a bound and list it in tests/bodies.rs: {wrong:#?}");
    assert!(listed.is_empty(), "no such files: {listed:?}");
}

#[test]
fn calls_are_found_however_they_are_written() {
    for (code, count) in [
        ("let x = body\n    .frame()\n    .await;", 1),
        ("collect(read.body, MAX).await?", 1),
        ("body::collect(body, 9)", 1),
        ("async fn collect(body: Body) {}", 0),
        ("rows.collect()", 0),
        ("names.iter().collect()", 0),
        ("answer.into_body().collect().await", 1),
        ("// body.frame()", 0),
        ("Limited::new(body, MAX).collect()", 1),
    ] {
        assert_eq!(reads(&bare(code)), count, "{code}");
    }
}
