//! A page made of the newest version of every row, deletions included.

use std::collections::BTreeMap;

use apus_cluster::listing::{ListQuery, ObjectEntry, ObjectRow, after_prefix, common_prefix};
use apus_wire::message::container::{ContainerAddress, ReadContainerRequest};

use super::super::account::encode_query;
use super::super::database::DatabaseCall;
use super::super::send::NodeAnswer;
use super::object_entries;
use crate::{Error, Result};

/// Rows per request.
const MERGE_ROWS: usize = 1000;

/// Merges the replicas' rows into the page that `query` asks for.
///
/// # Errors
/// `Unavailable` when less than a majority answers.
pub(super) async fn merged_page(
    call: &DatabaseCall<'_>,
    address: &ContainerAddress,
    query: &ListQuery,
) -> Result<Vec<ObjectEntry>> {
    let (start, end) = match query.reverse {
        true => (&query.end_marker, &query.marker),
        false => (&query.marker, &query.end_marker),
    };
    let mut page = RolledPage::new(query, start);
    loop {
        let rows = ListQuery {
            limit: MERGE_ROWS,
            marker: page.marker.clone(),
            end_marker: end.clone(),
            prefix: query.prefix.clone(),
            ..ListQuery::default()
        };
        let request = ReadContainerRequest {
            with_deleted: true,
            allow_reserved: query.reserved,
            ..ReadContainerRequest::list(address.clone(), encode_query(&rows))
        };
        let answers = fetch(call, &request).await?;
        let good = answers.iter().filter(|answer| answer.status().is_success());
        let replicas: Result<Vec<_>> = good.map(|answer| object_entries(&answer.body)).collect();
        let merged = merge(replicas?, MERGE_ROWS);
        let is_last = merged.is_last;
        page.roll_up(merged);
        if is_last || page.is_full() {
            return Ok(page.finish());
        }
        page.skip_subdir();
    }
}

/// Asks all primaries for the same rows, deletions included; nodes that are being avoided only when
/// they are needed for a majority.
async fn fetch(call: &DatabaseCall<'_>, request: &ReadContainerRequest) -> Result<Vec<NodeAnswer>> {
    let request = request.encode();
    let (mut free, avoided) = call.nodes.shuffled_primaries(&call.quorum.client, 0);
    free.extend(call.nodes.former.iter().cloned());
    let mut answers: Vec<NodeAnswer> = Vec::new();
    for nodes in [free, avoided] {
        if !call.is_majority(&answers) {
            answers.extend(call.ask(nodes, &request).await);
        }
    }
    match call.is_majority(&answers) {
        true => Ok(answers),
        false => Err(Error::unavailable("too few container servers answered")),
    }
}

/// The newest version of each row, in order.
#[derive(Debug, PartialEq, Eq)]
struct MergedRows {
    rows: Vec<ObjectRow>,
    /// Whether no replica has rows after these.
    is_last: bool,
}

/// Merges the rows of several replicas, each of which was asked for at most `limit` rows. Rows past
/// the end of a replica's full page are left out, since that replica may have a newer version.
fn merge(replicas: Vec<Vec<ObjectEntry>>, limit: usize) -> MergedRows {
    let mut newest: BTreeMap<String, ObjectRow> = BTreeMap::new();
    let mut last: Option<String> = None;
    for rows in replicas {
        if rows.len() >= limit
            && let Some(end) = rows.last().map(|row| row.name().to_owned())
            && last.as_ref().is_none_or(|last| end < *last)
        {
            last = Some(end);
        }
        for entry in rows {
            let ObjectEntry::Object(row) = entry else { continue };
            match newest.get(&row.name) {
                Some(known) if known.times.data >= row.times.data => {}
                _ => drop(newest.insert(row.name.clone(), row)),
            }
        }
    }
    let is_known = |row: &ObjectRow| last.as_ref().is_none_or(|last| row.name <= *last);
    let rows = newest.into_values().take_while(is_known).collect();
    MergedRows { rows, is_last: last.is_none() }
}

/// A page that is filled with rows in order, with names rolled up at the delimiter.
struct RolledPage<'a> {
    query: &'a ListQuery,
    prefix: &'a str,
    entries: Vec<ObjectEntry>,
    /// Where the next rows start.
    marker: String,
}

impl<'a> RolledPage<'a> {
    fn new(query: &'a ListQuery, start: &str) -> Self {
        let prefix = query.prefix.as_deref().unwrap_or_default();
        Self { query, prefix, entries: Vec::new(), marker: start.to_owned() }
    }

