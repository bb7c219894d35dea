//! S3's actions, and sets of actions of a statement.
//!
//! Source: "Actions, resources, and condition keys for Amazon S3" in the Service Authorization
//! Reference (2026).

use crate::glob::Glob;

/// What an action is applied to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ActionScope {
    Bucket,
    Object,
    /// The account, or a resource that is neither a bucket nor an object.
    Other,
}

/// A row of the table of actions.
#[derive(Debug)]
struct KnownAction {
    name: &'static str,
    scope: ActionScope,
}

const fn bucket(name: &'static str) -> KnownAction {
    KnownAction { name, scope: ActionScope::Bucket }
}

const fn object(name: &'static str) -> KnownAction {
    KnownAction { name, scope: ActionScope::Object }
}

const fn other(name: &'static str) -> KnownAction {
    KnownAction { name, scope: ActionScope::Other }
}

/// All actions of S3 and the permissions that only Swift's dialect has, sorted by name without regard to
/// case.
static ACTIONS: [KnownAction; 171] = [
    object("AbortMultipartUpload"),
    other("AssociateAccessGrantsIdentityCenter"),
    object("BypassGovernanceRetention"),
    other("CreateAccessGrant"),
    other("CreateAccessGrantsInstance"),
    other("CreateAccessGrantsLocation"),
    other("CreateAccessPoint"),
    other("CreateAccessPointForObjectLambda"),
    bucket("CreateBucket"),
    bucket("CreateBucketMetadataTableConfiguration"),
    other("CreateJob"),
    other("CreateMultiRegionAccessPoint"),
    other("CreateStorageLensGroup"),
    other("DeleteAccessGrant"),
    other("DeleteAccessGrantsInstance"),
    other("DeleteAccessGrantsInstanceResourcePolicy"),
    other("DeleteAccessGrantsLocation"),
    other("DeleteAccessPoint"),
    other("DeleteAccessPointForObjectLambda"),
    other("DeleteAccessPointPolicy"),
    other("DeleteAccessPointPolicyForObjectLambda"),
    bucket("DeleteBucket"),
    bucket("DeleteBucketMetadataTableConfiguration"),
    bucket("DeleteBucketPolicy"),
    bucket("DeleteBucketWebsite"),
    other("DeleteJobTagging"),
    other("DeleteMultiRegionAccessPoint"),
    object("DeleteObject"),
    object("DeleteObjectTagging"),
    object("DeleteObjectVersion"),
    object("DeleteObjectVersionTagging"),
    other("DeleteStorageLensConfiguration"),
    other("DeleteStorageLensConfigurationTagging"),
    other("DeleteStorageLensGroup"),
    other("DescribeJob"),
    other("DescribeMultiRegionAccessPointOperation"),
    other("DissociateAccessGrantsIdentityCenter"),
    bucket("GetAccelerateConfiguration"),
    other("GetAccessGrant"),
    other("GetAccessGrantsInstance"),
    other("GetAccessGrantsInstanceForPrefix"),
    other("GetAccessGrantsInstanceResourcePolicy"),
    other("GetAccessGrantsLocation"),
    other("GetAccessPoint"),
    other("GetAccessPointConfigurationForObjectLambda"),
    other("GetAccessPointForObjectLambda"),
    other("GetAccessPointPolicy"),
    other("GetAccessPointPolicyForObjectLambda"),
    other("GetAccessPointPolicyStatus"),
    other("GetAccessPointPolicyStatusForObjectLambda"),
    other("GetAccountPublicAccessBlock"),
    bucket("GetAnalyticsConfiguration"),
    bucket("GetBucketAbac"),
    bucket("GetBucketAcl"),
    bucket("GetBucketCORS"),
    bucket("GetBucketLocation"),
    bucket("GetBucketLogging"),
    bucket("GetBucketMetadataTableConfiguration"),
    bucket("GetBucketNotification"),
    bucket("GetBucketObjectLockConfiguration"),
    bucket("GetBucketOwnershipControls"),
    bucket("GetBucketPolicy"),
    bucket("GetBucketPolicyStatus"),
    bucket("GetBucketPublicAccessBlock"),
    bucket("GetBucketRequestPayment"),
    bucket("GetBucketTagging"),
    bucket("GetBucketVersioning"),
    bucket("GetBucketWebsite"),
    other("GetDataAccess"),
    bucket("GetEncryptionConfiguration"),
    bucket("GetIntelligentTieringConfiguration"),
    bucket("GetInventoryConfiguration"),
    other("GetJobTagging"),
    bucket("GetLifecycleConfiguration"),
    bucket("GetMetricsConfiguration"),
    other("GetMultiRegionAccessPoint"),
    other("GetMultiRegionAccessPointPolicy"),
    other("GetMultiRegionAccessPointPolicyStatus"),
    other("GetMultiRegionAccessPointRoutes"),
    object("GetObject"),
    object("GetObjectAcl"),
    object("GetObjectAttributes"),
    object("GetObjectLegalHold"),
    object("GetObjectRetention"),
    object("GetObjectTagging"),
    object("GetObjectTorrent"),
    object("GetObjectVersion"),
    object("GetObjectVersionAcl"),
    object("GetObjectVersionAttributes"),
    object("GetObjectVersionForReplication"),
    object("GetObjectVersionTagging"),
    object("GetObjectVersionTorrent"),
    bucket("GetReplicationConfiguration"),
    other("GetStorageLensConfiguration"),
    other("GetStorageLensConfigurationTagging"),
    other("GetStorageLensDashboard"),
    other("GetStorageLensGroup"),
    object("InitiateReplication"),
    other("ListAccessGrants"),
    other("ListAccessGrantsInstances"),
    other("ListAccessGrantsLocations"),
    other("ListAccessPoints"),
    other("ListAccessPointsForObjectLambda"),
    other("ListAllMyBuckets"),
    bucket("ListBucket"),
    bucket("ListBucketMultipartUploads"),
    bucket("ListBucketVersions"),
    other("ListCallerAccessGrants"),
    other("ListJobs"),
    object("ListMultipartUploadParts"),
    other("ListMultiRegionAccessPoints"),
    other("ListStorageLensConfigurations"),
    other("ListStorageLensGroups"),
    other("ListTagsForResource"),
    other("ManageAccount"),
    object("ObjectOwnerOverrideToBucketOwner"),
    bucket("PauseReplication"),
    bucket("PutAccelerateConfiguration"),
    other("PutAccessGrantsInstanceResourcePolicy"),
    other("PutAccessPointConfigurationForObjectLambda"),
    other("PutAccessPointPolicy"),
    other("PutAccessPointPolicyForObjectLambda"),
    other("PutAccessPointPublicAccessBlock"),
    other("PutAccountMetadata"),
    other("PutAccountPublicAccessBlock"),
    bucket("PutAnalyticsConfiguration"),
    bucket("PutBucketAbac"),
    bucket("PutBucketAcl"),
    bucket("PutBucketCORS"),
    bucket("PutBucketLogging"),
    bucket("PutBucketMetadata"),
    bucket("PutBucketNotification"),
    bucket("PutBucketObjectLockConfiguration"),
    bucket("PutBucketOwnershipControls"),
    bucket("PutBucketPolicy"),
    bucket("PutBucketPublicAccessBlock"),
    bucket("PutBucketRequestPayment"),
    bucket("PutBucketTagging"),
    bucket("PutBucketVersioning"),
    bucket("PutBucketWebsite"),
    bucket("PutEncryptionConfiguration"),
    bucket("PutIntelligentTieringConfiguration"),
    bucket("PutInventoryConfiguration"),
    other("PutJobTagging"),
    bucket("PutLifecycleConfiguration"),
    bucket("PutMetricsConfiguration"),
    other("PutMultiRegionAccessPointPolicy"),
    object("PutObject"),
    object("PutObjectAcl"),
    object("PutObjectLegalHold"),
    object("PutObjectRetention"),
    object("PutObjectTagging"),
    object("PutObjectVersionAcl"),
    object("PutObjectVersionTagging"),
    bucket("PutReplicationConfiguration"),
    other("PutStorageLensConfiguration"),
    other("PutStorageLensConfigurationTagging"),
    object("ReplicateDelete"),
    object("ReplicateObject"),
    object("ReplicateTags"),
    object("RestoreObject"),
    other("SubmitMultiRegionAccessPointRoutes"),
    other("TagResource"),
    other("UntagResource"),
    other("UpdateAccessGrantsLocation"),
    bucket("UpdateBucketMetadataInventoryTableConfiguration"),
    bucket("UpdateBucketMetadataJournalTableConfiguration"),
    other("UpdateJobPriority"),
    other("UpdateJobStatus"),
    object("UpdateObjectEncryption"),
    other("UpdateStorageLensGroup"),
];

