//! Evaluation of one document: an explicit deny first, then an allow, otherwise no match.

use crate::action::RequestedAction;
use crate::arn;
use crate::document::{PolicyDocument, PolicyEffect, PolicyStatement};
use crate::facts::{ConditionContext, Truth, all, any};
use crate::principal::{Grantee, PolicyCaller};

/// A request for one permission.
#[derive(Clone, Copy)]
pub struct PolicyRequest<'a> {
    /// The action, e.g. `s3:GetObject`.
    pub action: &'a str,
    /// The name of the resource, e.g. `arn:aws:s3:::bucket/key`.
    pub resource: &'a str,
    /// The caller.
    pub caller: &'a PolicyCaller,
    /// Everything that conditions ask for.
    pub context: &'a dyn ConditionContext,
}

impl std::fmt::Debug for PolicyRequest<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("PolicyRequest")
            .field("action", &self.action)
            .field("resource", &self.resource)
            .field("caller", &self.caller)
            .finish_non_exhaustive()
    }
}

/// The outcome of a document. Statements are named by their `Sid`, or `Statement[n]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyOutcome<'a> {
    /// A statement denies.
    Deny {
        /// Its name.
        statement: &'a str,
    },
    /// A statement allows, and none denies.
    Allow {
        /// Its name.
        statement: &'a str,
        /// How it names the caller.
        grantee: Grantee,
    },
    /// No statement is about the request.
    NoMatch,
    /// The outcome depends on the object, which was not read yet.
    Unread {
        /// Whether a statement may deny. If not, one may allow.
        may_deny: bool,
    },
}

/// A request whose names were parsed once.
struct ParsedRequest<'a> {
    action: RequestedAction,
    resource: Vec<&'a str>,
    request: &'a PolicyRequest<'a>,
}

impl PolicyDocument {
    /// Evaluates the document for a request.
    pub fn evaluate<'a>(&'a self, request: &PolicyRequest<'_>) -> PolicyOutcome<'a> {
        let parsed = ParsedRequest {
            action: RequestedAction::new(request.action),
            resource: arn::split(request.resource),
            request,
        };
        let mut may_deny = false;
        for statement in self.with_effect(PolicyEffect::Deny) {
            match statement.applies(&parsed).0 {
                Truth::Yes => return PolicyOutcome::Deny { statement: &statement.name },
                Truth::Unknown => may_deny = true,
                Truth::No => {}
            }
        }
        if may_deny {
            return PolicyOutcome::Unread { may_deny };
        }
        let (mut allow, mut may_allow) = (None, false);
        for statement in self.with_effect(PolicyEffect::Allow) {
            let (applies, grantee) = statement.applies(&parsed);
            match applies {
                Truth::Yes if allow.is_none_or(|(_, other)| other < grantee) => {
                    allow = Some((&statement.name, grantee));
                }
                Truth::Unknown => may_allow = true,
                Truth::Yes | Truth::No => {}
            }
        }
        match allow {
            Some((statement, grantee)) => PolicyOutcome::Allow { statement, grantee },
            None if may_allow => PolicyOutcome::Unread { may_deny: false },
            None => PolicyOutcome::NoMatch,
        }
    }

    fn with_effect(&self, effect: PolicyEffect) -> impl Iterator<Item = &PolicyStatement> {
        self.statements.iter().filter(move |statement| statement.effect == effect)
    }
}

