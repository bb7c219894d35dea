//! Dynamic large objects: `X-Object-Manifest: container/prefix` joins what that prefix lists.
//!
//! The listing is read page by page, with one page in memory at a time. Length and etag of the whole
//! are in the head of an answer, so at most ten pages are added up before it. An object with more
//! segments is answered as Swift answers one with more than a page: without a length, with the etag
//! of the manifest, and whole. The pages are then listed again while the body streams, starting with
//! the one that has the first wanted byte.

use std::sync::Arc;

use apus_cluster::byte_range::{ByteRanges, Resolved};
use apus_cluster::constraints::LISTING_PAGE_MAX;
use apus_cluster::listing::{ListQuery, ObjectEntry};
use apus_cluster::{ContainerName, ContainerPath, ObjectName, percent};
use async_trait::async_trait;

use super::segments::{self, Piece, PieceSource, Source};
use super::slo::add_lengths;
use super::versions::listed_version;
use crate::context::Context;
use crate::operation::*;
use crate::store::forward;
use crate::{Error, Kind, LinkStore, Primitive, Result, Subject, VersionStore};

/// Maximum number of pages that are added up before the answer begins.
const MEASURED_PAGES_MAX: usize = 10;

/// The container and prefix that a manifest names.
#[derive(Debug, Clone)]
struct ListedPrefix {
    container: ContainerPath,
    prefix: String,
}

/// One page of segments.
struct SegmentPage {
    segments: std::vec::IntoIter<Piece>,
    /// Marker of the next page; `None` after the last.
    next: Option<String>,
}

/// A joined object as measured before its body is read.
struct MeasuredPrefix {
    /// The first page, usually the only one.
    first: SegmentPage,
    /// Later pages: offset of the first byte, and marker.
    later: Vec<(u64, String)>,
    /// Length and etag, unless there are too many pages.
    whole: Option<(u64, String)>,
}

impl ListedPrefix {
    fn of(manifest: &str, own: &ContainerPath) -> Result<Self> {
        let manifest = percent::decode_utf8(manifest)
            .ok_or_else(|| Error::invalid("X-Object-Manifest is not UTF-8"))?;
        let (container, prefix) = manifest
            .trim_start_matches('/')
            .split_once('/')
            .ok_or_else(|| Error::invalid("X-Object-Manifest: expected container/prefix"))?;
        let container = ContainerName::parse(container)
            .map_err(|error| Error::invalid(format!("X-Object-Manifest: {error}")))?;
        let container = ContainerPath::new(own.account.clone(), container);
        Ok(Self { container, prefix: prefix.to_owned() })
    }

    /// Lists one page.
    async fn page(
        &self,
        store: &dyn Primitive,
        cx: &Context,
        marker: String,
    ) -> Result<SegmentPage> {
        let prefix = Some(self.prefix.clone());
        let query = ListQuery { limit: LISTING_PAGE_MAX, marker, prefix, ..ListQuery::default() };
        let op = ListObjects { container: self.container.clone(), query };
        let entries = store.list_objects(cx, op).await?.page.entries()?;
        let full = entries.len() >= LISTING_PAGE_MAX;
        let next = entries.last().filter(|_| full).map(|entry| entry.name().to_owned());
        let segment = |entry: ObjectEntry| {
            let ObjectEntry::Object(row) = entry else { return None };
            let name = ObjectName::parse(&row.name).ok()?;
            let (etag, size) = listed_version(&row).unwrap_or_else(|| {
                let etag = row.etag.split(';').next().unwrap_or_default();
                (etag.trim().to_owned(), row.size)
            });
            let path = self.container.object(name);
            let source = Source::Object { path, etag, size: Some(size), start: 0 };
            Some(Piece { source, length: size })
        };
        let segments: Vec<Piece> = entries.into_iter().filter_map(segment).collect();
        Ok(SegmentPage { segments: segments.into_iter(), next })
    }

