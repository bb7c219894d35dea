//! Pages of a container's listing.

use std::sync::LazyLock;

use apus_broker::listing::{self, NameInterval, PageQuery};
use apus_broker::schema::RowQuery;
use apus_broker::{Connection, DbError, Param, Row};
use apus_cluster::listing::{ListQuery, ObjectEntry, ObjectRow};

use crate::backend::object_row;
use crate::schema::SCHEMA;

static FORWARD: LazyLock<RowQuery> = LazyLock::new(|| {
    SCHEMA.select(
        "WHERE r.deleted = 0 AND r.name > ?1 AND r.name >= ?2 AND r.name < ?3
         AND r.storage_policy_index = ?4 ORDER BY r.name",
    )
});
static BACKWARD: LazyLock<RowQuery> = LazyLock::new(|| {
    SCHEMA.select(
        "WHERE r.deleted = 0 AND r.name > ?1 AND r.name >= ?2 AND r.name < ?3
         AND r.storage_policy_index = ?4 ORDER BY r.name DESC",
    )
});
static WITH_DELETED: LazyLock<[RowQuery; 2]> = LazyLock::new(|| {
    [
        SCHEMA.select(
            "WHERE r.deleted = 0 AND r.name > ?1 AND r.name >= ?2 AND r.name < ?3
             AND r.storage_policy_index = ?4 ORDER BY r.name LIMIT ?5",
        ),
        SCHEMA.select(
            "WHERE r.deleted = 1 AND r.name > ?1 AND r.name >= ?2 AND r.name < ?3
             AND r.storage_policy_index = ?4 ORDER BY r.name LIMIT ?5",
        ),
    ]
});

/// The entries of one page.
pub(crate) fn page(
    connection: &mut Connection,
    query: &ListQuery,
    policy: u32,
) -> Result<Vec<ObjectEntry>, DbError> {
    let (prefix, delimiter) = match &query.path {
        Some(path) if path.is_empty() => (String::new(), "/".to_owned()),
        Some(path) => (format!("{}/", path.trim_end_matches('/')), "/".to_owned()),
        None => (query.prefix.clone().unwrap_or_default(), query.delimiter.clone()),
    };
    let page = PageQuery {
        query,
        prefix,
        delimiter,
        is_path: query.path.is_some(),
        rows: if query.reverse { &BACKWARD } else { &FORWARD },
        policy: Some(policy),
    };
    let entry = |row: &Row<'_>| object_row(row).map(ObjectEntry::Object);
    listing::page(connection, &page, entry, ObjectEntry::Subdir)
}

/// A flat page with deletions, for merging several replicas. Always forward, without delimiter.
pub(crate) fn page_with_deleted(
    connection: &mut Connection,
    query: &ListQuery,
    policy: u32,
) -> Result<Vec<ObjectRow>, DbError> {
    let prefix = query.prefix.clone().unwrap_or_default();
    let flat = ListQuery { reverse: false, ..query.clone() };
    let interval = NameInterval::new(&flat, &prefix);
    let [after, from, before] = interval.params();
    let limit = Param::Int(i64::try_from(query.limit).unwrap_or(i64::MAX));
    let params = [after, from, before, Param::Int(i64::from(policy)), limit];
    let mut rows: Vec<ObjectRow> = Vec::new();
    for statement in WITH_DELETED.iter() {
        statement.run(connection, &params, |row, _| {
            rows.extend(object_row(row));
            true
        })?;
    }
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    rows.truncate(query.limit);
    Ok(rows)
}
