//! Ownership of the objects of a bucket, and whether ACLs are in use there.
//!
//! Source: "Controlling ownership of objects and disabling ACLs for your bucket" in AWS's
//! documentation.

use serde::{Deserialize, Serialize};

use crate::acl::{AccessControlList, AclPermission, CannedAcl, Grant, Grantee, RequestedAcl};

/// The owner of objects that others write into a bucket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ObjectOwnership {
    /// The bucket's owner owns all objects, and ACLs have no effect.
    #[default]
    BucketOwnerEnforced,
    /// The bucket's owner owns objects that are written with `bucket-owner-full-control`.
    BucketOwnerPreferred,
    /// The writer owns an object.
    ObjectWriter,
}

impl ObjectOwnership {
    /// All of them.
    pub const ALL: [Self; 3] =
        [Self::BucketOwnerEnforced, Self::BucketOwnerPreferred, Self::ObjectWriter];

    /// Its name in documents, headers and options.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BucketOwnerEnforced => "BucketOwnerEnforced",
            Self::BucketOwnerPreferred => "BucketOwnerPreferred",
            Self::ObjectWriter => "ObjectWriter",
        }
    }

    /// The ownership of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }

    /// Whether ACLs have an effect.
    pub fn has_acls(self) -> bool {
        self != Self::BucketOwnerEnforced
    }
}

/// The ownership controls of a bucket, as they are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OwnershipControls(pub ObjectOwnership);

/// Reasons why an ACL is refused because of ownership.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OwnershipError {
    /// The bucket has no ACLs.
    #[error("The bucket does not allow ACLs")]
    AclsDisabled,
    /// A bucket whose ACL grants access to others cannot have its ACLs disabled.
    #[error(
        "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting: the ACL grants access to others than the owner"
    )]
    GrantsToOthers,
}

/// A writer and a bucket, by their canonical ids.
#[derive(Debug, Clone, Copy)]
pub struct Uploader<'a> {
    /// The writer; `None` when the bucket's owner has the object in any case: it is the writer, or the
    /// writer is anonymous.
    pub writer: Option<&'a str>,
    /// The owner of the bucket.
    pub bucket_owner: &'a str,
}

/// Whether a request asks for no more than that the bucket's owner has all permissions.
fn is_bucket_owners(requested: &RequestedAcl, bucket_owner: &str) -> bool {
    let full = |grant: &Grant| {
        grant.permission == AclPermission::FullControl
            && matches!(&grant.grantee, Grantee::User(id) if id == bucket_owner)
    };
    match requested {
        RequestedAcl::Canned(canned) => *canned == CannedAcl::BucketOwnerFullControl,
        RequestedAcl::Grants(grants) => !grants.is_empty() && grants.iter().all(full),
    }
}

/// The ACL with which an object is stored; `None` for an object of the bucket's owner to which no
/// other has access.
///
/// # Errors
/// [`OwnershipError::AclsDisabled`].
pub fn acl_of_upload(
    ownership: ObjectOwnership,
    uploader: Uploader<'_>,
    requested: Option<RequestedAcl>,
) -> Result<Option<AccessControlList>, OwnershipError> {
    let Uploader { writer, bucket_owner } = uploader;
    let gives_up = requested.as_ref().is_some_and(|acl| is_bucket_owners(acl, bucket_owner));
    let owner = match ownership {
        ObjectOwnership::BucketOwnerEnforced => {
            if let Some(requested) = requested.filter(|_| !gives_up) {
                let acl = requested.resolve(writer.unwrap_or(bucket_owner), bucket_owner);
                changes_acl(ownership, &AccessControlList::private(bucket_owner), &acl)?;
            }
            return Ok(None);
        }
        ObjectOwnership::BucketOwnerPreferred if gives_up => bucket_owner,
        _ => writer.unwrap_or(bucket_owner),
    };
    let requested = requested.unwrap_or(RequestedAcl::Canned(CannedAcl::Private));
    let acl = requested.resolve(owner, bucket_owner);
    Ok(Some(acl).filter(|acl| *acl != AccessControlList::private(bucket_owner)))
}

/// Whether a request to replace an ACL changes anything. Where ACLs have no effect, a resource has the
/// private ACL of the bucket's owner, and only a request for that one is accepted: older clients send
/// it by default. AWS refuses it, too.
///
/// # Errors
/// [`OwnershipError::AclsDisabled`].
pub fn changes_acl(
    ownership: ObjectOwnership,
    before: &AccessControlList,
    requested: &AccessControlList,
) -> Result<bool, OwnershipError> {
    match (requested == before, ownership.has_acls()) {
        (true, _) => Ok(false),
        (false, true) => Ok(true),
        (false, false) => Err(OwnershipError::AclsDisabled),
    }
}

