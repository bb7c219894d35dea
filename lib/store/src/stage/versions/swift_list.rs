//! Swift's listing of versions: one page of each container, merged by name.
//!
//! As in Swift, the link that says which version is current is known only where it is within the page
//! of the visible container: a page that begins within the versions of an object does not have it.
//!
//! Source: `_list_versions` in `swift/common/middleware/versioned_writes/object_versioning.py`.

use std::collections::{BTreeSet, HashMap, HashSet};

use apus_cluster::Timestamp;
use apus_cluster::listing::{ListQuery, ObjectEntry, ObjectRow};

use super::list::linked_time;
use super::names::{VersionRow, VersionedContainer, parse_version, prefix};
use super::{Versions, system};
use crate::context::Context;
use crate::operation::*;
use crate::{Error, Kind, Result};

/// Characters of version ids, by which names cannot be rolled up.
const OF_IDS: &str = "0123456789.\0";

/// The page of the hidden container that belongs to a page of the visible one.
fn hidden_query(op: &ListVersions) -> ListQuery {
    // Past all times, which are digits.
    let past = |key: &str| format!("{}:", prefix(key));
    let marker = match (op.key_marker.as_str(), op.version_marker, op.reverse) {
        ("", ..) => String::new(),
        (key, Some(VersionId::At(time)), _) => {
            format!("{}{}", prefix(key), time.inverted().normal())
        }
        // The null version is listed before the others of its key in both directions.
        (key, None, false) | (key, Some(VersionId::Null), true) => past(key),
        (key, Some(VersionId::Null), false) | (key, None, true) => prefix(key),
    };
    let end_marker = match (op.end_marker.as_str(), op.reverse) {
        ("", _) => String::new(),
        (key, false) => prefix(key),
        (key, true) => past(key),
    };
    ListQuery {
        marker,
        end_marker,
        prefix: Some(format!("\0{}", op.prefix)),
        reserved: true,
        ..visible_query(op)
    }
}

fn visible_query(op: &ListVersions) -> ListQuery {
    ListQuery {
        limit: op.limit,
        marker: op.key_marker.clone(),
        end_marker: op.end_marker.clone(),
        prefix: Some(op.prefix.clone()).filter(|prefix| !prefix.is_empty()),
        delimiter: op.delimiter.clone(),
        path: None,
        reverse: op.reverse,
        reserved: false,
    }
}

impl Versions {
    pub(super) async fn list_as_swift(
        &self,
        cx: &Context,
        op: ListVersions,
    ) -> Result<VersionList> {
        if op.delimiter.contains(|c| OF_IDS.contains(c)) {
            return Err(Error::invalid("invalid delimiter param"));
        }
        let container = op.container.clone();
        let visible = ListObjects { container: container.clone(), query: visible_query(&op) };
        let visible = self.objects(cx, visible).await?;
        let hidden = match VersionedContainer::of(&container, &visible.head.headers) {
            None => Vec::new(),
            Some(versioned) => {
                let query = hidden_query(&op);
                let hidden = ListObjects { container: versioned.hidden, query };
                match self.next.list_objects(&system(cx), hidden).await {
                    Err(error) if error.kind == Kind::NotFound => Vec::new(),
                    list => list?.page.entries()?,
                }
            }
        };
        let entries = merge(visible.page.entries()?, hidden, &op);
        Ok(VersionList { head: visible.head, entries, next: None })
    }
}

/// The listed version of a row.
fn listed(key: String, id: VersionId, is_latest: bool, row: ObjectRow) -> VersionEntry {
    let delete_marker = row.content_type == super::names::MARKER_TYPE;
    VersionEntry::Version(Box::new(ListedVersion { key, id, is_latest, delete_marker, row }))
}

/// Merges a page of the visible container with one of the hidden one, and takes the first entries.
fn merge(
    visible: Vec<ObjectEntry>,
    hidden: Vec<ObjectEntry>,
    op: &ListVersions,
) -> Vec<VersionEntry> {
    let mut prefixes = BTreeSet::new();
    let mut entries = Vec::new();
    let mut latest = HashSet::new();
    let mut links: HashMap<(String, Timestamp), ObjectRow> = HashMap::new();
    for entry in visible {
        match entry {
            ObjectEntry::Subdir(name) => drop(prefixes.insert(name)),
            ObjectEntry::Object(row) => match linked_time(&row) {
                Some(time) => drop(links.insert((row.name.clone(), time), row)),
                None => {
                    latest.insert(row.name.clone());
                    entries.push(listed(row.name.clone(), VersionId::Null, true, row));
                }
            },
        }
    }
    // A delete marker is the latest where it is newer than all and nothing is visible, in either order.
    latest.extend(links.keys().map(|(key, _)| key.clone()));
    let newest = newest_times(&hidden);
    for entry in hidden {
        let row = match entry {
            ObjectEntry::Subdir(name) => {
                prefixes.extend(name.strip_prefix('\0').map(str::to_owned));
                continue;
            }
            ObjectEntry::Object(row) => row,
        };
        let Some(version) = VersionRow::parse(row) else { continue };
        let VersionRow { key, time, .. } = &version;
        let is_linked = links.remove(&(key.clone(), *time)).is_some();
        let is_hiding = !latest.contains(key) && newest.get(key) == Some(time);
        let is_latest = is_linked || (version.is_marker() && is_hiding);
        entries.push(listed(version.key, VersionId::At(version.time), is_latest, version.row));
    }
    entries.extend(prefixes.into_iter().map(VersionEntry::Prefix));
    // Links whose versions are on another page, or have no row yet.
    for ((key, time), row) in links {
        entries.push(listed(key, VersionId::At(time), true, row));
    }
    // The order of the versions of a key stays as it is.
    entries.sort_by(|one, other| match op.reverse {
        true => name_of(other).cmp(name_of(one)),
        false => name_of(one).cmp(name_of(other)),
    });
    entries.truncate(op.limit);
    entries
}

