//! A store in memory for tests of stages, which counts requests.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use apus_cluster::byte_range::Resolution;
use apus_cluster::listing::{ObjectEntry, ObjectRow};
use apus_cluster::timestamp::RowTimes;
use apus_cluster::{
    AccountName, ContainerName, ContainerPath, Metadata, ObjectName, ObjectPath, Timestamp,
};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Notify;

use crate::body::collect;
use crate::context::{Authority, Context};
use crate::operation::*;
use crate::{Error, Kind, LinkStore, Primitive, Result, Subject, VersionStore};

/// Reads of an object of this name never end.
pub(crate) const STALLED: &str = "stalled";

/// A container of the account of tests.
pub(crate) fn container(name: &str) -> ContainerPath {
    ContainerPath::new(AccountName::parse("a").unwrap(), ContainerName::parse(name).unwrap())
}

/// An object of that account, as `container/object`.
pub(crate) fn object(name: &str) -> ObjectPath {
    let (container_name, object) = name.split_once('/').unwrap();
    container(container_name).object(ObjectName::parse(object).unwrap())
}

/// The context of a client's request.
pub(crate) fn test_context() -> Context {
    Context { authority: Authority::Caller, ..Context::system("test", "tx") }
}

#[derive(Debug, Clone)]
struct MemoryObject {
    body: Bytes,
    metadata: Metadata,
    content_type: String,
}

impl MemoryObject {
    fn head(&self) -> ObjectHead {
        ObjectHead {
            length: self.body.len() as u64,
            etag: format!("{:x}", md5::compute(&self.body)),
            content_type: self.content_type.clone(),
            metadata: self.metadata.clone(),
            ..ObjectHead::default()
        }
    }
}

/// A store in memory.
#[derive(Debug, Default)]
pub(crate) struct MemoryStore {
    objects: Mutex<BTreeMap<(String, String), MemoryObject>>,
    /// Objects that callers may not delete.
    kept: Mutex<HashSet<ObjectPath>>,
    /// Whether containers cannot be read; else all exist, without settings.
    pub(crate) has_no_containers: AtomicBool,
    gets: AtomicUsize,
    heads: AtomicUsize,
    lists: AtomicUsize,
    /// Notified when a read of [`STALLED`] begins.
    pub(crate) stalled: Notify,
    /// Notified when such a read is cancelled.
    pub(crate) cancelled: Arc<Notify>,
}

struct NotifyOnDrop(Arc<Notify>);

impl Drop for NotifyOnDrop {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

fn key(path: &ObjectPath) -> (String, String) {
    (path.container.container.to_string(), path.object.to_string())
}

fn not_found() -> Error {
    Error::new(Kind::NotFound, Subject::Object)
}

impl MemoryStore {
    fn objects(&self) -> std::sync::MutexGuard<'_, BTreeMap<(String, String), MemoryObject>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes an object without metadata.
    pub(crate) fn put(&self, name: &str, body: &[u8]) {
        self.put_with(name, body, &[]);
    }

    /// Writes an object with metadata.
    pub(crate) fn put_with(&self, name: &str, body: &[u8], metadata: &[(&str, &str)]) {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let stored = MemoryObject {
            body: Bytes::copy_from_slice(body),
            metadata: metadata.iter().map(pair).collect(),
            content_type: "text/plain".to_owned(),
        };
        self.objects().insert(key(&object(name)), stored);
    }

    /// Makes deletions of an object fail.
    pub(crate) fn keep(&self, name: &str) {
        self.kept.lock().unwrap().insert(object(name));
    }

    /// Names of all objects, as `container/object`.
    pub(crate) fn names(&self) -> Vec<String> {
        self.objects().keys().map(|(container, object)| format!("{container}/{object}")).collect()
    }

    /// Length of an object in bytes, if it exists.
    pub(crate) fn length(&self, name: &str) -> Option<usize> {
        self.objects().get(&key(&object(name))).map(|object| object.body.len())
    }

    /// Number of reads so far.
    pub(crate) fn gets(&self) -> usize {
        self.gets.load(Ordering::Relaxed)
    }

    /// Number of HEAD requests so far.
    pub(crate) fn heads(&self) -> usize {
        self.heads.load(Ordering::Relaxed)
    }

    /// Number of listed pages so far.
    pub(crate) fn listed(&self) -> usize {
        self.lists.load(Ordering::Relaxed)
    }
}

/// Refuses operations that no test needs.
macro_rules! refuse {
    ($($name:ident),+ $(,)?) => {
        $(crate::store::operation!($name(self, _cx, _op) {
            Box::pin(async { Err(crate::Error::unavailable(stringify!($name))) })
        });)+
    };
}
pub(crate) use refuse;

#[async_trait]
impl Primitive for MemoryStore {
    async fn authorize(&self, _: &Context, _: Authorize) -> Result<()> {
        Ok(())
    }

