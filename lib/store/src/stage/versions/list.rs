//! Listings of versions: the rows of the hidden container, merged with those of the visible one.
//!
//! Both are sorted by key. The visible container has the null version of a key or the link that says
//! which version is current; the hidden one has all others. Both are read page by page as they are
//! merged.

use std::collections::VecDeque;

use apus_cluster::constraints::LISTING_PAGE_MAX;
use apus_cluster::listing::{ListQuery, ObjectEntry, ObjectRow, after_prefix, common_prefix};
use apus_cluster::{ContainerPath, ObjectName, ObjectPath, Timestamp, percent};
use apus_policy::Permission;

use super::current::Current;
use super::names::{VersionRow, VersionedContainer, parse_version, prefix};
use super::{Versions, system};
use crate::context::Context;
use crate::operation::*;
use crate::{Error, Kind, Result};

/// Rows of the hidden container that are read at a time to find the null version of one object.
const NULL_ROWS: usize = 1000;
/// Likewise, where only the newest versions count.
const NEW_ROWS: usize = 8;

impl Versions {
    /// The newest versions of an object, from the newest to the oldest.
    pub(super) async fn rows(
        &self,
        cx: &Context,
        versioned: &VersionedContainer,
        object: &ObjectPath,
        limit: usize,
    ) -> Result<Vec<VersionRow>> {
        let marker = String::new();
        self.rows_after(cx, &versioned.hidden, object, (marker, limit)).await
    }

    async fn rows_after(
        &self,
        cx: &Context,
        hidden: &ContainerPath,
        object: &ObjectPath,
        (marker, limit): (String, usize),
    ) -> Result<Vec<VersionRow>> {
        let prefix = Some(prefix(object.object.as_str()));
        let query = ListQuery { limit, marker, prefix, reserved: true, ..ListQuery::default() };
        let op = ListObjects { container: hidden.clone(), query };
        let entries = match self.next.list_objects(&system(cx), op).await {
            Err(error) if error.kind == Kind::NotFound => Vec::new(),
            list => list?.page.entries()?,
        };
        Ok(entries
            .into_iter()
            .filter_map(|entry| match entry {
                ObjectEntry::Object(row) => VersionRow::parse(row),
                ObjectEntry::Subdir(_) => None,
            })
            .filter(|row| row.key == object.object.as_str())
            .collect())
    }

    /// The times of the null versions of an object that are in the hidden container: at most one,
    /// unless a write was interrupted. With `since` only newer ones, which are few.
    pub(super) async fn nulls(
        &self,
        cx: &Context,
        versioned: &VersionedContainer,
        object: &ObjectPath,
        since: Option<Timestamp>,
    ) -> Result<Vec<Timestamp>> {
        let limit = if since.is_some() { NEW_ROWS } else { NULL_ROWS };
        let is_new = |row: &VersionRow| since.is_none_or(|since| row.time > since);
        let mut found = Vec::new();
        let mut marker = String::new();
        loop {
            let from = (std::mem::take(&mut marker), limit);
            let rows = self.rows_after(cx, &versioned.hidden, object, from).await?;
            let nulls = rows.iter().filter(|row| row.is_null && is_new(row));
            found.extend(nulls.map(|row| row.time));
            match rows.last() {
                Some(last) if rows.len() >= limit && is_new(last) => {
                    marker.clone_from(&last.row.name);
                }
                _ => return Ok(found),
            }
        }
    }

    pub(super) async fn list(&self, cx: &Context, op: ListVersions) -> Result<VersionList> {
        self.authorize_container(cx, Permission::ListBucketVersions, &op.container).await?;
        let head = HeadContainer { container: op.container.clone() };
        let info = self.next.container_info(cx, head).await?;
        let versioned = VersionedContainer::of(&op.container, &info.headers);
        let system = system(cx);
        let resumed = self.resumed(cx, versioned.as_ref(), &op).await?;
        let visible = Pages::visible(&op);
        let hidden = versioned.as_ref().map(|versioned| Pages::hidden(&versioned.hidden, &op));
        let mut merge = Merge { op, visible, hidden, resumed, list: VersionList::default() };
        while merge.step(self, &system).await? {}
        Ok(merge.list)
    }

    /// The current version of the key within whose versions the page begins.
    async fn resumed(
        &self,
        cx: &Context,
        versioned: Option<&VersionedContainer>,
        op: &ListVersions,
    ) -> Result<Option<Resumed>> {
        let (Some(versioned), Some(after)) = (versioned, op.version_marker) else {
            return Ok(None);
        };
        let Ok(name) = ObjectName::parse(&op.key_marker) else { return Ok(None) };
        let object = op.container.object(name);
        let current = self.current(cx, versioned, &object).await?;
        // Without a time: the null version is the first one, in the visible container.
        let after = match after {
            VersionId::At(time) => Some(time),
            VersionId::Null if current.is_plain() => None,
            VersionId::Null => self.nulls(cx, versioned, &object, None).await?.into_iter().next(),
        };
        Ok(Some(Resumed { current, after }))
    }
}

