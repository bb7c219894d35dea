//! The version of an object that a node has, ordered by age.

use apus_cluster::Timestamp;
use http::HeaderMap;

use super::super::fields;
use crate::headers;

/// The time of the data or deletion, then the newest time of that and its metadata. The data time
/// is compared first: a node that missed a PUT and got a later POST has old data under new metadata.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectVersion {
    /// When it was written or deleted; `None` when the node has no record of the name.
    pub data: Option<Timestamp>,
    /// When its data or metadata was last changed.
    pub newest: Option<Timestamp>,
}

impl ObjectVersion {
    /// Reads the version from the headers of any answer of an object server.
    pub fn decode(head: &HeaderMap) -> Self {
        let newest = fields::time(head, headers::BACKEND_TIMESTAMP);
        Self { data: fields::time(head, headers::DATA_TIMESTAMP).or(newest), newest }
    }
}

impl From<Option<Timestamp>> for ObjectVersion {
    /// Of an object that was written once and not changed since.
    fn from(time: Option<Timestamp>) -> Self {
        Self { data: time, newest: time }
    }
}

#[cfg(test)]
mod tests {
    use apus_daemon::http::set;

    use super::*;

    fn version(data: Option<&str>, newest: Option<&str>) -> ObjectVersion {
        let mut answer = HeaderMap::new();
        for (name, value) in [(headers::DATA_TIMESTAMP, data), (headers::BACKEND_TIMESTAMP, newest)]
        {
            if let Some(value) = value {
                set(&mut answer, name, value);
            }
        }
        ObjectVersion::decode(&answer)
    }

    #[test]
    fn newer_data_is_newer_than_a_later_post_to_older_data() {
        let old_data_new_post = version(Some("0000000001.00000"), Some("0000000009.00000"));
        let new_data = version(Some("0000000005.00000"), Some("0000000005.00000"));
        let deleted = version(None, Some("0000000007.00000"));
        let unknown = version(None, None);
        assert!(unknown < old_data_new_post && old_data_new_post < new_data && new_data < deleted);
    }
}
