//! What a node knows of an object, to tell whose knowledge is newer.

use apus_cluster::Timestamp;
use apus_daemon::http::header;
use apus_wire::headers;
use http::HeaderMap;

/// The time of the data or deletion, then the newest of that and its metadata. Data goes first:
/// where a PUT was missed and a later POST was not, old data lies below new metadata.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// When it was written or deleted; `None` for a name that the node never heard of.
    pub data: Option<Timestamp>,
    /// When anything of it was last changed.
    pub newest: Option<Timestamp>,
}

impl Version {
    /// As an answer's headers tell.
    pub(super) fn of(answer: &HeaderMap) -> Self {
        let time = |name| header(answer, name).and_then(Timestamp::parse);
        let newest = time(headers::BACKEND_TIMESTAMP);
        Self { data: time(headers::DATA_TIMESTAMP).or(newest), newest }
    }
}

impl From<Option<Timestamp>> for Version {
    /// Written once and not changed since.
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
    fn newer_data_is_newer_whatever_was_posted_to_the_older() {
        let old_data_new_post = version(Some("0000000001.00000"), Some("0000000009.00000"));
        let new_data = version(Some("0000000005.00000"), Some("0000000005.00000"));
        let deleted = version(None, Some("0000000007.00000"));
        let unknown = version(None, None);
        assert!(unknown < old_data_new_post && old_data_new_post < new_data && new_data < deleted);
    }
}
