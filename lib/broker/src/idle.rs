//! Closes databases that were not used for some seconds.
//!
//! Then they have no write-ahead log, and Swift's tools, which set another journal mode and wait up
//! to 25 s for it, can open them. The handle stays in the cache and opens its file again at the next
//! use.

use std::sync::Arc;
use std::time::Duration;

use apus_daemon::Drain;

use crate::database::Database;
use crate::error::DbError;
use crate::handles::Broker;

/// A database is closed after not being used for once to twice as long.
const INTERVAL: Duration = Duration::from_secs(5);

/// Closes idle databases until the drain begins.
pub async fn close_unused(broker: Arc<Broker>, drain: Drain) {
    let mut before = 0;
    loop {
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = drain.begun() => return,
        }
        before = broker.close_unused(before).await;
    }
}

impl Broker {
    /// Closes databases that were not used since an earlier call, which returned `before`.
    async fn close_unused(&self, before: u64) -> u64 {
        let (now, unused) = self.unused_since(before);
        for database in unused {
            let path = database.path().to_owned();
            if let Err(error) = self.on_thread(move || database.close_file()).await {
                tracing::warn!(database = %path.display(), %error, "Failed to close an idle database");
            }
        }
        now
    }
}

impl Database {
    /// Closes the file until the next use. Blocks.
    fn close_file(&self) -> Result<(), DbError> {
        let mut opened = self.opened();
        match opened.take() {
            Some(current) if current.is_current(self.path()) => current.connection.close(),
            Some(replaced) => self.opener().abandon(self.path(), replaced),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::open::{Journal, connect};
    use crate::path::with_suffix;
    use crate::raw::Connection;

    fn count(connection: &mut Connection) -> Result<i64, DbError> {
        let mut count = 0;
        connection.query("SELECT count(*) FROM t", &[], |row| {
            count = row.int(0);
            true
        })?;
        Ok(count)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_idle_database_is_free_for_others_and_opens_again() {
        let root = std::env::temp_dir().join(format!("apus-unused-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        let path = root.join("containers/1/abc/0123/0123.db");
        std::fs::create_dir_all(&root).unwrap();
        let broker = Broker::new("unused", 4, Arc::default()).unwrap();
        let make = |connection: &mut Connection| connection.run("CREATE TABLE t (a INTEGER)", &[]);
        broker.create(&root, &path, make).await.unwrap();
        let database = broker.open(&path, |_, _| Ok(())).await.unwrap().unwrap();
        let insert = |connection: &mut Connection| connection.run("INSERT INTO t VALUES (1)", &[]);
        database.write(insert).await.unwrap();

        let before = broker.close_unused(0).await;
        assert!(with_suffix(&path, "-wal").exists(), "closed while it was in use");
        broker.close_unused(before).await;
        assert!(!with_suffix(&path, "-wal").exists());
        // As Swift opens it.
        let mut other = connect(&path, Journal::Delete, false).unwrap();
        assert_eq!(count(&mut other).unwrap(), 1);
        other.close().unwrap();

        database.write(insert).await.unwrap();
        assert_eq!(database.read(count).await.unwrap(), 2);
        broker.close().await;
        std::fs::remove_dir_all(&root).unwrap();
    }
}
