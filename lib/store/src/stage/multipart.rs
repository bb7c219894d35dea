//! S3 multipart uploads, in the layout of Swift's s3api.
//!
//! Parts are in `<bucket>+segments`, where a marker `<key>/<upload id>` has the object's metadata; a
//! completed upload is a static large object. The hidden container is accessed under the system's
//! authority, after the right of the caller to write the object itself was checked.

use std::sync::Arc;

use apus_bucket::acl::{OBJECT_ACL, UPLOAD_ACL};
use apus_cluster::constraints::{S3_MAX_PARTS, S3_MIN_PART_SIZE};
use apus_cluster::listing::{ListQuery, ObjectEntry};
use apus_cluster::{ContainerPath, Metadata, ObjectName, ObjectPath};
use apus_policy::Permission;
use async_trait::async_trait;

use super::part_encryption::PartEncryption;
use super::{part_heads, upload_list};
use crate::body::LateMetadata;
use crate::context::Context;
use crate::encryption::ObjectEncryption;
use crate::operation::*;
use crate::settings;
use crate::store::forward;
use crate::upload_parts::{
    self, S3_UPLOAD_ID, UploadPath, hidden_container as segments, is_upload_id, new_upload_id,
};
use crate::{
    Error, Kind, LinkStore, ManifestStore, Primitive, Result, Subject, UploadStore, VersionStore,
};

/// System metadata with the S3 etag.
const S3_ETAG: &str = "X-Object-Sysmeta-S3Api-Etag";

/// On Swift's markers: whether the client sent a content type (`yes`, `no`). The content type of the
/// marker itself is `application/directory`.
const S3_HAS_CONTENT_TYPE: &str = "X-Object-Sysmeta-S3Api-Has-Content-Type";
/// On Swift's markers: the content type that the client sent.
const S3_CONTENT_TYPE: &str = "X-Object-Sysmeta-S3Api-Content-Type";
/// S3's content type of objects without one.
const DEFAULT_CONTENT_TYPE: &str = "binary/octet-stream";

/// The stage of multipart uploads.
pub struct Multipart {
    next: Arc<dyn ManifestStore>,
}

impl std::fmt::Debug for Multipart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Multipart")
    }
}

fn inner(container: &ContainerPath, name: &str) -> Result<ObjectPath> {
    let name = ObjectName::parse(name).map_err(|error| Error::invalid(error.to_string()))?;
    Ok(container.object(name))
}

/// The place of the parts of one upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PartsPrefix {
    container: ContainerPath,
    prefix: String,
}

impl PartsPrefix {
    /// Whether an object is one of them.
    pub(super) fn contains(&self, object: &ObjectPath) -> bool {
        let below = object.object.as_str().strip_prefix(&self.prefix);
        object.container == self.container && below.is_some_and(|name| !name.is_empty())
    }
}

/// The place of the parts of the upload that created `object`, by the object's own metadata, which
/// only the cluster sets; `None` when no upload created it.
pub(super) fn parts_prefix(object: &ObjectPath, head: &ObjectHead) -> Option<PartsPrefix> {
    let id = head.get(S3_UPLOAD_ID).filter(|id| !id.is_empty() && !id.contains('/'))?;
    let container = segments(&object.container).ok()?;
    Some(PartsPrefix { container, prefix: format!("{}/{id}/", object.object) })
}

/// The number of a part, from the last part of its name.
fn part_number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|number| (1..=S3_MAX_PARTS).contains(number) && !text.starts_with('0'))
}

fn no_upload() -> Error {
    Error::new(Kind::NotFound, Subject::Upload)
}

impl Multipart {
    /// Creates the stage above `next`.
    pub fn new(next: Arc<dyn ManifestStore>) -> Self {
        Self { next }
    }

    fn marker(object: &ObjectPath, id: &str) -> Result<ObjectPath> {
        if !is_upload_id(id) {
            return Err(no_upload());
        }
        inner(&segments(&object.container)?, &format!("{}/{id}", object.object))
    }

