//! The queue of misplaced objects: account, containers, names and operations of its entries.
//!
//! An entry is a row of a listing without an object. It names an object and the policy in which it
//! was written or deleted; its etag is the time of that write.
//! Source: `swift/container/reconciler.py` (`get_reconciler_container_name`, `parse_raw_obj`).

use std::fmt;

use crate::name::{AccountName, ContainerName, ContainerPath, ObjectName, ObjectPath};
use crate::{PolicyIndex, Timestamp};

/// The account whose containers list the entries.
pub const ACCOUNT: &str = ".misplaced_objects";
/// Seconds of times that share a container (`MISPLACED_OBJECTS_CONTAINER_DIVISOR`).
const DIVISOR: u64 = 3600;

/// The container of the entry for an object that was last changed at `time`.
pub fn queue_container(time: Timestamp) -> String {
    (time.seconds() / DIVISOR * DIVISOR).to_string()
}

/// What was done in the wrong policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// The object was written.
    Put,
    /// It was deleted.
    Delete,
}

impl Operation {
    /// The content type of the entry.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Put => "application/x-put",
            Self::Delete => "application/x-delete",
        }
    }

    /// Parses a content type; `None` for any other.
    pub fn parse(content_type: &str) -> Option<Self> {
        let all = [Self::Put, Self::Delete];
        all.into_iter().find(|operation| operation.content_type() == content_type)
    }
}

/// The content of an entry's name. Displays as that name: `<policy>:/<account>/<container>/<object>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The policy in which the object was written or deleted.
    pub policy: PolicyIndex,
    /// The object.
    pub object: ObjectPath,
}

impl Entry {
    /// Parses an entry's name; `None` for any other text.
    pub fn parse(name: &str) -> Option<Self> {
        let (policy, path) = name.split_once(':')?;
        let mut names = path.strip_prefix('/')?.splitn(3, '/');
        let account = AccountName::parse(names.next()?).ok()?;
        let container = ContainerName::parse(names.next()?).ok()?;
        let object = ObjectName::parse(names.next()?).ok()?;
        let object = ContainerPath::new(account, container).object(object);
        Some(Self { policy: policy.parse().ok()?, object })
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.policy, self.object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_swifts() {
        // Made by Swift's own code.
        for (time, container) in [
            ("1700000001.12345", "1699999200"),
            ("1700003599.99999", "1700002800"),
            ("1700000001.12345_0000000000000001", "1699999200"),
            ("0000000005.00000", "0"),
        ] {
            assert_eq!(queue_container(Timestamp::parse(time).unwrap()), container);
        }
    }

    #[test]
    fn names_are_swifts_and_anything_else_is_refused() {
        let entry = Entry::parse("1:/AUTH_a/c/o/ü:x").unwrap();
        assert_eq!(entry.policy, PolicyIndex(1));
        assert_eq!(entry.object.object.as_str(), "o/ü:x");
        assert_eq!(entry.to_string(), "1:/AUTH_a/c/o/ü:x");
        let reserved = Entry::parse("0:/AUTH_a/\0c/\0o").unwrap();
        assert!(reserved.object.container.container.is_reserved());
        for name in ["", "1", "1:AUTH_a/c/o", "x:/AUTH_a/c/o", "-1:/a/c/o", "1:/a/c", "1:/a/c/"] {
            assert_eq!(Entry::parse(name), None, "{name}");
        }
    }

    #[test]
    fn the_operation_is_in_the_content_type() {
        for operation in [Operation::Put, Operation::Delete] {
            assert_eq!(Operation::parse(operation.content_type()), Some(operation));
        }
        assert_eq!(Operation::parse("text/plain"), None);
    }
}
