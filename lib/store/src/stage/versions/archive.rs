//! Swift's older versioning: what is replaced or deleted is copied to another container.
//!
//! A container names its archive. The copies of an object `o` are there as `<length>o/<time>`, where
//! the length of the name is three or more hexadecimal digits and the time is that of the copied
//! object. In the stack mode a deletion moves the newest copy back; in the history mode it leaves a
//! delete marker in the archive. Clients read the archive as any other container.
//!
//! Source: `swift/common/middleware/versioned_writes/legacy.py`.

use std::collections::VecDeque;

use apus_cluster::listing::{ListQuery, ObjectEntry, ObjectRow};
use apus_cluster::{
    ContainerName, ContainerPath, Metadata, ObjectName, ObjectPath, Timestamp, percent,
};
use apus_policy::Permission;

use super::names::MARKER_TYPE;
use super::{Versions, system};
use crate::body::LateMetadata;
use crate::context::Context;
use crate::operation::*;
use crate::{Error, Kind, Result, Subject};

/// The header of containers whose setting is older than the system metadata.
const OLDEST_HEADER: &str = "X-Versions-Location";
/// Copies that are listed at a time.
const PAGE_ROWS: usize = 100;

/// Where the copies of a container's objects are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Archive {
    container: ContainerPath,
    /// Whether deletions leave a marker, and move nothing back.
    is_history: bool,
}

impl Archive {
    /// By a container's headers.
    pub(super) fn of(container: &ContainerPath, headers: &Metadata) -> Option<Self> {
        let given = |name: &str| headers.get(name).filter(|value| !value.is_empty());
        let location = given(ARCHIVE_CONTAINER).or_else(|| given(OLDEST_HEADER))?;
        let location = percent::decode_utf8(location)?;
        let name = ContainerName::parse(location.split('/').next()?).ok()?;
        let is_history = given(ARCHIVE_MODE).is_some_and(|mode| mode == "history");
        let container = ContainerPath::new(container.account.clone(), name);
        (!container.container.is_reserved()).then_some(Self { container, is_history })
    }

    fn prefix(object: &ObjectPath) -> String {
        let name = object.object.as_str();
        format!("{:03x}{name}/", name.len())
    }

    fn copy(&self, object: &ObjectPath, time: Timestamp) -> Result<ObjectPath> {
        self.named(&format!("{}{}", Self::prefix(object), time.normal()))
    }

    fn named(&self, name: &str) -> Result<ObjectPath> {
        let name = ObjectName::parse(name).map_err(|error| Error::invalid(error.to_string()))?;
        Ok(self.container.object(name))
    }
}

/// The error when an object cannot be copied: the client's is the state of the archive.
fn not_copied(error: Error) -> Error {
    match error.kind {
        Kind::Unavailable | Kind::Overloaded => error,
        Kind::TooLarge | Kind::QuotaExceeded => error,
        _ => Error::new(Kind::PreconditionFailed, Subject::Request).because(error),
    }
}

/// The copies of an object, from the newest to the oldest, read page by page.
struct Copies<'a> {
    archive: &'a Archive,
    query: ListQuery,
    rows: VecDeque<ObjectRow>,
    is_last: bool,
}

impl<'a> Copies<'a> {
    fn of(archive: &'a Archive, object: &ObjectPath) -> Self {
        let query = ListQuery {
            limit: PAGE_ROWS,
            prefix: Some(Archive::prefix(object)),
            reverse: true,
            ..ListQuery::default()
        };
        Self { archive, query, rows: VecDeque::new(), is_last: false }
    }

    async fn next(&mut self, stage: &Versions, cx: &Context) -> Result<Option<ObjectRow>> {
        if self.rows.is_empty() && !self.is_last {
            let container = self.archive.container.clone();
            let op = ListObjects { container, query: self.query.clone() };
            let entries = match stage.next.list_objects(&system(cx), op).await {
                Err(error) if error.kind == Kind::NotFound => Vec::new(),
                list => list?.page.entries()?,
            };
            self.is_last = entries.len() < PAGE_ROWS;
            self.rows.extend(entries.into_iter().filter_map(|entry| match entry {
                ObjectEntry::Object(row) => Some(row),
                ObjectEntry::Subdir(_) => None,
            }));
            if let Some(last) = self.rows.back() {
                self.query.marker.clone_from(&last.name);
            }
        }
        Ok(self.rows.pop_front())
    }
}

impl Versions {
    /// Copies what is about to be replaced to the archive, after the caller's right to write was
    /// checked.
    pub(super) async fn keep_copy(
        &self,
        cx: &Context,
        archive: &Archive,
        object: &ObjectPath,
        permission: Permission,
    ) -> Result<()> {
        self.authorize_object(cx, permission, object, None).await?;
        self.copy_as(cx, object, |time| archive.copy(object, time)).await.map(|_| ())
    }

