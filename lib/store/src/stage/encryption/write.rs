//! Encryption of a body while it streams, and of metadata.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context as TaskContext, Poll, ready};

use apus_cluster::metadata::{Resource, has_prefix};
use apus_cluster::{Metadata, ObjectPath};
use apus_crypto::{
    BodyKey, CryptoMeta, ExternalKeyCheck, ExternalScheme, KeyId, Keystream, PathKeys, SecretKey,
    encrypt_value, etag_mac, external_etag, wrap_key,
};
use apus_daemon::Body;
use apus_daemon::http::BodyError;
use apus_daemon::random;
use bytes::Bytes;
use http_body::Frame;
use http_body_util::BodyExt;

use super::key_path;
use super::read::writable;
use super::{
    BODY_META, BODY_PREFIX, ETAG, ETAG_MAC, EXTERNAL_ETAG, Encryption, ROW_ETAG, USER_META,
    USER_PREFIX,
};
use crate::body::LateMetadata;
use crate::context::Context;
use crate::encryption::{EncryptionFault, ObjectEncryption, WriteEncryption};
use crate::operation::{ObjectWritten, PutObject};
use crate::{Error, Kind, Result, Subject};

/// MD5 of nothing.
const EMPTY_ETAG: &str = "d41d8cd98f00b204e9800998ecf8427e";

/// The keys of one write.
pub(super) struct WriteScheme {
    /// Wraps the key of the body, under this id.
    body: (SecretKey, KeyId),
    /// Keys of the path, for user metadata.
    path: Option<PathKeys>,
    /// The key of the etag of a body whose key is not derived; without one the etag is encrypted.
    etag_key: Option<SecretKey>,
}

impl Encryption {
    /// The keys of the path, if this is to be encrypted by them.
    fn active_keys(&self, object: &ObjectPath) -> Result<PathKeys> {
        let root = self.keys.root.as_ref().ok_or(EncryptionFault::NoRootSecret)?;
        let keys = root.active_keys(&key_path(object));
        Ok(keys.map_err(|unknown| EncryptionFault::LostKey(unknown.to_string()))?)
    }

    fn requested(cx: &Context) -> Option<&WriteEncryption> {
        cx.encryption.as_ref().and_then(|request| request.write.as_ref())
    }

    /// How an object is encrypted; `None` for a plain one.
    pub(super) fn scheme(&self, cx: &Context, object: &ObjectPath) -> Result<Option<WriteScheme>> {
        let requested = Self::requested(cx).unwrap_or(&WriteEncryption::Plain);
        let external = match requested {
            WriteEncryption::Plain if !self.keys.encrypts_all => return Ok(None),
            WriteEncryption::Plain | WriteEncryption::Managed => {
                let keys = self.active_keys(object)?;
                let body = (keys.object.clone(), keys.id.clone());
                return Ok(Some(WriteScheme { body, path: Some(keys), etag_key: None }));
            }
            WriteEncryption::Customer(key) => {
                let check = ExternalKeyCheck::new(key, random::bytes(), "");
                (key, check.wrapping_key(key, ""), ExternalScheme::Customer(check))
            }
            WriteEncryption::Kms { key, context, .. } => {
                let (id, secret) = self.keys.kms_key(key.as_deref())?;
                let check = ExternalKeyCheck::new(secret, random::bytes(), context);
                let (key, context) = (id.to_owned(), context.clone());
                let wrapping = check.wrapping_key(secret, &context);
                (secret, wrapping, ExternalScheme::Kms { key, context, check })
            }
        };
        let (secret, Some(wrapping), scheme) = external else {
            return Err(EncryptionFault::WrongKey.into());
        };
        let path = match self.keys.encrypts_all {
            true => Some(self.active_keys(object)?),
            false => None,
        };
        let body = (wrapping, KeyId::External(scheme));
        Ok(Some(WriteScheme { body, path, etag_key: Some(secret.clone()) }))
    }

