//! Which parts of multipart uploads are needed, and the deletion of those that are not.
//!
//! Parts belong to an upload while its marker exists, then to the object or version that it created.
//! Both never come back once they are gone. A manifest of a client that names parts of an upload
//! leaves a pin with them first, and then checks that they still have an owner ([`pin`]). Parts are
//! deleted in the opposite order: their owner is gone, then no pin exists ([`reclaim`]). With strong
//! reads one of the two sees the other, so that no manifest is left without its parts.
//!
//! Names after `<key>/<upload id>/` that are not those of parts are numbers as well (`0`, `00`), since
//! Swift's s3api takes every other name for the marker of an upload.

use std::collections::{BTreeSet, HashMap, HashSet};

use apus_cluster::listing::{ListQuery, ObjectEntry};
use apus_cluster::{
    AccountName, ContainerName, ContainerPath, Metadata, ObjectName, ObjectPath, Timestamp, percent,
};
use apus_policy::Permission;
use futures_util::{FutureExt, StreamExt, stream};

use crate::body::LateMetadata;
use crate::context::Context;
use crate::operation::*;
use crate::stage::slo::manifest::StoredManifest;
use crate::{Error, Kind, Primitive, Result};

/// Suffix of the hidden container's name.
pub(crate) const SEGMENTS: &str = "+segments";
/// System metadata with the upload that created an object.
pub(crate) const S3_UPLOAD_ID: &str = "X-Object-Sysmeta-S3Api-Upload-Id";
/// Last part of the name of an empty object that exists while an upload is being completed.
const COMPLETING: &str = "0";
/// Last part of the name of an empty object that exists if another manifest names parts of an upload.
const PINNED: &str = "00";
/// First character of the ids of uploads whose parts are reclaimed. Older ids are hexadecimal and
/// Swift's are longer: manifests that name their parts may have left no pin.
const RECLAIMED_ID: char = 'u';
/// Length of these ids.
const RECLAIMED_ID_LENGTH: usize = 33;
/// Maximum number of simultaneous deletions.
const AT_ONCE: usize = 4;
/// Rows in a page of a listing.
const PAGE_ROWS: usize = 10_000;

/// A new upload id.
pub(crate) fn new_upload_id() -> String {
    format!("{RECLAIMED_ID}{}", apus_daemon::random::hex::<16>())
}

/// Whether this is an upload id. Ours have 32 or 33 characters, Swift's are longer; neither has a slash.
pub(crate) fn is_upload_id(id: &str) -> bool {
    id.len() >= 32 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_=".contains(&byte))
}

fn is_reclaimed(id: &str) -> bool {
    id.len() == RECLAIMED_ID_LENGTH && id.starts_with(RECLAIMED_ID)
}

/// One upload of a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct UploadPath {
    hidden: ContainerPath,
    bucket: ContainerName,
    key: String,
    id: String,
}

impl UploadPath {
    /// The upload of an object.
    pub(crate) fn new(object: &ObjectPath, id: &str) -> Result<Self> {
        let bucket = object.container.container.clone();
        let hidden = hidden_container(&object.container)?;
        Ok(Self { hidden, bucket, key: object.object.to_string(), id: id.to_owned() })
    }

    /// The upload to whose parts a name in a hidden container belongs, and the last part of the name.
    pub(crate) fn of_part<'a>(hidden: &ContainerPath, name: &'a str) -> Option<(Self, &'a str)> {
        let bucket = hidden.container.as_str().strip_suffix(SEGMENTS)?;
        let bucket = ContainerName::parse(bucket).ok()?;
        let (above, number) = name.rsplit_once('/')?;
        let (key, id) = above.rsplit_once('/')?;
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        let upload =
            || Self { hidden: hidden.clone(), bucket, key: key.to_owned(), id: id.to_owned() };
        (is_number && is_upload_id(id) && !key.is_empty()).then(|| (upload(), number))
    }

    fn named(&self, name: &str) -> Result<ObjectPath> {
        let name = ObjectName::parse(name).map_err(|error| Error::invalid(error.to_string()))?;
        Ok(self.hidden.object(name))
    }

    /// The marker that exists until the upload ends.
    fn marker(&self) -> Result<ObjectPath> {
        self.named(&format!("{}/{}", self.key, self.id))
    }

    fn below(&self, last: &str) -> Result<ObjectPath> {
        self.named(&format!("{}/{}/{last}", self.key, self.id))
    }

    fn object(&self) -> Result<ObjectPath> {
        let key =
            ObjectName::parse(&self.key).map_err(|error| Error::invalid(error.to_string()))?;
        Ok(ContainerPath::new(self.hidden.account.clone(), self.bucket.clone()).object(key))
    }
}

