//! Sets a damaged database aside, as Swift does (`swift/common/db.py`, `quarantine`), after all
//! rows that can be trusted were taken out of it.
//!
//! A row can be trusted that matches its digest. When nothing but these was in the database, a new
//! one of them takes its place at once. Otherwise they lie beside the damaged one as
//! `salvaged.db`, and the other replicas bring a whole one: half a listing is worse than none.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use apus_cluster::HashConf;
use apus_disk::{FreshDirectories, make_directories, sync_directory};

use crate::audit::{self, Found, Tables, Verdict};
use crate::database::Database;
use crate::digest;
use crate::error::DbError;
use crate::handles::{Broker, claim, name};
use crate::log::{self, Log};
use crate::open::{self, Journal, connect};
use crate::raw::Connection;

/// What became of a database that was said to be damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SetAside {
    /// It is not there.
    Missing,
    /// Nothing is wrong with it.
    Good,
    /// It was moved; `replaced` when all of it could be saved.
    Moved {
        /// Whether a new one has its place.
        replaced: bool,
        /// Rows that were saved.
        rows: u64,
        /// The database with what was saved, when it has no place.
        saved: Option<PathBuf>,
    },
}

impl Broker {
    /// Looks whether a database is what was written to it. On a connection and a thread of its
    /// own: it takes as long as reading everything.
    ///
    /// # Errors
    /// What says nothing about the database; [`DbError::Missing`].
    pub async fn audit(
        &self,
        path: &Path,
        tables: &'static Tables,
        hash: &HashConf,
    ) -> Result<Verdict, DbError> {
        let (path, hash) = (path.to_owned(), hash.clone());
        // Not on the threads that requests wait for.
        tokio::task::spawn_blocking(move || audit::look(&path, tables, &hash, false))
            .await
            .unwrap_or(Err(DbError::Busy))
    }

    /// Looks at a database that nobody gets at meanwhile, and sets it aside if it is damaged. Of
    /// the `only_copy` there is, what was saved takes the place in any case.
    ///
    /// # Errors
    /// The file system's; what says nothing about the database.
    pub async fn set_aside(
        &self,
        device: &Path,
        path: &Path,
        tables: &'static Tables,
        hash: &HashConf,
        only_copy: bool,
    ) -> Result<SetAside, DbError> {
        let gate = self.gate(path);
        let _held = gate.lock().await;
        let work = Work {
            cached: self.cached(path),
            device: device.to_owned(),
            path: path.to_owned(),
            tables,
            hash: hash.clone(),
            disk: self.disk().clone(),
            directories: self.fresh().clone(),
            only_copy,
        };
        tokio::task::spawn_blocking(move || work.run()).await.unwrap_or(Err(DbError::Busy))
    }
}

struct Work {
    cached: Option<Arc<Database>>,
    device: PathBuf,
    path: PathBuf,
    tables: &'static Tables,
    hash: HashConf,
    disk: Arc<apus_disk::Counters>,
    directories: Arc<FreshDirectories>,
    only_copy: bool,
}

impl Work {
    fn run(self) -> Result<SetAside, DbError> {
        // Who uses it is waited for; who wants to use it waits.
        let mut opened = self.cached.as_deref().map(Database::opened);
        let Some(_lock) = open::lock(&self.path)? else { return Ok(SetAside::Missing) };
        let verdict = audit::look(&self.path, self.tables, &self.hash, true);
        let reason = match verdict {
            Err(DbError::Missing) => return Ok(SetAside::Missing),
            Err(error) => return Err(error),
            Ok(Verdict::Good { .. }) => return Ok(SetAside::Good),
            Ok(Verdict::Damaged(reason)) => reason,
        };
        let temporary = self.device.join("tmp");
        make_directories(&self.device, &temporary, &self.disk)?;
        let fresh = temporary.join(format!("{}.salvaged.db", apus_daemon::seed::hex::<16>()));
        let saved = self.salvage(&fresh).unwrap_or_else(|error| {
            tracing::warn!(%error, database = %self.path.display(), "not all could be saved");
            Saved::default()
        });
        apus_fault::fallible("quarantine.database.salvaged")?;
        let directory = self.path.parent().unwrap_or(&self.path);
        let moved = apus_disk::quarantine(&self.device, self.tables.kind, directory)?;
        apus_fault::point("quarantine.database.moved");
        tracing::error!(
            database = %self.path.display(),
            to = %moved.display(),
            reason,
            rows = saved.rows,
            whole = saved.whole,
            "quarantined"
        );
        let replaced = saved.whole || saved.made && self.only_copy;
        let beside = moved.join("salvaged.db");
        if replaced {
            let (_, _lock) = claim(&self.directories, &self.device, &self.path)?;
            name(&fresh, &self.path)?;
            self.directories.sync(&self.device, directory)?;
            apus_fault::point("quarantine.database.replaced");
        } else if saved.made {
            apus_disk::hard_link(&fresh, &beside)?;
            sync_directory(&moved, &self.disk)?;
        }
        // Ours alone; not there when nothing could be saved.
        let _ = apus_disk::remove_file(&fresh);
        if let Some(parent) = directory.parent()
            && let Err(error) = sync_directory(parent, &self.disk)
        {
            tracing::debug!(%error, "what was moved may be back after a power cut");
        }
        // What the connection still writes lands in the moved directory.
        drop(opened.as_mut().and_then(|opened| opened.take()));
        drop(opened);
        if let Some(database) = self.cached.as_ref().filter(|_| !replaced) {
            database.set_gone();
        }
        let kept = (saved.made && !replaced).then_some(beside);
        Ok(SetAside::Moved { replaced, rows: saved.rows, saved: kept })
    }

