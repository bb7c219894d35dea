//! The part of policies in authorization: that of the bucket, and those of the caller.
//!
//! A caller has its names in the form of AWS: the account is the one of Swift, with or without the
//! reseller prefix, and the user is `user/<name>`, where the name may be written with its account, too.

use apus_bucket::TagSet;
use apus_policy::document::S3_ARN_PREFIX;
use apus_policy::{
    AccessDocuments, AccessOutcome, ConditionContext, ConditionValues, Permission, PolicyCaller,
    PolicyRequest,
};
use apus_store::access::{
    AccessRequest, BucketPolicy, BucketPolicyState, Identity, ObjectFacts, noted,
};
use apus_store::settings::TAGGING;

/// What the policies say of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PolicyAnswer {
    /// A statement denies, or the bucket's policy is damaged.
    Deny,
    /// A statement allows.
    Allow,
    /// No statement is about the request.
    Silent,
    /// The answer depends on the object.
    NeedsObject {
        /// Whether the object may lead to a deny. If not, it may lead to an allow.
        may_deny: bool,
    },
}

/// Key of the tags of the stored object.
const EXISTING_TAG: &str = "s3:existingobjecttag/";

/// Whether a permission is about the policy of a bucket, which only its account may have.
fn is_about_policy(permission: Permission) -> bool {
    matches!(
        permission,
        Permission::GetBucketPolicy
            | Permission::PutBucketPolicy
            | Permission::DeleteBucketPolicy
            | Permission::GetBucketPolicyStatus
    )
}

/// Whether no policy can give a permission: those of the operators.
fn is_operators(permission: Permission) -> bool {
    permission == Permission::ManageAccount
}

/// Names of an account: its own, and without the reseller prefix.
fn account_names(account: &str, reseller_prefix: &str) -> Vec<String> {
    let short = account.strip_prefix(reseller_prefix).filter(|short| *short != account);
    std::iter::once(account).chain(short).map(str::to_owned).collect()
}

/// The name of a user without its account.
fn user_name(user: &str) -> &str {
    user.split_once(':').map_or(user, |(_, name)| name)
}

/// The caller, under all names that documents may use. The one without the prefix is the last.
fn caller(identity: &Identity, reseller_prefix: &str) -> PolicyCaller {
    let Some(user) = &identity.user else { return PolicyCaller::default() };
    let account = identity.account.as_ref().map(|account| account.as_str());
    let accounts = account.map_or(Vec::new(), |name| account_names(name, reseller_prefix));
    let users = [Some(user.as_str()), Some(user_name(user)).filter(|name| name != user)];
    let arns = accounts
        .iter()
        .flat_map(|account| {
            let names = users.iter().flatten();
            names.map(move |name| format!("arn:aws:iam::{account}:user/{name}"))
        })
        .collect();
    let canonical_ids = std::iter::once(user.as_str()).chain(account).map(str::to_owned).collect();
    PolicyCaller { canonical_ids, accounts, arns, ..Default::default() }
}

/// The values of condition keys: of the caller, the resource and the object here, the others from
/// the request.
struct RequestContext<'a> {
    request: &'a AccessRequest<'a>,
    caller: &'a PolicyCaller,
    reseller_prefix: &'a str,
}

impl ConditionContext for RequestContext<'_> {
    fn values(&self, key: &str) -> ConditionValues {
        let AccessRequest { identity, target, object, facts, .. } = *self.request;
        let known = |value: Option<&str>| {
            ConditionValues::Known(value.map(str::to_owned).into_iter().collect())
        };
        if let Some(tag) = key.strip_prefix(EXISTING_TAG) {
            return match object {
                ObjectFacts::Unread => ConditionValues::Unread,
                ObjectFacts::Absent => known(None),
                ObjectFacts::Present(metadata) => {
                    let tags = metadata.get(TAGGING).map(|text| TagSet::from_stored(text));
                    known(tags.as_ref().and_then(|tags| tags.get(tag)))
                }
            };
        }
        let user = identity.user.as_deref();
        match key {
            "aws:username" => known(user.map(user_name)),
            "aws:userid" => known(user),
            "aws:principaltype" => known(Some(if user.is_some() { "User" } else { "Anonymous" })),
            "aws:principalarn" => ConditionValues::Known(self.caller.arns.clone()),
            "aws:principalaccount" => ConditionValues::Known(self.caller.accounts.clone()),
            "aws:resourceaccount" | "s3:resourceaccount" => {
                let names = account_names(target.account.as_str(), self.reseller_prefix);
                ConditionValues::Known(names)
            }
            "s3:versionid" => known(target.version.map(|version| version.to_string()).as_deref()),
            other => {
                ConditionValues::Known(facts.map(|facts| facts.values(other)).unwrap_or_default())
            }
        }
    }
}