/// Whether this is the name of a container with the parts of a bucket's uploads.
pub fn is_hidden(container: &str) -> bool {
    container.strip_suffix(SEGMENTS).is_some_and(|bucket| !bucket.is_empty())
}

/// The container of the parts of a bucket's uploads.
pub(crate) fn hidden_container(bucket: &ContainerPath) -> Result<ContainerPath> {
    let name = format!("{}{SEGMENTS}", bucket.container);
    let name = ContainerName::parse(&name).map_err(|error| Error::invalid(error.to_string()))?;
    Ok(ContainerPath::new(bucket.account.clone(), name))
}

/// What the parts of an upload belong to.
#[derive(Debug, PartialEq, Eq)]
enum PartsOwner {
    /// The upload, which has not ended.
    Upload,
    /// This object or version, whose manifest names them.
    Object(ObjectPath),
    /// Perhaps a version that is kept in a way that is not known here.
    Unknown,
    None,
}

async fn head(
    store: &dyn Primitive,
    cx: &Context,
    object: ObjectPath,
) -> Result<Option<ObjectHead>> {
    let ask = HeadObject { raw: true, link_itself: true, ..HeadObject::new(object) };
    match store.head_object(cx, ask).await {
        Ok(head) => Ok(Some(head)),
        Err(error) if error.kind == Kind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_owner(upload: &UploadPath, head: Option<&ObjectHead>) -> bool {
    head.is_some_and(|head| head.get(S3_UPLOAD_ID) == Some(&upload.id))
}

/// The owner of an upload's parts. The order is that in which they pass from one to the next.
async fn owner(store: &dyn Primitive, cx: &Context, upload: &UploadPath) -> Result<PartsOwner> {
    if head(store, cx, upload.marker()?).await?.is_some() {
        return Ok(PartsOwner::Upload);
    }
    let object = upload.object()?;
    if is_owner(upload, head(store, cx, object.clone()).await?.as_ref()) {
        return Ok(PartsOwner::Object(object));
    }
    let bucket = HeadContainer { container: object.container.clone() };
    let bucket = match store.head_container(cx, bucket).await {
        Err(error) if error.kind == Kind::NotFound => return Ok(PartsOwner::None),
        bucket => bucket?,
    };
    // Copies of Swift's older versioning keep the manifest, under other names.
    const OLDER: [&str; 2] =
        ["X-Container-Sysmeta-Versions-Location", "X-Container-Sysmeta-Versions-Mode"];
    if OLDER.iter().any(|name| bucket.headers.get(*name).is_some_and(|value| !value.is_empty())) {
        return Ok(PartsOwner::Unknown);
    }
    match bucket.headers.get(VERSIONS_CONTAINER).filter(|name| !name.is_empty()) {
        Some(versions) => version_owner(store, cx, upload, versions).await,
        None => Ok(PartsOwner::None),
    }
}

/// The version that an upload created. Versions of a key are named `\0<key>\0<time>`
/// (`swift/common/middleware/versioned_writes/object_versioning.py`).
async fn version_owner(
    store: &dyn Primitive,
    cx: &Context,
    upload: &UploadPath,
    versions: &str,
) -> Result<PartsOwner> {
    let name = percent::decode_utf8(versions).and_then(|name| ContainerName::parse(&name).ok());
    let Some(name) = name else { return Ok(PartsOwner::Unknown) };
    let container = ContainerPath::new(upload.hidden.account.clone(), name);
    let prefix = Some(format!("\0{}\0", upload.key));
    let mut query = ListQuery { limit: PAGE_ROWS, prefix, reserved: true, ..ListQuery::default() };
    loop {
        let ask = ListObjects { container: container.clone(), query: query.clone() };
        let entries = match store.list_objects(cx, ask).await {
            Err(error) if error.kind == Kind::NotFound => return Ok(PartsOwner::None),
            list => list?.page.entries()?,
        };
        for entry in &entries {
            let ObjectEntry::Object(row) = entry else { continue };
            query.marker.clone_from(&row.name);
            let Ok(name) = ObjectName::parse(&row.name) else { return Ok(PartsOwner::Unknown) };
            let version = container.object(name);
            if is_owner(upload, head(store, cx, version.clone()).await?.as_ref()) {
                return Ok(PartsOwner::Object(version));
            }
        }
        if entries.len() < query.limit {
            return Ok(PartsOwner::None);
        }
    }
}

async fn put_empty(store: &dyn Primitive, cx: &Context, object: ObjectPath) -> Result<()> {
    let put = PutObject {
        object,
        body: apus_daemon::http::empty(),
        length: Some(0),
        content_type: "application/octet-stream".to_owned(),
        metadata: Metadata::new(),
        etag: None,
        timestamp: None,
        conditions: WriteConditions::default(),
        late: LateMetadata::default(),
    };
    store.put_object(cx, put).await.map(|_| ())
}

/// Deletes an object that may not exist.
async fn delete_quietly(store: &dyn Primitive, cx: &Context, object: ObjectPath) -> Result<bool> {
    match store.delete_object(cx, DeleteObject::new(object)).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind == Kind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Pins the parts of uploads among the objects that a manifest of a client names, before they are
/// checked. Returns the names of those that are about to be deleted: the manifest must not name them.
///
/// # Errors
/// Those of the store.
pub(crate) async fn pin<'a>(
    store: &dyn Primitive,
    cx: &Context,
    account: &AccountName,
    names: impl Iterator<Item = &'a str>,
) -> Result<HashSet<String>> {
    let system = cx.as_system("multipart").strong();
    let mut refused = HashSet::new();
    let mut parts: HashMap<UploadPath, Vec<&str>> = HashMap::new();
    let mut readable: Option<(ContainerPath, bool)> = None;
    for name in names {
        let Some((container, object)) = name.trim_start_matches('/').split_once('/') else {
            continue;
        };
        let Ok(container) = ContainerName::parse(container) else { continue };
        let hidden = ContainerPath::new(account.clone(), container);
        let Some((upload, _)) = UploadPath::of_part(&hidden, object) else { continue };
        if readable.as_ref().is_none_or(|(container, _)| *container != hidden) {
            let read = Authorize::container(Permission::GetObject, hidden.clone());
            readable = Some((hidden, store.authorize(cx, read).await.is_ok()));
        }
        // Without that right the manifest is refused when its segments are checked.
        if readable.as_ref().is_none_or(|(_, is_readable)| !is_readable) {
            continue;
        }
        parts.entry(upload).or_default().push(name);
    }
    for (upload, names) in parts {
        put_empty(store, &system, upload.below(PINNED)?).await?;
        let named = match owner(store, &system, &upload).await? {
            PartsOwner::Upload | PartsOwner::Unknown => continue,
            PartsOwner::None => HashSet::new(),
            PartsOwner::Object(object) => named_parts(store, &system, &object).await?,
        };
        let gone = names.into_iter().filter(|name| !named.contains(name.trim_start_matches('/')));
        refused.extend(gone.map(str::to_owned));
    }
    Ok(refused)
}

/// The names, as `container/object`, in the manifest of an object.
async fn named_parts(
    store: &dyn Primitive,
    cx: &Context,
    object: &ObjectPath,
) -> Result<HashSet<String>> {
    let manifest = StoredManifest::read(store, cx, (object, None)).await?;
    Ok(manifest.entries.iter().map(|entry| entry.name.trim_start_matches('/').to_owned()).collect())
}

/// Records that an upload is about to be completed, so that no abortion deletes its parts meanwhile.
pub(crate) async fn begin_completion(
    store: &dyn Primitive,
    cx: &Context,
    upload: &UploadPath,
) -> Result<()> {
    put_empty(store, &cx.as_system("multipart"), upload.below(COMPLETING)?).await
}

/// Removes that record.
pub(crate) async fn end_completion(
    store: &dyn Primitive,
    cx: &Context,
    upload: &UploadPath,
) -> Result<()> {
    delete_quietly(store, &cx.as_system("multipart"), upload.below(COMPLETING)?).await?;
    Ok(())
}

/// Whether the parts of an upload whose owner was just deleted may be deleted with it. If not,
/// [`reclaim`] decides later.
pub(crate) async fn may_be_deleted(
    store: &dyn Primitive,
    cx: &Context,
    upload: &UploadPath,
) -> Result<bool> {
    let system = cx.as_system("multipart").strong();
    for name in [PINNED, COMPLETING] {
        if head(store, &system, upload.below(name)?).await?.is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Counts of [`reclaim`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct ReclaimedUploads {
    /// Uploads with parts.
    pub uploads: u64,
    /// Parts that were deleted.
    pub deleted: u64,
    /// Uploads whose parts are kept since another manifest names some of them.
    pub pinned: u64,
    /// Uploads that could not be decided, or whose parts could not all be deleted.
    pub failed: u64,
}

impl ReclaimedUploads {
    /// Adds the counts of another container.
    pub fn add(&mut self, other: Self) {
        self.uploads += other.uploads;
        self.deleted += other.deleted;
        self.pinned += other.pinned;
        self.failed += other.failed;
    }
}

/// Parts of one upload in a listing.
#[derive(Debug)]
struct ListedUpload {
    upload: UploadPath,
    /// The last parts of their names.
    names: BTreeSet<String>,
    newest: Timestamp,
}

/// Deletes the parts in a hidden container whose uploads were aborted, or whose objects were
/// overwritten or deleted, and those that a completed upload did not use. All parts of such an upload
/// must be older than `before`, which leaves requests in progress the time to end.
///
/// # Errors
/// Those of the listing. Uploads that cannot be decided are counted, and decided by the next call.
pub async fn reclaim(
    store: &dyn Primitive,
    cx: &Context,
    hidden: &ContainerPath,
    before: Timestamp,
) -> Result<ReclaimedUploads> {
    let cx = cx.strong();
    let mut report = ReclaimedUploads::default();
    let mut listed: Option<ListedUpload> = None;
    let mut query = ListQuery { limit: PAGE_ROWS, ..ListQuery::default() };
    loop {
        let ask = ListObjects { container: hidden.clone(), query: query.clone() };
        let entries = match store.list_objects(&cx, ask).await {
            Err(error) if error.kind == Kind::NotFound => return Ok(report),
            list => list?.page.entries()?,
        };
        for entry in &entries {
            let ObjectEntry::Object(row) = entry else { continue };
            query.marker.clone_from(&row.name);
            let Some((upload, name)) = UploadPath::of_part(hidden, &row.name) else { continue };
            if listed.as_ref().is_some_and(|current| current.upload != upload) {
                decide(store, &cx, listed.take(), before, &mut report).await;
            }
            let newest = Timestamp::ZERO;
            let current =
                listed.get_or_insert(ListedUpload { upload, names: BTreeSet::new(), newest });
            current.names.insert(name.to_owned());
            current.newest = current.newest.max(row.last_modified());
        }
        if entries.len() < query.limit {
            decide(store, &cx, listed.take(), before, &mut report).await;
            return Ok(report);
        }
    }
}

async fn decide(
    store: &dyn Primitive,
    cx: &Context,
    listed: Option<ListedUpload>,
    before: Timestamp,
    report: &mut ReclaimedUploads,
) {
    let Some(listed) = listed.filter(|listed| is_reclaimed(&listed.upload.id)) else { return };
    report.uploads += 1;
    if listed.newest >= before {
        return;
    }
    if let Err(error) = reclaim_upload(store, cx, &listed, report).await {
        let ListedUpload { upload, .. } = &listed;
        tracing::warn!(%error, container = %upload.hidden, key = upload.key, upload = upload.id, "Parts of a multipart upload could not be reclaimed");
        report.failed += 1;
    }
}

async fn reclaim_upload(
    store: &dyn Primitive,
    cx: &Context,
    listed: &ListedUpload,
    report: &mut ReclaimedUploads,
) -> Result<()> {
    let upload = &listed.upload;
    let needed = match owner(store, cx, upload).await? {
        PartsOwner::Upload | PartsOwner::Unknown => return Ok(()),
        PartsOwner::Object(object) => named_parts(store, cx, &object).await?,
        PartsOwner::None => HashSet::new(),
    };
    if head(store, cx, upload.below(PINNED)?).await?.is_some() {
        report.pinned += 1;
        return Ok(());
    }
    let mut unneeded = Vec::new();
    for name in &listed.names {
        let part = upload.below(name)?;
        if !needed.contains(&format!("{}/{}", part.container.container, part.object)) {
            unneeded.push(part);
        }
    }
    if !unneeded.is_empty() {
        apus_fault::point("upload.parts.unneeded");
    }
    report.deleted += delete_parts(store, cx, unneeded).await?;
    Ok(())
}

/// Deletes parts, several at a time; returns how many existed.
///
/// # Errors
/// The first failure.
pub(crate) async fn delete_parts(
    store: &dyn Primitive,
    cx: &Context,
    parts: Vec<ObjectPath>,
) -> Result<u64> {
    let deletions = parts.into_iter().map(|part| delete_quietly(store, cx, part).boxed());
    let mut running = stream::iter(deletions).buffer_unordered(AT_ONCE);
    let mut deleted = 0;
    while let Some(result) = running.next().await {
        deleted += u64::from(result?);
    }
    Ok(deleted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::memory_store::container;

    #[test]
    fn parts_are_numbers_after_a_key_and_an_upload_id() {
        let id = new_upload_id();
        assert!(is_upload_id(&id) && is_reclaimed(&id));
        let old = "0123456789abcdef0123456789abcdef";
        assert!(is_upload_id(old) && !is_reclaimed(old));
        let of = |hidden: &str, name: &str| {
            UploadPath::of_part(&container(hidden), name)
                .map(|(upload, number)| (upload.key, upload.id, number.to_owned()))
        };
        let part = |key: &str, number: &str| Some((key.to_owned(), id.clone(), number.to_owned()));
        assert_eq!(of("b+segments", &format!("k/{id}/7")), part("k", "7"));
        assert_eq!(of("b+segments", &format!("a//b/{id}/00")), part("a//b", "00"));
        for (hidden, name) in [
            ("b", format!("k/{id}/7")),
            ("b+segments", format!("k/{id}")),
            ("b+segments", format!("k/{id}/x")),
            ("b+segments", format!("k/{id}/")),
            ("b+segments", format!("/{id}/7")),
            ("b+segments", "k/short/7".to_owned()),
        ] {
            assert_eq!(of(hidden, &name), None, "{hidden}/{name}");
        }
    }

    #[test]
    fn an_upload_names_its_object() {
        let object = crate::stage::memory_store::object("b/a/k");
        let id = new_upload_id();
        let upload = UploadPath::new(&object, &id).unwrap();
        assert_eq!(upload.object().unwrap(), object);
        let part = upload.below("7").unwrap();
        let again = UploadPath::of_part(&part.container, part.object.as_str());
        assert_eq!(again, Some((upload, "7")));
    }
}