    fn part(object: &ObjectPath, id: &str, number: u32) -> Result<ObjectPath> {
        if !is_upload_id(id) {
            return Err(no_upload());
        }
        inner(&segments(&object.container)?, &format!("{}/{id}/{number}", object.object))
    }

    /// Checks the right of the caller, before anything is done under the system's authority.
    async fn authorize_object(
        &self,
        cx: &Context,
        permission: Permission,
        object: &ObjectPath,
    ) -> Result<()> {
        self.next.authorize(cx, Authorize::object(cx.needs(permission), object)).await
    }

    /// The marker of an upload, for a caller with this permission.
    async fn upload(
        &self,
        cx: &Context,
        permission: Permission,
        object: &ObjectPath,
        id: &str,
    ) -> Result<ObjectHead> {
        self.authorize_object(cx, permission, object).await?;
        // A key in the request is that of the source of a copy, or is compared by the caller.
        let system = Context { encryption: None, ..cx.as_system("multipart") };
        let marker = HeadObject::new(Self::marker(object, id)?);
        self.next.head_object(&system, marker).await.map_err(|error| match error.kind {
            Kind::NotFound => no_upload(),
            _ => error,
        })
    }

    /// Lists the rows of the hidden container with a prefix until `each` returns `false`.
    async fn rows(
        &self,
        cx: &Context,
        container: &ContainerPath,
        prefix: String,
        mut each: impl FnMut(&apus_cluster::listing::ObjectRow) -> bool + Send,
    ) -> Result<()> {
        let system = cx.as_system("multipart");
        let mut query = ListQuery { limit: 10_000, prefix: Some(prefix), ..ListQuery::default() };
        loop {
            let op = ListObjects { container: container.clone(), query: query.clone() };
            let page = match self.next.list_objects(&system, op).await {
                Err(error) if error.kind == Kind::NotFound => return Ok(()),
                page => page?,
            };
            let entries = page.page.entries()?;
            let full = entries.len() == query.limit;
            for entry in &entries {
                let ObjectEntry::Object(row) = entry else { continue };
                query.marker.clone_from(&row.name);
                if !each(row) {
                    return Ok(());
                }
            }
            if !full {
                return Ok(());
            }
        }
    }

    async fn parts(&self, cx: &Context, object: &ObjectPath, id: &str) -> Result<Vec<Part>> {
        let prefix = format!("{}/{id}/", object.object);
        let mut parts = Vec::new();
        let at = prefix.len();
        self.rows(cx, &segments(&object.container)?, prefix, |row| {
            if let Some(number) = row.name.get(at..).and_then(part_number) {
                parts.push(Part {
                    number,
                    etag: row.etag.split(';').next().unwrap_or_default().to_owned(),
                    size: row.size,
                    modified: row.last_modified(),
                    metadata: Metadata::new(),
                });
            }
            true
        })
        .await?;
        parts.sort_by_key(|part| part.number);
        Ok(parts)
    }

    /// Adds the metadata of parts.
    async fn fill_parts(
        &self,
        cx: &Context,
        object: &ObjectPath,
        id: &str,
        parts: &mut [Part],
    ) -> Result<()> {
        let mut asked = Vec::with_capacity(parts.len());
        for part in parts.iter() {
            let number = usize::try_from(part.number).unwrap_or(usize::MAX);
            let head = PartHead { number, start: 0, length: part.size, metadata: Metadata::new() };
            asked.push((head, Some(Self::part(object, id, part.number)?)));
        }
        let heads = part_heads::fill(self.next.clone(), &cx.as_system("multipart"), asked).await?;
        for (part, head) in parts.iter_mut().zip(heads) {
            part.metadata = head.metadata;
        }
        Ok(())
    }