const WORDS: usize = ACTIONS.len().div_ceil(64);
const SERVICE: &str = "s3:";

/// Errors of actions.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ActionError {
    #[error("{0:?} is not an action: expected service:Name")]
    Syntax(String),
    #[error("{0:?} matches no action of S3")]
    Unknown(String),
    #[error("{0:?} is an action of another service, expected s3:Name")]
    Foreign(String),
}

/// The services whose actions a document may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ActionServices {
    S3,
    All,
}

/// An action of a request, looked up once.
#[derive(Debug)]
pub(crate) struct RequestedAction {
    lower: String,
    index: Option<usize>,
}

impl RequestedAction {
    pub(crate) fn new(name: &str) -> Self {
        let lower = name.to_ascii_lowercase();
        let index = lower.strip_prefix(SERVICE).and_then(find);
        Self { lower, index }
    }
}

/// The row of an action; `name` is in lower case.
fn find(name: &str) -> Option<usize> {
    let lower = |known: &KnownAction| known.name.bytes().map(|byte| byte.to_ascii_lowercase());
    let by_name = |known: &KnownAction| lower(known).cmp(name.bytes());
    ACTIONS.binary_search_by(by_name).ok()
}

/// The actions of a statement.
#[derive(Debug, Clone)]
pub(crate) struct ActionSet {
    /// Whether the statement names the actions that it is not about.
    negated: bool,
    /// A bit for each row of the table.
    known: [u64; WORDS],
    /// All patterns, for actions that are not in the table.
    patterns: Vec<Glob>,
}