    /// Fills a new database with what can be trusted.
    fn salvage(&self, fresh: &Path) -> Result<Saved, DbError> {
        let log = log::look(&self.path)?;
        let Log::Flipped(flips) = &log else {
            let mut saved = self.salvage_from(&self.path, fresh)?;
            // Commits that SQLite does not see.
            saved.whole &= log == Log::Good;
            return Ok(saved);
        };
        let copy = open::beside(fresh, ".mended");
        let saved = log::copy_mended(&self.path, flips, &copy)
            .map_err(DbError::from)
            .and_then(|()| self.salvage_from(&copy, fresh));
        // Ours alone.
        let _ = apus_disk::remove_file(&copy);
        let _ = open::clear_leftovers(&copy);
        saved
    }

    fn salvage_from(&self, from: &Path, fresh: &Path) -> Result<Saved, DbError> {
        let mut old = audit::open_to_read(from)?;
        let filled = self.fill(&mut old, fresh);
        // What is damaged may also fail to close.
        let _ = old.close();
        filled
    }

    fn fill(&self, old: &mut Connection, fresh: &Path) -> Result<Saved, DbError> {
        let info = digest::info(old, self.tables)?;
        let is_good = digest::is_kept(old)? && digest::info_matches(old, &info)? == Some(true);
        if !is_good {
            return Err(DbError::Corrupt("the row about the database is lost".to_owned()));
        }
        // Its rows are as good as ever, but another's: a new one of them would be as wrong here.
        if let Some(reason) = audit::misplaced(&info, &self.path, self.tables, &self.hash) {
            return Err(DbError::Corrupt(reason));
        }
        let mut new = connect(fresh, Journal::Memory, true)?;
        new.run("BEGIN", &[])?;
        (self.tables.rebuild)(&mut new, &info)?;
        let saved = self.rows(old, &mut new)?;
        new.run("COMMIT", &[])?;
        new.close()?;
        apus_disk::sync_file(fresh, &self.disk)?;
        Ok(saved)
    }

    /// Copies the rows that match their digests, by the ids that have digests: what one lost page
    /// held does not keep the others.
    fn rows(&self, old: &mut Connection, new: &mut Connection) -> Result<Saved, DbError> {
        const PAGE: usize = 1000;
        let mut saved = Saved { made: true, whole: true, rows: 0 };
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
                // A page that cannot be read is a row that is not there.
                let _ = old.query(self.tables.row, &[id.into()], |row| {
                    found = Some(Found::read(row, self.tables));
                    false
                });
                match found.filter(|found| found.matches == Some(true)) {
                    Some(found) => {
                        (self.tables.restore)(new, &found.columns)?;
                        saved.rows += 1;
                    }
                    None => saved.whole = false,
                }
            }
        }
        // Rows without a digest cannot be trusted.
        let mut without = false;
        let looked = old.query(self.tables.without_digest, &[i64::into(0)], |_| {
            without = true;
            false
        });
        saved.whole &= looked.is_ok() && !without;
        Ok(saved)
    }
}

/// What was saved.
#[derive(Default)]
struct Saved {
    /// There is a new database.
    made: bool,
    /// Everything is in it.
    whole: bool,
    rows: u64,
}
