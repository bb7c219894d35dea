//! Policies of an identity, and the decision over them and the bucket's policy.
//!
//! Source: "Policy evaluation logic" in the IAM User Guide. A deny in any policy decides. Within the
//! account of the bucket either the bucket's policy or those of the identity must allow; from
//! another account both must. The boundary and the session's policies limit what the identity's policies
//! allow, and what the bucket's policy grants to others than the caller itself.

use std::sync::Arc;

use crate::document::PolicyDocument;
use crate::evaluate::{PolicyOutcome, PolicyRequest};
use crate::facts::{Truth, any};
use crate::principal::Grantee;

/// The policies of an identity.
#[derive(Debug, Clone, Default)]
pub struct IdentityPolicies {
    /// Whether it has all rights in its own account, so that its policies only deny.
    pub is_administrator: bool,
    /// Policies of the user and its groups, or of the role.
    pub attached: Vec<Arc<PolicyDocument>>,
    /// The most that they may allow.
    pub boundary: Option<Arc<PolicyDocument>>,
    /// The most that a session may do.
    pub session: Option<Vec<Arc<PolicyDocument>>>,
}

/// Two are equal when they are the same compiled documents.
impl PartialEq for IdentityPolicies {
    fn eq(&self, other: &Self) -> bool {
        let same = |a: &Arc<PolicyDocument>, b: &Arc<PolicyDocument>| Arc::ptr_eq(a, b);
        let same_all = |a: &[Arc<PolicyDocument>], b: &[Arc<PolicyDocument>]| {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        };
        self.is_administrator == other.is_administrator
            && same_all(&self.attached, &other.attached)
            && same_all(self.boundary.as_slice(), other.boundary.as_slice())
            && self.session.is_some() == other.session.is_some()
            && same_all(
                self.session.as_deref().unwrap_or_default(),
                other.session.as_deref().unwrap_or_default(),
            )
    }
}

impl Eq for IdentityPolicies {}

/// The decision over several documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessOutcome {
    /// A statement denies.
    Deny {
        /// Its name.
        statement: String,
    },
    /// The documents allow.
    Allow {
        /// Name of the statement that grants.
        statement: String,
    },
    /// The documents do not allow.
    NotAllowed,
    /// The decision depends on the object, which was not read yet.
    Unread {
        /// Whether a statement may deny. If not, one may allow.
        may_deny: bool,
    },
}

/// The documents that are about a request.
#[derive(Debug, Clone, Copy)]
pub struct AccessDocuments<'a> {
    /// The policy of the bucket.
    pub bucket: Option<&'a PolicyDocument>,
    /// The policies of the caller; `None` if its rights are not given by policies.
    pub identity: Option<&'a IdentityPolicies>,
    /// Whether the caller belongs to the account of the bucket.
    pub same_account: bool,
}

/// What the documents of one kind say.
#[derive(Debug, Clone)]
struct Side {
    allows: Truth,
    statement: String,
}

