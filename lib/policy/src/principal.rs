//! Principals of a statement, and the caller that they are compared with.

use crate::arn;

/// The caller, under all names that a document may use for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyCaller {
    /// Names of its account; empty for an anonymous caller.
    pub accounts: Vec<String>,
    /// ARNs that name the caller itself: of the user, or of the session.
    pub arns: Vec<String>,
    /// ARNs of the role that it assumed.
    pub roles: Vec<String>,
    /// Canonical ids of the caller or of its account.
    pub canonical_ids: Vec<String>,
    /// The name of the service, if one of the cluster's own services calls.
    pub service: Option<String>,
    /// The identity provider that vouches for the caller, in requests for a session.
    pub federated: Option<String>,
}

/// How a statement names a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grantee {
    /// Every caller, anonymous ones included.
    Everyone,
    /// All callers of an account.
    Account,
    /// The role that the caller assumed.
    Role,
    /// The caller itself.
    Caller,
}

/// One principal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PrincipalPattern {
    Everyone,
    Account(String),
    Arn(String),
    CanonicalUser(String),
    Service(String),
    Federated(String),
}

/// The principals of a statement.
#[derive(Debug, Clone)]
pub(crate) struct PrincipalSet {
    /// Whether the statement names the callers that it is not about.
    pub(crate) negated: bool,
    pub(crate) patterns: Vec<PrincipalPattern>,
}

/// Errors of principals.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum PrincipalError {
    #[error(
        "{0:?} is not a principal: expected \"*\", an account, arn:aws:iam::account:root, …:user/name, \
         …:role/name, or arn:aws:sts::account:assumed-role/role/session"
    )]
    Aws(String),
    #[error("{0:?} is not a kind of principal: expected AWS, CanonicalUser, Federated or Service")]
    Kind(String),
    #[error("{0:?} has a wildcard, which only \"*\" alone may be")]
    Wildcard(String),
    #[error("{0:?} is not the name of a service")]
    Service(String),
    #[error("a principal is empty")]
    Empty,
}

impl PrincipalPattern {
    /// A principal of a kind, `AWS` for example.
    pub(crate) fn parse(kind: &str, text: &str) -> Result<Self, PrincipalError> {
        if text.is_empty() {
            return Err(PrincipalError::Empty);
        }
        if text == "*" && matches!(kind, "AWS" | "Service" | "Federated") {
            return match kind {
                "AWS" => Ok(Self::Everyone),
                _ => Err(PrincipalError::Wildcard(text.to_owned())),
            };
        }
        if text.contains(['*', '?']) {
            return Err(PrincipalError::Wildcard(text.to_owned()));
        }
        match kind {
            "AWS" => aws(text).ok_or_else(|| PrincipalError::Aws(text.to_owned())),
            "CanonicalUser" => Ok(Self::CanonicalUser(text.to_owned())),
            "Federated" => Ok(Self::Federated(text.to_owned())),
            "Service" => match text.contains('.') && !text.contains([':', '/', ' ']) {
                true => Ok(Self::Service(text.to_owned())),
                false => Err(PrincipalError::Service(text.to_owned())),
            },
            other => Err(PrincipalError::Kind(other.to_owned())),
        }
    }

    fn names(&self, caller: &PolicyCaller) -> Option<Grantee> {
        let among = |names: &[String], name: &String| names.contains(name);
        let (is_named, grantee) = match self {
            Self::Everyone => (true, Grantee::Everyone),
            Self::Account(account) => (among(&caller.accounts, account), Grantee::Account),
            Self::Arn(arn) if among(&caller.roles, arn) => (true, Grantee::Role),
            Self::Arn(arn) => (among(&caller.arns, arn), Grantee::Caller),
            Self::CanonicalUser(id) => (among(&caller.canonical_ids, id), Grantee::Caller),
            Self::Service(name) => (caller.service.as_ref() == Some(name), Grantee::Caller),
            Self::Federated(name) => (caller.federated.as_ref() == Some(name), Grantee::Caller),
        };
        is_named.then_some(grantee)
    }
}

