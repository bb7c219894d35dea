//! Lists the multipart uploads in progress in a bucket, from the markers in its hidden container.
//!
//! The hidden container also has the parts of all multipart objects of the bucket, which are many
//! more: it is read in pages, and the parts of an upload are skipped by the marker of the listing.
//! Only one page of rows and the requested page are in memory.

use apus_cluster::ContainerPath;
use apus_cluster::constraints::LISTING_PAGE_MAX;
use apus_cluster::listing::{ListQuery, ObjectEntry};

use super::upload_page::UploadPage;
use crate::context::Context;
use crate::operation::{ListObjects, ListUploads, UploadList};
use crate::upload_parts::is_upload_id;
use crate::{Kind, Primitive, Result};

/// Minimum number of rows in a page, so that parts of small uploads are skipped within it.
const PAGE_ROWS_MIN: usize = 1000;

/// A row of the hidden container.
#[derive(Debug, PartialEq, Eq)]
enum HiddenRow<'a> {
    /// The marker of an upload: key and id.
    Marker(&'a str, &'a str),
    /// A part: the name of the marker to which it belongs.
    Part(&'a str),
    Other,
}

impl<'a> HiddenRow<'a> {
    /// Markers end in an id, parts in a number after one.
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

/// The marker after the parts of an upload, whose numbers begin with a digit: `:` follows `9`.
fn past_parts(marker: &str) -> String {
    format!("{marker}/:")
}

/// Lists uploads in the hidden container.
pub(super) async fn list(
    store: &dyn Primitive,
    system: &Context,
    hidden: ContainerPath,
    op: ListUploads,
) -> Result<UploadList> {
    let mut page = UploadPage::new(&op);
    let limit = op.limit.saturating_add(1).clamp(PAGE_ROWS_MIN, LISTING_PAGE_MAX);
    // Rows of all keys from the key marker on start with it or come after it.
    let (prefix, marker) = (Some(op.prefix.clone()), op.key_marker.clone());
    let mut query = ListQuery { limit, prefix, marker, ..ListQuery::default() };
    loop {
        let ask = ListObjects { container: hidden.clone(), query: query.clone() };
        let entries = match store.list_objects(system, ask).await {
            Err(error) if error.kind == Kind::NotFound => return Ok(UploadList::default()),
            list => list?.page.entries()?,
        };
        for entry in &entries {
            let ObjectEntry::Object(row) = entry else { continue };
            query.marker = match HiddenRow::of(&row.name) {
                HiddenRow::Part(marker) => past_parts(marker),
                HiddenRow::Marker(key, id) if !page.offer(key, id, row.last_modified()) => {
                    return Ok(page.finish());
                }
                HiddenRow::Marker(..) | HiddenRow::Other => row.name.clone(),
            };
        }
        if entries.len() < query.limit {
            return Ok(page.finish());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::memory_store::{MemoryStore, container, test_context};
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    async fn listed(store: &Arc<MemoryStore>, op: ListUploads) -> (Vec<String>, UploadList) {
        let hidden = container("b+segments");
        let list = list(&**store, &test_context(), hidden, op).await.unwrap();
        (list.uploads.iter().map(|upload| upload.key.clone()).collect(), list)
    }

    fn ask(limit: usize, after: Option<(String, String)>) -> ListUploads {
        let (key_marker, upload_id_marker) = after.unwrap_or_default();
        let (prefix, delimiter) = (String::new(), String::new());
        let container = container("b");
        ListUploads {
            container,
            prefix,
            delimiter,
            key_marker,
            upload_id_marker,
            limit,
            with_metadata: false,
        }
    }

    #[tokio::test]
    async fn pages_of_uploads_are_complete_and_continue_where_they_ended() {
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
        assert_eq!(keys, ["a", "a-b", "a/b", "b", "c/d"]);
        let (later, _) = listed(&store, ask(9, Some(("a-b".to_owned(), String::new())))).await;
        assert_eq!(later, ["a/b", "b", "c/d"], "a key alone leaves out smaller ones");
    }

    #[tokio::test]
    async fn parts_of_finished_objects_are_skipped() {
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
}