impl AccessDocuments<'_> {
    /// The decision for a request.
    pub fn decide(&self, request: &PolicyRequest<'_>) -> AccessOutcome {
        let mut may_deny = false;
        for document in self.documents() {
            match document.evaluate(request) {
                PolicyOutcome::Deny { statement } => {
                    return AccessOutcome::Deny { statement: statement.to_owned() };
                }
                PolicyOutcome::Unread { may_deny: true } => may_deny = true,
                PolicyOutcome::Unread { may_deny: false }
                | PolicyOutcome::Allow { .. }
                | PolicyOutcome::NoMatch => {}
            }
        }
        if may_deny {
            return AccessOutcome::Unread { may_deny };
        }
        let bucket = self.bucket.map(|document| document.evaluate(request));
        let (by_bucket, grantee, statement) = match bucket {
            Some(PolicyOutcome::Allow { statement, grantee }) => (Truth::Yes, grantee, statement),
            Some(PolicyOutcome::Unread { .. }) => (Truth::Unknown, Grantee::Everyone, ""),
            Some(PolicyOutcome::Deny { .. } | PolicyOutcome::NoMatch) | None => {
                (Truth::No, Grantee::Everyone, "")
            }
        };
        let by_bucket = Side { allows: by_bucket, statement: statement.to_owned() };
        let allowed = match self.identity {
            None => by_bucket,
            Some(identity) => self.combine(identity, by_bucket, grantee, request),
        };
        match allowed.allows {
            Truth::Yes => AccessOutcome::Allow { statement: allowed.statement },
            Truth::Unknown => AccessOutcome::Unread { may_deny: false },
            Truth::No => AccessOutcome::NotAllowed,
        }
    }

    fn documents(&self) -> impl Iterator<Item = &PolicyDocument> {
        let of_identity = self.identity.into_iter().flat_map(|identity| {
            let session = identity.session.iter().flatten();
            identity.attached.iter().chain(&identity.boundary).chain(session).map(AsRef::as_ref)
        });
        self.bucket.into_iter().chain(of_identity)
    }

    /// The grants of the bucket's policy together with those of the identity's.
    fn combine(
        &self,
        identity: &IdentityPolicies,
        by_bucket: Side,
        grantee: Grantee,
        request: &PolicyRequest<'_>,
    ) -> Side {
        let attached = allowed_by(&identity.attached, request);
        let boundary = identity.boundary.as_slice();
        let session = identity.session.as_deref();
        let within = |documents: Option<&[Arc<PolicyDocument>]>| match documents {
            Some(documents) => allowed_by(documents, request).allows,
            None => Truth::Yes,
        };
        let limits = within((!boundary.is_empty()).then_some(boundary)).and(within(session));
        if identity.is_administrator {
            return Side { allows: by_bucket.allows.and(limits), statement: by_bucket.statement };
        }
        let by_identity =
            Side { allows: attached.allows.and(limits), statement: attached.statement };
        if !self.same_account {
            let allows = by_bucket.allows.and(by_identity.allows);
            return Side { allows, statement: by_bucket.statement };
        }
        let by_bucket_alone = match grantee {
            Grantee::Caller => by_bucket.allows,
            Grantee::Everyone | Grantee::Role => by_bucket.allows.and(limits),
            // The account decides by its own policies to whom it passes the grant on.
            Grantee::Account => Truth::No,
        };
        let allows = by_bucket_alone.or(by_identity.allows);
        let statement = match by_identity.allows {
            Truth::Yes => by_identity.statement,
            Truth::No | Truth::Unknown => by_bucket.statement,
        };
        Side { allows, statement }
    }
}

