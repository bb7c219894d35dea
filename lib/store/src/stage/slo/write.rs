//! Writing of a manifest.
//!
//! Every object that it names is requested once, and each segment must be what the client declared.

use std::collections::HashMap;
use std::sync::Arc;

use apus_cluster::byte_range::{ByteRanges, Resolution};
use apus_cluster::constraints::SLO_NESTING_MAX;
use apus_cluster::etag::unquote;
use apus_cluster::{AccountName, percent};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};

use super::budget::{ManifestBudget, SpentBudget};
use super::manifest::{Entry, StoredManifest, joined_etag};
use super::{DEPTH_KEY, ETAG_KEY, SIZE_KEY};
use crate::body::LateMetadata;
use crate::context::Context;
use crate::operation::{HeadObject, ObjectHead, ObjectWritten, PutManifest, PutObject, Segment};
use crate::{Error, Kind, Primitive, Result, Subject, upload_parts};

/// Maximum number of objects that are requested at the same time.
const CONCURRENCY: usize = 8;

/// An object that segments name: an entry without a range, and the depth of nested manifests below
/// it. Or the reason for which it cannot be a segment.
type CheckedObject = std::result::Result<(Entry, usize), String>;

/// The checked segments of a new manifest.
struct CheckedSegments {
    entries: Vec<Entry>,
    /// Number of nested manifests, with the new one.
    depth: usize,
}

/// Number of nested manifests, from this one on, by its own metadata. One that Swift wrote lacks that
/// metadata and counts as one.
fn depth_of(head: &ObjectHead) -> usize {
    let declared = head.get(DEPTH_KEY).and_then(|depth| depth.parse().ok());
    usize::from(head.is_manifest()).max(declared.unwrap_or(0))
}

/// Requests one object.
async fn request(
    store: Arc<dyn Primitive>,
    cx: Context,
    account: AccountName,
    name: String,
) -> CheckedObject {
    let mut entry = Entry { name, ..Entry::default() };
    let path = entry.path(&account).map_err(|error| error.to_string())?;
    let mut op = HeadObject::new(path);
    op.raw = true;
    let head = store.head_object(&cx, op).await.map_err(|error| match error.kind {
        Kind::NotFound => "404 Not Found".to_owned(),
        Kind::Unauthorized => "401 Unauthorized".to_owned(),
        Kind::Forbidden => "403 Forbidden".to_owned(),
        _ => "503 Service Unavailable".to_owned(),
    })?;
    let depth = depth_of(&head);
    entry.sub_slo = head.is_manifest();
    let head = if entry.sub_slo { super::joined_head(head) } else { head };
    // As in Swift, whose tests require this: one level more may be written than can be read.
    if ManifestBudget::check_depth(depth).is_err() {
        return Err(format!("Manifests nested more than {SLO_NESTING_MAX} deep"));
    }
    entry.bytes = head.length;
    entry.hash = head.etag;
    entry.content_type = head.content_type;
    entry.last_modified = head.timestamp.iso();
    Ok((entry, depth))
}

/// Compares a segment with the object that it names, stores its range in the entry, and adds
/// differences to `problems`. Only the last segment may be empty.
fn compare(segment: &Segment, entry: &mut Entry, is_last: bool, problems: &mut Vec<&str>) {
    let mut length = entry.bytes;
    if let Some(range) = &segment.range {
        let ranges = ByteRanges::parse(&format!("bytes={range}"));
        match ranges.map(|ranges| ranges.resolve(entry.bytes)) {
            Some(Resolution::Ranges(ranges)) if ranges.len() == 1 => {
                if let Some(one) = ranges.first().filter(|one| one.length != entry.bytes) {
                    let last = one.start.saturating_add(one.length).saturating_sub(1);
                    entry.range = Some(format!("{}-{last}", one.start));
                    length = one.length;
                }
            }
            _ => problems.push("Unsatisfiable Range"),
        }
    }
    if length == 0 && !is_last {
        problems.push("Too small; each segment must be at least 1 byte.");
    }
    if segment.size.is_some_and(|size| size != entry.bytes) {
        problems.push("Size Mismatch");
    }
    if segment.etag.as_deref().is_some_and(|etag| unquote(etag) != entry.hash) {
        problems.push("Etag Mismatch");
    }
}

