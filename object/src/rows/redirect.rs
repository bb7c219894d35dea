//! Where a container server says that a row belongs: to a shard.
//!
//! Source: `swift/common/utils`, `get_redirect_data`.

use apus_cluster::{Timestamp, percent};
use apus_daemon::config::value::flag;
use apus_daemon::http::header;
use apus_wire::headers;
use http::{HeaderMap, StatusCode};

/// Another container for a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Redirect {
    /// Account and container, joined by a slash.
    pub(crate) path: String,
    /// Of several the newest is right.
    pub(crate) time: Timestamp,
}

impl Redirect {
    /// What a 301 says; `None` for other answers, and for one that makes no sense.
    pub(crate) fn of(status: StatusCode, head: &HeaderMap) -> Option<Self> {
        if status != StatusCode::MOVED_PERMANENTLY {
            return None;
        }
        let location = header(head, "location")?;
        let location = match location.split_once("://") {
            Some((_, rest)) => rest.find('/').and_then(|at| rest.get(at..))?,
            None => location,
        };
        let quoted = header(head, headers::LOCATION_IS_QUOTED).and_then(flag).unwrap_or(false);
        let location = if quoted { percent::decode_utf8(location)? } else { location.to_owned() };
        let mut names = location.strip_prefix('/')?.splitn(3, '/');
        let (account, container) = (names.next()?, names.next()?);
        if account.is_empty() || container.is_empty() {
            return None;
        }
        let time = header(head, headers::REDIRECT_TIMESTAMP).and_then(Timestamp::parse)?;
        Some(Self { path: format!("{account}/{container}"), time })
    }
}

#[cfg(test)]
mod tests {
    use apus_daemon::http::set;

    use super::*;

    fn path(location: &str, quoted: &str) -> Option<String> {
        let mut head = HeaderMap::new();
        set(&mut head, "location", location);
        set(&mut head, headers::LOCATION_IS_QUOTED, quoted);
        set(&mut head, headers::REDIRECT_TIMESTAMP, "1700000000.00000");
        Redirect::of(StatusCode::MOVED_PERMANENTLY, &head).map(|redirect| redirect.path)
    }

    #[test]
    fn a_location_names_account_and_container() {
        assert_eq!(path("/.shards_a/c-1/o/x", "").as_deref(), Some(".shards_a/c-1"));
        assert_eq!(path("/.shards_a/c%201/o", "true").as_deref(), Some(".shards_a/c 1"));
        assert_eq!(path("/.shards_a/c%201/o", "false").as_deref(), Some(".shards_a/c%201"));
        assert_eq!(path("http://h:6201/a/c", "").as_deref(), Some("a/c"));
        for nonsense in ["", "/", "/a", "/a/", "a/c", "http://h"] {
            assert_eq!(path(nonsense, ""), None, "{nonsense}");
        }
    }

    #[test]
    fn without_a_time_or_a_301_it_is_none() {
        let mut head = HeaderMap::new();
        set(&mut head, "location", "/a/c/o");
        assert_eq!(Redirect::of(StatusCode::MOVED_PERMANENTLY, &head), None);
        set(&mut head, headers::REDIRECT_TIMESTAMP, "1700000000.00000");
        assert_eq!(Redirect::of(StatusCode::OK, &head), None);
        assert!(Redirect::of(StatusCode::MOVED_PERMANENTLY, &head).is_some());
    }
}