/// Checks that a bucket with this ACL may have this ownership.
///
/// # Errors
/// [`OwnershipError::GrantsToOthers`].
pub fn check_bucket(
    ownership: ObjectOwnership,
    acl: Option<&AccessControlList>,
) -> Result<(), OwnershipError> {
    match acl {
        Some(acl) if !ownership.has_acls() && !acl.is_private() => {
            Err(OwnershipError::GrantsToOthers)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ObjectOwnership::{BucketOwnerEnforced, BucketOwnerPreferred, ObjectWriter};

    const OWNER: &str = "a:owner";
    const WRITER: &str = "b:writer";

    fn canned(canned: CannedAcl) -> Option<RequestedAcl> {
        Some(RequestedAcl::Canned(canned))
    }

    fn stored(
        ownership: ObjectOwnership,
        writer: Option<&str>,
        requested: Option<RequestedAcl>,
    ) -> Result<Option<AccessControlList>, OwnershipError> {
        acl_of_upload(ownership, Uploader { writer, bucket_owner: OWNER }, requested)
    }

    /// The owner of the stored ACL, or the bucket's.
    fn owner(
        ownership: ObjectOwnership,
        writer: Option<&str>,
        requested: Option<RequestedAcl>,
    ) -> Option<String> {
        let acl = stored(ownership, writer, requested).ok()?;
        Some(acl.map_or_else(|| OWNER.to_owned(), |acl| acl.owner))
    }

    #[test]
    fn the_owner_of_an_object_follows_the_setting() {
        use CannedAcl::{BucketOwnerFullControl, Private, PublicRead};
        let full = vec![Grant::to_user(OWNER, AclPermission::FullControl)];
        let grants = || Some(RequestedAcl::Grants(full.clone()));
        let by = Some(WRITER);
        for (ownership, requested, expected) in [
            (BucketOwnerEnforced, None, Some(OWNER)),
            (BucketOwnerEnforced, canned(BucketOwnerFullControl), Some(OWNER)),
            (BucketOwnerEnforced, grants(), Some(OWNER)),
            (BucketOwnerEnforced, canned(Private), None),
            (BucketOwnerEnforced, canned(PublicRead), None),
            (BucketOwnerPreferred, None, by),
            (BucketOwnerPreferred, canned(BucketOwnerFullControl), Some(OWNER)),
            (BucketOwnerPreferred, grants(), Some(OWNER)),
            (BucketOwnerPreferred, canned(Private), by),
            (ObjectWriter, None, by),
            (ObjectWriter, canned(BucketOwnerFullControl), by),
            (ObjectWriter, grants(), by),
            (ObjectWriter, canned(PublicRead), by),
        ] {
            let found = owner(ownership, by, requested.clone());
            assert_eq!(found.as_deref(), expected, "{ownership:?} {requested:?}");
            // What the owner of the bucket writes is its own, and may be called private.
            let own = owner(ownership, None, requested.clone());
            let is_refused = expected.is_none() && requested != canned(Private);
            assert_eq!(own.is_none(), is_refused, "{ownership:?} {requested:?}");
            assert!(own.is_none_or(|own| own == OWNER), "{ownership:?} {requested:?}");
        }
    }

    #[test]
    fn a_request_for_the_acl_that_a_resource_has_changes_nothing() {
        use CannedAcl::{Private, PublicRead};
        let of = |canned, owner| RequestedAcl::Canned(canned).resolve(owner, OWNER);
        for (ownership, before, requested, expected) in [
            (BucketOwnerEnforced, of(Private, OWNER), of(Private, OWNER), Ok(false)),
            (
                BucketOwnerEnforced,
                of(Private, OWNER),
                of(Private, WRITER),
                Err(OwnershipError::AclsDisabled),
            ),
            (
                BucketOwnerEnforced,
                of(Private, OWNER),
                of(PublicRead, OWNER),
                Err(OwnershipError::AclsDisabled),
            ),
            (ObjectWriter, of(PublicRead, OWNER), of(PublicRead, OWNER), Ok(false)),
            (ObjectWriter, of(PublicRead, OWNER), of(Private, OWNER), Ok(true)),
            (BucketOwnerPreferred, of(Private, OWNER), of(PublicRead, OWNER), Ok(true)),
        ] {
            assert_eq!(changes_acl(ownership, &before, &requested), expected, "{ownership:?}");
        }
    }

    #[test]
    fn nothing_is_stored_for_private_objects_of_the_buckets_owner() {
        use CannedAcl::{BucketOwnerFullControl, BucketOwnerRead, Private, PublicRead};
        for ownership in [BucketOwnerPreferred, ObjectWriter] {
            for private in [Private, BucketOwnerFullControl, BucketOwnerRead] {
                assert_eq!(stored(ownership, None, canned(private)), Ok(None));
            }
            assert_eq!(stored(ownership, None, None), Ok(None));
            let public = stored(ownership, None, canned(PublicRead)).unwrap().unwrap();
            assert!(public.is_public());
        }
        assert_eq!(
            stored(BucketOwnerPreferred, Some(WRITER), canned(BucketOwnerFullControl)),
            Ok(None)
        );
    }

    #[test]
    fn a_bucket_that_grants_access_to_others_keeps_its_acls() {
        let private = AccessControlList::private(OWNER);
        let requested = RequestedAcl::Canned(CannedAcl::PublicRead);
        let public = requested.resolve(OWNER, OWNER);
        assert_eq!(check_bucket(BucketOwnerEnforced, None), Ok(()));
        assert_eq!(check_bucket(BucketOwnerEnforced, Some(&private)), Ok(()));
        let refused = check_bucket(BucketOwnerEnforced, Some(&public));
        assert_eq!(refused, Err(OwnershipError::GrantsToOthers));
        assert_eq!(check_bucket(ObjectWriter, Some(&public)), Ok(()));
    }

    #[test]
    fn names_are_those_of_aws() {
        for ownership in ObjectOwnership::ALL {
            assert_eq!(ObjectOwnership::parse(ownership.name()), Some(ownership));
            let json = serde_json::to_string(&OwnershipControls(ownership)).unwrap();
            assert_eq!(json, format!("\"{}\"", ownership.name()));
        }
        assert_eq!(ObjectOwnership::parse("bucketownerenforced"), None);
    }
}