    /// Adds up the pages.
    async fn measure(&self, store: &dyn Primitive, cx: &Context) -> Result<MeasuredPrefix> {
        let first = self.page(store, cx, String::new()).await?;
        let mut digest = md5::Context::new();
        let mut total = 0;
        let mut add = |segments: &[Piece]| -> Result<u64> {
            for piece in segments {
                if let Source::Object { etag, .. } = &piece.source {
                    digest.consume(etag.as_bytes());
                }
                total = add_lengths(total, piece.length)?;
            }
            Ok(total)
        };
        let mut end = add(first.segments.as_slice())?;
        let mut later = Vec::new();
        let mut next = first.next.clone();
        while let Some(marker) = next {
            if later.len() + 1 >= MEASURED_PAGES_MAX {
                return Ok(MeasuredPrefix { first, later: Vec::new(), whole: None });
            }
            let page = self.page(store, cx, marker.clone()).await?;
            later.push((end, marker));
            end = add(page.segments.as_slice())?;
            next = page.next;
        }
        Ok(MeasuredPrefix { first, later, whole: Some((end, format!("{:x}", digest.finalize()))) })
    }
}

/// The segments of a range, or of everything, page by page.
struct ListingWalk {
    store: Arc<dyn Primitive>,
    cx: Context,
    prefix: ListedPrefix,
    page: SegmentPage,
    /// Offset of the next segment in the whole.
    offset: u64,
    wanted: Resolved,
    /// Number of bytes left; `None` when the length of the whole is unknown.
    left: Option<u64>,
}

impl ListingWalk {
    /// Starts at the page that has the first byte of `wanted`.
    fn new(
        store: Arc<dyn Primitive>,
        cx: Context,
        prefix: ListedPrefix,
        measured: MeasuredPrefix,
        wanted: Resolved,
    ) -> Self {
        let left = measured.whole.is_some().then_some(wanted.length);
        let later = measured.later.into_iter().rfind(|(start, _)| *start <= wanted.start);
        let (offset, page) = match later {
            Some((start, marker)) => {
                (start, SegmentPage { segments: Vec::new().into_iter(), next: Some(marker) })
            }
            None => (0, measured.first),
        };
        Self { store, cx, prefix, page, offset, wanted, left }
    }
}

#[async_trait]
impl PieceSource for ListingWalk {
    async fn next(&mut self) -> Result<Option<Piece>> {
        let end = self.wanted.start.saturating_add(self.wanted.length);
        loop {
            if self.is_at_end() {
                return Ok(None);
            }
            let Some(piece) = self.page.segments.next() else {
                let Some(marker) = self.page.next.take() else {
                    return match self.left {
                        None => Ok(None),
                        Some(left) => Err(Error::new(Kind::Conflict, Subject::Object)
                            .because(format!("the listing changed: {left} bytes are missing"))),
                    };
                };
                self.page = self.prefix.page(&*self.store, &self.cx, marker).await?;
                continue;
            };
            let begin = self.offset;
            self.offset = add_lengths(begin, piece.length)?;
            let (from, to) = (begin.max(self.wanted.start), self.offset.min(end));
            if from < to {
                let piece = piece.part(from - begin, to - from);
                self.left = self.left.map(|left| left.saturating_sub(piece.length));
                return Ok(Some(piece));
            }
        }
    }

    fn is_at_end(&self) -> bool {
        self.left == Some(0)
    }
}

/// The stage that joins dynamic large objects.
pub struct Dlo {
    next: Arc<dyn VersionStore>,
}

impl std::fmt::Debug for Dlo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Dlo")
    }
}

impl Dlo {
    /// Creates the stage above `next`.
    pub fn new(next: Arc<dyn VersionStore>) -> Self {
        Self { next }
    }

