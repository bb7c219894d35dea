//! One page of the uploads of a container, by key and id, with keys rolled up under a delimiter.
//!
//! Rows are sorted by the names of the uploads' markers, `<key>/<id>`, which is not quite the order
//! of keys: `a-b/<id>` comes before `a/<id>`. A page therefore keeps the smallest entries so far, one
//! more than it may have, and detects when no later row can be among them.

use std::collections::BTreeMap;

use apus_cluster::listing::common_prefix;
use apus_cluster::{Metadata, Timestamp};

use crate::operation::{ListUploads, Upload, UploadList};

/// An entry: the key or common prefix, and the id, which prefixes do not have.
type Entry = (String, Option<String>);

/// The page of a request.
pub(super) struct UploadPage<'a> {
    op: &'a ListUploads,
    entries: BTreeMap<Entry, Timestamp>,
}

impl<'a> UploadPage<'a> {
    pub(super) fn new(op: &'a ListUploads) -> Self {
        Self { op, entries: BTreeMap::new() }
    }

    /// Adds the upload of a row. `false` when no later row can be on the page.
    pub(super) fn offer(&mut self, key: &str, id: &str, initiated: Timestamp) -> bool {
        if self.op.limit == 0 {
            return false;
        }
        let Some(entry) = self.entry(key, id) else { return true };
        self.entries.entry(entry).or_insert(initiated);
        if self.entries.len() <= self.op.limit + 1 {
            return true;
        }
        self.entries.pop_last();
        let last = self.entries.last_key_value();
        last.is_none_or(|((last, _), _)| may_come_before(last, &format!("{key}/{id}")))
    }

    /// The entry of an upload; `None` when it belongs to an earlier page.
    fn entry(&self, key: &str, id: &str) -> Option<Entry> {
        let (key_marker, id_marker) = (self.op.key_marker.as_str(), &self.op.upload_id_marker);
        let is_after = match key == key_marker {
            true => !id_marker.is_empty() && id > id_marker.as_str(),
            false => key > key_marker,
        };
        if !is_after || !key.starts_with(&self.op.prefix) {
            return None;
        }
        match common_prefix(key, &self.op.prefix, &self.op.delimiter) {
            // The previous page ended with this prefix and all keys below it.
            Some(prefix) if prefix == key_marker => None,
            Some(prefix) => Some((prefix.to_owned(), None)),
            None => Some((key.to_owned(), Some(id.to_owned()))),
        }
    }

    pub(super) fn finish(mut self) -> UploadList {
        let mut list = UploadList::default();
        if self.entries.len() > self.op.limit {
            self.entries.pop_last();
            let last = self.entries.last_key_value();
            list.next = last.map(|((name, id), _)| (name.clone(), id.clone().unwrap_or_default()));
        }
        for ((name, id), initiated) in self.entries {
            match id {
                Some(id) => list.uploads.push(Upload {
                    key: name,
                    id,
                    initiated,
                    metadata: Metadata::new(),
                }),
                None => list.prefixes.push(name),
            }
        }
        list
    }
}

/// Whether a row after the one named `row` may belong to a key before `last`. That key would be a
/// prefix of `last`, followed in `last` by a slash or a smaller character.
fn may_come_before(last: &str, row: &str) -> bool {
    last.char_indices()
        .filter(|(at, next)| *at > 0 && *next <= '/')
        .filter_map(|(at, _)| last.get(..at))
        .any(|beginning| match row.strip_prefix(beginning) {
            // Rows of that key start with it and a slash.
            Some(rest) => rest.chars().next().is_none_or(|next| next <= '/'),
            None => row < beginning,
        })
}

#[cfg(test)]
mod tests {
    use apus_cluster::{AccountName, ContainerName, ContainerPath};

    use super::*;

    const KEYS: [&str; 9] = ["a", "a", "a-", "a-b", "a-b/c", "a/b/c", "a/d", "b/1", "c"];

    fn op(limit: usize, prefix: &str, delimiter: &str) -> ListUploads {
        let account = AccountName::parse("AUTH_a").unwrap();
        ListUploads {
            container: ContainerPath::new(account, ContainerName::parse("bucket").unwrap()),
            prefix: prefix.to_owned(),
            delimiter: delimiter.to_owned(),
            key_marker: String::new(),
            upload_id_marker: String::new(),
            limit,
            with_metadata: false,
        }
    }

    /// All entries, in the order in which pages of `limit` entries give them: a key and the number
    /// of its upload, or a prefix.
    fn walk(mut op: ListUploads) -> Vec<(String, String)> {
        let upload = |(id, key): (usize, &&str)| (key.to_string(), id.to_string());
        let mut rows: Vec<(String, String)> = KEYS.iter().enumerate().map(upload).collect();
        rows.sort_by_key(|(key, id)| format!("{key}/{id}"));
        let mut all = Vec::new();
        loop {
            let mut page = UploadPage::new(&op);
            let _ = rows.iter().all(|(key, id)| page.offer(key, id, Timestamp::ZERO));
            let list = page.finish();
            let mut entries: Vec<(String, String)> =
                list.prefixes.into_iter().map(|prefix| (prefix, String::new())).collect();
            entries.extend(list.uploads.into_iter().map(|upload| (upload.key, upload.id)));
            assert!(entries.len() <= op.limit);
            entries.sort();
            all.extend(entries);
            let Some(next) = list.next else { return all };
            (op.key_marker, op.upload_id_marker) = next;
        }
    }

    fn spelled(entries: &[(String, String)]) -> Vec<String> {
        entries.iter().map(|(name, id)| format!("{name} {id}").trim().to_owned()).collect()
    }

    #[test]
    fn pages_of_any_size_give_every_upload_once_and_in_order() {
        let all = ["a 0", "a 1", "a- 2", "a-b 3", "a-b/c 4", "a/b/c 5", "a/d 6", "b/1 7", "c 8"];
        for limit in 1..=all.len() + 1 {
            assert_eq!(spelled(&walk(op(limit, "", ""))), all, "{limit}");
        }
    }

    #[test]
    fn keys_are_rolled_up_under_a_delimiter_and_come_once() {
        for (prefix, delimiter, expected) in [
            ("", "/", vec!["a 0", "a 1", "a- 2", "a-b 3", "a-b/", "a/", "b/", "c 8"]),
            ("a/", "/", vec!["a/b/", "a/d 6"]),
            ("a", "b", vec!["a 0", "a 1", "a- 2", "a-b", "a/b", "a/d 6"]),
            ("x", "/", vec![]),
        ] {
            for limit in 1..=expected.len() + 1 {
                let found = walk(op(limit, prefix, delimiter));
                assert_eq!(spelled(&found), expected, "{prefix} {limit}");
            }
        }
    }

    #[test]
    fn a_full_page_ends_the_walk_where_no_smaller_key_can_follow() {
        for (last, row, may) in [
            ("b", "c/id", false),
            ("b", "b/id", false),
            ("a-b", "a-c/id", true),
            ("a-b", "a/id", true),
            ("a-b", "a0/id", false),
            ("a/b", "a/c/id", true),
            ("a/b", "b/id", false),
        ] {
            assert_eq!(may_come_before(last, row), may, "{last} {row}");
        }
        let op = op(1, "", "");
        let mut page = UploadPage::new(&op);
        let more: Vec<bool> =
            ["b", "c", "d", "e"].iter().map(|key| page.offer(key, "id", Timestamp::ZERO)).collect();
        assert_eq!(more, [true, true, false, false]);
        let limit_0 = ListUploads { limit: 0, ..op.clone() };
        assert_eq!(UploadPage::new(&limit_0).finish(), UploadList::default());
    }
}