    /// Adds the metadata of uploads. One that ended since it was listed has none.
    async fn fill_uploads(
        &self,
        cx: &Context,
        bucket: &ContainerPath,
        uploads: &mut [Upload],
    ) -> Result<()> {
        let mut asked = Vec::with_capacity(uploads.len());
        for (number, upload) in uploads.iter().enumerate() {
            let head = PartHead { number, start: 0, length: 0, metadata: Metadata::new() };
            asked.push((head, Some(Self::marker(&inner(bucket, &upload.key)?, &upload.id)?)));
        }
        let heads = part_heads::fill(self.next.clone(), &cx.as_system("multipart"), asked).await?;
        for (upload, head) in uploads.iter_mut().zip(heads) {
            upload.metadata = head.metadata;
        }
        Ok(())
    }

    /// The chosen parts for the dialect's check, with their metadata if it is needed.
    async fn part_heads(
        &self,
        cx: &Context,
        op: &CompleteUpload,
        upload: &Metadata,
        chosen: &[&Part],
    ) -> Result<Vec<PartHead>> {
        let needed = op.seal.needs_parts(upload);
        let mut start = 0u64;
        let mut heads = Vec::with_capacity(chosen.len());
        for part in chosen {
            let number = usize::try_from(part.number).unwrap_or(usize::MAX);
            let head = PartHead { number, start, length: part.size, metadata: Metadata::new() };
            start = start.saturating_add(part.size);
            let path = match needed {
                true => Some(Self::part(&op.object, &op.upload_id, part.number)?),
                false => None,
            };
            heads.push((head, path));
        }
        part_heads::fill(self.next.clone(), &cx.as_system("multipart"), heads).await
    }

    /// The result of the same completion before: a client that lost the answer repeats it.
    async fn completed_before(&self, cx: &Context, op: &CompleteUpload) -> Option<ObjectWritten> {
        let head = self.next.head_object(cx, HeadObject::new(op.object.clone())).await.ok()?;
        (head.get(S3_UPLOAD_ID) == Some(&op.upload_id)).then(|| ObjectWritten {
            etag: head.get(S3_ETAG).unwrap_or(&head.etag).to_owned(),
            timestamp: head.timestamp,
            length: head.length,
            version: head.version,
            encryption: ObjectEncryption::of(&head.metadata).ok().flatten(),
            late: head.metadata,
        })
    }

