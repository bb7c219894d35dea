//! One page of a listing: walks the index of names at the cost of what it returns.
//!
//! After a name that rolls up under the delimiter the walk seeks past its common prefix, so a page
//! of a directory with a million objects costs one row per entry.
//! Source: `swift/container/backend.py`, `list_objects_iter`.

use apus_cluster::listing::{ListQuery, after_prefix, common_prefix};

use crate::error::DbError;
use crate::raw::{Connection, Param, Row};
use crate::schema::RowQuery;

/// The half-open interval of names that are still to be walked.
#[derive(Debug)]
pub struct NameInterval {
    /// Exclusive lower end.
    after: Vec<u8>,
    /// Inclusive lower end.
    from: Vec<u8>,
    /// Exclusive upper end; `None` is unbounded.
    before: Option<Vec<u8>>,
}

impl NameInterval {
    /// The names that a query with this prefix lists.
    #[must_use]
    pub fn new(query: &ListQuery, prefix: &str) -> Self {
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

    /// The parameters `?1` to `?3` of a statement: a name is greater than the first, not less than
    /// the second, and less than the third.
    #[must_use]
    pub fn params(&self) -> [Param<'_>; 3] {
        // An empty blob sorts after every text.
        let before = self.before.as_ref().map_or(Param::Blob(b""), |before| Param::Text(before));
        [Param::Text(&self.after), Param::Text(&self.from), before]
    }

    /// Leaves out what begins with a directory; false when nothing is left.
    fn skip(&mut self, directory: String, reverse: bool) -> bool {
        if reverse {
            self.before = Some(directory.into_bytes());
            return true;
        }
        let Some(next) = after_prefix(directory.as_bytes()) else { return false };
        self.from = std::mem::take(&mut self.from).max(next);
        true
    }
}

/// A listing of the rows of one database.
#[derive(Debug)]
pub struct PageQuery<'a> {
    /// Limit, markers and direction.
    pub query: &'a ListQuery,
    /// Names begin with this.
    pub prefix: String,
    /// Names with this text after the prefix roll up.
    pub delimiter: String,
    /// Whether directories themselves are listed, if there is a row of that name, and nothing below
    /// them.
    pub is_path: bool,
    /// Selects rows by the parameters of [`NameInterval::params`], and that of `policy` as `?4`.
    pub rows: &'a RowQuery,
    /// The policy of the rows, where rows are selected by policy.
    pub policy: Option<u32>,
}

/// The entries of one page: `entry` makes them of rows (`None` for a row that is left out), `subdir`
/// of common prefixes.
///
/// # Errors
/// SQLite's; [`DbError::Corrupt`] for a row that does not match its digest.
pub fn page<E>(
    connection: &mut Connection,
    page: &PageQuery<'_>,
    entry: impl Fn(&Row<'_>) -> Option<E>,
    subdir: impl Fn(String) -> E,
) -> Result<Vec<E>, DbError> {
    let PageQuery { query, prefix, delimiter, is_path, rows, policy } = page;
    let mut entries = Vec::new();
    let mut interval = NameInterval::new(query, prefix);
    while entries.len() < query.limit {
        let mut skip = None;
        let policy = policy.map(|policy| Param::Int(i64::from(policy)));
        let params: Vec<Param<'_>> = interval.params().into_iter().chain(policy).collect();
        rows.run(connection, &params, |row, _| {
            let Some(listed) = entry(row) else { return true };
            let name = row.text(0);
            let Some(directory) = common_prefix(&name, prefix, delimiter) else {
                if !is_path || name != *prefix {
                    entries.push(listed);
                }
                return entries.len() < query.limit;
            };
            if *is_path {
                if name == directory && name != *prefix {
                    entries.push(listed);
                }
            } else if directory != query.marker {
                entries.push(subdir(directory.to_owned()));
            }
            skip = Some(directory.to_owned());
            false
        })?;
        if !skip.is_some_and(|directory| interval.skip(directory, query.reverse)) {
            break;
        }
    }
    Ok(entries)
}