impl ActionSet {
    /// The set of these patterns.
    pub(crate) fn parse(
        negated: bool,
        texts: &[&str],
        services: ActionServices,
    ) -> Result<Self, ActionError> {
        let mut set = Self { negated, known: [0; WORDS], patterns: Vec::new() };
        for text in texts {
            set.add(text, services)?;
        }
        Ok(set)
    }

    fn add(&mut self, text: &str, services: ActionServices) -> Result<(), ActionError> {
        let lower = text.to_ascii_lowercase();
        let glob = Glob::parse(&lower);
        let is_everything = matches!(&glob, Glob::Prefix(before) if before.is_empty());
        let service = lower.split_once(':').map(|(service, name)| (service, !name.is_empty()));
        match service {
            None if is_everything => {}
            None | Some(("", _) | (_, false)) => return Err(ActionError::Syntax(text.to_owned())),
            Some(("s3", _)) => {}
            Some(_) if services == ActionServices::S3 => {
                return Err(ActionError::Foreign(text.to_owned()));
            }
            Some(_) => {}
        }
        let mut matched = false;
        for (index, action) in ACTIONS.iter().enumerate() {
            let name = format!("{SERVICE}{}", action.name.to_ascii_lowercase());
            if glob.matches(&name) {
                matched = true;
                if let Some(word) = self.known.get_mut(index / 64) {
                    *word |= 1 << (index % 64);
                }
            }
        }
        if !matched && lower.starts_with(SERVICE) {
            return Err(ActionError::Unknown(text.to_owned()));
        }
        self.patterns.push(glob);
        Ok(())
    }