    /// Deletes an object that may not exist.
    async fn delete_quietly(&self, cx: &Context, object: ObjectPath) -> Result<()> {
        let op = DeleteObject::new(object);
        match self.next.delete_object(&cx.as_system("multipart"), op).await {
            Err(error) if error.kind != Kind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// The stored parts that a client names.
///
/// # Errors
/// `InvalidPartOrder`, `InvalidPart`, `PartTooSmall`; `Invalid` without parts.
fn choose_parts<'a>(named: &[CompletedPart], stored: &'a [Part]) -> Result<Vec<&'a Part>> {
    let mut chosen: Vec<&Part> = Vec::with_capacity(named.len());
    for (index, wanted) in named.iter().enumerate() {
        // A part that was uploaded again before the first upload of it ended has two etags: the
        // last counts.
        let next = named.get(index + 1);
        if next.is_some_and(|next| next.number == wanted.number && next.etag != wanted.etag) {
            continue;
        }
        if chosen.last().is_some_and(|last| last.number >= wanted.number) {
            return Err(Error::new(Kind::InvalidPartOrder, Subject::Upload));
        }
        let part = stored
            .binary_search_by_key(&wanted.number, |part| part.number)
            .ok()
            .and_then(|index| stored.get(index))
            .filter(|part| part.etag == wanted.etag)
            .ok_or_else(|| {
                let (number, etag) = (wanted.number, wanted.etag.clone());
                Error::new(Kind::InvalidPart, Subject::Upload)
                    .text(format!("part {number} with etag {etag}"))
                    .about_part(FaultyPart { number, etag, size: None })
            })?;
        chosen.push(part);
    }
    let Some((_, all_but_last)) = chosen.split_last() else {
        return Err(Error::new(Kind::Invalid, Subject::Upload).text("no parts"));
    };
    if let Some(small) = all_but_last.iter().find(|part| part.size < S3_MIN_PART_SIZE) {
        let (number, size) = (small.number, small.size);
        let part = FaultyPart { number, etag: small.etag.clone(), size: Some(size) };
        return Err(Error::new(Kind::PartTooSmall, Subject::Upload)
            .text(format!("part {number} has {size} bytes"))
            .about_part(part));
    }
    Ok(chosen)
}

/// The parts of an upload as segments of its manifest.
fn part_segments(op: &CompleteUpload, parts: &[&Part]) -> Result<Vec<Segment>> {
    let hidden = segments(&op.object.container)?.container;
    let (key, id) = (&op.object.object, &op.upload_id);
    let segment = |part: &&Part| Segment {
        path: format!("/{hidden}/{key}/{id}/{}", part.number),
        etag: Some(part.etag.clone()),
        size: Some(part.size),
        ..Segment::default()
    };
    Ok(parts.iter().map(segment).collect())
}

/// S3's etag of a multipart object: MD5 of the parts' binary MD5s, and their number.
fn s3_etag(parts: &[&Part]) -> String {
    let mut digest = md5::Context::new();
    for part in parts {
        if let Some(hash) = apus_cluster::PathHash::parse(&part.etag) {
            digest.consume(hash.0);
        }
    }
    format!("{:x}-{}", digest.finalize(), parts.len())
}

/// Prefix of the settings of the object on the marker of its upload, which has none itself: a lock
/// would keep the marker. Its ACL has the name that Swift's markers have for it.
const MARKER_SETTINGS: &str = "X-Object-Sysmeta-Apus-Upload-";

fn with_prefix(metadata: Metadata, from: &str, to: &str) -> Metadata {
    let rename = |(name, value): (String, String)| match name.strip_prefix(from) {
        Some(rest) => (format!("{to}{rest}"), value),
        None => (name, value),
    };
    metadata.into_iter().map(rename).collect()
}

fn settings_of_marker(metadata: Metadata) -> Metadata {
    let metadata = with_prefix(metadata, settings::PREFIX, MARKER_SETTINGS);
    with_prefix(metadata, OBJECT_ACL, UPLOAD_ACL)
}

fn settings_of_object(metadata: Metadata) -> Metadata {
    let metadata = with_prefix(metadata, MARKER_SETTINGS, settings::PREFIX);
    with_prefix(metadata, UPLOAD_ACL, OBJECT_ACL)
}

/// Content type and metadata of the object that an upload creates, from its marker.
fn of_marker(own: &str, marker: &Metadata) -> (String, Metadata) {
    let mut metadata = settings_of_object(marker.clone());
    let given = metadata.remove(S3_CONTENT_TYPE);
    let content_type = match metadata.remove(S3_HAS_CONTENT_TYPE).as_deref() {
        None => own.to_owned(),
        Some("yes") => given.unwrap_or_else(|| DEFAULT_CONTENT_TYPE.to_owned()),
        Some(_) => DEFAULT_CONTENT_TYPE.to_owned(),
    };
    (content_type, metadata)
}

impl Primitive for Multipart {
    forward!(next:
        authorize, container_info, account_info, head_account, list_containers, post_account, put_account,
        delete_account, head_container, list_objects, put_container, post_container, delete_container,
        head_object, get_object, put_object, post_object, update_object, delete_object, queue_deletions, update_queue,
    );
}

impl VersionStore for Multipart {
    forward!(next: list_versions, restore_version);
}

impl LinkStore for Multipart {
    forward!(next: put_symlink);
}

impl ManifestStore for Multipart {
    forward!(next: put_manifest);
}

#[async_trait]
impl UploadStore for Multipart {
    async fn create_upload(&self, cx: &Context, op: CreateUpload) -> Result<StartedUpload> {
        self.authorize_object(cx, Permission::PutObject, &op.object).await?;
        let system = cx.as_system("multipart");
        let hidden = segments(&op.object.container)?;
        let make = PutContainer {
            container: hidden,
            metadata: Metadata::new(),
            versioning: None,
            policy: None,
        };
        self.next.put_container(&system, make).await?;
        let id = new_upload_id();
        let put = PutObject {
            object: Self::marker(&op.object, &id)?,
            body: apus_daemon::http::empty(),
            length: Some(0),
            content_type: op.content_type,
            metadata: settings_of_marker(op.metadata),
            etag: None,
            timestamp: None,
            conditions: WriteConditions::default(),
            late: LateMetadata::default(),
        };
        self.next.put_object(&system, put).await?;
        Ok(StartedUpload { id, encryption: None })
    }