    /// Whether the page has more entries than it may have. A reversed page has its first entries at
    /// the end, and is full only there.
    fn is_full(&self) -> bool {
        self.entries.len() > self.query.limit && !self.query.reverse
    }

    /// Adds rows.
    fn roll_up(&mut self, merged: MergedRows) {
        for row in merged.rows {
            self.marker.clone_from(&row.name);
            if row.deleted {
                continue;
            }
            match common_prefix(&row.name, self.prefix, &self.query.delimiter) {
                Some(subdir) => {
                    let is_listed = self.entries.last().map(ObjectEntry::name) == Some(subdir);
                    if !is_listed && subdir != self.query.marker {
                        self.entries.push(ObjectEntry::Subdir(subdir.to_owned()));
                    }
                }
                None => self.entries.push(ObjectEntry::Object(row)),
            }
            if self.is_full() {
                break;
            }
        }
    }

    /// Moves the marker past the subdirectory at the end of the page: its other rows need not be
    /// read.
    fn skip_subdir(&mut self) {
        if let Some(ObjectEntry::Subdir(subdir)) = self.entries.last()
            && self.marker.starts_with(subdir.as_str())
            && let Some(next) = after_prefix(subdir.as_bytes())
            && let Ok(next) = String::from_utf8(next)
        {
            self.marker = next;
        }
    }

    fn finish(mut self) -> Vec<ObjectEntry> {
        if self.query.reverse {
            self.entries.reverse();
        }
        self.entries.truncate(self.query.limit);
        self.entries
    }
}

#[cfg(test)]
mod tests {
    use apus_cluster::Timestamp;
    use apus_cluster::timestamp::RowTimes;

    use super::*;

    fn row(name: &str, seconds: u64, deleted: bool) -> ObjectRow {
        ObjectRow {
            name: name.to_owned(),
            times: RowTimes::all(Timestamp::from_seconds(seconds)),
            size: 0,
            content_type: String::new(),
            etag: String::new(),
            deleted,
            policy: 0,
        }
    }

    fn rows(rows: &[(&str, u64, bool)]) -> Vec<ObjectEntry> {
        rows.iter().map(|(name, at, gone)| ObjectEntry::Object(row(name, *at, *gone))).collect()
    }

    #[test]
    fn the_newest_version_of_a_row_counts_up_to_the_end_of_the_shortest_full_page() {
        for (replicas, limit, expected, is_last) in [
            (vec![vec![], vec![]], 2, vec![], true),
            (
                vec![rows(&[("a", 1, false)]), rows(&[("a", 2, true), ("b", 1, false)])],
                3,
                vec![("a", 2, true), ("b", 1, false)],
                true,
            ),
            // The first replica may have a newer "c".
            (
                vec![
                    rows(&[("a", 1, false), ("b", 1, false)]),
                    rows(&[("b", 2, false), ("c", 1, false)]),
                ],
                2,
                vec![("a", 1, false), ("b", 2, false)],
                false,
            ),
        ] {
            let merged = merge(replicas, limit);
            let expected = expected.iter().map(|(name, at, gone)| row(name, *at, *gone)).collect();
            assert_eq!(merged, MergedRows { rows: expected, is_last });
        }
    }

    #[test]
    fn names_are_rolled_up_and_subdirectories_are_skipped() {
        let names = ["a", "b/1", "b/2", "c", "d/1"];
        let page_of = |query: &ListQuery| {
            let mut page = RolledPage::new(query, &query.marker);
            let rows = names.map(|name| row(name, 1, name == "c")).to_vec();
            page.roll_up(MergedRows { rows, is_last: true });
            page.skip_subdir();
            let marker = page.marker.clone();
            let entries = page.finish();
            let entries = entries.iter().map(|entry| entry.name().to_owned()).collect::<Vec<_>>();
            (entries, marker)
        };
        let query = ListQuery { limit: 9, delimiter: "/".to_owned(), ..ListQuery::default() };
        let expected = |names: &[&str], marker: &str| {
            (names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(), marker.to_owned())
        };
        assert_eq!(page_of(&query), expected(&["a", "b/", "d/"], "d0"));
        let short = ListQuery { limit: 1, ..query.clone() };
        assert_eq!(page_of(&short), expected(&["a"], "b0"));
        let later = ListQuery { marker: "b/".to_owned(), ..query.clone() };
        assert_eq!(page_of(&later), expected(&["a", "d/"], "d0"));
        let reverse = ListQuery { limit: 2, reverse: true, ..query };
        assert_eq!(page_of(&reverse), expected(&["d/", "b/"], "d0"));
    }
}
