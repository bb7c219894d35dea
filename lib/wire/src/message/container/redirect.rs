//! Where a container server says that a row belongs: to a shard.
//!
//! Source: `swift/common/utils`, `get_redirect_data`.

use apus_cluster::{Timestamp, percent};
use apus_daemon::http::header;
use http::{HeaderMap, StatusCode};

use super::super::fields;
use crate::headers;

/// Another container for a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowRedirect {
    /// Account and container, joined by a slash.
    pub path: String,
    /// Time of the shard: of several redirects the newest is right.
    pub time: Timestamp,
}

impl RowRedirect {
    /// Reads a 301; `None` for other answers, and for one that is malformed.
    pub fn decode(status: StatusCode, head: &HeaderMap) -> Option<Self> {
        if status != StatusCode::MOVED_PERMANENTLY {
            return None;
        }
        let location = header(head, "location")?;
        let location = match location.split_once("://") {
            Some((_, rest)) => rest.find('/').and_then(|at| rest.get(at..))?,
            None => location,
        };
        let quoted = fields::flag(head, headers::LOCATION_IS_QUOTED).unwrap_or(false);
        let location = if quoted { percent::decode_utf8(location)? } else { location.to_owned() };
        let mut names = location.strip_prefix('/')?.splitn(3, '/');
        let (account, container) = (names.next()?, names.next()?);
        if account.is_empty() || container.is_empty() {
            return None;
        }
        let time = fields::time(head, headers::REDIRECT_TIMESTAMP)?;
        Some(Self { path: format!("{account}/{container}"), time })
    }
}