    /// Measures the segments of a manifest, and stores the result in the head.
    async fn measure(
        &self,
        cx: &Context,
        prefix: &ListedPrefix,
        head: &mut ObjectHead,
    ) -> Result<MeasuredPrefix> {
        let measured = prefix.measure(&*self.next, cx).await?;
        match &measured.whole {
            Some((length, etag)) => {
                head.length = *length;
                head.etag.clone_from(etag);
            }
            None => {
                head.length = 0;
                head.length_unknown = true;
            }
        }
        Ok(measured)
    }
}

fn is_about_manifest(error: &Error) -> bool {
    error.head.as_ref().is_some_and(|head| head.get("X-Object-Manifest").is_some())
}

/// Checks etag conditions against the joined object.
fn check(conditions: &Conditions, head: &ObjectHead) -> Result<()> {
    let refuse =
        |kind| Error { head: Some(Box::new(head.clone())), ..Error::new(kind, Subject::Object) };
    if conditions.if_match.as_ref().is_some_and(|list| !list.matches(&head.etag)) {
        return Err(refuse(Kind::PreconditionFailed));
    }
    if conditions.if_none_match.as_ref().is_some_and(|list| list.matches(&head.etag)) {
        return Err(refuse(Kind::NotModified));
    }
    Ok(())
}

#[async_trait]
impl Primitive for Dlo {
    async fn head_object(&self, cx: &Context, mut op: HeadObject) -> Result<ObjectHead> {
        let raw = op.raw;
        let container = op.object.container.clone();
        let conditions = op.conditions.clone();
        let mut head = match self.next.head_object(cx, op.clone()).await {
            // The manifest's own etag failed the condition; the etag of the whole may not.
            Err(error) if is_about_manifest(&error) && !raw => {
                op.conditions = Conditions::default();
                self.next.head_object(cx, op).await?
            }
            head => head?,
        };
        if let Some(manifest) = head.get("X-Object-Manifest").filter(|_| !raw).map(str::to_owned) {
            let prefix = ListedPrefix::of(&manifest, &container)?;
            self.measure(cx, &prefix, &mut head).await?;
            check(&conditions, &head)?;
        }
        Ok(head)
    }

    async fn get_object(&self, cx: &Context, mut op: GetObject) -> Result<ObjectRead> {
        if op.head.raw {
            return self.next.get_object(cx, op).await;
        }
        let container = op.head.object.container.clone();
        // For several ranges Swift serves the whole joined object.
        let ranges = op.ranges.clone().filter(ByteRanges::is_single);
        let conditions = op.head.conditions.clone();
        op.ignore_range_if = Some(match op.ignore_range_if {
            Some(other) => format!("{other},X-Object-Manifest"),
            None => "X-Object-Manifest".to_owned(),
        });
        let read = match self.next.get_object(cx, op.clone()).await {
            // The manifest's own etag failed the condition; the etag of the whole may not.
            Err(error) if is_about_manifest(&error) => {
                op.head.conditions = Conditions::default();
                self.next.get_object(cx, op).await?
            }
            read => read?,
        };
        let Some(manifest) = read.head.get("X-Object-Manifest").map(str::to_owned) else {
            return Ok(read);
        };
        let mut head = read.head;
        let prefix = ListedPrefix::of(&manifest, &container)?;
        let measured = self.measure(cx, &prefix, &mut head).await?;
        check(&conditions, &head)?;
        let (served, wanted) = if head.length_unknown {
            (Served::Whole, Resolved { start: 0, length: u64::MAX })
        } else {
            let (served, wanted) = segments::plan(ranges.as_ref(), head.length)?;
            let one = wanted.first().copied().unwrap_or(Resolved { start: 0, length: 0 });
            (served, one)
        };
        let pieces = ListingWalk::new(self.next.clone(), cx.clone(), prefix, measured, wanted);
        let body = segments::join(self.next.clone(), cx.clone(), pieces).await?;
        Ok(ObjectRead { head, served, body })
    }

