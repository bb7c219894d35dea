//! SQLite's C interface: connections, statements, and `chexor`.
//!
//! The crate's only `unsafe` file. A handle is owned by one [`Connection`], which is used by one
//! thread at a time (`&mut self` everywhere). sqlx opens and closes connections that are kept open,
//! and never touches the handle in between; it starts a thread for each. Short-lived connections are
//! opened here, without a thread.
#![allow(unsafe_code)]

use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::{NonNull, null_mut};

use libsqlite3_sys as sqlite;
use sqlx::sqlite::SqliteConnection;

use crate::error::{DbError, primary};

/// How long a statement waits for another connection that has locked the file.
const BUSY_WAIT_MILLISECONDS: c_int = 10_000;

/// A value bound to a statement.
#[derive(Debug, Clone, Copy)]
pub enum Param<'a> {
    /// `NULL`
    Null,
    /// An integer.
    Int(i64),
    /// Text; the bytes need not be UTF-8 (ends of prefixes are not).
    Text(&'a [u8]),
    /// A blob. An empty one sorts after every text.
    Blob(&'a [u8]),
}

impl<'a> From<&'a str> for Param<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text.as_bytes())
    }
}

impl<'a> From<&'a String> for Param<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(text.as_bytes())
    }
}

impl From<i64> for Param<'_> {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

/// An open database, with its prepared statements.
pub struct Connection {
    statements: HashMap<&'static str, Statement>,
    /// Tables that were found to exist.
    tables: HashSet<&'static str>,
    handle: NonNull<sqlite::sqlite3>,
    /// Keeps the handle open; dropped after the statements (fields drop in order).
    owner: Owner,
}

/// The code that opened a connection.
enum Owner {
    Sqlx(SqliteConnection, tokio::runtime::Handle),
    Own(SqliteHandle),
}

/// An open connection of SQLite, closed when it is dropped.
struct SqliteHandle(NonNull<sqlite::sqlite3>);

impl SqliteHandle {
    fn as_ptr(&self) -> *mut sqlite::sqlite3 {
        self.0.as_ptr()
    }

    /// Closes it and returns SQLite's code.
    fn close(self) -> c_int {
        let pointer = std::mem::ManuallyDrop::new(self).as_ptr();
        // SAFETY: the pointer came from sqlite3_open_v2 and is closed once: it is not dropped.
        unsafe { sqlite::sqlite3_close(pointer) }
    }
}

impl Drop for SqliteHandle {
    fn drop(&mut self) {
        // SAFETY: the pointer came from sqlite3_open_v2 and is closed once, here.
        unsafe { sqlite::sqlite3_close(self.as_ptr()) };
    }
}

// SAFETY: SQLite is built threadsafe (at least multi-thread mode): a connection may be used by any
// thread as long as only one does at a time, which `&mut self` guarantees.
unsafe impl Send for Connection {}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("statements", &self.statements.len())
            .finish_non_exhaustive()
    }
}

struct Statement(NonNull<sqlite::sqlite3_stmt>);

impl Drop for Statement {
    fn drop(&mut self) {
        // SAFETY: the pointer came from sqlite3_prepare_v3 and is finalized once, here, before
        // the connection closes.
        unsafe { sqlite::sqlite3_finalize(self.0.as_ptr()) };
    }
}

/// The current row of a statement.
#[derive(Debug)]
pub struct Row<'a> {
    statement: &'a NonNull<sqlite::sqlite3_stmt>,
}

impl Row<'_> {
    /// A column as an integer; NULL is 0.
    pub fn int(&self, column: i32) -> i64 {
        // SAFETY: the statement stands on a row; SQLite converts any type and checks the index.
        unsafe { sqlite::sqlite3_column_int64(self.statement.as_ptr(), column) }
    }

    /// A column as text; NULL is empty, bytes that are not UTF-8 are replaced.
    pub fn text(&self, column: i32) -> String {
        // SAFETY: the statement stands on a row. The pointer is valid until the next call on this
        // column, and sqlite3_column_bytes after sqlite3_column_text gives its length.
        unsafe {
            let text = sqlite::sqlite3_column_text(self.statement.as_ptr(), column);
            if text.is_null() {
                return String::new();
            }
            let length = sqlite::sqlite3_column_bytes(self.statement.as_ptr(), column);
            let bytes = std::slice::from_raw_parts(text, usize::try_from(length).unwrap_or(0));
            String::from_utf8_lossy(bytes).into_owned()
        }
    }
}