    async fn head_object(&self, _: &Context, op: HeadObject) -> Result<ObjectHead> {
        self.heads.fetch_add(1, Ordering::Relaxed);
        self.objects().get(&key(&op.object)).map(MemoryObject::head).ok_or_else(not_found)
    }

    async fn get_object(&self, _: &Context, op: GetObject) -> Result<ObjectRead> {
        self.gets.fetch_add(1, Ordering::Relaxed);
        if op.head.object.object.as_str() == STALLED {
            let _cancelled = NotifyOnDrop(self.cancelled.clone());
            self.stalled.notify_one();
            return std::future::pending().await;
        }
        let stored = self.objects().get(&key(&op.head.object)).cloned().ok_or_else(not_found)?;
        let head = stored.head();
        let ignored = op.ignore_range_if.as_deref().unwrap_or_default();
        let ranges = op.ranges.filter(|_| !ignored.split(',').any(|name| head.get(name).is_some()));
        let (served, body) = match ranges.map(|ranges| ranges.resolve(head.length)) {
            None | Some(Resolution::Whole) => (Served::Whole, stored.body),
            Some(Resolution::Unsatisfiable) => {
                let kind = Kind::RangeNotSatisfiable { size: head.length };
                return Err(Error::new(kind, Subject::Object));
            }
            Some(Resolution::Ranges(ranges)) => {
                let one = ranges[0];
                let index = |at: u64| usize::try_from(at).unwrap();
                let body = stored.body.slice(index(one.start)..index(one.start + one.length));
                (Served::Ranges(ranges), body)
            }
        };
        Ok(ObjectRead { head, served, body: apus_daemon::http::full(body) })
    }

    async fn put_object(&self, _: &Context, op: PutObject) -> Result<ObjectWritten> {
        let body = collect(op.body, u64::MAX).await?;
        let etag = format!("{:x}", md5::compute(&body));
        let mut metadata = op.metadata;
        metadata.extend(op.late.take());
        let stored = MemoryObject { body, metadata, content_type: op.content_type };
        self.objects().insert(key(&op.object), stored);
        Ok(ObjectWritten { etag, ..ObjectWritten::default() })
    }

    async fn delete_object(&self, _: &Context, op: DeleteObject) -> Result<Deleted> {
        if self.kept.lock().unwrap().contains(&op.object) {
            return Err(Error::new(Kind::Forbidden, Subject::Request));
        }
        self.objects().remove(&key(&op.object)).ok_or_else(not_found)?;
        Ok(Deleted { deleted: 1, ..Deleted::default() })
    }

    async fn list_objects(&self, _: &Context, op: ListObjects) -> Result<ObjectList> {
        self.lists.fetch_add(1, Ordering::Relaxed);
        let name = op.container.container.to_string();
        let prefix = op.query.prefix.unwrap_or_default();
        let begin = (name.clone(), prefix.clone().max(op.query.marker.clone()));
        let objects = self.objects();
        let rows = objects
            .range(begin..)
            .take_while(|((container, _), _)| *container == name)
            .filter(|((_, object), _)| *object > op.query.marker)
            .take_while(|((_, object), _)| object.starts_with(&prefix))
            .take(op.query.limit)
            .map(|((_, object), stored)| {
                let head = stored.head();
                let time = Timestamp::ZERO;
                ObjectEntry::Object(ObjectRow {
                    name: object.clone(),
                    times: RowTimes { data: time, content_type: time, meta: time },
                    size: head.length,
                    content_type: head.content_type,
                    etag: head.etag,
                    deleted: false,
                    policy: 0,
                })
            });
        let page = Page::Entries(rows.collect());
        Ok(ObjectList { page, ..ObjectList::default() })
    }

    async fn container_info(
        &self,
        _cx: &Context,
        _op: HeadContainer,
    ) -> Result<Arc<ContainerHead>> {
        match self.has_no_containers.load(Ordering::Relaxed) {
            true => Err(Error::unavailable("no database answered")),
            false => Ok(Arc::default()),
        }
    }

    refuse!(
        account_info,
        head_account,
        list_containers,
        post_account,
        put_account,
        delete_account,
        head_container,
        put_container,
        post_container,
        delete_container,
        post_object,
        update_object,
        queue_deletions,
        update_queue,
    );
}

impl VersionStore for MemoryStore {
    refuse!(list_versions, restore_version);
}

impl LinkStore for MemoryStore {
    refuse!(put_symlink);
}