    /// Writes an object with this encryption.
    pub(super) async fn put_encrypted(
        &self,
        cx: &Context,
        mut op: PutObject,
        scheme: WriteScheme,
    ) -> Result<ObjectWritten> {
        if let Some(keys) = &scheme.path {
            encrypt_user_metadata(&mut op.metadata, keys);
        }
        let (wrapping, key_id) = scheme.body;
        let (key, iv) = (SecretKey::new(random::bytes()), random::bytes());
        let key_iv = random::bytes();
        let wrapped = wrap_key(&wrapping, &key_iv, &key);
        let body_key = Some(BodyKey { iv: key_iv, wrapped });
        let meta = CryptoMeta { iv: Some(iv), key_id: Some(key_id), body_key };
        let etag = match scheme.etag_key {
            Some(key) => EtagForm::External { key, object: op.object.clone() },
            None => EtagForm::Hidden(scheme.path),
        };
        let row_etag = op.metadata.remove(ROW_ETAG);
        let shown_etag = Arc::new(OnceLock::new());
        let ending = BodyEnding {
            declared: op.etag.take(),
            meta: meta.dump(),
            etag,
            row_etag,
            shown: shown_etag.clone(),
            late: op.late.clone(),
        };
        let stream = Keystream::new(&key, &iv, 0);
        let (md5, length) = (md5::Context::new(), 0);
        let body = EncryptingBody { body: op.body, stream, md5, length, ending: Some(ending) };
        op.body = body.boxed_unsync();
        let mut written = self.next.put_object(cx, op).await?;
        if let Some(etag) = shown_etag.get() {
            written.etag.clone_from(etag);
        }
        written.late.retain(|name, _| !name.starts_with(BODY_PREFIX) && name != ROW_ETAG);
        Ok(written)
    }

    /// Encrypts the user metadata of a POST where the container's objects are encrypted by keys of
    /// the cluster.
    pub(super) fn encrypt_post(
        &self,
        cx: &Context,
        object: &ObjectPath,
        metadata: &mut Metadata,
    ) -> Result<()> {
        let requested = matches!(Self::requested(cx), Some(WriteEncryption::Managed));
        if requested || self.keys.encrypts_all {
            encrypt_user_metadata(metadata, &self.active_keys(object)?);
        }
        Ok(())
    }
}

/// Replaces user metadata by its encrypted form. Empty values stay, as in Swift.
fn encrypt_user_metadata(metadata: &mut Metadata, keys: &PathKeys) {
    let prefix = Resource::Object.user_prefix();
    let plain: Vec<String> = metadata
        .iter()
        .filter(|(name, value)| has_prefix(name, prefix) && !value.is_empty())
        .map(|(name, _)| name.clone())
        .collect();
    if plain.is_empty() {
        return;
    }
    for name in plain {
        let Some(value) = metadata.remove(&name) else { continue };
        let short = name.get(prefix.len()..).unwrap_or_default();
        let value = encrypt_value(&value, &keys.object, random::bytes(), None);
        metadata.insert(format!("{USER_PREFIX}{short}"), value);
    }
    let meta = CryptoMeta { iv: None, key_id: Some(keys.id.clone()), body_key: None };
    metadata.insert(USER_META.to_owned(), meta.dump());
}

/// How the etag of an encrypted body is stored.
enum EtagForm {
    /// It is the MD5 of the body, encrypted by keys of the path.
    Hidden(Option<PathKeys>),
    /// It is not the MD5 of the body, and stored as it is.
    External {
        /// Makes the etag.
        key: SecretKey,
        /// The name of the object.
        object: ObjectPath,
    },
}

/// What happens at the end of an encrypted body.
struct BodyEnding {
    /// MD5 that the body must have before encryption.
    declared: Option<String>,
    /// The description of the encryption.
    meta: String,
    /// How etags are stored.
    etag: EtagForm,
    /// The etag that the listing shows instead of that of the body.
    row_etag: Option<String>,
    /// Receives the etag of the body before encryption.
    shown: Arc<OnceLock<String>>,
    late: LateMetadata,
}