impl Connection {
    /// Opens an existing file and registers `chexor`. A statement that finds it locked waits
    /// for some seconds. Blocks.
    ///
    /// # Errors
    /// SQLite's.
    pub(crate) fn open(path: &Path) -> Result<Self, DbError> {
        let name = CString::new(path.as_os_str().as_bytes())
            .map_err(|_| DbError::Corrupt("NUL in the name of a database".to_owned()))?;
        let flags = sqlite::SQLITE_OPEN_READWRITE
            | sqlite::SQLITE_OPEN_NOMUTEX
            | sqlite::SQLITE_OPEN_PRIVATECACHE
            | sqlite::SQLITE_OPEN_EXRESCODE;
        let mut raw = null_mut();
        // SAFETY: the name is a C string, and `raw` may be written to.
        let code = unsafe { sqlite::sqlite3_open_v2(name.as_ptr(), &mut raw, flags, null_mut()) };
        // A connection that could not be opened has a handle too, unless memory is out.
        let handle = NonNull::new(raw)
            .ok_or_else(|| DbError::Sqlite { code, message: "out of memory".to_owned() })?;
        let mut connection = Self::new(handle, Owner::Own(SqliteHandle(handle)));
        connection.check(code)?;
        // SAFETY: the handle is open.
        unsafe { sqlite::sqlite3_busy_timeout(handle.as_ptr(), BUSY_WAIT_MILLISECONDS) };
        connection.register()?;
        connection.script("PRAGMA temp_store = MEMORY")?;
        Ok(connection)
    }

    /// Takes a connection that sqlx opened on `runtime`, and registers `chexor`.
    ///
    /// # Errors
    /// SQLite's.
    pub(crate) async fn adopt(
        mut owner: SqliteConnection,
        runtime: tokio::runtime::Handle,
    ) -> Result<Self, DbError> {
        let handle = owner.lock_handle().await?.as_raw_handle();
        let connection = Self::new(handle, Owner::Sqlx(owner, runtime));
        connection.register()?;
        Ok(connection)
    }

    fn new(handle: NonNull<sqlite::sqlite3>, owner: Owner) -> Self {
        let (statements, tables) = Default::default();
        Self { statements, tables, handle, owner }
    }

    fn register(&self) -> Result<(), DbError> {
        // SAFETY: the handle is open and stays so while `self` lives; the name is a C string and the
        // function has the signature SQLite expects, without user data.
        let code = unsafe {
            sqlite::sqlite3_create_function_v2(
                self.handle.as_ptr(),
                c"chexor".as_ptr(),
                3,
                sqlite::SQLITE_UTF8 | sqlite::SQLITE_DETERMINISTIC,
                null_mut(),
                Some(chexor_sql),
                None,
                None,
                None,
            )
        };
        self.check(code)
    }

    fn check(&self, code: c_int) -> Result<(), DbError> {
        if matches!(code, sqlite::SQLITE_OK | sqlite::SQLITE_ROW | sqlite::SQLITE_DONE) {
            return Ok(());
        }
        // SAFETY: the handle is open; errmsg is a C string valid until the next call.
        let message = unsafe { CStr::from_ptr(sqlite::sqlite3_errmsg(self.handle.as_ptr())) };
        Err(DbError::Sqlite { code, message: message.to_string_lossy().into_owned() })
    }

    /// Runs one or more statements without parameters, such as a schema.
    ///
    /// # Errors
    /// SQLite's.
    pub fn script(&mut self, sql: &str) -> Result<(), DbError> {
        let sql = CString::new(sql).map_err(|_| DbError::Corrupt("NUL in SQL".to_owned()))?;
        // SAFETY: the handle is open and the text is a C string.
        let code = unsafe {
            sqlite::sqlite3_exec(self.handle.as_ptr(), sql.as_ptr(), None, null_mut(), null_mut())
        };
        self.check(code)
    }