/// The time of the newest version of each key in a page of a hidden container.
fn newest_times(hidden: &[ObjectEntry]) -> HashMap<String, Timestamp> {
    let mut newest = HashMap::new();
    for entry in hidden {
        let ObjectEntry::Object(row) = entry else { continue };
        let Some((key, time)) = parse_version(&row.name) else { continue };
        let known = newest.entry(key.to_owned()).or_insert(time);
        *known = time.max(*known);
    }
    newest
}

fn name_of(entry: &VersionEntry) -> &str {
    match entry {
        VersionEntry::Version(version) => &version.key,
        VersionEntry::Prefix(name) => name,
    }
}

#[cfg(test)]
mod tests {
    use apus_cluster::timestamp::RowTimes;

    use super::super::super::memory_store::container;
    use super::super::names::MARKER_TYPE;
    use super::*;

    fn list(limit: usize, reverse: bool) -> ListVersions {
        ListVersions {
            container: container("c"),
            prefix: String::new(),
            delimiter: String::new(),
            key_marker: String::new(),
            version_marker: None,
            end_marker: String::new(),
            reverse,
            limit,
        }
    }

    fn row(name: &str, etag: &str, content_type: &str) -> ObjectEntry {
        ObjectEntry::Object(ObjectRow {
            name: name.to_owned(),
            times: RowTimes::all(Timestamp::ZERO),
            size: 1,
            content_type: content_type.to_owned(),
            etag: etag.to_owned(),
            deleted: false,
            policy: 0,
        })
    }

    fn time(seconds: u64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn version(key: &str, seconds: u64, content_type: &str) -> ObjectEntry {
        let name = format!("{}{}", prefix(key), time(seconds).inverted().normal());
        row(&name, "e", content_type)
    }

    fn link(key: &str, seconds: u64) -> ObjectEntry {
        let target = format!("{}{}", prefix(key), time(seconds).inverted().normal());
        let target = apus_cluster::percent::encode_path(&format!("\0versions\0c/{target}"));
        row(key, &format!("d; symlink_target={target}; symlink_target_bytes=1"), "a/b")
    }

    fn shown(entries: &[VersionEntry]) -> Vec<String> {
        let show = |entry: &VersionEntry| match entry {
            VersionEntry::Prefix(name) => name.clone(),
            VersionEntry::Version(version) => {
                let id = match version.id {
                    VersionId::Null => "null".to_owned(),
                    VersionId::At(time) => time.seconds().to_string(),
                };
                format!("{} {id}{}", version.key, if version.is_latest { " latest" } else { "" })
            }
        };
        entries.iter().map(show).collect()
    }

    #[test]
    fn both_pages_are_merged_by_name() {
        let visible = vec![row("a", "e", "a/b"), link("b", 5)];
        let hidden = || {
            vec![
                version("a", 3, "a/b"),
                version("b", 5, "a/b"),
                version("b", 4, MARKER_TYPE),
                version("c", 9, MARKER_TYPE),
                version("c", 8, "a/b"),
                ObjectEntry::Subdir("\0d/".to_owned()),
            ]
        };
        let all = ["a null latest", "a 3", "b 5 latest", "b 4", "c 9 latest", "c 8", "d/"];
        let merged = merge(visible.clone(), hidden(), &list(100, false));
        assert_eq!(shown(&merged), all);
        assert_eq!(shown(&merge(visible.clone(), hidden(), &list(3, false))), all[..3]);
        let reversed = hidden().into_iter().rev().collect();
        let merged = merge(visible.into_iter().rev().collect(), reversed, &list(100, true));
        let expected = ["d/", "c 8", "c 9 latest", "b 4", "b 5 latest", "a null latest", "a 3"];
        assert_eq!(shown(&merged), expected);
    }

    #[test]
    fn a_link_without_the_row_of_its_version_is_listed() {
        let merged = merge(vec![link("k", 7)], Vec::new(), &list(10, false));
        assert_eq!(shown(&merged), ["k 7 latest"]);
    }

    #[test]
    fn markers_lead_to_the_place_between_two_versions() {
        let query = |key: &str, id: Option<VersionId>, reverse: bool| {
            let op = ListVersions {
                key_marker: key.to_owned(),
                version_marker: id,
                ..list(10, reverse)
            };
            hidden_query(&op).marker
        };
        assert_eq!(query("", None, false), "");
        assert_eq!(query("k", None, false), "\0k\0:");
        assert_eq!(query("k", None, true), "\0k\0");
        assert_eq!(query("k", Some(VersionId::Null), false), "\0k\0");
        assert_eq!(query("k", Some(VersionId::Null), true), "\0k\0:");
        let at = Some(VersionId::At(time(1_700_000_000)));
        assert_eq!(query("k", at, false), "\0k\08299999999.99999");
    }
}
