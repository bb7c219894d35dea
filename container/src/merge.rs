//! Merges two versions of a row: commutative, idempotent, the newest part wins.
//!
//! Source: `swift/container/backend.py`, `update_new_item_from_existing`. A row has three times:
//! of the data (size, etag, existence), of the content type, and of the metadata. `swift_bytes`,
//! a parameter of the content type, belongs to the data.

use apus_cluster::listing::{ObjectRow, split_swift_bytes};
use apus_cluster::timestamp::RowTimes;

/// The row that holds the newest of both, or `None` when `existing` already is that.
pub(crate) fn merge(existing: Option<&ObjectRow>, new: ObjectRow) -> Option<ObjectRow> {
    let Some(existing) = existing else { return Some(new) };
    if apus_fault::planted("bug.last-row-wins") {
        return Some(new);
    }
    let newer = (
        new.times.data > existing.times.data,
        new.times.content_type > existing.times.content_type,
        new.times.meta > existing.times.meta,
    );
    if newer == (false, false, false) {
        return None;
    }
    let data = if newer.0 { &new } else { existing };
    let content_type = if newer.1 { &new } else { existing };
    let (type_name, _) = split_swift_bytes(&content_type.content_type);
    let (_, bytes) = split_swift_bytes(&data.content_type);
    Some(ObjectRow {
        name: new.name.clone(),
        times: RowTimes {
            data: data.times.data,
            content_type: content_type.times.content_type,
            meta: new.times.meta.max(existing.times.meta),
        },
        size: data.size,
        content_type: match bytes {
            Some(bytes) => format!("{type_name};swift_bytes={bytes}"),
            None => type_name,
        },
        etag: data.etag.clone(),
        deleted: data.deleted,
        policy: new.policy,
    })
}

#[cfg(test)]
mod tests {
    use apus_cluster::Timestamp;

    use super::*;

    fn row(data: u64, content_type: u64, meta: u64, size: u64, kind: &str) -> ObjectRow {
        ObjectRow {
            name: "o".to_owned(),
            times: RowTimes {
                data: Timestamp::from_seconds(data),
                content_type: Timestamp::from_seconds(content_type),
                meta: Timestamp::from_seconds(meta),
            },
            size,
            content_type: kind.to_owned(),
            etag: format!("etag{data}"),
            deleted: false,
            policy: 0,
        }
    }

    fn both(a: &ObjectRow, b: &ObjectRow) -> ObjectRow {
        merge(Some(a), b.clone()).unwrap_or_else(|| a.clone())
    }

    #[test]
    fn merging_gives_the_same_row_in_any_order_and_number() {
        let rows = [
            row(1, 1, 1, 10, "a/a;swift_bytes=7"),
            row(1, 4, 4, 10, "b/b;swift_bytes=7"),
            row(2, 2, 2, 20, "c/c"),
            row(1, 1, 6, 10, "a/a;swift_bytes=7"),
        ];
        let orders =
            [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1], [1, 3, 0, 2], [2, 2, 0, 1], [1, 2, 3, 3]];
        let merged: Vec<ObjectRow> = orders
            .iter()
            .map(|order| {
                let first = both(&rows[order[0]], &rows[order[1]]);
                let all = both(&both(&first, &rows[order[2]]), &rows[order[3]]);
                rows.iter().fold(all, |all, row| both(&all, row))
            })
            .collect();
        for other in &merged {
            assert_eq!(other, &merged[0]);
        }
        assert_eq!((merged[0].size, merged[0].content_type.as_str()), (20, "b/b"));
        assert_eq!(merged[0].times.meta, Timestamp::from_seconds(6));
    }

    #[test]
    fn a_row_with_nothing_newer_changes_nothing() {
        let existing = row(2, 2, 2, 20, "c/c");
        assert_eq!(merge(Some(&existing), row(2, 2, 2, 9, "x/x")), None);
        assert_eq!(merge(Some(&existing), row(1, 2, 1, 9, "x/x")), None);
    }
}
