//! Names of accounts, containers and objects, which are made by parsing only.
//!
//! The rules are Swift's (`swift/common/constraints.py`): UTF-8, no NUL unless reserved names are
//! allowed, and a length in bytes.

use std::fmt;

use crate::{constraints, percent};

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name is empty.
    #[error("name is empty")]
    Empty,
    /// The name is longer than `max` bytes.
    #[error("name of {length} bytes is longer than {max}")]
    TooLong {
        /// Length of the offending name in bytes.
        length: usize,
        /// Greatest allowed length in bytes.
        max: usize,
    },
    /// An account or container name contains a slash.
    #[error("name contains a slash")]
    Slash,
    /// A client's name is not UTF-8 or contains NUL.
    #[error("name is not UTF-8 or contains NUL")]
    Text,
    /// A path has no object, or an empty container or object name.
    #[error("expected <container name>/<object name>")]
    NoObject,
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Whether the name starts with NUL: such names are for Swift's own features only.
            pub fn is_reserved(&self) -> bool {
                self.0.starts_with('\0')
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name_type! {
    /// Name of an account, such as `AUTH_test`.
    AccountName
}
name_type! {
    /// Name of a container (S3: bucket).
    ContainerName
}
name_type! {
    /// Name of an object (S3: key). It may contain slashes and is opaque otherwise.
    ObjectName
}

fn checked(name: &str, max: usize) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > max {
        return Err(NameError::TooLong { length: name.len(), max });
    }
    Ok(())
}

impl AccountName {
    /// Parses an account name.
    pub fn parse(name: &str) -> Result<Self, NameError> {
        checked(name, constraints::NAME_BYTES_MAX[0])?;
        if name.contains('/') {
            return Err(NameError::Slash);
        }
        Ok(Self(name.to_owned()))
    }

    /// Whether this is one of Swift's own accounts (`.expiring_objects`, `.shards_…`).
    pub fn is_internal(&self) -> bool {
        self.0.starts_with('.')
    }
}

impl ContainerName {
    /// Parses a container name. Twice the usual length is allowed here, because internal
    /// accounts need it; the proxy applies the limit for clients.
    pub fn parse(name: &str) -> Result<Self, NameError> {
        checked(name, constraints::NAME_BYTES_MAX[1])?;
        if name.contains('/') {
            return Err(NameError::Slash);
        }
        Ok(Self(name.to_owned()))
    }
}

impl ObjectName {
    /// Parses an object name. As for containers, storage servers allow more than clients may
    /// use, since the names of versions are longer than those of their objects.
    pub fn parse(name: &str) -> Result<Self, NameError> {
        checked(name, constraints::NAME_BYTES_MAX[2])?;
        Ok(Self(name.to_owned()))
    }
}

/// A name or path that a client sent, decoded once.
///
/// It is UTF-8 without NUL, since names with NUL are for Swift's own features. Each name in a
/// client's request goes through this type, wherever in the request it is.
///
/// Source: `check_utf8` in `swift/common/constraints.py`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientName(String);

impl ClientName {
    /// From a path, or a header whose value is percent-encoded like a path. A question mark in it
    /// begins no query.
    ///
    /// # Errors
    /// `Text`.
    pub fn decode(encoded: &str) -> Result<Self, NameError> {
        Self::checked(percent::decode_utf8(encoded).ok_or(NameError::Text)?)
    }

    /// From text that is not percent-encoded: a string of JSON or XML, or a value that was decoded
    /// already.
    ///
    /// # Errors
    /// `Text`.
    pub fn plain(text: &str) -> Result<Self, NameError> {
        Self::checked(text.to_owned())
    }

    fn checked(text: String) -> Result<Self, NameError> {
        if text.contains('\0') { Err(NameError::Text) } else { Ok(Self(text)) }
    }

    /// The decoded text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of an account.
    ///
    /// # Errors
    /// What [`AccountName::parse`] refuses.
    pub fn account(&self) -> Result<AccountName, NameError> {
        AccountName::parse(&self.0)
    }

    /// The name of a container.
    ///
    /// # Errors
    /// What [`ContainerName::parse`] refuses.
    pub fn container(&self) -> Result<ContainerName, NameError> {
        ContainerName::parse(&self.0)
    }

    /// The name of an object.
    ///
    /// # Errors
    /// What [`ObjectName::parse`] refuses.
    pub fn object(&self) -> Result<ObjectName, NameError> {
        ObjectName::parse(&self.0)
    }

    /// The names in `container/object` or `/container/object`. A second leading slash is an empty
    /// container name, as in Swift's `split_path`.
    ///
    /// # Errors
    /// `NoObject` when one of the two is missing or empty; lengths.
    pub fn container_and_object(&self) -> Result<(ContainerName, ObjectName), NameError> {
        let path = self.0.strip_prefix('/').unwrap_or(&self.0);
        let (container, object) = path.split_once('/').ok_or(NameError::NoObject)?;
        if container.is_empty() || object.is_empty() {
            return Err(NameError::NoObject);
        }
        Ok((ContainerName::parse(container)?, ObjectName::parse(object)?))
    }
}

