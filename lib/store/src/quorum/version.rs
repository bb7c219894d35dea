//! The version of an object that a node has, ordered by age.

use apus_cluster::Timestamp;
use apus_daemon::http::header;
use apus_wire::headers;
use http::HeaderMap;

/// The time of the data or deletion, then the newest time of that and its metadata. The data time
/// is compared first: a node that missed a PUT and got a later POST has old data under new metadata.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// When it was written or deleted; `None` when the node has no record of the name.
    pub data: Option<Timestamp>,
    /// When its data or metadata was last changed.
    pub newest: Option<Timestamp>,
}

impl Version {
    /// Reads the version from the headers of an answer.
    pub(super) fn of(answer: &HeaderMap) -> Self {
        let time = |name| header(answer, name).and_then(Timestamp::parse);
        let newest = time(headers::BACKEND_TIMESTAMP);
        Self { data: time(headers::DATA_TIMESTAMP).or(newest), newest }
    }
}

impl From<Option<Timestamp>> for Version {
    /// Of an object that was written once and not changed since.
    fn from(time: Option<Timestamp>) -> Self {
        Self { data: time, newest: time }
    }
}

#[cfg(test)]
mod tests {
    use apus_daemon::http::set;

    use super::*;

    fn version(data: Option<&str>, newest: Option<&str>) -> Version {
        let mut answer = HeaderMap::new();
        for (name, value) in [(headers::DATA_TIMESTAMP, data), (headers::BACKEND_TIMESTAMP, newest)]
        {
            if let Some(value) = value {
                set(&mut answer, name, value);
            }
        }
        Version::of(&answer)
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