/// Whether one of the documents allows; none denies.
fn allowed_by(documents: &[Arc<PolicyDocument>], request: &PolicyRequest<'_>) -> Side {
    let mut granting = String::new();
    let allows = any(documents.iter().map(|document| match document.evaluate(request) {
        PolicyOutcome::Allow { statement, .. } => {
            statement.clone_into(&mut granting);
            Truth::Yes
        }
        PolicyOutcome::Unread { .. } => Truth::Unknown,
        PolicyOutcome::Deny { .. } | PolicyOutcome::NoMatch => Truth::No,
    }));
    Side { allows, statement: granting }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::DocumentKind;
    use crate::facts::ConditionValues;
    use crate::principal::PolicyCaller;

    fn identity(effect: &str, action: &str) -> Arc<PolicyDocument> {
        let text = format!(
            r#"{{"Statement":{{"Sid":"{effect}","Effect":"{effect}","Action":"{action}","Resource":"*"}}}}"#
        );
        Arc::new(PolicyDocument::parse(&text, DocumentKind::Identity).unwrap())
    }

    fn bucket(effect: &str, principal: &str) -> PolicyDocument {
        let text = format!(
            r#"{{"Statement":{{"Effect":"{effect}","Principal":{{"AWS":"{principal}"}},
            "Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"}}}}"#
        );
        PolicyDocument::parse(&text, DocumentKind::Bucket { name: "b" }).unwrap()
    }

    fn decide(
        bucket: Option<&PolicyDocument>,
        identity: Option<&IdentityPolicies>,
        same_account: bool,
    ) -> &'static str {
        let caller = PolicyCaller {
            accounts: vec!["test".into()],
            arns: vec!["arn:aws:iam::test:user/joe".into()],
            ..PolicyCaller::default()
        };
        let context = |_: &str| ConditionValues::Known(Vec::new());
        let request = PolicyRequest {
            action: "s3:GetObject",
            resource: "arn:aws:s3:::b/k",
            caller: &caller,
            context: &context,
        };
        match (AccessDocuments { bucket, identity, same_account }).decide(&request) {
            AccessOutcome::Deny { .. } => "deny",
            AccessOutcome::Allow { .. } => "allow",
            AccessOutcome::NotAllowed => "no",
            AccessOutcome::Unread { .. } => "unread",
        }
    }

    const USER: &str = "arn:aws:iam::test:user/joe";

    #[test]
    fn the_two_sides_are_combined_as_in_the_table() {
        let policies = |attached: &[Arc<PolicyDocument>]| IdentityPolicies {
            attached: attached.to_vec(),
            ..IdentityPolicies::default()
        };
        let none = policies(&[]);
        let allows = policies(&[identity("Allow", "s3:*")]);
        let denies = policies(&[identity("Allow", "s3:*"), identity("Deny", "s3:Get*")]);
        let admin = IdentityPolicies { is_administrator: true, ..policies(&[]) };
        let denied_admin = IdentityPolicies { is_administrator: true, ..denies.clone() };
        let of = |principal| bucket("Allow", principal);
        // Bucket policy, policies of the identity, decision in the same account, and from another.
        for (bucket, identity, same, other) in [
            (None, None, "no", "no"),
            (None, Some(&none), "no", "no"),
            (None, Some(&allows), "allow", "no"),
            (None, Some(&denies), "deny", "deny"),
            (Some(of("*")), None, "allow", "allow"),
            (Some(of("test")), None, "allow", "allow"),
            // Its rights in its account are not a matter of policies.
            (None, Some(&admin), "no", "no"),
            (Some(of("*")), Some(&admin), "allow", "allow"),
            (Some(of("test")), Some(&admin), "allow", "allow"),
            (Some(of("test")), Some(&denied_admin), "deny", "deny"),
            (Some(of("*")), Some(&none), "allow", "no"),
            (Some(of(USER)), Some(&none), "allow", "no"),
            (Some(of("test")), Some(&none), "no", "no"),
            (Some(of("test")), Some(&allows), "allow", "allow"),
            (Some(of(USER)), Some(&allows), "allow", "allow"),
            (Some(of(USER)), Some(&denies), "deny", "deny"),
            (Some(of("else")), Some(&allows), "allow", "no"),
            (Some(bucket("Deny", USER)), Some(&allows), "deny", "deny"),
            (Some(bucket("Deny", "*")), None, "deny", "deny"),
        ] {
            let found =
                (decide(bucket.as_ref(), identity, true), decide(bucket.as_ref(), identity, false));
            assert_eq!(found, (same, other), "{bucket:?} {identity:?}");
        }
    }

    #[test]
    fn boundaries_and_sessions_limit_all_but_direct_grants() {
        let puts = identity("Allow", "s3:Put*");
        let limited = |boundary: bool| IdentityPolicies {
            attached: vec![identity("Allow", "s3:*")],
            boundary: boundary.then(|| puts.clone()),
            session: (!boundary).then(|| vec![puts.clone()]),
            is_administrator: false,
        };
        for boundary in [true, false] {
            let identity = limited(boundary);
            assert_eq!(decide(None, Some(&identity), true), "no");
            assert_eq!(decide(Some(&bucket("Allow", "*")), Some(&identity), true), "no");
            assert_eq!(decide(Some(&bucket("Allow", USER)), Some(&identity), true), "allow");
            assert_eq!(decide(Some(&bucket("Allow", USER)), Some(&identity), false), "no");
        }
        let wide = IdentityPolicies {
            attached: vec![identity("Allow", "s3:*")],
            boundary: Some(identity("Allow", "s3:*")),
            session: Some(vec![puts, identity("Allow", "s3:GetObject")]),
            is_administrator: false,
        };
        assert_eq!(decide(None, Some(&wide), true), "allow");
    }
}
