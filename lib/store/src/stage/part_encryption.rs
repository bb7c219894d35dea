//! The encryption of the parts of an upload: the one with which the upload was begun.

use std::sync::Arc;

use apus_cluster::Metadata;

use super::encryption::of_stored;
use crate::Result;
use crate::context::Context;
use crate::encryption::{EncryptionFault, ObjectEncryption, RequestEncryption, WriteEncryption};

/// How one part is written.
pub(super) struct PartEncryption {
    /// The context of its write.
    pub(super) cx: Context,
    /// The encryption of its upload.
    pub(super) encryption: Option<ObjectEncryption>,
}

impl PartEncryption {
    /// The encryption of a part, by the metadata of its upload. A client's key must come with each part.
    ///
    /// # Errors
    /// `Invalid` for a part whose key is not that of the upload.
    pub(super) fn of(cx: &Context, upload: &Metadata) -> Result<Self> {
        let encryption = ObjectEncryption::of(upload)?;
        let own = cx.encryption.as_deref();
        let sent = match own.and_then(|own| own.write.as_ref()) {
            Some(WriteEncryption::Customer(key)) => Some(key),
            _ => None,
        };
        let write = match (&encryption, sent) {
            (Some(ObjectEncryption::Customer(check)), Some(key)) if check.matches(key, "") => {
                WriteEncryption::Customer(key.clone())
            }
            (Some(ObjectEncryption::Customer(_)), Some(_)) => {
                return Err(EncryptionFault::OtherKey.into());
            }
            (Some(ObjectEncryption::Customer(_)), None) => {
                return Err(EncryptionFault::PartKeyNeeded.into());
            }
            (_, Some(_)) => return Err(EncryptionFault::PartKeyUnexpected.into()),
            (Some(other), None) => of_stored(other).unwrap_or(WriteEncryption::Plain),
            (None, None) => {
                return Ok(Self { cx: cx.clone(), encryption });
            }
        };
        let read = own.map(|own| own.read.clone()).unwrap_or_default();
        let request = Arc::new(RequestEncryption { read, write: Some(write) });
        Ok(Self { cx: Context { encryption: Some(request), ..cx.clone() }, encryption })
    }
}

#[cfg(test)]
mod tests {
    use apus_crypto::{ExternalKeyCheck, SecretKey};

    use super::*;
    use crate::Kind;
    use crate::encryption::ENCRYPTION;
    use crate::stage::memory_store::test_context;

    #[test]
    fn a_part_has_the_encryption_of_its_upload() {
        let (key, other) = (SecretKey::new([1; 32]), SecretKey::new([2; 32]));
        let check = ExternalKeyCheck::new(&key, [3; 16], "");
        let customer = ObjectEncryption::Customer(check);
        let own = |key: &SecretKey| Some(WriteEncryption::Customer(key.clone()));
        for (upload, sent, expected) in [
            (None, None, Ok(None)),
            (None, own(&key), Err(Kind::Invalid)),
            (Some(ObjectEncryption::Managed), None, Ok(Some(WriteEncryption::Managed))),
            (Some(ObjectEncryption::Managed), own(&key), Err(Kind::Invalid)),
            (Some(customer.clone()), own(&key), Ok(own(&key))),
            (Some(customer.clone()), own(&other), Err(Kind::Invalid)),
            (Some(customer.clone()), None, Err(Kind::Invalid)),
        ] {
            let mut metadata = Metadata::new();
            if let Some(upload) = &upload {
                metadata.insert(ENCRYPTION.to_owned(), upload.to_stored());
            }
            let request = RequestEncryption { write: sent, ..RequestEncryption::default() };
            let cx = Context { encryption: Some(Arc::new(request)), ..test_context() };
            let part = PartEncryption::of(&cx, &metadata);
            let found = part.map(|part| part.cx.encryption.unwrap().write.clone());
            assert_eq!(found.map_err(|error| error.kind), expected, "{upload:?}");
        }
    }
}