    /// Copies an object as it is stored; `false` when it does not exist.
    async fn copy_as(
        &self,
        cx: &Context,
        from: &ObjectPath,
        to: impl FnOnce(Timestamp) -> Result<ObjectPath> + Send,
    ) -> Result<bool> {
        let mut get = GetObject::new(from.clone());
        get.head.newest = !cx.is_strong();
        get.head.raw = true;
        get.head.link_itself = true;
        let read = match self.next.get_object(&system(cx), get).await {
            Err(error) if error.kind == Kind::NotFound => return Ok(false),
            read => read.map_err(not_copied)?,
        };
        self.clock.observe(read.head.timestamp);
        let put = PutObject {
            object: to(read.head.timestamp)?,
            length: read.length(),
            body: read.body,
            content_type: read.head.content_type,
            metadata: read.head.metadata,
            etag: None,
            timestamp: None,
            conditions: WriteConditions::default(),
            late: LateMetadata::default(),
        };
        self.next.put_object(&system(cx), put).await.map_err(not_copied)?;
        Ok(true)
    }

    /// Deletes an object of a container with an archive.
    pub(super) async fn delete_keeping_copy(
        &self,
        cx: &Context,
        archive: &Archive,
        op: DeleteObject,
    ) -> Result<Deleted> {
        if !archive.is_history {
            return self.move_back(cx, archive, op).await;
        }
        self.keep_copy(cx, archive, &op.object, Permission::DeleteObject).await?;
        let marker = PutObject {
            object: archive.copy(&op.object, self.clock.stamp())?,
            body: apus_daemon::http::empty(),
            length: Some(0),
            content_type: MARKER_TYPE.to_owned(),
            metadata: Metadata::new(),
            etag: None,
            timestamp: None,
            conditions: WriteConditions::default(),
            late: LateMetadata::default(),
        };
        self.next.put_object(&system(cx), marker).await.map_err(not_copied)?;
        self.next.delete_object(cx, op).await
    }

    /// Replaces an object by the newest copy, or deletes it where there is none.
    async fn move_back(
        &self,
        cx: &Context,
        archive: &Archive,
        op: DeleteObject,
    ) -> Result<Deleted> {
        self.authorize_object(cx, Permission::DeleteObject, &op.object, None).await?;
        let mut copies = Copies::of(archive, &op.object);
        while let Some(row) = copies.next(self, cx).await? {
            let copy = archive.named(&row.name)?;
            if row.content_type == MARKER_TYPE {
                if self.exists(cx, &op.object).await? {
                    // The name is deleted again, as the marker says.
                    break;
                }
                self.move_back_before(cx, &mut copies, &op.object).await?;
                return self.next.delete_object(&system(cx), DeleteObject::new(copy)).await;
            }
            // The row of a copy may be left where the copy is gone.
            if self.copy_as(cx, &copy, |_| Ok(op.object.clone())).await? {
                return self.next.delete_object(&system(cx), DeleteObject::new(copy)).await;
            }
        }
        self.next.delete_object(cx, op).await
    }

    /// Moves the newest copy back that is older than a delete marker, unless that is a marker, too.
    async fn move_back_before(
        &self,
        cx: &Context,
        copies: &mut Copies<'_>,
        object: &ObjectPath,
    ) -> Result<()> {
        while let Some(row) = copies.next(self, cx).await? {
            if row.content_type == MARKER_TYPE {
                return Ok(());
            }
            let copy = copies.archive.named(&row.name)?;
            if self.copy_as(cx, &copy, |_| Ok(object.clone())).await? {
                let deletion = DeleteObject::new(copy);
                return super::delete::or_absent(
                    self.next.delete_object(&system(cx), deletion).await,
                );
            }
        }
        Ok(())
    }

    async fn exists(&self, cx: &Context, object: &ObjectPath) -> Result<bool> {
        let head = HeadObject {
            newest: !cx.is_strong(),
            raw: true,
            link_itself: true,
            ..HeadObject::new(object.clone())
        };
        match self.next.head_object(&system(cx), head).await {
            Err(error) if error.kind == Kind::NotFound => Ok(false),
            found => found.map(|_| true).map_err(not_copied),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::memory_store::{container, object};
    use super::*;

    #[test]
    fn copies_have_the_names_that_swift_writes() {
        let of = |pairs: &[(&str, &str)]| {
            let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            Archive::of(&container("c"), &pairs.iter().map(pair).collect())
        };
        let archive = of(&[(ARCHIVE_CONTAINER, "old%20ones/x"), (ARCHIVE_MODE, "stack")]).unwrap();
        assert_eq!(
            (archive.container.to_string().as_str(), archive.is_history),
            ("/a/old ones", false)
        );
        let time = Timestamp::parse("1700000000.12345").unwrap();
        let name = archive.copy(&object("c/o/ü"), time).unwrap();
        assert_eq!(name.object.as_str(), "004o/ü/1700000000.12345");
        assert!(of(&[(ARCHIVE_CONTAINER, "v"), (ARCHIVE_MODE, "history")]).unwrap().is_history);
        assert!(of(&[(OLDEST_HEADER, "v")]).is_some());
        for name in ["", "%00versions%00c", "%ff"] {
            assert_eq!(of(&[(ARCHIVE_CONTAINER, name)]), None, "{name}");
        }
    }
}
