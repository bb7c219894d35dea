//! The queue of expirations: account, containers and names of its tasks.
//!
//! A task is a row of a listing without an object. Its name begins with the time, so that a listing
//! has the tasks in the order in which they are due.
//! Source: `swift/obj/expirer.py` (`ExpirerConfig`, `build_task_obj`, `parse_task_obj`).

use crate::name::{AccountName, ContainerName, ContainerPath, ObjectName, ObjectPath};
use crate::{PathHash, Timestamp};

/// The account whose containers list the tasks.
pub const ACCOUNT: &str = ".expiring_objects";
/// Content type of a task that deletes what has expired.
pub const DELETE_TYPE: &str = "text/plain";
/// Content type of a task that deletes any object of that name: deferred work, not an expiry.
pub const ASYNC_DELETE_TYPE: &str = "application/async-deleted";

/// Seconds of expiry times that share containers (`expiring_objects_container_divisor`).
const DIVISOR: u64 = 86_400;
/// Containers for the tasks of that time.
const CONTAINERS: u64 = 100;
/// Latest time of a queue: names have ten digits.
const TIME_MAX: u64 = 9_999_999_999;

/// A time as the queue and `X-Delete-At` spell it: ten digits.
pub fn ten_digits(seconds: u64) -> String {
    format!("{:010}", seconds.min(TIME_MAX))
}

/// The container of the task for an object with this hash.
pub fn task_container(hash: &PathHash, delete_at: u64) -> String {
    let day = delete_at.min(TIME_MAX) / DIVISOR * DIVISOR;
    ten_digits(day.saturating_sub(hash.modulo(CONTAINERS)))
}

/// The name of the task that deletes `object` at `delete_at` (seconds since 1970).
pub fn task_name(delete_at: u64, object: &ObjectPath) -> String {
    let path = object.to_string();
    format!("{}-{}", ten_digits(delete_at), path.strip_prefix('/').unwrap_or(&path))
}

/// The name of the task that deletes `object` in the version of `time`, in steps of 10 µs.
pub fn precise_task_name(time: Timestamp, object: &ObjectPath) -> String {
    let path = object.to_string();
    format!("{}-{}", time.normal(), path.strip_prefix('/').unwrap_or(&path))
}

/// The content of a task's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// When the object is to be deleted.
    pub time: Timestamp,
    /// The object.
    pub object: ObjectPath,
}

impl Task {
    /// Parses a task's name; `None` for any other text.
    pub fn parse(name: &str) -> Option<Self> {
        let (time, path) = name.split_once('-')?;
        let mut names = path.splitn(3, '/');
        let account = AccountName::parse(names.next()?).ok()?;
        let container = ContainerName::parse(names.next()?).ok()?;
        let object = ObjectName::parse(names.next()?).ok()?;
        let object = ContainerPath::new(account, container).object(object);
        Some(Self { time: Timestamp::parse(time)?, object })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HashConf;

    fn object(account: &str, name: &str) -> ObjectPath {
        let container = ContainerName::parse("c").unwrap();
        ContainerPath::new(AccountName::parse(account).unwrap(), container)
            .object(ObjectName::parse(name).unwrap())
    }

    #[test]
    fn containers_and_names_are_swifts() {
        // Made by Swift's own code with the hash suffix `changeme`.
        let conf = HashConf { prefix: vec![], suffix: b"changeme".to_vec() };
        for (at, account, name, container, task) in [
            (1_700_000_000, "AUTH_test", "o", "1699919962", "1700000000-AUTH_test/c/o"),
            (1_700_000_000, "AUTH_test", "o/ü", "1699919985", "1700000000-AUTH_test/c/o/ü"),
            (5, "a", "o", "0000000000", "0000000005-a/c/o"),
            (9_999_999_999, "a", "o", "9999935963", "9999999999-a/c/o"),
        ] {
            let object = object(account, name);
            let hash = conf.hash_joined(&object.to_string());
            assert_eq!(task_container(&hash, at), container);
            assert_eq!(task_name(at, &object), task);
            assert_eq!(Task::parse(task), Some(Task { time: Timestamp::from_seconds(at), object }));
        }
    }

    #[test]
    fn a_task_may_be_precise_and_anything_else_is_refused() {
        let task = Task::parse("1700000000.12345-a/c/x-y/z").unwrap();
        assert_eq!(task.time.normal(), "1700000000.12345");
        assert_eq!(task.object, object("a", "x-y/z"));
        assert_eq!(precise_task_name(task.time, &task.object), "1700000000.12345-a/c/x-y/z");
        for name in ["", "1700000000", "x-a/c/o", "1700000000-a/c", "1700000000-a/c/", "-a/c/o"] {
            assert_eq!(Task::parse(name), None, "{name}");
        }
    }
}
