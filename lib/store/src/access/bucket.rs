//! The rules of a bucket that the authorizer applies, parsed once for each reading of its metadata.

use apus_bucket::bucket_acls::BucketAcls;
use apus_bucket::public_access::PublicAccessBlock;
use apus_bucket::{BucketPolicyConfig, ConfigKind, stored};
use apus_cluster::Metadata;
use apus_policy::{DocumentKind, PolicyDocument};

/// The policy of a bucket.
#[derive(Debug, Clone)]
pub struct BucketPolicy {
    /// The compiled document.
    pub document: PolicyDocument,
    /// Whether it is public.
    pub is_public: bool,
    /// Whether a deny of operations on the policy is valid for the owner of the bucket, too.
    pub binds_owner: bool,
}

/// The policy of a bucket, if it has one.
#[derive(Debug, Clone, Default)]
pub enum BucketPolicyState {
    /// The bucket has no policy.
    #[default]
    Unset,
    /// The bucket has a policy.
    Set(Box<BucketPolicy>),
    /// What is stored is not a policy that can be evaluated: it must be taken for one that denies.
    Damaged,
}

/// The rules that the owner of a bucket has set in the S3 dialect.
#[derive(Debug, Clone, Default)]
pub struct BucketAccess {
    /// The policy.
    pub policy: BucketPolicyState,
    /// The settings that block public access.
    pub public_access: PublicAccessBlock,
    /// Its ACL and settings for ACLs; `None` when they are damaged, so that no ACL gives access.
    pub acls: Option<BucketAcls>,
}

impl BucketAccess {
    /// The rules in a container's metadata.
    pub fn of(headers: &Metadata) -> Self {
        let acls = BucketAcls::of(headers).inspect_err(|error| {
            tracing::error!(%error, "A bucket has damaged ACLs or settings for ACLs");
        });
        Self { policy: policy(headers), public_access: public_access(headers), acls: acls.ok() }
    }
}

fn policy(headers: &Metadata) -> BucketPolicyState {
    let config: BucketPolicyConfig = match stored::load(ConfigKind::Policy, headers) {
        Ok(None) => return BucketPolicyState::Unset,
        Ok(Some(config)) => config,
        Err(error) => {
            tracing::error!(%error, "Failed to read a bucket's policy, so its requests are denied");
            return BucketPolicyState::Damaged;
        }
    };
    match PolicyDocument::parse(&config.document, DocumentKind::StoredBucket) {
        Ok(document) => BucketPolicyState::Set(Box::new(BucketPolicy {
            is_public: document.is_public(),
            document,
            binds_owner: config.binds_owner,
        })),
        Err(error) => {
            tracing::error!(%error, "Failed to read a bucket's policy, so its requests are denied");
            BucketPolicyState::Damaged
        }
    }
}

/// The settings; all are on when what is stored is damaged.
fn public_access(headers: &Metadata) -> PublicAccessBlock {
    match stored::load(ConfigKind::PublicAccess, headers) {
        Ok(settings) => settings.unwrap_or_default(),
        Err(error) => {
            tracing::error!(%error, "Failed to read a bucket's public access block, so all of it is on");
            PublicAccessBlock {
                block_public_acls: true,
                ignore_public_acls: true,
                block_public_policy: true,
                restrict_public_buckets: true,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_rules_deny() {
        let damaged = |kind: ConfigKind, value: &str| {
            BucketAccess::of(&Metadata::from([(kind.header().to_owned(), value.to_owned())]))
        };
        for value in ["{", r#"{"document":"{}"}"#, r#"{"document":1}"#] {
            let access = damaged(ConfigKind::Policy, value);
            assert!(matches!(access.policy, BucketPolicyState::Damaged), "{value}");
        }
        assert!(damaged(ConfigKind::PublicAccess, "{").public_access.restrict_public_buckets);
        let none = BucketAccess::of(&Metadata::new());
        assert!(matches!(none.policy, BucketPolicyState::Unset));
        assert_eq!(none.public_access, PublicAccessBlock::default());
    }

    #[test]
    fn a_stored_policy_is_compiled() {
        let document = r#"{"Statement":{"Effect":"Allow","Principal":"*","Action":"s3:GetObject",
            "Resource":"arn:aws:s3:::b/*"}}"#;
        let config = BucketPolicyConfig { document: document.to_owned(), binds_owner: false };
        let headers = stored::store(ConfigKind::Policy, &config).unwrap();
        let BucketPolicyState::Set(policy) = BucketAccess::of(&headers).policy else { panic!() };
        assert!(policy.is_public && !policy.binds_owner);
    }
}