/// A key within whose versions a page begins.
struct Resumed {
    current: Current,
    /// The version after which it begins.
    after: Option<Timestamp>,
}

/// The entries of one container, read page by page.
struct Pages {
    container: ContainerPath,
    query: ListQuery,
    entries: VecDeque<ObjectEntry>,
    is_last: bool,
}

/// Whether the server can roll up names by this delimiter although versions have times in theirs.
fn is_safe(delimiter: &str) -> bool {
    !delimiter.contains(|c: char| c.is_ascii_digit() || c == '.' || c == '\0')
}

impl Pages {
    fn visible(op: &ListVersions) -> Self {
        let query = ListQuery { marker: op.key_marker.clone(), ..Self::query(op, "") };
        Self::new(&op.container, query)
    }

    fn hidden(container: &ContainerPath, op: &ListVersions) -> Self {
        let marker = match (op.key_marker.as_str(), op.version_marker) {
            ("", _) => String::new(),
            // Past all times, which are digits.
            (key, None) => format!("{}:", prefix(key)),
            (key, Some(VersionId::At(time))) => {
                format!("{}{}", prefix(key), time.inverted().normal())
            }
            (key, Some(VersionId::Null)) => prefix(key),
        };
        let query = ListQuery { marker, reserved: true, ..Self::query(op, "\0") };
        Self::new(container, query)
    }

    fn query(op: &ListVersions, first: &str) -> ListQuery {
        let delimiter = if is_safe(&op.delimiter) { op.delimiter.clone() } else { String::new() };
        ListQuery {
            limit: op.limit.saturating_add(1).min(LISTING_PAGE_MAX),
            prefix: Some(format!("{first}{}", op.prefix)).filter(|prefix| !prefix.is_empty()),
            delimiter,
            ..ListQuery::default()
        }
    }

    fn new(container: &ContainerPath, query: ListQuery) -> Self {
        Self { container: container.clone(), query, entries: VecDeque::new(), is_last: false }
    }

    /// Reads the next page if all entries were taken.
    async fn fill(&mut self, stage: &Versions, system: &Context) -> Result<()> {
        while self.entries.is_empty() && !self.is_last {
            let op = ListObjects { container: self.container.clone(), query: self.query.clone() };
            let entries = match stage.next.list_objects(system, op).await {
                Err(error) if error.kind == Kind::NotFound && self.query.reserved => Vec::new(),
                list => list?.page.entries()?,
            };
            self.is_last = entries.len() < self.query.limit;
            if let Some(last) = entries.last() {
                self.query.marker = match last {
                    ObjectEntry::Object(row) => row.name.clone(),
                    ObjectEntry::Subdir(name) => past_prefix(name),
                };
            }
            self.entries = entries.into();
        }
        Ok(())
    }

    /// Skips the names with a prefix that was rolled up.
    fn skip(&mut self, start: &str) {
        while self.entries.front().is_some_and(|entry| entry.name().starts_with(start)) {
            self.entries.pop_front();
        }
        if self.entries.is_empty() {
            let past = past_prefix(start);
            if self.query.marker < past {
                self.query.marker = past;
            }
        }
    }
}

/// A marker past all names with a prefix.
fn past_prefix(prefix: &str) -> String {
    let past = after_prefix(prefix.as_bytes()).and_then(|bytes| String::from_utf8(bytes).ok());
    // Where the last character has no successor of the same length, the greatest character is as
    // good: names that continue with it do not exist in practice, and would only be listed twice.
    past.unwrap_or_else(|| format!("{prefix}\u{10ffff}"))
}

/// The key of an entry of the hidden container.
fn hidden_key(entry: &ObjectEntry) -> Option<&str> {
    match entry {
        ObjectEntry::Object(row) => parse_version(&row.name).map(|(key, _)| key),
        ObjectEntry::Subdir(name) => name.strip_prefix('\0'),
    }
}

/// The time of the version to which the row of a link leads.
pub(super) fn linked_time(row: &ObjectRow) -> Option<Timestamp> {
    let path = row.etag.split(';').find_map(|word| word.trim().strip_prefix("symlink_target="))?;
    let path = percent::decode_utf8(path)?;
    let (container, object) = path.split_once('/')?;
    super::names::visible(container)?;
    parse_version(object).map(|(_, time)| time)
}

/// Etag and size in bytes of the version to which the row of a link leads.
pub(crate) fn listed_version(row: &ObjectRow) -> Option<(String, u64)> {
    linked_time(row)?;
    let word = |name: &str| {
        row.etag.split(';').find_map(|word| word.trim().strip_prefix(name)?.strip_prefix('='))
    };
    Some((word("symlink_target_etag")?.to_owned(), word("symlink_target_bytes")?.parse().ok()?))
}

/// The merge of both listings.
struct Merge {
    op: ListVersions,
    visible: Pages,
    hidden: Option<Pages>,
    resumed: Option<Resumed>,
    list: VersionList,
}

/// What the visible container has for a key.
enum VisibleRow {
    Absent,
    Null(ObjectRow),
    Link(Timestamp),
}

