//! Grantees: users by canonical id, and groups by URI; and their form in grant headers.

use super::stored::AclError;

/// Longest canonical id, in bytes.
const ID_BYTES_MAX: usize = 256;

/// A predefined group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GranteeGroup {
    /// Every caller, anonymous ones too.
    AllUsers,
    /// Every caller who signs.
    AuthenticatedUsers,
    /// The service that delivers access logs.
    LogDelivery,
}

impl GranteeGroup {
    /// All groups.
    pub const ALL: [Self; 3] = [Self::AllUsers, Self::AuthenticatedUsers, Self::LogDelivery];

    /// Its URI in documents and headers.
    pub const fn uri(self) -> &'static str {
        match self {
            Self::AllUsers => "http://acs.amazonaws.com/groups/global/AllUsers",
            Self::AuthenticatedUsers => "http://acs.amazonaws.com/groups/global/AuthenticatedUsers",
            Self::LogDelivery => "http://acs.amazonaws.com/groups/s3/LogDelivery",
        }
    }

    /// Its name in the stored form.
    pub(super) const fn stored(self) -> &'static str {
        match self {
            Self::AllUsers => "AllUsers",
            Self::AuthenticatedUsers => "AuthenticatedUsers",
            Self::LogDelivery => "LogDelivery",
        }
    }

    /// The group of this URI.
    ///
    /// # Errors
    /// [`AclError::Group`].
    pub fn from_uri(uri: &str) -> Result<Self, AclError> {
        let found = Self::ALL.into_iter().find(|known| known.uri() == uri);
        found.ok_or_else(|| AclError::Group(uri.to_owned()))
    }
}

/// A receiver of a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grantee {
    /// A user, or all users of an account, by canonical id.
    User(String),
    /// A group.
    Group(GranteeGroup),
}

impl Grantee {
    /// A user by an id from a client; whether such a user can exist is the caller's matter.
    ///
    /// # Errors
    /// [`AclError::UserId`] for an id that is empty, too long, or has control characters.
    pub fn user(id: &str) -> Result<Self, AclError> {
        let valid = !id.is_empty()
            && id.len() <= ID_BYTES_MAX
            && !id.chars().any(char::is_control)
            // In the stored form it would be the group.
            && GranteeGroup::ALL.into_iter().all(|group| group.stored() != id);
        if valid { Ok(Self::User(id.to_owned())) } else { Err(AclError::UserId(id.to_owned())) }
    }

    /// The grantees of a grant header: `id="…", uri="…"`, separated by commas, the quotes optional.
    ///
    /// # Errors
    /// See [`AclError`].
    pub fn parse_list(header: &str) -> Result<Vec<Self>, AclError> {
        split_list(header).map(Self::parse).collect()
    }

    fn parse(text: &str) -> Result<Self, AclError> {
        let format = || AclError::HeaderFormat(text.to_owned());
        let (kind, value) = text.split_once('=').ok_or_else(format)?;
        let value = value.trim();
        let value = match value.strip_prefix('"').map(|rest| rest.strip_suffix('"')) {
            None => value,
            Some(inner) => inner.ok_or_else(format)?,
        };
        match kind.trim().to_ascii_lowercase().as_str() {
            "id" => Self::user(value),
            "uri" => GranteeGroup::from_uri(value).map(Self::Group),
            "emailaddress" => Err(AclError::Email(value.to_owned())),
            _ => Err(format()),
        }
    }
}

/// The members of a list that is separated by commas outside of quotes.
fn split_list(text: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let members = text.split(move |character| {
        quoted ^= character == '"';
        character == ',' && !quoted
    });
    members.map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(header: &str) -> Result<Vec<Grantee>, AclError> {
        Grantee::parse_list(header)
    }

    #[test]
    fn headers_list_users_and_groups() {
        let user = |id: &str| Grantee::User(id.to_owned());
        let uri = GranteeGroup::AllUsers.uri();
        for (header, expected) in [
            ("id=test:tester", vec![user("test:tester")]),
            ("id=\"test:tester\"", vec![user("test:tester")]),
            (" ID = \"a\" ,id=b", vec![user("a"), user("b")]),
            ("id=\"a,b=c\", id=d", vec![user("a,b=c"), user("d")]),
            (&*format!("uri=\"{uri}\""), vec![Grantee::Group(GranteeGroup::AllUsers)]),
            (&*format!("uri={uri}"), vec![Grantee::Group(GranteeGroup::AllUsers)]),
        ] {
            assert_eq!(parsed(header).unwrap(), expected, "{header}");
        }
        for group in GranteeGroup::ALL {
            assert_eq!(GranteeGroup::from_uri(group.uri()).unwrap(), group);
        }
    }

    #[test]
    fn other_grantees_are_refused() {
        for header in ["", "a", "id", "id=\"a", "id=\"", "name=x", "id=a,", "id=a, =b", ","] {
            let refused = parsed(header).unwrap_err();
            assert!(matches!(refused, AclError::HeaderFormat(_)), "{header}: {refused}");
        }
        let long = "x".repeat(257);
        for id in ["", "a\nb", &*long, "AllUsers", "LogDelivery"] {
            assert_eq!(Grantee::user(id), Err(AclError::UserId(id.to_owned())));
        }
        assert!(Grantee::user(&"x".repeat(256)).is_ok());
        let email = AclError::Email("a@b".to_owned());
        assert_eq!(parsed("emailAddress=\"a@b\""), Err(email));
        let group = AclError::Group("http://x".to_owned());
        assert_eq!(parsed("uri=\"http://x\""), Err(group));
    }
}