/// The name of the resource.
fn resource(request: &AccessRequest<'_>) -> String {
    let target = request.target;
    match (&target.container, &target.object) {
        (None, _) => format!("{S3_ARN_PREFIX}*"),
        (Some(bucket), None) => format!("{S3_ARN_PREFIX}{}", bucket.as_str()),
        (Some(bucket), Some(key)) => {
            format!("{S3_ARN_PREFIX}{}/{}", bucket.as_str(), key.as_str())
        }
    }
}

/// What the policies say. `is_owner` is whether the caller owns the account of the bucket: the
/// bucket's policy does not deny it operations on that policy, so that it can correct a mistake, unless
/// it has confirmed that it does. Its own policies do.
pub(super) fn answer(
    request: &AccessRequest<'_>,
    reseller_prefix: &str,
    is_owner: bool,
) -> PolicyAnswer {
    let identity = request.identity.policies.as_deref();
    let about_policy = is_about_policy(request.permission);
    let is_exempt = is_owner && about_policy;
    let policy: Option<&BucketPolicy> = match request.bucket.map(|bucket| &bucket.policy) {
        None | Some(BucketPolicyState::Unset) => None,
        Some(BucketPolicyState::Set(policy)) if is_exempt && !policy.binds_owner => None,
        Some(BucketPolicyState::Set(policy)) => Some(policy),
        Some(BucketPolicyState::Damaged) if is_exempt => None,
        Some(BucketPolicyState::Damaged) => {
            noted::rule("the bucket's policy is damaged");
            return PolicyAnswer::Deny;
        }
    };
    if policy.is_none() && identity.is_none() {
        return PolicyAnswer::Silent;
    }
    let same_account = request.identity.account.as_ref() == Some(&request.target.account);
    let caller = caller(request.identity, reseller_prefix);
    let context = RequestContext { request, caller: &caller, reseller_prefix };
    let asked = PolicyRequest {
        action: request.permission.name(),
        resource: &resource(request),
        caller: &caller,
        context: &context,
    };
    let documents =
        AccessDocuments { bucket: policy.map(|policy| &policy.document), identity, same_account };
    // What is for others than the account of the bucket has no effect while it is restricted, and
    // operations on the policy are never for them.
    let restricts =
        request.bucket.is_some_and(|bucket| bucket.public_access.restrict_public_buckets)
            && policy.is_some_and(|policy| policy.is_public);
    let is_closed =
        is_operators(request.permission) || (!same_account && (restricts || about_policy));
    match documents.decide(&asked) {
        AccessOutcome::Deny { statement } => {
            noted::rule(format!("policy statement {statement} denies"));
            PolicyAnswer::Deny
        }
        AccessOutcome::Unread { may_deny: true } => PolicyAnswer::NeedsObject { may_deny: true },
        AccessOutcome::Allow { .. } | AccessOutcome::Unread { .. } if is_closed => {
            PolicyAnswer::Silent
        }
        AccessOutcome::Allow { statement } => {
            noted::rule(format!("policy statement {statement} allows"));
            PolicyAnswer::Allow
        }
        AccessOutcome::Unread { may_deny } => PolicyAnswer::NeedsObject { may_deny },
        AccessOutcome::NotAllowed => PolicyAnswer::Silent,
    }
}

#[cfg(test)]
mod tests;
