//! One page of a listing: stepped over the index in one call, costing what it returns.
//!
//! After a name that rolls up under the delimiter the walk seeks past its common prefix, so a
//! page of a million-object directory costs one row per entry shown.
//! Rules of `swift/container/backend.py`, `list_objects_iter`.

use apus_broker::{Connection, DbError, Param, digest};
use apus_cluster::listing::{ListQuery, ObjectEntry, ObjectRow, after_prefix, common_prefix};

use crate::backend::object_row;

/// A statement without and with the digests of its rows (see [`digest::row_matches`]).
macro_rules! rows {
    ($rest:literal) => {
        [
            concat!(
                "SELECT o.name, o.created_at, o.size, o.content_type, o.etag, o.deleted,
                     o.storage_policy_index, o.ROWID, NULL, NULL FROM object AS o ",
                $rest
            ),
            concat!(
                "SELECT o.name, o.created_at, o.size, o.content_type, o.etag, o.deleted,
                     o.storage_policy_index, o.ROWID, d.row_id, d.digest FROM object AS o
                     LEFT JOIN apus_row_digest AS d ON d.row_id = o.ROWID ",
                $rest
            ),
        ]
    };
}
pub(crate) use rows;

/// Where [`rows`] has its digests.
pub(crate) const DIGEST_AT: i32 = 7;

const FORWARD: [&str; 2] = rows!(
    "WHERE o.deleted = 0 AND o.name > ?1 AND o.name >= ?2 AND o.name < ?3
     AND o.storage_policy_index = ?4 ORDER BY o.name"
);
const BACKWARD: [&str; 2] = rows!(
    "WHERE o.deleted = 0 AND o.name > ?1 AND o.name >= ?2 AND o.name < ?3
     AND o.storage_policy_index = ?4 ORDER BY o.name DESC"
);
const WITH_DELETED: [[&str; 2]; 2] = [
    rows!(
        "WHERE o.deleted = 0 AND o.name > ?1 AND o.name >= ?2 AND o.name < ?3
         AND o.storage_policy_index = ?4 ORDER BY o.name LIMIT ?5"
    ),
    rows!(
        "WHERE o.deleted = 1 AND o.name > ?1 AND o.name >= ?2 AND o.name < ?3
         AND o.storage_policy_index = ?4 ORDER BY o.name LIMIT ?5"
    ),
];

/// The half-open interval of names still to be walked.
struct Interval {
    /// Exclusive lower end.
    after: Vec<u8>,
    /// Inclusive lower end.
    from: Vec<u8>,
    /// Exclusive upper end; `None` is unbounded.
    before: Option<Vec<u8>>,
}

impl Interval {
    fn new(query: &ListQuery, prefix: &str) -> Self {
        let (low, high) = if query.reverse {
            (&query.end_marker, &query.marker)
        } else {
            (&query.marker, &query.end_marker)
        };
        let mut before = Some(high.as_bytes().to_vec()).filter(|high| !high.is_empty());
        if let Some(end) = after_prefix(prefix.as_bytes()).filter(|_| !prefix.is_empty())
            && before.as_ref().is_none_or(|before| end < *before)
        {
            before = Some(end);
        }
        Self { after: low.as_bytes().to_vec(), from: query.from(prefix), before }
    }

    fn params(&self, policy: u32) -> [Param<'_>; 4] {
        // An empty blob sorts after every text.
        let before = self.before.as_ref().map_or(Param::Blob(b""), |before| Param::Text(before));
        [Param::Text(&self.after), Param::Text(&self.from), before, Param::Int(i64::from(policy))]
    }
}

/// The entries of one page.
pub(crate) fn page(
    connection: &mut Connection,
    query: &ListQuery,
    policy: u32,
) -> Result<Vec<ObjectEntry>, DbError> {
    let mut entries = Vec::new();
    let (prefix, delimiter) = match &query.path {
        Some(path) if path.is_empty() => (String::new(), "/".to_owned()),
        Some(path) => (format!("{}/", path.trim_end_matches('/')), "/".to_owned()),
        None => (query.prefix.clone().unwrap_or_default(), query.delimiter.clone()),
    };
    let mut interval = Interval::new(query, &prefix);
    while entries.len() < query.limit {
        let (mut skip, mut damaged) = (None, None);
        let sql = digest::chosen(connection, if query.reverse { BACKWARD } else { FORWARD })?;
        connection.query(sql, &interval.params(policy), |row| {
            if !digest::row_matches(row, DIGEST_AT) {
                damaged = Some(row.int(DIGEST_AT));
                return false;
            }
            let Some(row) = object_row(row) else { return true };
            let rolled = common_prefix(&row.name, &prefix, &delimiter).map(str::to_owned);
            match rolled {
                None if query.path.is_some() && row.name == prefix => {}
                None => entries.push(ObjectEntry::Object(row)),
                // A path listing shows `dir/` itself but nothing below it.
                Some(directory) if query.path.is_some() => {
                    if row.name == directory && row.name != prefix {
                        entries.push(ObjectEntry::Object(row));
                    }
                    skip = Some(directory);
                    return false;
                }
                Some(directory) => {
                    if directory != query.marker {
                        entries.push(ObjectEntry::Subdir(directory.clone()));
                    }
                    skip = Some(directory);
                    return false;
                }
            }
            entries.len() < query.limit
        })?;
        if let Some(id) = damaged {
            return Err(digest::mismatch(id));
        }
        match skip {
            None => break,
            Some(directory) if query.reverse => interval.before = Some(directory.into_bytes()),
            Some(directory) => match after_prefix(directory.as_bytes()) {
                Some(next) => interval.from = interval.from.max(next),
                None => break,
            },
        }
    }
    Ok(entries)
}

/// A flat page with deletions, for merging several replicas. Always forward, no delimiter.
pub(crate) fn page_with_deleted(
    connection: &mut Connection,
    query: &ListQuery,
    policy: u32,
) -> Result<Vec<ObjectRow>, DbError> {
    let prefix = query.prefix.clone().unwrap_or_default();
    let flat = ListQuery { reverse: false, ..query.clone() };
    let interval = Interval::new(&flat, &prefix);
    let mut rows: Vec<ObjectRow> = Vec::new();
    let mut damaged = None;
    for statements in WITH_DELETED {
        let sql = digest::chosen(connection, statements)?;
        let [a, b, c, d] = interval.params(policy);
        let limit = Param::Int(i64::try_from(query.limit).unwrap_or(i64::MAX));
        connection.query(sql, &[a, b, c, d, limit], |row| {
            if !digest::row_matches(row, DIGEST_AT) {
                damaged = Some(row.int(DIGEST_AT));
            }
            rows.extend(object_row(row));
            damaged.is_none()
        })?;
    }
    if let Some(id) = damaged {
        return Err(digest::mismatch(id));
    }
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    rows.truncate(query.limit);
    Ok(rows)
}