    async fn put_part(&self, cx: &Context, op: PutPart) -> Result<ObjectWritten> {
        let upload = self.upload(cx, Permission::PutObject, &op.put.object, &op.upload_id).await?;
        op.check.check(&upload.metadata)?;
        let PartEncryption { cx, encryption } = PartEncryption::of(cx, &upload.metadata)?;
        let mut put = op.put;
        put.body = op.check.wrap(&upload.metadata, put.body, &put.late);
        put.object = Self::part(&put.object, &op.upload_id, op.number)?;
        let written = self.next.put_object(&cx.as_system("multipart"), put).await?;
        Ok(ObjectWritten { encryption, ..written })
    }

    async fn put_part_copy(&self, cx: &Context, op: PutPartCopy) -> Result<ObjectWritten> {
        let upload = self.upload(cx, Permission::PutObject, &op.object, &op.upload_id).await?;
        let part = PartEncryption::of(cx, &upload.metadata)?;
        let read = self.next.get_object(cx, op.source).await?;
        let length = read.length();
        let late = LateMetadata::default();
        let put = PutObject {
            object: Self::part(&op.object, &op.upload_id, op.number)?,
            body: op.check.wrap(&upload.metadata, read.body, &late),
            length,
            content_type: "application/octet-stream".to_owned(),
            metadata: Metadata::new(),
            etag: None,
            timestamp: None,
            conditions: WriteConditions::default(),
            late,
        };
        let written = self.next.put_object(&part.cx.as_system("multipart"), put).await?;
        Ok(ObjectWritten { encryption: part.encryption, ..written })
    }

    async fn list_parts(&self, cx: &Context, op: ListParts) -> Result<PartList> {
        let permission = Permission::ListMultipartUploadParts;
        let upload = self.upload(cx, permission, &op.object, &op.upload_id).await?.metadata;
        let mut parts = self.parts(cx, &op.object, &op.upload_id).await?;
        parts.retain(|part| part.number > op.marker);
        let truncated = parts.len() > op.limit;
        parts.truncate(op.limit);
        if upload.contains_key(&op.metadata_if) {
            self.fill_parts(cx, &op.object, &op.upload_id, &mut parts).await?;
        }
        Ok(PartList { parts, upload, truncated })
    }

    async fn list_uploads(&self, cx: &Context, op: ListUploads) -> Result<UploadList> {
        let permission = cx.needs(Permission::ListBucketMultipartUploads);
        self.next.authorize(cx, Authorize::container(permission, op.container.clone())).await?;
        let hidden = segments(&op.container)?;
        let (with_metadata, bucket) = (op.with_metadata, op.container.clone());
        let mut page =
            upload_list::list(&*self.next, &cx.as_system("multipart"), hidden, op).await?;
        if with_metadata {
            self.fill_uploads(cx, &bucket, &mut page.uploads).await?;
        }
        Ok(page)
    }