/// Requests every object once, and compares all segments with the objects.
async fn check(
    next: &Arc<dyn Primitive>,
    cx: &Context,
    account: &AccountName,
    segments: Vec<Segment>,
) -> Result<CheckedSegments> {
    let mut numbers: HashMap<String, usize> = HashMap::new();
    let mut requests: Vec<BoxFuture<'static, CheckedObject>> = Vec::new();
    let mut found_at = Vec::with_capacity(segments.len());
    for segment in &segments {
        if segment.data.is_some() {
            found_at.push(None);
            continue;
        }
        let name = format!("/{}", segment.path.trim_start_matches('/'));
        let number = *numbers.entry(name).or_insert_with_key(|name| {
            requests.push(request(next.clone(), cx.clone(), account.clone(), name.clone()).boxed());
            requests.len() - 1
        });
        found_at.push(Some(number));
    }
    let names = numbers.keys().map(String::as_str);
    let gone = upload_parts::pin(&**next, cx, account, names).await?;
    let found: Vec<CheckedObject> = stream::iter(requests).buffered(CONCURRENCY).collect().await;
    let mut checked = CheckedSegments { entries: Vec::with_capacity(segments.len()), depth: 1 };
    let mut problems = Vec::new();
    let last = segments.len().saturating_sub(1);
    for (index, (segment, number)) in segments.into_iter().zip(found_at).enumerate() {
        let Some(number) = number else {
            checked.entries.push(Entry { data: segment.data, ..Entry::default() });
            continue;
        };
        let mut wrong = Vec::new();
        match found.get(number) {
            Some(Ok((object, _))) if gone.contains(&object.name) => wrong.push("404 Not Found"),
            Some(Ok((object, depth))) => {
                let mut entry = object.clone();
                compare(&segment, &mut entry, index == last, &mut wrong);
                checked.depth = checked.depth.max(depth.saturating_add(1));
                checked.entries.push(entry);
            }
            Some(Err(problem)) => wrong.push(problem.as_str()),
            None => {}
        }
        let name = percent::encode_path(&segment.path);
        problems.extend(wrong.iter().map(|problem| format!("{name}, {problem}\n")));
    }
    if problems.is_empty() {
        return Ok(checked);
    }
    Err(Error::new(Kind::InvalidPart, Subject::Object)
        .text(format!("Errors:\n{}", problems.concat())))
}

/// The entry of a segment that needs no check.
fn trust(segment: Segment) -> Entry {
    Entry {
        name: segment.path,
        bytes: segment.size.unwrap_or(0),
        hash: segment.etag.unwrap_or_default(),
        content_type: "application/octet-stream".to_owned(),
        ..Entry::default()
    }
}

/// The error for a new manifest that is too long or has too many segments.
fn too_large(spent: SpentBudget) -> Error {
    Error::new(Kind::TooLarge, Subject::Object).text(format!("A large object of {spent}"))
}

/// Writes a manifest.
pub(super) async fn put(
    next: Arc<dyn Primitive>,
    cx: &Context,
    op: PutManifest,
) -> Result<ObjectWritten> {
    let account = op.object.container.account.clone();
    ManifestBudget::of_write().take(op.segments.len()).map_err(too_large)?;
    let CheckedSegments { entries, depth } = if op.trusted {
        CheckedSegments { entries: op.segments.into_iter().map(trust).collect(), depth: 1 }
    } else {
        check(&next, cx, &account, op.segments).await?
    };
    let etag = joined_etag(&entries)?;
    if op.etag.as_deref().is_some_and(|wanted| unquote(wanted) != etag) {
        return Err(Error::new(Kind::ChecksumMismatch, Subject::Object).text("Etag mismatch"));
    }
    let json = serde_json::to_vec(&entries).map_err(Error::unavailable)?;
    let manifest = StoredManifest::new(entries, json.len() as u64).map_err(|error| {
        // The entries were checked, so only their sum can be too large.
        too_large(SpentBudget::Bytes).because(error)
    })?;
    let size = manifest.total();
    let own_etag = format!("{:x}", md5::compute(&json));
    let mut metadata = op.metadata;
    let mut row_etag = format!("{own_etag}; slo_etag={etag}");
    if let Some(s3_etag) = metadata.get("X-Object-Sysmeta-S3Api-Etag") {
        row_etag = format!("{own_etag}; s3_etag={s3_etag}; slo_etag={etag}");
    }
    metadata.insert("X-Static-Large-Object".to_owned(), "True".to_owned());
    metadata.insert(ETAG_KEY.to_owned(), etag.clone());
    metadata.insert(SIZE_KEY.to_owned(), size.to_string());
    if depth > 1 {
        metadata.insert(DEPTH_KEY.to_owned(), depth.to_string());
    }
    metadata.insert("X-Object-Sysmeta-Container-Update-Override-Etag".to_owned(), row_etag);
    let put = PutObject {
        object: op.object,
        length: Some(json.len() as u64),
        body: apus_daemon::http::full(json),
        content_type: format!("{};swift_bytes={size}", op.content_type),
        metadata,
        etag: None,
        timestamp: None,
        conditions: op.conditions,
        late: LateMetadata::default(),
    };
    let written = next.put_object(cx, put).await?;
    Ok(ObjectWritten { etag, length: size, ..written })
}
