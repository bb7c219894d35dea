//! The ACL of a bucket with the settings that decide about ACLs, as they are stored.

use apus_cluster::Metadata;

use crate::acl::{AccessControlList, AclCaller, AclError, BUCKET_ACL};
use crate::ownership::{ObjectOwnership, OwnershipControls};
use crate::public_access::PublicAccessBlock;
use crate::stored::{self, ConfigError, ConfigKind};

/// What is stored for a bucket is damaged; no ACL may then give access.
#[derive(Debug, thiserror::Error)]
pub enum BucketAclsError {
    /// Its ACL.
    #[error("{BUCKET_ACL}")]
    Acl(#[from] AclError),
    /// One of its settings.
    #[error(transparent)]
    Setting(#[from] ConfigError),
}

/// The ACL of a bucket and its settings for ACLs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BucketAcls {
    /// The ACL, which also names the owner; `None` for a bucket that was created in Swift's dialect.
    pub acl: Option<AccessControlList>,
    /// The owner of objects that others write; `None` when it was not set.
    pub ownership: Option<ObjectOwnership>,
    /// The block of public access.
    pub block: PublicAccessBlock,
}

impl BucketAcls {
    /// The rules in a container's metadata.
    ///
    /// # Errors
    /// [`BucketAclsError`].
    pub fn of(headers: &Metadata) -> Result<Self, BucketAclsError> {
        let acl =
            headers.get(BUCKET_ACL).map_or(Ok(None), |acl| AccessControlList::from_stored(acl))?;
        let controls: Option<OwnershipControls> = stored::load(ConfigKind::Ownership, headers)?;
        let block: Option<PublicAccessBlock> = stored::load(ConfigKind::PublicAccess, headers)?;
        Ok(Self {
            acl,
            ownership: controls.map(|controls| controls.0),
            block: block.unwrap_or_default(),
        })
    }

    /// The ownership; `default` when it was not set.
    pub fn ownership(&self, default: ObjectOwnership) -> ObjectOwnership {
        self.ownership.unwrap_or(default)
    }

    /// Whether the ACL gives access to callers whom the owner does not know, in a bucket with this
    /// ownership unless it sets another.
    pub fn is_public(&self, default: ObjectOwnership) -> bool {
        let has_effect = self.ownership(default).has_acls() && !self.block.ignore_public_acls;
        has_effect && self.acl.as_ref().is_some_and(AccessControlList::is_public)
    }

    /// A caller with these canonical ids, as the ACLs of this bucket and its objects see it.
    pub fn caller<'a>(&self, ids: &'a [&'a str]) -> AclCaller<'a> {
        AclCaller { ids, public_grants: !self.block.ignore_public_acls }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acl::{AclPermission, CannedAcl, RequestedAcl};

    #[test]
    fn stored_rules_are_read_and_damaged_ones_are_errors() {
        assert_eq!(BucketAcls::of(&Metadata::new()).unwrap(), BucketAcls::default());
        let acl = RequestedAcl::Canned(CannedAcl::PublicRead).resolve("a:u", "a:u");
        let mut headers = Metadata::from([(BUCKET_ACL.to_owned(), acl.to_stored().unwrap())]);
        let controls = OwnershipControls(ObjectOwnership::ObjectWriter);
        headers.extend(stored::store(ConfigKind::Ownership, &controls).unwrap());
        let rules = BucketAcls::of(&headers).unwrap();
        assert_eq!(rules.acl.as_ref(), Some(&acl));
        assert_eq!(rules.ownership(ObjectOwnership::default()), ObjectOwnership::ObjectWriter);
        assert!(acl.allows(rules.caller(&[]), AclPermission::Read));
        assert!(rules.is_public(ObjectOwnership::default()));
        let block = PublicAccessBlock { ignore_public_acls: true, ..Default::default() };
        headers.extend(stored::store(ConfigKind::PublicAccess, &block).unwrap());
        let rules = BucketAcls::of(&headers).unwrap();
        assert!(!acl.allows(rules.caller(&[]), AclPermission::Read));
        assert!(!rules.is_public(ObjectOwnership::default()));
        for name in [BUCKET_ACL, ConfigKind::Ownership.header(), ConfigKind::PublicAccess.header()]
        {
            let mut damaged = headers.clone();
            damaged.insert(name.to_owned(), "{".to_owned());
            assert!(BucketAcls::of(&damaged).unwrap_err().to_string().starts_with(name));
        }
    }
}