/// A container and the account it is in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ContainerPath {
    /// The account.
    pub account: AccountName,
    /// The container.
    pub container: ContainerName,
}

impl ContainerPath {
    /// Joins the two names.
    pub fn new(account: AccountName, container: ContainerName) -> Self {
        Self { account, container }
    }

    /// The object of this name in this container.
    pub fn object(&self, object: ObjectName) -> ObjectPath {
        ObjectPath { container: self.clone(), object }
    }
}

impl fmt::Display for ContainerPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}/{}", self.account, self.container)
    }
}

/// An object and the container it is in. Displays as Swift stores it: `/account/container/object`.
///
/// ```
/// use apus_cluster::{AccountName, ContainerName, ContainerPath, ObjectName};
/// let container = ContainerName::parse("photos")?;
/// let container = ContainerPath::new(AccountName::parse("AUTH_test")?, container);
/// let object = container.object(ObjectName::parse("2026/cat.jpg")?);
/// assert_eq!(object.to_string(), "/AUTH_test/photos/2026/cat.jpg");
/// # Ok::<(), apus_cluster::name::NameError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ObjectPath {
    /// The container and its account.
    pub container: ContainerPath,
    /// The object's name.
    pub object: ObjectName,
}

impl ObjectPath {
    /// The account.
    pub fn account(&self) -> &AccountName {
        &self.container.account
    }
}

impl fmt::Display for ObjectPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.container, self.object)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn names_keep_their_text_and_their_limits(text in "[a-c/\0ü]{0,600}") {
            let account = AccountName::parse(&text);
            let is_good = !text.is_empty() && text.len() <= 512 && !text.contains('/');
            prop_assert_eq!(account.is_ok(), is_good);
            prop_assert_eq!(ContainerName::parse(&text).is_ok(), is_good);
            prop_assert!(account.is_ok_and(|name| name.as_str() == text) || !is_good);
            let object = ObjectName::parse(&text);
            prop_assert_eq!(object.is_ok(), !text.is_empty() && text.len() <= 2048);
            prop_assert!(object.is_ok_and(|name| name.to_string() == text) || text.is_empty());
        }

        #[test]
        fn an_encoded_name_of_a_client_is_that_name(text in any::<String>()) {
            let decoded = ClientName::decode(&percent::encode_path(&text));
            prop_assert_eq!(&decoded, &ClientName::plain(&text));
            prop_assert_eq!(decoded.is_ok(), !text.contains('\0'));
        }
    }

    #[test]
    fn slashes_are_refused_in_containers_and_kept_in_objects() {
        assert_eq!(ContainerName::parse("a/b"), Err(NameError::Slash));
        assert_eq!(ObjectName::parse("a//b/").unwrap().as_str(), "a//b/");
    }

    #[test]
    fn reserved_names_start_with_nul() {
        assert!(ContainerName::parse("\0versions\0c").unwrap().is_reserved());
        assert!(!ContainerName::parse("c").unwrap().is_reserved());
    }

    #[test]
    fn names_of_clients_are_decoded_once_and_contain_no_nul() {
        for (encoded, name) in [
            ("c/o", Some("c/o")),
            ("c%2Fo", Some("c/o")),
            ("c/%252F", Some("c/%2F")),
            ("c/what?.txt", Some("c/what?.txt")),
            ("c/%3Fversion-id=1", Some("c/?version-id=1")),
            ("c/+%2B", Some("c/++")),
            ("c/%zz", Some("c/%zz")),
            ("c/%00o", None),
            ("%00versions%00c/o", None),
            ("c/o%00", None),
            ("c/\0", None),
            ("c/%ff", None),
            ("c/%ed%a0%80", None),
        ] {
            let decoded = ClientName::decode(encoded);
            assert_eq!(decoded.as_ref().map(ClientName::as_str).ok(), name, "{encoded}");
        }
        assert_eq!(ClientName::plain("a%00").unwrap().as_str(), "a%00");
        assert_eq!(ClientName::plain("a\0b"), Err(NameError::Text));
    }

    #[test]
    fn a_path_below_an_account_has_a_container_and_an_object() {
        for (path, names) in [
            ("c/o", Some(("c", "o"))),
            ("/c/o", Some(("c", "o"))),
            ("c//o/", Some(("c", "/o/"))),
            ("/c%2Fo", Some(("c", "o"))),
            ("//c/o", None),
            ("c", None),
            ("c/", None),
            ("/c", None),
            ("/", None),
            ("", None),
        ] {
            let name = ClientName::decode(path).unwrap();
            let found = name.container_and_object();
            let found =
                found.as_ref().map(|(container, object)| (container.as_str(), object.as_str()));
            assert_eq!(found.ok(), names, "{path}");
        }
    }
}
