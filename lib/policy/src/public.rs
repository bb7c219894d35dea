//! Whether a bucket policy is public.
//!
//! Source: "The meaning of 'public'" in the S3 User Guide. A policy is public unless each statement
//! that allows is limited to fixed principals, or to fixed values of one of some condition keys. A value
//! with a wildcard or variable is not fixed. Statements that deny do not count.

use crate::condition::{Condition, Operands};
use crate::document::{PolicyDocument, PolicyEffect, PolicyStatement};
use crate::glob::Glob;
use crate::variables::Template;

/// Keys whose fixed values make a statement not public.
const LIMITING_KEYS: [&str; 13] = [
    "aws:principalaccount",
    "aws:principalarn",
    "aws:principalorgid",
    "aws:sourceaccount",
    "aws:sourcearn",
    "aws:sourceip",
    "aws:sourceowner",
    "aws:sourcevpc",
    "aws:sourcevpce",
    "aws:userid",
    "s3:dataaccesspointaccount",
    "s3:dataaccesspointarn",
    "s3:x-amz-server-side-encryption-aws-kms-key-id",
];

impl PolicyDocument {
    /// Whether a statement grants something to everyone.
    pub fn is_public(&self) -> bool {
        self.statements.iter().any(PolicyStatement::is_public)
    }
}

impl PolicyStatement {
    fn is_public(&self) -> bool {
        let is_for_everyone = self.principals.as_ref().is_some_and(|set| set.is_everyone());
        self.effect == PolicyEffect::Allow
            && is_for_everyone
            && !self.conditions.iter().any(is_limiting)
    }
}

fn is_limiting(condition: &Condition) -> bool {
    if !LIMITING_KEYS.contains(&condition.key.as_str()) {
        return false;
    }
    condition.is_fixed() || (condition.key == "aws:userid" && names_sessions_of_roles(condition))
}

/// Whether all operands have the form `ROLEID:*`, which are the sessions of one role.
fn names_sessions_of_roles(condition: &Condition) -> bool {
    let is_of_role = |template: &Template| matches!(template, Template::Fixed(Glob::Prefix(id)) if id.len() > 1 && id.ends_with(':'));
    let restricts = condition.operator.restricts();
    match &condition.operands {
        Operands::Texts { templates, .. } => restricts && templates.iter().all(is_of_role),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::document::{DocumentKind, PolicyDocument};

    fn is_public(effect: &str, principal: &str, condition: &str) -> bool {
        let text = format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Deny","Principal":"*","Action":"s3:*",
            "Resource":"arn:aws:s3:::b/secret"}},{{"Effect":"{effect}","Principal":{principal},
            "Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*","Condition":{condition}}}]}}"#
        );
        PolicyDocument::parse(&text, DocumentKind::Bucket { name: "b" }).unwrap().is_public()
    }

    #[test]
    fn principals_are_public_as_in_the_table() {
        for (principal, expected) in [
            ("\"*\"", true),
            (r#"{"AWS":"*"}"#, true),
            (r#"{"AWS":["test","*"]}"#, true),
            (r#"{"AWS":"test"}"#, false),
            (r#"{"AWS":"arn:aws:iam::s3tenant1:root"}"#, false),
            (r#"{"CanonicalUser":"x"}"#, false),
            (r#"{"Service":"logging.s3.amazonaws.com"}"#, false),
        ] {
            assert_eq!(is_public("Allow", principal, "{}"), expected, "{principal}");
        }
        assert!(!is_public("Deny", "\"*\"", "{}"));
    }

    #[test]
    fn conditions_are_public_as_in_the_table() {
        for (condition, expected) in [
            (r#"{"IpAddress":{"aws:SourceIp":"10.0.0.0/32"}}"#, false),
            (r#"{"IpAddress":{"aws:SourceIp":["10.0.0.0/8","2001:db8::/32"]}}"#, false),
            (r#"{"IpAddress":{"aws:SourceIp":["10.0.0.0/8","0.0.0.0/1"]}}"#, true),
            (r#"{"IpAddress":{"aws:SourceIp":"::/0"}}"#, true),
            (r#"{"IpAddressIfExists":{"aws:SourceIp":"10.0.0.0/8"}}"#, true),
            (r#"{"NotIpAddress":{"aws:SourceIp":"10.0.0.0/8"}}"#, true),
            (r#"{"StringEquals":{"aws:SourceVpc":"vpc-1"}}"#, false),
            (r#"{"StringLike":{"aws:SourceVpc":"vpc-*"}}"#, true),
            (r#"{"StringEquals":{"aws:SourceVpc":"${aws:userid}"}}"#, true),
            (r#"{"ForAnyValue:StringEquals":{"aws:SourceVpc":"vpc-1"}}"#, false),
            (r#"{"ForAllValues:StringEquals":{"aws:SourceVpc":"vpc-1"}}"#, true),
            (r#"{"StringLike":{"aws:userid":"AROAX:*"}}"#, false),
            (r#"{"StringLike":{"aws:userid":"*"}}"#, true),
            (r#"{"StringNotLike":{"aws:userid":"AROAX:*"}}"#, true),
            (r#"{"ArnEquals":{"aws:SourceArn":"arn:aws:sns:eu:1:t"}}"#, false),
            (r#"{"ArnLike":{"aws:SourceArn":"arn:aws:sns:eu:*:t"}}"#, true),
            (r#"{"StringLike":{"aws:Referer":"http://www.example.com/*"}}"#, true),
            (r#"{"StringEquals":{"aws:Referer":"http://www.example.com/"}}"#, true),
            (r#"{"Bool":{"aws:SecureTransport":"true"}}"#, true),
            (r#"{"Null":{"aws:SourceIp":"false"}}"#, true),
        ] {
            assert_eq!(is_public("Allow", "\"*\"", condition), expected, "{condition}");
        }
    }
}