impl PolicyStatement {
    /// Whether the statement is about the request, and how it names the caller. A statement of an
    /// identity's document names its holder.
    fn applies(&self, parsed: &ParsedRequest<'_>) -> (Truth, Grantee) {
        const NO: (Truth, Grantee) = (Truth::No, Grantee::Everyone);
        if !self.actions.contains(&parsed.action) {
            return NO;
        }
        let grantee = match &self.principals {
            None => Grantee::Caller,
            Some(principals) => match principals.names(parsed.request.caller) {
                Some(grantee) => grantee,
                None => return NO,
            },
        };
        let context = parsed.request.context;
        let has_resource = match &self.resources {
            None => Truth::Yes,
            Some(resources) => {
                let matched = any(resources
                    .patterns
                    .iter()
                    .map(|pattern| pattern.matches(&parsed.resource, context)));
                if resources.negated { matched.not() } else { matched }
            }
        };
        if has_resource == Truth::No {
            return NO;
        }
        let conditions = all(self.conditions.iter().map(|condition| condition.holds(context)));
        (has_resource.and(conditions), grantee)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::DocumentKind;
    use crate::facts::ConditionValues;

    fn caller(user: &str) -> PolicyCaller {
        PolicyCaller {
            accounts: vec!["test".into()],
            arns: vec![format!("arn:aws:iam::test:user/{user}")],
            ..PolicyCaller::default()
        }
    }

    /// The outcome for `user`, an empty name for an anonymous caller; tags are `None` before the object is
    /// read.
    fn outcome(document: &str, user: &str, action: &str, tag: Option<&str>) -> String {
        let document = PolicyDocument::parse(document, DocumentKind::Bucket { name: "b" }).unwrap();
        let caller = if user.is_empty() { PolicyCaller::default() } else { caller(user) };
        let context = |key: &str| match (key, tag) {
            ("s3:existingobjecttag/t", None) => ConditionValues::Unread,
            ("s3:existingobjecttag/t", Some(tag)) => ConditionValues::Known(vec![tag.to_owned()]),
            ("aws:username", _) => ConditionValues::Known(vec![user.to_owned()]),
            _ => ConditionValues::Known(Vec::new()),
        };
        let resource = match action {
            "s3:ListBucket" => "arn:aws:s3:::b",
            _ => "arn:aws:s3:::b/k",
        };
        let request = PolicyRequest { action, resource, caller: &caller, context: &context };
        match document.evaluate(&request) {
            PolicyOutcome::Deny { statement } => format!("deny {statement}"),
            PolicyOutcome::Allow { statement, .. } => format!("allow {statement}"),
            PolicyOutcome::NoMatch => "no match".to_owned(),
            PolicyOutcome::Unread { may_deny } => format!("unread {may_deny}"),
        }
    }

    fn document(statements: &[&str]) -> String {
        format!(r#"{{"Version":"2012-10-17","Statement":[{}]}}"#, statements.join(","))
    }

    const ALLOW: &str =
        r#"{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::b*"}"#;
    const DENY_JOE: &str = r#"{"Sid":"joe","Effect":"Deny","Principal":{"AWS":"arn:aws:iam::test:user/joe"},"Action":"s3:Get*","Resource":"arn:aws:s3:::b/*"}"#;
    const ONLY_ANN: &str = r#"{"Effect":"Deny","NotPrincipal":{"AWS":"arn:aws:iam::test:user/ann"},"NotAction":"s3:ListBucket","Resource":"arn:aws:s3:::b/*"}"#;
    const ALLOW_TAG: &str = r#"{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*","Condition":{"StringEquals":{"s3:ExistingObjectTag/t":"x"}}}"#;
    const DENY_TAG: &str = r#"{"Effect":"Deny","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*","Condition":{"StringEquals":{"s3:ExistingObjectTag/t":"x"}}}"#;
    const NOT_RESOURCE: &str = r#"{"Effect":"Deny","Principal":"*","Action":"s3:*","NotResource":["arn:aws:s3:::b","arn:aws:s3:::b/${aws:username}/*"]}"#;

    #[test]
    fn an_explicit_deny_wins_over_every_allow() {
        for statements in [[ALLOW, DENY_JOE], [DENY_JOE, ALLOW]] {
            let document = document(&statements);
            assert_eq!(outcome(&document, "joe", "s3:GetObject", None), "deny joe");
            assert!(outcome(&document, "joe", "s3:PutObject", None).starts_with("allow"));
            assert!(outcome(&document, "", "s3:GetObject", None).starts_with("allow"));
        }
    }

    #[test]
    fn without_a_statement_that_applies_nothing_matches() {
        assert_eq!(outcome(&document(&[DENY_JOE]), "ann", "s3:GetObject", None), "no match");
    }

    #[test]
    fn negated_elements_are_about_the_others() {
        let document = document(&[ALLOW, ONLY_ANN]);
        assert_eq!(outcome(&document, "ann", "s3:GetObject", None), "allow Statement[0]");
        assert_eq!(outcome(&document, "joe", "s3:GetObject", None), "deny Statement[1]");
        assert_eq!(outcome(&document, "joe", "s3:ListBucket", None), "allow Statement[0]");
        assert_eq!(outcome(&document, "", "s3:GetObject", None), "deny Statement[1]");
    }

    #[test]
    fn resources_that_are_not_named_are_denied() {
        let document = document(&[ALLOW, NOT_RESOURCE]);
        assert_eq!(outcome(&document, "joe", "s3:GetObject", None), "deny Statement[1]");
        assert_eq!(outcome(&document, "joe", "s3:ListBucket", None), "allow Statement[0]");
    }

    #[test]
    fn the_object_is_asked_for_only_when_it_decides() {
        let allow = document(&[ALLOW_TAG]);
        assert_eq!(outcome(&allow, "joe", "s3:GetObject", None), "unread false");
        assert_eq!(outcome(&allow, "joe", "s3:PutObject", None), "no match");
        assert_eq!(outcome(&allow, "joe", "s3:GetObject", Some("x")), "allow Statement[0]");
        assert_eq!(outcome(&allow, "joe", "s3:GetObject", Some("y")), "no match");
        let both = document(&[ALLOW_TAG, ALLOW]);
        assert_eq!(outcome(&both, "joe", "s3:GetObject", None), "allow Statement[1]");
        let deny = document(&[ALLOW, DENY_TAG]);
        assert_eq!(outcome(&deny, "joe", "s3:GetObject", None), "unread true");
        assert_eq!(outcome(&deny, "joe", "s3:GetObject", Some("y")), "allow Statement[0]");
        let other = document(&[DENY_TAG, DENY_JOE]);
        assert_eq!(outcome(&other, "joe", "s3:GetObject", None), "deny joe");
    }
}
