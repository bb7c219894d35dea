//! The uploads that are under way in a bucket, from the markers in its hidden container.
//!
//! The hidden container also has the parts of all multipart objects of the bucket, which are many
//! more. So a page of uploads is read in small pages, parts are passed over by the marker of the
//! listing, and after some pages the answer says where to go on. The order is that of the names in
//! the container, `<key>/<id>`, as Swift's s3api has it.

use std::sync::Arc;

use apus_cluster::ContainerPath;
use apus_cluster::constraints::LISTING_PAGE_MAX;
use apus_cluster::listing::{ListQuery, ObjectEntry, ObjectRow};

use super::multipart::is_upload_id;
use crate::context::Context;
use crate::operation::{ListObjects, ListUploads, Upload, UploadList};
use crate::{Kind, Result, Store};

/// Pages of the hidden container that are read for one answer.
const PAGES_MAX: usize = 100;
/// Rows of a page at least: parts of one upload are passed over within it.
const PAGE_ROWS_MIN: usize = 1000;

/// What a row of the hidden container is.
#[derive(Debug, PartialEq, Eq)]
enum HiddenRow<'a> {
    /// The marker of an upload: key and id.
    Marker(&'a str, &'a str),
    /// A part; the name of the marker that it belongs to.
    Part(&'a str),
    Other,
}

impl<'a> HiddenRow<'a> {
    /// Markers end in an id, parts in a number behind one.
    fn of(name: &'a str) -> Self {
        let Some((above, last)) = name.rsplit_once('/') else { return Self::Other };
        if is_upload_id(last) {
            return Self::Marker(above, last);
        }
        let is_number = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit());
        match above.rsplit_once('/') {
            Some((_, id)) if is_number && is_upload_id(id) => Self::Part(above),
            _ => Self::Other,
        }
    }
}

/// Where a listing goes on past the parts of an upload, whose numbers begin with a digit: `:`
/// follows `9`.
fn past_parts(marker: &str) -> String {
    format!("{marker}/:")
}

/// The uploads that a request asks for.
#[derive(Debug)]
struct UploadPage {
    /// Most uploads.
    limit: usize,
    /// Only keys after this one, where no id was given with it.
    after_key: Option<String>,
    uploads: Vec<Upload>,
    /// Name of the last row that was looked at.
    seen: String,
}

impl UploadPage {
    /// Looks at one row; `false` when the page is full and there is one more upload.
    fn add(&mut self, row: &ObjectRow) -> bool {
        if let HiddenRow::Marker(key, id) = HiddenRow::of(&row.name)
            && self.after_key.as_deref().is_none_or(|after| key > after)
        {
            if self.uploads.len() >= self.limit {
                return false;
            }
            let (key, id) = (key.to_owned(), id.to_owned());
            self.uploads.push(Upload { key, id, initiated: row.last_modified() });
        }
        self.seen.clone_from(&row.name);
        true
    }

    /// The answer; the next one begins after the last row that was looked at.
    fn more(self) -> UploadList {
        let split = self.seen.rsplit_once('/').filter(|(_, id)| !id.is_empty());
        let (key, id) = split.unwrap_or((&self.seen, ""));
        let next = Some((key.to_owned(), id.to_owned()));
        UploadList { uploads: self.uploads, next }
    }
}

