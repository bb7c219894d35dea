//! Swift's account schema (`swift/account/backend.py`), and its columns as statements use them.

use std::sync::LazyLock;

use apus_broker::Schema;
use apus_broker::schema::{Column, Tables};

/// The columns of account databases that digests cover. Counts, bytes and the hash follow from the
/// rows.
const TABLES: Tables = Tables {
    server: "account",
    info_table: "account_stat",
    info: &[
        Column::text("account").initial(),
        Column::text("created_at").initial(),
        Column::text("put_timestamp").initial(),
        Column::text("delete_timestamp"),
        Column::text("id").initial(),
        Column::text("status"),
        Column::text("status_changed_at"),
        Column::text("metadata"),
    ],
    names: 1,
    row_table: "container",
    row: &[
        Column::text("name"),
        Column::text("put_timestamp"),
        Column::text("delete_timestamp"),
        Column::number("object_count"),
        Column::number("bytes_used"),
        Column::number("deleted"),
        Column::number("storage_policy_index"),
    ],
    age: "delete_timestamp",
    policies: "SELECT storage_policy_index, container_count, object_count, bytes_used
         FROM policy_stat",
    totals: "SELECT hash, container_count, object_count, bytes_used FROM account_stat",
};

/// The statements of account databases.
pub(crate) static SCHEMA: LazyLock<Schema> = LazyLock::new(|| Schema::new(TABLES));

/// The tables of a new account database, without those that all databases have.
pub(crate) const ACCOUNT: &str = "
CREATE TABLE container (
    ROWID INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT,
    put_timestamp TEXT,
    delete_timestamp TEXT,
    object_count INTEGER,
    bytes_used INTEGER,
    deleted INTEGER DEFAULT 0,
    storage_policy_index INTEGER DEFAULT 0
);
CREATE INDEX ix_container_deleted_name ON container (deleted, name);
CREATE TRIGGER container_insert AFTER INSERT ON container
BEGIN
    UPDATE account_stat
    SET container_count = container_count + (1 - new.deleted),
        object_count = object_count + new.object_count,
        bytes_used = bytes_used + new.bytes_used,
        hash = chexor(hash, new.name,
                      new.put_timestamp || '-' || new.delete_timestamp || '-' ||
                      new.object_count || '-' || new.bytes_used);
END;
CREATE TRIGGER container_update BEFORE UPDATE ON container
BEGIN
    SELECT RAISE(FAIL, 'UPDATE not allowed; DELETE and INSERT');
END;
CREATE TRIGGER container_delete AFTER DELETE ON container
BEGIN
    UPDATE account_stat
    SET container_count = container_count - (1 - old.deleted),
        object_count = object_count - old.object_count,
        bytes_used = bytes_used - old.bytes_used,
        hash = chexor(hash, old.name,
                      old.put_timestamp || '-' || old.delete_timestamp || '-' ||
                      old.object_count || '-' || old.bytes_used);
END;
CREATE TRIGGER container_insert_ps AFTER INSERT ON container
BEGIN
    INSERT OR IGNORE INTO policy_stat
        (storage_policy_index, container_count, object_count, bytes_used)
        VALUES (new.storage_policy_index, 0, 0, 0);
    UPDATE policy_stat
    SET container_count = container_count + (1 - new.deleted),
        object_count = object_count + new.object_count,
        bytes_used = bytes_used + new.bytes_used
    WHERE storage_policy_index = new.storage_policy_index;
END;
CREATE TRIGGER container_delete_ps AFTER DELETE ON container
BEGIN
    UPDATE policy_stat
    SET container_count = container_count - (1 - old.deleted),
        object_count = object_count - old.object_count,
        bytes_used = bytes_used - old.bytes_used
    WHERE storage_policy_index = old.storage_policy_index;
END;
CREATE TABLE account_stat (
    account TEXT,
    created_at TEXT,
    put_timestamp TEXT DEFAULT '0',
    delete_timestamp TEXT DEFAULT '0',
    container_count INTEGER,
    object_count INTEGER DEFAULT 0,
    bytes_used INTEGER DEFAULT 0,
    hash TEXT default '00000000000000000000000000000000',
    id TEXT,
    status TEXT DEFAULT '',
    status_changed_at TEXT DEFAULT '0',
    metadata TEXT DEFAULT ''
);
INSERT INTO account_stat (container_count) VALUES (0);
CREATE TABLE policy_stat (
    storage_policy_index INTEGER PRIMARY KEY,
    container_count INTEGER DEFAULT 0,
    object_count INTEGER DEFAULT 0,
    bytes_used INTEGER DEFAULT 0
);
INSERT OR IGNORE INTO policy_stat (storage_policy_index, container_count, object_count, bytes_used)
SELECT 0, container_count, object_count, bytes_used FROM account_stat WHERE container_count > 0;
";