/// An account's name or an ARN of IAM or STS.
fn aws(text: &str) -> Option<PrincipalPattern> {
    let is_account = |account: &str| {
        !account.is_empty()
            && !account.contains(|c: char| c == ':' || c == '/' || c.is_whitespace())
    };
    let segments = arn::split(text);
    let ["arn", "aws", service, "", account, resource] = segments.as_slice() else {
        return is_account(text).then(|| PrincipalPattern::Account(text.to_owned()));
    };
    if !is_account(account) {
        return None;
    }
    if (*service, *resource) == ("iam", "root") {
        return Some(PrincipalPattern::Account((*account).to_owned()));
    }
    let (kind, name) = resource.split_once('/')?;
    let is_kind = match *service {
        "iam" => matches!(kind, "user" | "role"),
        "sts" => match kind {
            "assumed-role" => name.split_once('/').is_some_and(|(_, session)| !session.is_empty()),
            other => other == "federated-user",
        },
        _ => false,
    };
    (is_kind && !name.is_empty()).then(|| PrincipalPattern::Arn(text.to_owned()))
}

impl PrincipalSet {
    /// How the statement names the caller; `None` if it is about other callers.
    pub(crate) fn names(&self, caller: &PolicyCaller) -> Option<Grantee> {
        let named = self.patterns.iter().filter_map(|pattern| pattern.names(caller)).max();
        match (self.negated, named) {
            (false, named) => named,
            (true, None) => Some(Grantee::Everyone),
            (true, Some(_)) => None,
        }
    }

    /// Whether every caller is named.
    pub(crate) fn is_everyone(&self) -> bool {
        self.negated || self.patterns.contains(&PrincipalPattern::Everyone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn principals_name_callers_as_in_the_table() {
        let caller = PolicyCaller {
            accounts: vec!["AUTH_test".into(), "test".into()],
            arns: vec!["arn:aws:sts::test:assumed-role/r/s".into()],
            roles: vec!["arn:aws:iam::test:role/r".into()],
            canonical_ids: vec!["test:tester".into()],
            ..PolicyCaller::default()
        };
        let table = [
            ("AWS", "*", Some(Grantee::Everyone)),
            ("AWS", "test", Some(Grantee::Account)),
            ("AWS", "AUTH_test", Some(Grantee::Account)),
            ("AWS", "other", None),
            ("AWS", "arn:aws:iam::test:root", Some(Grantee::Account)),
            ("AWS", "arn:aws:iam::other:root", None),
            ("AWS", "arn:aws:iam::test:role/r", Some(Grantee::Role)),
            ("AWS", "arn:aws:iam::test:user/r", None),
            ("AWS", "arn:aws:sts::test:assumed-role/r/s", Some(Grantee::Caller)),
            ("AWS", "arn:aws:sts::test:assumed-role/r/t", None),
            ("CanonicalUser", "test:tester", Some(Grantee::Caller)),
            ("CanonicalUser", "test", None),
            ("Service", "logging.s3.amazonaws.com", None),
            ("Federated", "test", None),
        ];
        for (kind, text, expected) in table {
            let pattern = PrincipalPattern::parse(kind, text).unwrap();
            assert_eq!(pattern.names(&caller), expected, "{kind} {text}");
            let anonymous = pattern.names(&PolicyCaller::default());
            assert_eq!(anonymous.is_some(), text == "*", "{kind} {text}");
            let negated = PrincipalSet { negated: true, patterns: vec![pattern] };
            assert_eq!(negated.names(&caller).is_some(), expected.is_none(), "{kind} {text}");
        }
    }

    #[test]
    fn names_that_are_not_principals_are_refused() {
        for (kind, text) in [
            ("AWS", ""),
            ("AWS", "a*"),
            ("AWS", "test:tester"),
            ("AWS", "arn:aws:iam::test:user/*"),
            ("AWS", "arn:aws:iam::test:user/"),
            ("AWS", "arn:aws:iam:::user/a"),
            ("AWS", "arn:aws:iam::test:group/g"),
            ("AWS", "arn:aws:s3:::b"),
            ("AWS", "arn:aws:sts::test:assumed-role/r"),
            ("CanonicalUser", "*"),
            ("Service", "*"),
            ("Service", "a"),
            ("Federated", ""),
            ("aws", "*"),
        ] {
            assert!(PrincipalPattern::parse(kind, text).is_err(), "{kind} {text}");
        }
    }
}
