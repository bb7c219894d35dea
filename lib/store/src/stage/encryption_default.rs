//! The default encryption of buckets, and the record of an object's encryption.
//!
//! Below copies, which are new objects of their bucket, and above uploads: their parts are encrypted
//! as the upload was begun, whatever the default is by then.

use std::sync::Arc;

use apus_bucket::encryption::{BucketEncryption, DefaultEncryption};
use apus_bucket::{ConfigKind, stored};
use apus_cluster::{ContainerPath, Metadata};
use async_trait::async_trait;

use super::existing_container;
use crate::context::Context;
use crate::encryption::{
    ENCRYPTION, EncryptionKeys, ObjectEncryption, RequestEncryption, WriteEncryption,
};
use crate::operation::*;
use crate::store::forward;
use crate::{
    Error, Kind, LinkStore, ManifestStore, Primitive, Result, Subject, UploadStore, VersionStore,
};

/// The stage that decides how a new object is encrypted.
pub struct EncryptionDefault {
    next: Arc<dyn UploadStore>,
    keys: Arc<EncryptionKeys>,
}

impl std::fmt::Debug for EncryptionDefault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EncryptionDefault")
    }
}

/// The default encryption of a container's objects.
///
/// # Errors
/// `Unavailable` when the configuration is damaged.
pub(crate) fn of_container(head: &ContainerHead) -> Result<Option<WriteEncryption>> {
    if !head.headers.contains_key(ConfigKind::Encryption.header()) {
        return Ok(None);
    }
    let config: Option<BucketEncryption> = stored::load(ConfigKind::Encryption, &head.headers)
        .map_err(|error| Error::new(Kind::Undecryptable, Subject::Container).because(error))?;
    Ok(config.map(|config| match config.default {
        DefaultEncryption::Managed => WriteEncryption::Managed,
        DefaultEncryption::Kms { key } => {
            WriteEncryption::Kms { key, context: String::new(), bucket_key: config.bucket_key }
        }
    }))
}

/// The context of a write with this encryption.
fn writing(cx: &Context, write: WriteEncryption) -> Context {
    let read = cx.encryption.as_ref().map(|own| own.read.clone()).unwrap_or_default();
    let encryption = Some(Arc::new(RequestEncryption { read, write: Some(write) }));
    Context { encryption, ..cx.clone() }
}

impl EncryptionDefault {
    /// Creates the stage above `next`.
    pub fn new(next: Arc<dyn UploadStore>, keys: Arc<EncryptionKeys>) -> Self {
        Self { next, keys }
    }

    /// The encryption that the request asks for, or else the bucket's default.
    async fn chosen(
        &self,
        cx: &Context,
        container: &ContainerPath,
    ) -> Result<Option<WriteEncryption>> {
        if let Some(write) = cx.encryption.as_ref().and_then(|own| own.write.clone()) {
            return Ok(Some(write));
        }
        match existing_container(&*self.next, cx, container).await? {
            Some(head) => of_container(&head),
            None => Ok(None),
        }
    }

    /// Decides how a new object is encrypted, and records it in its metadata.
    async fn decide(
        &self,
        cx: &Context,
        container: &ContainerPath,
        metadata: &mut Metadata,
    ) -> Result<Option<(Context, ObjectEncryption)>> {
        let Some(write) = self.chosen(cx, container).await? else { return Ok(None) };
        let Some(encryption) = self.keys.describe(&write)? else { return Ok(None) };
        metadata.insert(ENCRYPTION.to_owned(), encryption.to_stored());
        Ok(Some((writing(cx, write), encryption)))
    }
}

#[async_trait]
impl Primitive for EncryptionDefault {
    async fn put_object(&self, cx: &Context, mut op: PutObject) -> Result<ObjectWritten> {
        let container = op.object.container.clone();
        match self.decide(cx, &container, &mut op.metadata).await? {
            None => self.next.put_object(cx, op).await,
            Some((cx, encryption)) => {
                let written = self.next.put_object(&cx, op).await?;
                Ok(ObjectWritten { encryption: Some(encryption), ..written })
            }
        }
    }

    async fn post_object(&self, cx: &Context, op: PostObject) -> Result<ObjectHead> {
        match self.chosen(cx, &op.object.container).await? {
            Some(write) => self.next.post_object(&writing(cx, write), op).await,
            None => self.next.post_object(cx, op).await,
        }
    }

    forward!(next:
        authorize, container_info, account_info, head_account, list_containers, post_account, put_account,
        delete_account, head_container, list_objects, put_container, post_container, delete_container,
        head_object, get_object, update_object, delete_object, queue_deletions, update_queue,
    );
}

impl VersionStore for EncryptionDefault {
    forward!(next: list_versions, restore_version);
}

impl LinkStore for EncryptionDefault {
    forward!(next: put_symlink);
}

impl ManifestStore for EncryptionDefault {
    forward!(next: put_manifest);
}

#[async_trait]
impl UploadStore for EncryptionDefault {
    async fn create_upload(&self, cx: &Context, mut op: CreateUpload) -> Result<StartedUpload> {
        let container = op.object.container.clone();
        // The marker of the upload has no bytes, and records the choice for its parts.
        let decided = self.decide(cx, &container, &mut op.metadata).await?;
        let encryption = decided.map(|(_, encryption)| encryption);
        let plain = cx.encryption.as_ref().map(|_| writing(cx, WriteEncryption::Plain));
        let started = self.next.create_upload(plain.as_ref().unwrap_or(cx), op).await?;
        Ok(StartedUpload { encryption, ..started })
    }

    forward!(next:
        put_part, put_part_copy, list_parts, list_uploads, complete_upload, abort_upload,
    );
}
