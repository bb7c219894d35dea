//! Parameters of a listing in a backend's query string.

use apus_cluster::constraints::LISTING_PAGE_MAX;
use apus_cluster::listing::ListQuery;
use apus_cluster::percent;

/// Invalid parameters of a listing; the text is for a 412.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListQueryError {
    /// A value is not UTF-8.
    #[error("parameter {0} is not UTF-8")]
    NotUtf8(String),
    /// More entries than a page may have.
    #[error("Maximum limit is {0}")]
    Limit(usize),
}

/// Parses them. `limit_max` is also the limit when none is given; our own daemons may always request
/// their pages. Other parameters go to `other`, decoded.
///
/// # Errors
/// See [`ListQueryError`].
pub fn list_query(
    query: &str,
    limit_max: usize,
    mut other: impl FnMut(&str, &str),
) -> Result<ListQuery, ListQueryError> {
    let mut list = ListQuery { limit: limit_max, ..ListQuery::default() };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = percent::decode_utf8(&value.replace('+', " "))
            .ok_or_else(|| ListQueryError::NotUtf8(key.to_owned()))?;
        match key {
            "limit" => {
                list.limit = value.parse().unwrap_or(limit_max);
                if list.limit > limit_max.max(LISTING_PAGE_MAX) {
                    return Err(ListQueryError::Limit(limit_max));
                }
            }
            "marker" => list.marker = value,
            "end_marker" => list.end_marker = value,
            "prefix" => list.prefix = Some(value),
            "delimiter" => list.delimiter = value,
            "path" => list.path = Some(value),
            "reverse" => list.reverse = apus_daemon::config::value::flag(&value).unwrap_or(false),
            _ => other(key, &value),
        }
    }
    Ok(list)
}
