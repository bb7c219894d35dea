//! The stored form of ACLs, which is that of Swift's s3api with `s3_acl`, and the errors of ACLs.
//!
//! `{"Owner":"test:tester","Grant":[{"Permission":"READ","Grantee":"AllUsers"}]}` in ASCII. Groups are
//! written by name, users by id.

use serde::{Deserialize, Serialize};

use super::{AccessControlList, AclPermission, GRANTS_MAX, Grant, Grantee, GranteeGroup};
use crate::stored::ascii_json;

/// System metadata with the ACL of a container.
pub const BUCKET_ACL: &str = "X-Container-Sysmeta-S3Api-Acl";
/// System metadata with the ACL that an object was written with.
pub const OBJECT_ACL: &str = "X-Object-Sysmeta-S3Api-Acl";
/// System metadata of the marker of an upload, with the ACL of the object that it creates.
pub const UPLOAD_ACL: &str = "X-Object-Sysmeta-S3Api-Tmpacl";

/// Longest stored form, in bytes. Swift's servers accept header lines of 8,192.
const STORED_BYTES_MAX: usize = 8000;

/// Reasons why an ACL is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AclError {
    /// A grantee in a header has another form.
    #[error("{0:?}: expected id=\"…\" or uri=\"…\", several separated by commas")]
    HeaderFormat(String),
    /// A canonical id cannot be one.
    #[error("the canonical id {0:?}, expected 1 to 256 bytes without control characters")]
    UserId(String),
    /// A group is not predefined.
    #[error("the group {0:?}, expected the URI of AllUsers, AuthenticatedUsers or LogDelivery")]
    Group(String),
    /// A grantee is named by an e-mail address, which S3 no longer resolves.
    #[error("the e-mail address {0:?}: expected a canonical id")]
    Email(String),
    /// There are too many grants.
    #[error("{0} grants, expected at most {GRANTS_MAX}")]
    TooMany(usize),
    /// The ACL does not fit into metadata.
    #[error("the ACL has {0} bytes as it is stored, expected at most {STORED_BYTES_MAX}")]
    TooLong(usize),
    /// What is stored is not an ACL.
    #[error("the stored ACL is damaged: {0}")]
    Damaged(String),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StoredGrant {
    permission: String,
    grantee: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StoredAcl {
    #[serde(default)]
    owner: Option<String>,
    #[serde(default)]
    grant: Vec<StoredGrant>,
}

impl Grant {
    fn to_stored(&self) -> StoredGrant {
        let grantee = match &self.grantee {
            Grantee::User(id) => id,
            Grantee::Group(group) => group.stored(),
        };
        StoredGrant { permission: self.permission.name().to_owned(), grantee: grantee.to_owned() }
    }

    fn from_stored(stored: StoredGrant) -> Result<Self, AclError> {
        // Swift compares permissions in upper case when it creates a grant.
        let permission = AclPermission::parse(&stored.permission.to_ascii_uppercase());
        let permission = permission
            .ok_or_else(|| AclError::Damaged(format!("permission {:?}", stored.permission)))?;
        let group = GranteeGroup::ALL.into_iter().find(|group| group.stored() == stored.grantee);
        let grantee = match group {
            Some(group) => Grantee::Group(group),
            None => Grantee::User(stored.grantee),
        };
        Ok(Self { grantee, permission })
    }
}

impl AccessControlList {
    /// The stored form.
    ///
    /// # Errors
    /// [`AclError::TooMany`], [`AclError::TooLong`].
    pub fn to_stored(&self) -> Result<String, AclError> {
        if self.grants.len() > GRANTS_MAX {
            return Err(AclError::TooMany(self.grants.len()));
        }
        let stored = StoredAcl {
            owner: Some(self.owner.clone()),
            grant: self.grants.iter().map(Grant::to_stored).collect(),
        };
        let text = ascii_json(&stored).map_err(|error| AclError::Damaged(error.to_string()))?;
        if text.len() > STORED_BYTES_MAX { Err(AclError::TooLong(text.len())) } else { Ok(text) }
    }

    /// The ACL from its stored form; `None` for one without an owner, which grants nothing.
    ///
    /// # Errors
    /// [`AclError::Damaged`].
    pub fn from_stored(text: &str) -> Result<Option<Self>, AclError> {
        if text.is_empty() {
            return Ok(None);
        }
        let stored: StoredAcl =
            serde_json::from_str(text).map_err(|error| AclError::Damaged(error.to_string()))?;
        let Some(owner) = stored.owner else { return Ok(None) };
        let grants = stored.grant.into_iter().map(Grant::from_stored).collect::<Result<_, _>>()?;
        Ok(Some(Self { owner, grants }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{CannedAcl, RequestedAcl};
    use super::*;

    #[test]
    fn swifts_form_is_written_and_read() {
        let acl = RequestedAcl::Canned(CannedAcl::PublicRead).resolve("test:tester", "test:tester");
        // `json.dumps` of `encode_acl`, with `separators=(',', ':')`.
        let swifts = concat!(
            r#"{"Owner":"test:tester","Grant":[{"Permission":"READ","Grantee":"AllUsers"},"#,
            r#"{"Permission":"FULL_CONTROL","Grantee":"test:tester"}]}"#
        );
        assert_eq!(acl.to_stored().unwrap(), swifts);
        assert_eq!(AccessControlList::from_stored(swifts).unwrap(), Some(acl));
    }

    #[test]
    fn every_acl_is_read_as_it_was_written() {
        for canned in CannedAcl::ALL {
            let acl = RequestedAcl::Canned(canned).resolve("größe:ü\"", "b:ob");
            let text = acl.to_stored().unwrap();
            assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{text}");
            assert_eq!(AccessControlList::from_stored(&text).unwrap(), Some(acl));
        }
    }

    #[test]
    fn acls_without_an_owner_grant_nothing() {
        for text in ["", "{}", "[]", r#"{"Owner":null,"Grant":[]}"#] {
            assert_eq!(AccessControlList::from_stored(text).unwrap(), None, "{text}");
        }
    }

    #[test]
    fn what_is_not_an_acl_is_damaged() {
        for text in [
            "x",
            "3",
            r#"{"Owner":1}"#,
            r#"{"Owner":"a","Grant":[{"Permission":"ALL","Grantee":"b"}]}"#,
            r#"{"Owner":"a","Grant":[{"Permission":"READ"}]}"#,
        ] {
            let refused = AccessControlList::from_stored(text).unwrap_err();
            assert!(matches!(refused, AclError::Damaged(_)), "{text}: {refused}");
        }
    }

    #[test]
    fn an_acl_has_a_limited_size() {
        let of = |count: usize, bytes: usize| {
            let grant = Grant::to_user(&"x".repeat(bytes), AclPermission::Read);
            AccessControlList { owner: "a".to_owned(), grants: vec![grant; count] }.to_stored()
        };
        assert!(of(100, 30).is_ok());
        assert_eq!(of(101, 1), Err(AclError::TooMany(101)));
        assert!(matches!(of(100, 200), Err(AclError::TooLong(_))));
    }
}