impl BodyEnding {
    /// Verifies the body, and adds the metadata of its encryption. A body without bytes is not
    /// encrypted, as in Swift.
    fn end(self, etag: String, length: u64) -> Result<()> {
        let declared = self.declared.as_ref();
        if declared.is_some_and(|declared| !declared.eq_ignore_ascii_case(&etag)) {
            let cause = format!("the etag of the body is {etag}");
            return Err(Error::new(Kind::ChecksumMismatch, Subject::Object).because(cause));
        }
        if length > 0 {
            self.late.insert(BODY_META, &self.meta);
        }
        let shown = match &self.etag {
            EtagForm::External { key, object } if length > 0 => {
                let shown = external_etag(key, &key_path(object), &etag);
                self.late.insert(EXTERNAL_ETAG, &shown);
                self.late.insert(ROW_ETAG, self.row_etag.as_deref().unwrap_or(&shown));
                shown
            }
            EtagForm::Hidden(Some(keys)) => {
                self.hide_etags(keys, &etag, length);
                etag
            }
            EtagForm::External { .. } | EtagForm::Hidden(None) => {
                if let Some(row) = &self.row_etag {
                    self.late.insert(ROW_ETAG, row);
                }
                etag
            }
        };
        // It is set once, since a body ends once.
        let _ = self.shown.set(shown);
        Ok(())
    }

    /// Stores the etags of the body and of the listing, encrypted.
    fn hide_etags(&self, keys: &PathKeys, etag: &str, length: u64) {
        if length > 0 {
            let encrypted = encrypt_value(etag, &keys.object, random::bytes(), None);
            self.late.insert(ETAG, &encrypted);
            self.late.insert(ETAG_MAC, &etag_mac(&keys.object, etag));
        }
        let row = self.row_etag.as_deref().or((length > 0).then_some(etag));
        match row {
            Some(row) if !row.is_empty() && (row != EMPTY_ETAG || length > 0) => {
                let row = encrypt_value(row, &keys.container, random::bytes(), Some(&keys.id));
                self.late.insert(ROW_ETAG, &row);
            }
            Some(row) => self.late.insert(ROW_ETAG, row),
            None => {}
        }
    }
}

/// A body that is encrypted as it passes.
struct EncryptingBody {
    body: Body,
    stream: Keystream,
    /// Digest of the bytes before encryption.
    md5: md5::Context,
    length: u64,
    ending: Option<BodyEnding>,
}

impl http_body::Body for EncryptingBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, BodyError>>> {
        let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(cx)) else {
            let Some(ending) = self.ending.take() else { return Poll::Ready(None) };
            let digest = std::mem::replace(&mut self.md5, md5::Context::new()).finalize();
            return Poll::Ready(match ending.end(format!("{digest:x}"), self.length) {
                Ok(()) => None,
                Err(error) => Some(Err(error.into())),
            });
        };
        let encrypted = frame.map(|frame| match frame.into_data() {
            Ok(data) => {
                self.md5.consume(&data);
                self.length += data.len() as u64;
                let mut data = writable(data);
                self.stream.apply(&mut data);
                Frame::data(data.freeze())
            }
            Err(other) => other,
        });
        Poll::Ready(Some(encrypted))
    }
}

/// The encryption of a stored object as a choice for another one, as which it is written.
pub(in crate::stage) fn of_stored(stored: &ObjectEncryption) -> Option<WriteEncryption> {
    match stored {
        ObjectEncryption::Managed => Some(WriteEncryption::Managed),
        ObjectEncryption::Kms { key, context, bucket_key } => Some(WriteEncryption::Kms {
            key: Some(key.clone()),
            context: context.clone(),
            bucket_key: *bucket_key,
        }),
        // Only the client has the key.
        ObjectEncryption::Customer(_) => None,
    }
}
