//! Quarantines a damaged database after its trustworthy rows were copied.
//!
//! Source: `quarantine` in `swift/common/db.py`. A row that matches its digest can be trusted. When
//! the database had no other rows, a new one with these takes its place at once. Otherwise they are
//! written to `salvaged.db` in the quarantined directory, and the other replicas send a whole
//! database: half a listing is worse than none.

use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use apus_cluster::HashConf;
use apus_disk::{FreshDirectories, make_directories, sync_directory};

use crate::audit::{self, AuditedRow, Verdict};
use crate::database::Database;
use crate::digest;
use crate::error::DbError;
use crate::handles::{Broker, claim, name};
use crate::kind::DatabaseKind;
use crate::open::{self, Journal, connect};
use crate::path;
use crate::raw::Connection;
use crate::schema::Schema;
use crate::wal::{self, WalState};

/// Outcome of the quarantine of a database that looked damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QuarantineOutcome {
    /// It does not exist.
    Missing,
    /// Nothing is wrong with it.
    Good,
    /// It was moved to quarantine.
    Quarantined {
        /// Whether a new one took its place, since all of it could be salvaged.
        replaced: bool,
        /// Rows that were salvaged.
        rows: u64,
        /// The file with the salvaged rows, when no new one took its place.
        salvaged: Option<PathBuf>,
    },
}

impl Broker {
    /// Audits a database, on a connection and a thread of its own: it takes as long as reading
    /// everything.
    ///
    /// # Errors
    /// Errors that say nothing about the database; [`DbError::Missing`].
    pub async fn audit<K: DatabaseKind>(
        &self,
        path: &Path,
        hash: &HashConf,
    ) -> Result<Verdict, DbError> {
        let (path, hash) = (path.to_owned(), hash.clone());
        // Not on the threads that requests wait for.
        apus_daemon::task::spawn_blocking(move || audit::audit::<K>(&path, &hash, false))
            .await
            .unwrap_or(Err(DbError::Busy))
    }

    /// Audits a database that nothing else can use meanwhile, and quarantines it if it is damaged.
    /// The salvaged rows of an `only_copy` take its place in any case.
    ///
    /// # Errors
    /// The file system's; errors that say nothing about the database.
    pub async fn quarantine<K: DatabaseKind>(
        &self,
        device: &Path,
        path: &Path,
        hash: &HashConf,
        only_copy: bool,
    ) -> Result<QuarantineOutcome, DbError> {
        let gate = self.gate(path);
        let _held = gate.lock().await;
        let job = SalvageJob::<K> {
            cached: self.cached(path),
            device: device.to_owned(),
            path: path.to_owned(),
            hash: hash.clone(),
            disk: self.disk().clone(),
            directories: self.fresh().clone(),
            only_copy,
            kind: PhantomData,
        };
        apus_daemon::task::spawn_blocking(move || job.run()).await.unwrap_or(Err(DbError::Busy))
    }
}

/// The quarantine of one database.
struct SalvageJob<K> {
    cached: Option<Arc<Database>>,
    device: PathBuf,
    path: PathBuf,
    hash: HashConf,
    disk: Arc<apus_disk::Counters>,
    directories: Arc<FreshDirectories>,
    only_copy: bool,
    kind: PhantomData<fn() -> K>,
}

impl<K: DatabaseKind> SalvageJob<K> {
    fn run(self) -> Result<QuarantineOutcome, DbError> {
        // Waits until it is not in use, and keeps it from being used.
        let mut opened = self.cached.as_deref().map(Database::opened);
        let Some(_lock) = open::lock(&self.path)? else { return Ok(QuarantineOutcome::Missing) };
        let verdict = audit::audit::<K>(&self.path, &self.hash, true);
        let reason = match verdict {
            Err(DbError::Missing) => return Ok(QuarantineOutcome::Missing),
            Err(error) => return Err(error),
            Ok(Verdict::Good { .. }) => return Ok(QuarantineOutcome::Good),
            Ok(Verdict::Damaged(reason)) => reason,
        };
        let temporary = self.device.join("tmp");
        make_directories(&self.device, &temporary, &self.disk)?;
        let fresh = temporary.join(format!("{}.salvaged.db", apus_daemon::random::hex::<16>()));
        let saved = self.salvage(&fresh).unwrap_or_else(|error| {
            tracing::warn!(%error, database = %self.path.display(), "Failed to salvage all rows");
            Salvaged::default()
        });
        apus_fault::fallible("quarantine.database.salvaged")?;
        let directory = self.path.parent().unwrap_or(&self.path);
        let moved = apus_disk::quarantine(&self.device, K::schema().directory, directory)?;
        apus_fault::point("quarantine.database.moved");
        tracing::error!(
            database = %self.path.display(),
            to = %moved.display(),
            reason,
            rows = saved.rows,
            whole = saved.whole,
            "Quarantined a damaged database"
        );
        let replaced = saved.whole || saved.made && self.only_copy;
        let salvaged_file = moved.join("salvaged.db");
        if replaced {
            let (_, _lock) = claim(&self.directories, &self.device, &self.path)?;
            name(&fresh, &self.path)?;
            self.directories.sync(&self.device, directory)?;
            apus_fault::point("quarantine.database.replaced");
        } else if saved.made {
            apus_disk::hard_link(&fresh, &salvaged_file)?;
            sync_directory(&moved, &self.disk)?;
        }
        // A name of our own; it does not exist when nothing could be salvaged.
        let _ = apus_disk::remove_file(&fresh);
        if let Some(parent) = directory.parent()
            && let Err(error) = sync_directory(parent, &self.disk)
        {
            tracing::debug!(%error, "A quarantined database may come back after a power cut");
        }
        // What the connection still writes goes to the quarantined directory.
        drop(opened.as_mut().and_then(|opened| opened.take()));
        drop(opened);
        if let Some(database) = self.cached.as_ref().filter(|_| !replaced) {
            database.set_gone();
        }
        let kept = (saved.made && !replaced).then_some(salvaged_file);
        Ok(QuarantineOutcome::Quarantined { replaced, rows: saved.rows, salvaged: kept })
    }

