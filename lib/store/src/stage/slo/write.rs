//! Writing a manifest: every segment is looked at and must be what the client says it is.

use std::sync::Arc;

use apus_cluster::byte_range::{ByteRanges, Resolution};
use apus_cluster::etag::unquote;
use futures_util::StreamExt;

use super::manifest::{Entry, joined_etag};
use super::{ETAG_KEY, SIZE_KEY};
use crate::body::LateMetadata;
use crate::context::Context;
use crate::operation::{HeadObject, ObjectWritten, PutManifest, PutObject, Segment};
use crate::{Error, Kind, Result, Store, Subject};

/// Segments looked at at the same time.
const CONCURRENCY: usize = 8;

/// Problems of segments, as Swift reports them: name and what is wrong.
type Problem = (String, String);

async fn look(
    next: &Arc<dyn Store>,
    cx: &Context,
    account: &apus_cluster::AccountName,
    segment: Segment,
) -> std::result::Result<Entry, Problem> {
    if segment.data.is_some() {
        return Ok(Entry { data: segment.data, ..Entry::default() });
    }
    let mut entry = Entry { name: segment.path.clone(), ..Entry::default() };
    if !entry.name.starts_with('/') {
        entry.name.insert(0, '/');
    }
    let problem = |text: &str| (segment.path.clone(), text.to_owned());
    let path = entry.path(account).map_err(|error| problem(&error.to_string()))?;
    let mut op = HeadObject::new(path);
    op.raw = true;
    let head = next.head_object(cx, op).await.map_err(|error| match error.kind {
        Kind::NotFound => problem("404 Not Found"),
        Kind::Unauthorized => problem("401 Unauthorized"),
        Kind::Forbidden => problem("403 Forbidden"),
        _ => problem("503 Service Unavailable"),
    })?;
    entry.sub_slo = head.is_manifest();
    let joined = super::joined_head(head.clone());
    let head = if entry.sub_slo { joined } else { head };
    entry.bytes = head.length;
    entry.hash.clone_from(&head.etag);
    entry.content_type.clone_from(&head.content_type);
    entry.last_modified = head.timestamp.iso();
    if segment.size.is_some_and(|size| size != head.length) {
        return Err(problem("Size Mismatch"));
    }
    if segment.etag.as_deref().is_some_and(|etag| unquote(etag) != head.etag) {
        return Err(problem("Etag Mismatch"));
    }
    if let Some(range) = &segment.range {
        let resolved = ByteRanges::parse(&format!("bytes={range}")).map(|r| r.resolve(head.length));
        entry.range = match resolved {
            Some(Resolution::Ranges(ranges)) => match ranges.as_slice() {
                [one] if one.length == head.length => None,
                [one] => Some(format!("{}-{}", one.start, one.start + one.length - 1)),
                _ => return Err(problem("Unsatisfiable Range")),
            },
            _ => return Err(problem("Unsatisfiable Range")),
        };
    }
    if head.length == 0 {
        return Err(problem("Too small; each segment must be at least 1 byte"));
    }
    Ok(entry)
}

fn trust(segment: Segment) -> Entry {
    Entry {
        name: segment.path,
        bytes: segment.size.unwrap_or(0),
        hash: segment.etag.unwrap_or_default(),
        content_type: "application/octet-stream".to_owned(),
        ..Entry::default()
    }
}

pub(super) async fn put(
    next: &Arc<dyn Store>,
    cx: &Context,
    op: PutManifest,
) -> Result<ObjectWritten> {
    let account = op.object.container.account.clone();
    let mut entries = Vec::with_capacity(op.segments.len());
    if op.trusted {
        entries.extend(op.segments.into_iter().map(trust));
    } else {
        let looks = op.segments.into_iter().map(|segment| look(next, cx, &account, segment));
        let looked: Vec<_> =
            futures_util::stream::iter(looks).buffered(CONCURRENCY).collect().await;
        let mut problems: Vec<Problem> = Vec::new();
        for result in looked {
            match result {
                Ok(entry) => entries.push(entry),
                Err(problem) => problems.push(problem),
            }
        }
        if !problems.is_empty() {
            let text: Vec<String> =
                problems.iter().map(|(name, what)| format!("{name}, {what}")).collect();
            return Err(Error::new(Kind::InvalidPart, Subject::Object)
                .text(format!("Errors:\n{}\n", text.join("\n"))));
        }
    }
    let etag = joined_etag(&entries)?;
    if op.etag.as_deref().is_some_and(|wanted| unquote(wanted) != etag) {
        return Err(Error::new(Kind::ChecksumMismatch, Subject::Object).text("Etag mismatch"));
    }
    let size: u64 = entries.iter().map(Entry::length).sum::<Result<u64>>()?;
    let json = serde_json::to_vec(&entries).map_err(Error::unavailable)?;
    let own_etag = format!("{:x}", md5::compute(&json));
    let mut metadata = op.metadata;
    let mut row_etag = format!("{own_etag}; slo_etag={etag}");
    if let Some(s3_etag) = metadata.get("X-Object-Sysmeta-S3Api-Etag") {
        row_etag = format!("{own_etag}; s3_etag={s3_etag}; slo_etag={etag}");
    }
    metadata.insert("X-Static-Large-Object".to_owned(), "True".to_owned());
    metadata.insert(ETAG_KEY.to_owned(), etag.clone());
    metadata.insert(SIZE_KEY.to_owned(), size.to_string());
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
    Ok(ObjectWritten { etag, ..written })
}