/// Lists uploads in the hidden container.
pub(super) async fn list(
    store: &Arc<dyn Store>,
    system: &Context,
    hidden: ContainerPath,
    op: ListUploads,
) -> Result<UploadList> {
    let (marker, after_key) = match op.upload_id_marker.as_str() {
        // Names of later keys come after the key itself.
        "" => (op.key_marker.clone(), Some(op.key_marker).filter(|key| !key.is_empty())),
        id => (format!("{}/{id}", op.key_marker), None),
    };
    let mut page = UploadPage { limit: op.limit, after_key, uploads: Vec::new(), seen: marker };
    let limit = op.limit.saturating_add(1).clamp(PAGE_ROWS_MIN, LISTING_PAGE_MAX);
    let mut query = ListQuery { limit, prefix: Some(op.prefix), ..ListQuery::default() };
    query.marker.clone_from(&page.seen);
    for _ in 0..PAGES_MAX {
        let ask = ListObjects { container: hidden.clone(), query: query.clone() };
        let entries = match store.list_objects(system, ask).await {
            Err(error) if error.kind == Kind::NotFound => return Ok(UploadList::default()),
            list => list?.page.entries()?,
        };
        for entry in &entries {
            let ObjectEntry::Object(row) = entry else { continue };
            if !page.add(row) {
                return Ok(page.more());
            }
        }
        if entries.len() < query.limit {
            return Ok(UploadList { uploads: page.uploads, next: None });
        }
        query.marker = match HiddenRow::of(&page.seen) {
            HiddenRow::Part(marker) => past_parts(marker),
            HiddenRow::Marker(..) | HiddenRow::Other => page.seen.clone(),
        };
    }
    Ok(page.more())
}

#[cfg(test)]
mod tests {
    use super::super::memory_store::{MemoryStore, container, test_context};
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    async fn listed(store: &Arc<MemoryStore>, op: ListUploads) -> (Vec<String>, UploadList) {
        let next: Arc<dyn Store> = store.clone();
        let hidden = container("b+segments");
        let list = list(&next, &test_context(), hidden, op).await.unwrap();
        (list.uploads.iter().map(|upload| upload.key.clone()).collect(), list)
    }

    fn ask(limit: usize, after: Option<(String, String)>) -> ListUploads {
        let (key_marker, upload_id_marker) = after.unwrap_or_default();
        let prefix = String::new();
        ListUploads { container: container("b"), prefix, key_marker, upload_id_marker, limit }
    }

    #[tokio::test]
    async fn pages_of_uploads_are_complete_and_go_on_where_they_ended() {
        let store = Arc::new(MemoryStore::default());
        for key in ["a", "a-b", "a/b", "b", "c/d"] {
            store.put(&format!("b+segments/{key}/{ID}"), b"");
            for part in 1..20 {
                store.put(&format!("b+segments/{key}/{ID}/{part}"), b"x");
            }
        }
        let (mut keys, mut after) = (Vec::new(), None);
        loop {
            let (more, list) = listed(&store, ask(2, after)).await;
            keys.extend(more);
            after = list.next;
            if after.is_none() {
                break;
            }
        }
        keys.sort();
        assert_eq!(keys, ["a", "a-b", "a/b", "b", "c/d"]);
        let (later, _) = listed(&store, ask(9, Some(("a-b".to_owned(), String::new())))).await;
        assert_eq!(later, ["a/b", "b", "c/d"], "a key alone leaves out smaller ones");
    }

    #[tokio::test]
    async fn parts_of_finished_objects_are_passed_over() {
        let store = Arc::new(MemoryStore::default());
        for key in 0..5 {
            for part in 1..=2 * PAGE_ROWS_MIN {
                store.put(&format!("b+segments/k{key}/{ID}/{part}"), b"x");
            }
        }
        store.put(&format!("b+segments/z/{ID}"), b"");
        let (keys, list) = listed(&store, ask(1, None)).await;
        assert_eq!((keys, list.next), (vec!["z".to_owned()], None));
        assert_eq!(store.listed(), 6, "half of the parts are listed");
    }

    #[tokio::test]
    async fn a_scan_that_finds_nothing_ends_and_says_where_to_go_on() {
        let store = Arc::new(MemoryStore::default());
        for number in 0..PAGES_MAX * PAGE_ROWS_MIN + 5 {
            store.put(&format!("b+segments/other-{number:09}"), b"");
        }
        store.put(&format!("b+segments/z/{ID}"), b"");
        let (keys, list) = listed(&store, ask(1, None)).await;
        assert!(keys.is_empty());
        assert_eq!(store.listed(), PAGES_MAX);
        let (keys, list) = listed(&store, ask(1, list.next)).await;
        assert_eq!((keys, list.next), (vec!["z".to_owned()], None));
    }
}