    /// Fills a new database with the rows that can be trusted.
    fn salvage(&self, fresh: &Path) -> Result<Salvaged, DbError> {
        let log = wal::check(&self.path)?;
        let WalState::Flipped(flips) = &log else {
            let mut saved = self.salvage_from(&self.path, fresh)?;
            // There are commits that SQLite does not see.
            saved.whole &= log == WalState::Good;
            return Ok(saved);
        };
        let copy = path::with_suffix(fresh, ".mended");
        let saved = wal::copy_mended(&self.path, flips, &copy)
            .map_err(DbError::from)
            .and_then(|()| self.salvage_from(&copy, fresh));
        // A name of our own.
        let _ = apus_disk::remove_file(&copy);
        let _ = open::clear_leftovers(&copy);
        saved
    }

    fn salvage_from(&self, from: &Path, fresh: &Path) -> Result<Salvaged, DbError> {
        let mut old = audit::open_to_read(from)?;
        let filled = self.fill(&mut old, fresh);
        // A damaged database may also fail to close.
        let _ = old.close();
        filled
    }

    fn fill(&self, old: &mut Connection, fresh: &Path) -> Result<Salvaged, DbError> {
        let schema: &Schema = K::schema();
        let info = digest::info(old, schema)?;
        let is_good = digest::is_kept(old)? && digest::info_matches(old, &info)? == Some(true);
        if !is_good {
            return Err(DbError::Corrupt("the row about the database is lost".to_owned()));
        }
        // Its rows are good but belong to another path, as would those of a new one.
        if let Some(reason) = audit::misplaced(&info, &self.path, schema, &self.hash) {
            return Err(DbError::Corrupt(reason));
        }
        let mut new = connect(fresh, Journal::Memory, true)?;
        new.run("BEGIN", &[])?;
        K::rebuild(&mut new, &info)?;
        let saved = Self::rows(old, &mut new)?;
        new.run("COMMIT", &[])?;
        new.close()?;
        apus_disk::sync_file(fresh, &self.disk)?;
        Ok(saved)
    }

    /// Copies the rows that match their digests, by the ids that have digests, so that a lost page
    /// does not prevent the copy of the others.
    fn rows(old: &mut Connection, new: &mut Connection) -> Result<Salvaged, DbError> {
        const PAGE: usize = 1000;
        let mut saved = Salvaged { made: true, whole: true, rows: 0 };
        let (mut after, mut more) = (0, true);
        while more {
            let mut ids = Vec::with_capacity(PAGE);
            let sql = "SELECT row_id FROM apus_row_digest WHERE row_id > ? ORDER BY row_id";
            let listed = old.query(sql, &[i64::into(after)], |row| {
                ids.push(row.int(0));
                ids.len() < PAGE
            });
            saved.whole &= listed.is_ok();
            more = listed.is_ok() && ids.len() == PAGE;
            after = ids.last().copied().unwrap_or(after);
            for id in ids {
                let mut found = None;
                // A row in a page that cannot be read is lost.
                let _ = old.query(K::schema().row, &[id.into()], |row| {
                    found = Some(AuditedRow::read(row, K::schema()));
                    false
                });
                match found.filter(|row| row.matches == Some(true)) {
                    Some(row) => {
                        K::restore(new, &row.columns)?;
                        saved.rows += 1;
                    }
                    None => saved.whole = false,
                }
            }
        }
        // Rows without a digest cannot be trusted.
        let mut without = false;
        let read = old.query(K::schema().without_digest, &[i64::into(0)], |_| {
            without = true;
            false
        });
        saved.whole &= read.is_ok() && !without;
        Ok(saved)
    }
}

/// Result of salvaging rows.
#[derive(Default)]
struct Salvaged {
    /// Whether there is a new database.
    made: bool,
    /// Whether everything is in it.
    whole: bool,
    rows: u64,
}
