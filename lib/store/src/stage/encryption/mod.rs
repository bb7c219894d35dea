//! Encryption at rest: bodies, user metadata and etags, in Swift's encoding.
//!
//! The innermost stage, since keys are derived from the name under which an object is stored: those of
//! versions and parts are their own. Objects that are not encrypted pass unchanged. Source:
//! `swift/common/middleware/crypto/encrypter.py` and `decrypter.py`.

mod conditions;
mod head;
mod listing;
mod read;
#[cfg(test)]
mod tests;
mod write;

use std::sync::Arc;

use apus_cluster::{ContainerPath, ObjectPath};
use apus_crypto::KeyPath;
use async_trait::async_trait;

use self::read::DecryptingBody;
pub(super) use self::write::of_stored;
use crate::context::Context;
use crate::encryption::EncryptionKeys;
use crate::operation::*;
use crate::store::forward;
use crate::{Error, Primitive, Result};

/// The description of an encrypted body.
const BODY_META: &str = "X-Object-Sysmeta-Crypto-Body-Meta";
/// The encrypted etag of the body before encryption.
const ETAG: &str = "X-Object-Sysmeta-Crypto-Etag";
/// The MAC of that etag.
const ETAG_MAC: &str = "X-Object-Sysmeta-Crypto-Etag-Mac";
/// The etag of a body whose key is not derived from a root secret.
const EXTERNAL_ETAG: &str = "X-Object-Sysmeta-Crypto-Apus-Etag";
/// Prefix of all of the above.
const BODY_PREFIX: &str = "X-Object-Sysmeta-Crypto-";
/// The description of encrypted user metadata.
const USER_META: &str = "X-Object-Transient-Sysmeta-Crypto-Meta";
/// Prefix of encrypted user metadata.
const USER_PREFIX: &str = "X-Object-Transient-Sysmeta-Crypto-Meta-";
/// The etag in the listing, where it is not that of the body.
const ROW_ETAG: &str = "X-Object-Sysmeta-Container-Update-Override-Etag";

/// The path from which the keys of an object are derived.
fn key_path(object: &ObjectPath) -> KeyPath<'_> {
    KeyPath { object: Some(object.object.as_str()), ..container_key_path(&object.container) }
}

/// The path from which the key of a container's listing is derived.
fn container_key_path(container: &ContainerPath) -> KeyPath<'_> {
    let (account, container) = (container.account.as_str(), container.container.as_str());
    KeyPath { account, container, object: None }
}

/// The stage that encrypts and decrypts.
pub struct Encryption {
    next: Arc<dyn Primitive>,
    keys: Arc<EncryptionKeys>,
}

impl std::fmt::Debug for Encryption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encryption").field("keys", &self.keys).finish_non_exhaustive()
    }
}

impl Encryption {
    /// Creates the stage above `next`.
    pub fn new(next: Arc<dyn Primitive>, keys: Arc<EncryptionKeys>) -> Self {
        Self { next, keys }
    }

    /// The object of an error, as far as it can be decrypted.
    fn error(&self, cx: &Context, object: &ObjectPath, mut error: Error) -> Error {
        if let Some(head) = error.head.as_deref_mut()
            && let Err(fault) = self.open(cx, object, head)
        {
            return fault;
        }
        error
    }
}

#[async_trait]
impl Primitive for Encryption {
    async fn head_object(&self, cx: &Context, mut op: HeadObject) -> Result<ObjectHead> {
        self.mask_read(&mut op);
        let object = op.object.clone();
        let found = self.next.head_object(cx, op).await;
        let mut head = found.map_err(|error| self.error(cx, &object, error))?;
        self.open(cx, &object, &mut head)?;
        Ok(head)
    }

    async fn get_object(&self, cx: &Context, mut op: GetObject) -> Result<ObjectRead> {
        self.mask_read(&mut op.head);
        let object = op.head.object.clone();
        let found = self.next.get_object(cx, op).await;
        let mut read = found.map_err(|error| self.error(cx, &object, error))?;
        if let Some(body) = self.open(cx, &object, &mut read.head)? {
            let key = body?;
            read.body = DecryptingBody::wrap(read.body, key, &read.served, read.head.length);
        }
        Ok(read)
    }

    async fn put_object(&self, cx: &Context, mut op: PutObject) -> Result<ObjectWritten> {
        self.mask_write(&op.object, &mut op.conditions);
        match self.scheme(cx, &op.object)? {
            None => self.next.put_object(cx, op).await,
            Some(scheme) => self.put_encrypted(cx, op, scheme).await,
        }
    }

    async fn post_object(&self, cx: &Context, mut op: PostObject) -> Result<ObjectHead> {
        self.encrypt_post(cx, &op.object, &mut op.metadata)?;
        let object = op.object.clone();
        let mut head = self.next.post_object(cx, op).await?;
        // It was changed, whether or not the response can be decrypted.
        drop(self.open(cx, &object, &mut head));
        Ok(head)
    }

    async fn update_object(&self, cx: &Context, op: UpdateObject) -> Result<ObjectHead> {
        let object = op.object.clone();
        let mut head = self.next.update_object(cx, op).await?;
        drop(self.open(cx, &object, &mut head));
        Ok(head)
    }

    async fn delete_object(&self, cx: &Context, mut op: DeleteObject) -> Result<Deleted> {
        self.mask_write(&op.object, &mut op.conditions);
        self.next.delete_object(cx, op).await
    }

    async fn list_objects(&self, cx: &Context, op: ListObjects) -> Result<ObjectList> {
        let container = op.container.clone();
        let list = self.next.list_objects(cx, op).await?;
        self.decrypt_list(cx, &container, list)
    }

    forward!(next:
        authorize, container_info, account_info, head_account, list_containers, post_account, put_account,
        delete_account, head_container, put_container, post_container, delete_container,
        queue_deletions, update_queue,
    );
}
