//! Changes of objects, and what their events say of them.

use apus_bucket::event::{EventType, ObjectEvent};
use apus_cluster::{ObjectPath, Timestamp};

use crate::operation::{Deleted, ObjectHead, ObjectWritten, VersionId};

/// A change of an object.
#[derive(Debug)]
pub(super) struct ObjectChange<'a> {
    pub(super) object: &'a ObjectPath,
    pub(super) event: EventType,
    /// Time of the change; zero where it has none of its own.
    pub(super) time: Timestamp,
    /// Size in bytes and etag of the object, unless it was deleted.
    content: Option<(u64, String)>,
    version: Option<VersionId>,
}

impl<'a> ObjectChange<'a> {
    /// A new object.
    pub(super) fn written(
        object: &'a ObjectPath,
        event: EventType,
        written: &ObjectWritten,
    ) -> Self {
        Self {
            object,
            event,
            time: written.timestamp,
            content: Some((written.length, written.etag.clone())),
            version: written.version,
        }
    }

    /// A new setting of an object.
    pub(super) fn changed(object: &'a ObjectPath, event: EventType, head: &ObjectHead) -> Self {
        Self {
            object,
            event,
            time: head.timestamp,
            content: Some((head.length, head.etag.clone())),
            version: head.version,
        }
    }

    /// A deletion.
    pub(super) fn deleted(object: &'a ObjectPath, deleted: &Deleted, expires: bool) -> Self {
        let event = match (expires, deleted.delete_marker) {
            (false, false) => EventType::Delete,
            (false, true) => EventType::DeleteMarkerCreated,
            (true, false) => EventType::ExpirationDelete,
            (true, true) => EventType::ExpirationDeleteMarkerCreated,
        };
        Self { object, event, time: deleted.timestamp, content: None, version: deleted.version }
    }

    /// The event, for the rule with this id.
    pub(super) fn describe(&self, rule: &str) -> ObjectEvent {
        let (size, etag) = self.content.clone().unzip();
        ObjectEvent {
            event: self.event,
            rule: rule.to_owned(),
            key: self.object.object.as_str().to_owned(),
            size,
            etag,
            version: self.version.map(|version| version.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use apus_cluster::{AccountName, ContainerName, ContainerPath, ObjectName};

    use super::*;

    #[test]
    fn deletions_have_the_event_of_their_cause() {
        let container = ContainerPath::new(
            AccountName::parse("a").unwrap(),
            ContainerName::parse("c").unwrap(),
        );
        let object = container.object(ObjectName::parse("o").unwrap());
        for (expires, delete_marker, expected) in [
            (false, false, "ObjectRemoved:Delete"),
            (false, true, "ObjectRemoved:DeleteMarkerCreated"),
            (true, false, "LifecycleExpiration:Delete"),
            (true, true, "LifecycleExpiration:DeleteMarkerCreated"),
        ] {
            let deleted =
                Deleted { delete_marker, version: Some(VersionId::Null), ..Deleted::default() };
            let change = ObjectChange::deleted(&object, &deleted, expires);
            let event = change.describe("r");
            assert_eq!(event.event.name(), expected);
            assert_eq!((event.size, event.etag), (None, None));
            assert_eq!(event.version.as_deref(), Some("null"));
        }
    }

    #[test]
    fn writes_have_size_etag_and_version() {
        let container = ContainerPath::new(
            AccountName::parse("a").unwrap(),
            ContainerName::parse("c").unwrap(),
        );
        let object = container.object(ObjectName::parse("o").unwrap());
        let written = ObjectWritten { etag: "e".to_owned(), length: 3, ..ObjectWritten::default() };
        let event = ObjectChange::written(&object, EventType::Copy, &written).describe("r");
        assert_eq!((event.size, event.etag.as_deref()), (Some(3), Some("e")));
        assert_eq!((event.key.as_str(), event.version), ("o", None));
    }
}