    fn has(&self, index: usize) -> bool {
        self.known.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    /// Whether the statement is about an action.
    pub(crate) fn contains(&self, action: &RequestedAction) -> bool {
        let named = match action.index {
            Some(index) => self.has(index),
            None => self.patterns.iter().any(|glob| glob.matches(&action.lower)),
        };
        named != self.negated
    }

    /// Whether an action with this scope is among those of the statement.
    pub(crate) fn has_scope(&self, scope: ActionScope) -> bool {
        ACTIONS
            .iter()
            .enumerate()
            .any(|(index, action)| action.scope == scope && self.has(index) != self.negated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::permission::{Permission, PermissionScope};

    #[test]
    fn the_table_is_sorted_so_that_every_action_is_found() {
        for (index, action) in ACTIONS.iter().enumerate() {
            assert_eq!(find(&action.name.to_ascii_lowercase()), Some(index), "{}", action.name);
        }
        assert_eq!(find("nosuchaction"), None);
    }

    #[test]
    fn every_permission_is_an_action_with_its_scope() {
        for permission in Permission::ALL {
            let name = permission.name().trim_start_matches(SERVICE).to_ascii_lowercase();
            let found = ACTIONS[find(&name).unwrap()].scope;
            let expected = match permission.scope() {
                PermissionScope::Account => ActionScope::Other,
                PermissionScope::Bucket => ActionScope::Bucket,
                PermissionScope::Object => ActionScope::Object,
            };
            assert_eq!(found, expected, "{}", permission.name());
        }
    }

    #[test]
    fn patterns_select_actions_without_regard_to_case() {
        let has = |negated: bool, patterns: &[&str], action: &str| {
            let set = ActionSet::parse(negated, patterns, ActionServices::All).unwrap();
            set.contains(&RequestedAction::new(action))
        };
        assert!(has(false, &["S3:getobject"], "s3:GetObject"));
        assert!(!has(false, &["s3:GetObject"], "s3:GetObjectAcl"));
        assert!(has(false, &["s3:GetObject*"], "s3:GetObjectAcl"));
        assert!(has(false, &["s3:?etObject"], "s3:GetObject"));
        assert!(has(false, &["*"], "iam:CreateUser"));
        assert!(!has(false, &["s3:*"], "iam:CreateUser"));
        assert!(has(false, &["iam:Create*"], "iam:CreateUser"));
        assert!(!has(true, &["s3:Get*"], "s3:GetObject"));
        assert!(has(true, &["s3:Get*"], "s3:PutObject"));
        assert!(has(true, &["s3:Get*"], "iam:GetUser"));
    }

    #[test]
    fn actions_that_do_not_exist_are_refused() {
        let parse = |text, services| ActionSet::parse(false, &[text], services).unwrap_err();
        for text in ["", "GetObject", "s3:", ":GetObject", "get*"] {
            let error = parse(text, ActionServices::All);
            assert_eq!(error, ActionError::Syntax(text.to_owned()), "{text}");
        }
        for text in ["s3:GetObjekt", "s3:Foo*"] {
            let error = parse(text, ActionServices::All);
            assert_eq!(error, ActionError::Unknown(text.to_owned()));
        }
        let error = parse("iam:CreateUser", ActionServices::S3);
        assert_eq!(error, ActionError::Foreign("iam:CreateUser".to_owned()));
    }

    #[test]
    fn scopes_are_those_of_the_named_actions() {
        let set = ActionSet::parse(false, &["s3:GetObject"], ActionServices::S3).unwrap();
        assert!(set.has_scope(ActionScope::Object) && !set.has_scope(ActionScope::Bucket));
        let set = ActionSet::parse(true, &["s3:*Object*"], ActionServices::S3).unwrap();
        assert!(set.has_scope(ActionScope::Bucket) && set.has_scope(ActionScope::Object));
    }
}