    fn prepare(&mut self, sql: &'static str) -> Result<NonNull<sqlite::sqlite3_stmt>, DbError> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.0);
        }
        let statement = self.compile(sql)?;
        let handle = statement.0;
        self.statements.insert(sql, statement);
        Ok(handle)
    }

    fn compile(&self, sql: &str) -> Result<Statement, DbError> {
        let mut raw: *mut sqlite::sqlite3_stmt = null_mut();
        let length = c_int::try_from(sql.len()).unwrap_or(c_int::MAX);
        // SAFETY: the handle is open; the text and its length belong together.
        let code = unsafe {
            sqlite::sqlite3_prepare_v3(
                self.handle.as_ptr(),
                sql.as_ptr().cast::<c_char>(),
                length,
                sqlite::SQLITE_PREPARE_PERSISTENT,
                &mut raw,
                null_mut(),
            )
        };
        self.check(code).map_err(|error| match error {
            // Statements are valid SQL: what such a one lacks is a table or a column.
            DbError::Sqlite { code, message } if primary(code) == sqlite::SQLITE_ERROR => {
                DbError::Schema(message)
            }
            error => error,
        })?;
        let statement = NonNull::new(raw)
            .ok_or_else(|| DbError::Corrupt(format!("no statement in {sql:?}")))?;
        Ok(Statement(statement))
    }

    /// The error of a failed step. When the schema has changed, SQLite compiles the statement again
    /// in the step; whether that is what failed is found by doing the same.
    fn step_error(&self, sql: &str, error: DbError) -> DbError {
        match &error {
            DbError::Sqlite { code, .. } if primary(*code) == sqlite::SQLITE_ERROR => {
                self.compile(sql).err().unwrap_or(error)
            }
            _ => error,
        }
    }

    fn bind(
        &self,
        statement: NonNull<sqlite::sqlite3_stmt>,
        params: &[Param<'_>],
    ) -> Result<(), DbError> {
        for (index, param) in params.iter().enumerate() {
            let index = c_int::try_from(index + 1).unwrap_or(c_int::MAX);
            let length = |bytes: &[u8]| c_int::try_from(bytes.len()).unwrap_or(c_int::MAX);
            // A static address for empty values: a null pointer would bind NULL.
            let pointer = |bytes: &[u8]| -> *const u8 {
                if bytes.is_empty() { c"".as_ptr().cast() } else { bytes.as_ptr() }
            };
            // SAFETY: the statement is prepared and reset; SQLITE_TRANSIENT makes SQLite copy the
            // bytes before the call returns.
            let code = unsafe {
                match param {
                    Param::Null => sqlite::sqlite3_bind_null(statement.as_ptr(), index),
                    Param::Int(number) => {
                        sqlite::sqlite3_bind_int64(statement.as_ptr(), index, *number)
                    }
                    Param::Text(bytes) => sqlite::sqlite3_bind_text(
                        statement.as_ptr(),
                        index,
                        pointer(bytes).cast::<c_char>(),
                        length(bytes),
                        sqlite::SQLITE_TRANSIENT(),
                    ),
                    Param::Blob(bytes) => sqlite::sqlite3_bind_blob(
                        statement.as_ptr(),
                        index,
                        pointer(bytes).cast::<c_void>(),
                        length(bytes),
                        sqlite::SQLITE_TRANSIENT(),
                    ),
                }
            };
            self.check(code)?;
        }
        Ok(())
    }

    /// Steps a query; `each` returns whether to continue.
    ///
    /// # Errors
    /// SQLite's.
    pub fn query(
        &mut self,
        sql: &'static str,
        params: &[Param<'_>],
        mut each: impl FnMut(&Row<'_>) -> bool,
    ) -> Result<(), DbError> {
        let statement = self.prepare(sql)?;
        let stepped = self.bind(statement, params).and_then(|()| {
            loop {
                // SAFETY: the statement belongs to this open connection.
                let code = unsafe { sqlite::sqlite3_step(statement.as_ptr()) };
                self.check(code).map_err(|error| self.step_error(sql, error))?;
                if code != sqlite::SQLITE_ROW || !each(&Row { statement: &statement }) {
                    return Ok(());
                }
            }
        });
        // SAFETY: as above; reset reports the error of the last step once more, ignored here.
        unsafe { sqlite::sqlite3_reset(statement.as_ptr()) };
        stepped
    }

    /// Runs a statement that returns no rows.
    ///
    /// # Errors
    /// SQLite's.
    pub fn run(&mut self, sql: &'static str, params: &[Param<'_>]) -> Result<(), DbError> {
        self.query(sql, params, |_| true)
    }

    /// The id of the row that was inserted last, by anything but a trigger.
    pub fn last_row_id(&self) -> i64 {
        // SAFETY: the handle is open.
        unsafe { sqlite::sqlite3_last_insert_rowid(self.handle.as_ptr()) }
    }

    /// Whether a table exists. One that was found is remembered.
    ///
    /// # Errors
    /// SQLite's.
    pub fn has_table(&mut self, name: &'static str) -> Result<bool, DbError> {
        if self.tables.contains(name) {
            return Ok(true);
        }
        let mut found = false;
        let sql = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?";
        self.query(sql, &[name.into()], |_| {
            found = true;
            false
        })?;
        if found {
            self.tables.insert(name);
        }
        Ok(found)
    }

    /// Rows changed since the connection was opened.
    pub fn total_changes(&self) -> i64 {
        // SAFETY: the handle is open.
        unsafe { sqlite::sqlite3_total_changes64(self.handle.as_ptr()) }
    }

    /// Closes in order: statements first, then the connection, which checkpoints the log. Blocks.
    ///
    /// # Errors
    /// SQLite's.
    pub(crate) fn close(self) -> Result<(), DbError> {
        use sqlx::Connection as _;
        let Self { statements, owner, .. } = self;
        drop(statements);
        match owner {
            Owner::Sqlx(owner, runtime) => Ok(runtime.block_on(owner.close())?),
            Owner::Own(handle) => match handle.close() {
                sqlite::SQLITE_OK => Ok(()),
                code => Err(DbError::Sqlite { code, message: "close".to_owned() }),
            },
        }
    }
}

/// XOR of the old hash and md5(name-timestamp), as Swift's `chexor`; `None` when the old hash is
/// not 32 hex digits.
pub(crate) fn chexor(old: &[u8], name: &[u8], timestamp: &[u8]) -> Option<String> {
    let old = u128::from_str_radix(std::str::from_utf8(old).ok()?, 16).ok()?;
    let mut context = md5::Context::new();
    context.consume(name);
    context.consume(b"-");
    context.consume(timestamp);
    let new = u128::from_be_bytes(context.finalize().0);
    Some(format!("{:032x}", old ^ new))
}

/// `chexor` for SQLite.
unsafe extern "C" fn chexor_sql(
    context: *mut sqlite::sqlite3_context,
    count: c_int,
    values: *mut *mut sqlite::sqlite3_value,
) {
    // SAFETY: SQLite calls with `count` valid values, which is 3 as registered; the pointers stay
    // valid during the call. Results are copied (SQLITE_TRANSIENT).
    unsafe {
        let text = |index: usize| -> &[u8] {
            let value = *values.add(index);
            let bytes = sqlite::sqlite3_value_text(value);
            if bytes.is_null() {
                return &[];
            }
            let length = sqlite::sqlite3_value_bytes(value);
            std::slice::from_raw_parts(bytes, usize::try_from(length).unwrap_or(0))
        };
        let result = if count == 3 { chexor(text(0), text(1), text(2)) } else { None };
        match result {
            Some(hash) => sqlite::sqlite3_result_text(
                context,
                hash.as_ptr().cast::<c_char>(),
                32,
                sqlite::SQLITE_TRANSIENT(),
            ),
            None => {
                sqlite::sqlite3_result_error(
                    context,
                    c"chexor: old hash is not hexadecimal".as_ptr(),
                    -1,
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chexor_equals_swifts_and_undoes_itself() {
        // swift.common.db.chexor('0' * 32, 'o', '1700000000.00000')
        let zero = b"00000000000000000000000000000000";
        let once = chexor(zero, b"o", b"1700000000.00000").unwrap();
        assert_eq!(once, format!("{:x}", md5::compute("o-1700000000.00000")));
        assert_eq!(chexor(once.as_bytes(), b"o", b"1700000000.00000").unwrap().as_bytes(), zero);
        assert_eq!(chexor(b"zz", b"o", b"1"), None);
    }
}