    async fn complete_upload(&self, cx: &Context, op: CompleteUpload) -> Result<ObjectWritten> {
        let marker = match self.upload(cx, Permission::PutObject, &op.object, &op.upload_id).await {
            Err(error) if error.subject == Subject::Upload => {
                return self.completed_before(cx, &op).await.ok_or(error);
            }
            marker => marker?,
        };
        let encryption = PartEncryption::of(cx, &marker.metadata)?.encryption;
        // The manifest names parts and has no bytes of the client.
        let cx = &Context { encryption: None, ..cx.clone() };
        let stored = self.parts(cx, &op.object, &op.upload_id).await?;
        let chosen = choose_parts(&op.parts, &stored)?;
        let heads = self.part_heads(cx, &op, &marker.metadata, &chosen).await?;
        let sealed = op.seal.seal(&marker.metadata, &heads)?;
        let upload = UploadPath::new(&op.object, &op.upload_id)?;
        upload_parts::begin_completion(&*self.next, cx, &upload).await?;
        apus_fault::point("upload.completion.begun");
        // An abortion that did not see this may be deleting the parts.
        match self.upload(&cx.strong(), Permission::PutObject, &op.object, &op.upload_id).await {
            Err(error) if error.subject == Subject::Upload => {
                return self.completed_before(cx, &op).await.ok_or(error);
            }
            marker => marker?,
        };
        let etag = s3_etag(&chosen);
        let (content_type, mut metadata) = of_marker(&marker.content_type, &marker.metadata);
        metadata.extend(sealed.clone());
        metadata.insert(S3_ETAG.to_owned(), etag.clone());
        metadata.insert(S3_UPLOAD_ID.to_owned(), op.upload_id.clone());
        let manifest = PutManifest {
            object: op.object.clone(),
            segments: part_segments(&op, &chosen)?,
            content_type,
            metadata,
            etag: None,
            conditions: op.conditions,
            trusted: true,
        };
        let written = self.next.put_manifest(cx, manifest).await?;
        apus_fault::point("upload.manifest.stored");
        self.delete_quietly(cx, Self::marker(&op.object, &op.upload_id)?).await?;
        // Parts that were not chosen are reclaimed later: another completion may be choosing them.
        upload_parts::end_completion(&*self.next, cx, &upload).await?;
        Ok(ObjectWritten { etag, late: sealed, encryption, ..written })
    }

    async fn abort_upload(&self, cx: &Context, op: AbortUpload) -> Result<()> {
        self.upload(cx, Permission::AbortMultipartUpload, &op.object, &op.upload_id).await?;
        self.delete_quietly(cx, Self::marker(&op.object, &op.upload_id)?).await?;
        let upload = UploadPath::new(&op.object, &op.upload_id)?;
        if !upload_parts::may_be_deleted(&*self.next, cx, &upload).await? {
            return Ok(());
        }
        let parts = self.parts(cx, &op.object, &op.upload_id).await?;
        let path = |part: &Part| Self::part(&op.object, &op.upload_id, part.number);
        let parts: Result<Vec<ObjectPath>> = parts.iter().map(path).collect();
        upload_parts::delete_parts(&*self.next, &cx.as_system("multipart"), parts?).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_that_swift_started_keeps_the_content_type_of_its_client() {
        let color = ("X-Object-Meta-Color".to_owned(), "blue".to_owned());
        let mut marker = Metadata::from([color.clone()]);
        assert_eq!(of_marker("a/b", &marker), ("a/b".to_owned(), marker.clone()));
        marker.insert(S3_HAS_CONTENT_TYPE.to_owned(), "no".to_owned());
        let (content_type, metadata) = of_marker("application/directory", &marker);
        assert_eq!((content_type.as_str(), metadata), ("binary/octet-stream", [color].into()));
        marker.insert(S3_HAS_CONTENT_TYPE.to_owned(), "yes".to_owned());
        marker.insert(S3_CONTENT_TYPE.to_owned(), "c/d".to_owned());
        assert_eq!(of_marker("application/directory", &marker).0, "c/d");
        let tags = Metadata::from([(settings::TAGGING.to_owned(), "a=b".to_owned())]);
        let marker = settings_of_marker(tags.clone());
        assert!(!marker.contains_key(settings::TAGGING));
        assert_eq!(of_marker("a/b", &marker).1, tags);
        let acl = Metadata::from([(OBJECT_ACL.to_owned(), "{}".to_owned())]);
        let marker = settings_of_marker(acl.clone());
        assert!(marker.contains_key(UPLOAD_ACL) && !marker.contains_key(OBJECT_ACL));
        assert_eq!(of_marker("a/b", &marker).1, acl);
    }
}