impl Merge {
    /// Adds an entry; `false` when the page is full, and the next one begins here.
    fn push(&mut self, entry: VersionEntry) -> bool {
        if self.list.entries.len() >= self.op.limit {
            self.list.next = self.list.entries.last().map(|last| match last {
                VersionEntry::Version(version) => (version.key.clone(), Some(version.id)),
                VersionEntry::Prefix(name) => (name.clone(), None),
            });
            return false;
        }
        self.list.entries.push(entry);
        true
    }

    /// Merges the next key or prefix; `false` at the end.
    async fn step(&mut self, stage: &Versions, system: &Context) -> Result<bool> {
        if self.op.limit == 0 {
            return Ok(false);
        }
        if let Some(resumed) = self.resumed.take() {
            return self.resume(stage, system, resumed).await;
        }
        self.visible.fill(stage, system).await?;
        let visible = self.visible.entries.front().map(|entry| entry.name().to_owned());
        let hidden = match &mut self.hidden {
            Some(pages) => loop {
                pages.fill(stage, system).await?;
                let Some(entry) = pages.entries.front() else { break None };
                match hidden_key(entry) {
                    Some(key) => break Some(key.to_owned()),
                    // Something else in the reserved namespace.
                    None => drop(pages.entries.pop_front()),
                }
            },
            None => None,
        };
        let key = match (visible, hidden) {
            (Some(visible), Some(hidden)) => visible.min(hidden),
            (Some(key), None) | (None, Some(key)) => key,
            (None, None) => return Ok(false),
        };
        if let Some(prefix) = common_prefix(&key, &self.op.prefix, &self.op.delimiter) {
            let prefix = prefix.to_owned();
            self.visible.skip(&prefix);
            if let Some(pages) = &mut self.hidden {
                pages.skip(&format!("\0{prefix}"));
            }
            // The prefix after which the page begins was listed before.
            return Ok(
                self.op.key_marker.starts_with(&prefix) || self.push(VersionEntry::Prefix(prefix))
            );
        }
        let row = match self.visible.entries.front() {
            Some(ObjectEntry::Object(row)) if row.name == key => self.visible.entries.pop_front(),
            _ => None,
        };
        let row = match row {
            Some(ObjectEntry::Object(row)) => match linked_time(&row) {
                Some(time) if self.hidden.is_some() => VisibleRow::Link(time),
                _ => VisibleRow::Null(row),
            },
            _ => VisibleRow::Absent,
        };
        self.versions_of(stage, system, (key, row, true)).await
    }

    /// Continues within the versions of a key.
    async fn resume(
        &mut self,
        stage: &Versions,
        system: &Context,
        resumed: Resumed,
    ) -> Result<bool> {
        let key = self.op.key_marker.clone();
        if let (Some(pages), Some(after)) = (&mut self.hidden, resumed.after) {
            pages.query.marker = format!("{}{}", prefix(&key), after.inverted().normal());
        }
        let row = match resumed.current {
            Current::Link(_, time) => VisibleRow::Link(time),
            // It was listed before, or is not the version of a marker: neither is listed here.
            Current::Plain(_) | Current::Absent(_) => VisibleRow::Absent,
        };
        self.versions_of(stage, system, (key, row, false)).await
    }

    /// Adds the versions of one key; `false` when the page is full.
    async fn versions_of(
        &mut self,
        stage: &Versions,
        system: &Context,
        (key, row, mut is_first): (String, VisibleRow, bool),
    ) -> Result<bool> {
        let mut has_null = false;
        let mut current = None;
        let mut is_hidden = false;
        match row {
            VisibleRow::Null(row) => {
                (has_null, is_first) = (true, false);
                let version = ListedVersion {
                    key: key.clone(),
                    id: VersionId::Null,
                    is_latest: true,
                    delete_marker: false,
                    row,
                };
                if !self.push(VersionEntry::Version(Box::new(version))) {
                    return Ok(false);
                }
            }
            VisibleRow::Link(time) => current = Some(time),
            VisibleRow::Absent => is_hidden = true,
        }
        loop {
            let Some(pages) = &mut self.hidden else { return Ok(true) };
            pages.fill(stage, system).await?;
            if pages.entries.front().and_then(hidden_key) != Some(key.as_str()) {
                return Ok(true);
            }
            let Some(ObjectEntry::Object(row)) = pages.entries.pop_front() else {
                return Ok(true);
            };
            let version = VersionRow::parse(row)
                .ok_or_else(|| Error::unavailable("a row of a version changed"))?;
            // Left over from an interrupted write: the visible one replaced it.
            if version.is_null && has_null {
                continue;
            }
            has_null |= version.is_null;
            let delete_marker = version.is_marker();
            let is_latest = match current {
                Some(time) => time == version.time,
                None => is_hidden && is_first && delete_marker,
            };
            is_first = false;
            let listed = ListedVersion {
                id: version.id(),
                is_latest,
                delete_marker,
                row: version.row,
                key: version.key,
            };
            if !self.push(VersionEntry::Version(Box::new(listed))) {
                return Ok(false);
            }
        }
    }
}
