//! Account, container and object names. The only way to make one is to parse it.
//!
//! Rules are Swift's (`swift/common/constraints.py`): UTF-8, no NUL unless reserved names are
//! allowed, and a length in bytes.

use std::fmt;

use crate::constraints;

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameError {
    /// The name is empty.
    Empty,
    /// The name is longer than `max` bytes.
    TooLong {
        /// Length of the offending name in bytes.
        length: usize,
        /// Greatest allowed length in bytes.
        max: usize,
    },
    /// An account or container name holds a slash.
    Slash,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "name is empty"),
            Self::TooLong { length, max } => {
                write!(f, "name of {length} bytes is longer than {max}")
            }
            Self::Slash => write!(f, "name holds a slash"),
        }
    }
}

impl std::error::Error for NameError {}

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

            /// Whether the name lies in the namespace that only Swift's own features may use
            /// (it starts with NUL).
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
    /// Name of an object (S3: key). May hold slashes and is opaque otherwise.
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
    /// accounts need it; the front door applies the client's limit.
    pub fn parse(name: &str) -> Result<Self, NameError> {
        checked(name, constraints::NAME_BYTES_MAX[1])?;
        if name.contains('/') {
            return Err(NameError::Slash);
        }
        Ok(Self(name.to_owned()))
    }
}

impl ObjectName {
    /// Parses an object name. As for containers, the backends allow more than clients may ask
    /// for, since version names are longer than what they name.
    pub fn parse(name: &str) -> Result<Self, NameError> {
        checked(name, constraints::NAME_BYTES_MAX[2])?;
        Ok(Self(name.to_owned()))
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
    use super::*;

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
}