    forward!(next:
        authorize, container_info, account_info, head_account, list_containers, post_account, put_account,
        delete_account, head_container, list_objects, put_container, post_container, delete_container,
        put_object, post_object, update_object, delete_object, queue_deletions, update_queue,
    );
}

impl VersionStore for Dlo {
    forward!(next: list_versions, restore_version);
}

impl LinkStore for Dlo {
    forward!(next: put_symlink);
}

#[cfg(test)]
mod tests {
    use super::super::memory_store::{MemoryStore, object, test_context};
    use super::*;
    use crate::body::collect;

    /// A manifest of this many segments, each of which has its number in seven digits.
    fn joined(segments: usize) -> (Arc<MemoryStore>, Dlo) {
        let store = Arc::new(MemoryStore::default());
        for number in 0..segments {
            let digits = format!("{number:07}");
            store.put(&format!("s/p/{digits}"), digits.as_bytes());
        }
        store.put_with("c/m", b"", &[("X-Object-Manifest", "s/p/")]);
        (store.clone(), Dlo::new(store))
    }

    async fn open(dlo: &Dlo, range: Option<(u64, u64)>) -> Result<ObjectRead> {
        let mut op = GetObject::new(object("c/m"));
        op.ranges = range.map(|(start, length)| ByteRanges::single(start, length));
        dlo.get_object(&test_context(), op).await
    }

    #[tokio::test]
    async fn one_page_is_listed_once() {
        let (store, dlo) = joined(3);
        let read = open(&dlo, None).await.unwrap();
        assert_eq!((read.head.length, store.listed()), (21, 1));
        assert_eq!(collect(read.body, 99).await.unwrap().as_ref(), b"000000000000010000002");
        let read = open(&dlo, Some((6, 9))).await.unwrap();
        assert_eq!(collect(read.body, 99).await.unwrap().as_ref(), b"000000010");
        assert_eq!(store.listed(), 2);
    }

    #[tokio::test]
    async fn several_pages_are_measured_and_listed_again_from_the_start_of_the_range() {
        let (store, dlo) = joined(2 * LISTING_PAGE_MAX + 5);
        let end = (2 * LISTING_PAGE_MAX as u64 + 5) * 7;
        let read = open(&dlo, Some((end - 7, 7))).await.unwrap();
        assert_eq!((read.head.length, store.listed()), (end, 4), "the last page is listed again");
        assert_eq!(collect(read.body, 99).await.unwrap().as_ref(), b"0020004");
        let between = LISTING_PAGE_MAX as u64 * 7;
        let read = open(&dlo, Some((between - 7, 14))).await.unwrap();
        assert_eq!(collect(read.body, 99).await.unwrap().as_ref(), b"00099990010000");
        let head = dlo.head_object(&test_context(), HeadObject::new(object("c/m"))).await.unwrap();
        assert_eq!((head.known_length(), head.etag.len()), (Some(end), 32));
    }

    #[tokio::test]
    async fn an_object_of_very_many_segments_is_answered_without_its_length() {
        let segments = MEASURED_PAGES_MAX * LISTING_PAGE_MAX + 1;
        let (store, dlo) = joined(segments);
        let read = open(&dlo, Some((0, 7))).await.unwrap();
        assert_eq!(store.listed(), MEASURED_PAGES_MAX);
        assert_eq!((read.head.known_length(), read.served), (None, Served::Whole));
        assert_eq!(collect(read.body, u64::MAX).await.unwrap().len(), 7 * segments);
    }

    #[tokio::test]
    async fn a_missing_segment_on_a_later_page_aborts_the_body() {
        let (store, dlo) = joined(LISTING_PAGE_MAX + 5);
        let read = open(&dlo, None).await.unwrap();
        let last = object(&format!("s/p/{:07}", LISTING_PAGE_MAX + 4));
        store.delete_object(&test_context(), DeleteObject::new(last)).await.unwrap();
        assert!(collect(read.body, u64::MAX).await.is_err());
    }
}
