//! One database to one replica: asks what it has, sends what it lacks, notes what it got.
//!
//! Source: `_repl_to_node`, `_usync_db` and `_rsync_db`. The database is open only for moments: a
//! server that wants to replace it waits for us no longer than for a page of rows.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use apus_cluster::Timestamp;
use http::StatusCode;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::decide::{self, Mode};
use super::info::Info;
use super::kind::Kind;
use super::options::Options;
use super::pass::Replicated;
use super::peer::{Peer, Reply, Unanswered};
use super::redundancy::Gap;
use super::table::{self, SyncPoint, Way};
use super::{reclaim, snapshot};
use crate::database::Database;
use crate::error::DbError;
use crate::handles::Broker;
use crate::mark::FileMark;
use crate::raw::Connection;

/// The database that is pushed.
#[derive(Debug)]
pub(super) struct Source<'a> {
    pub(super) broker: &'a Arc<Broker>,
    pub(super) options: &'a Options,
    /// Directory of its device.
    pub(super) device: &'a Path,
    pub(super) path: &'a Path,
    /// As it was when the pass came to it.
    pub(super) info: Info,
    /// Deleted for so long that it goes once all replicas know.
    pub(super) spent: bool,
    pub(super) now: Timestamp,
}

/// How a replica is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// It has everything. It had so before, and said so, if its mark is given.
    UpToDate(Option<FileMark>),
    /// It has everything but rows, which go another way.
    Deferred,
    /// Its device is not mounted.
    NotMounted,
}

/// Reasons why a replica could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub(super) enum PushError {
    #[error(transparent)]
    Database(#[from] DbError),
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    #[error("{call}: the server returned {status}")]
    Refused { call: &'static str, status: StatusCode },
    #[error("{call}: the response is invalid: {source}")]
    Response { call: &'static str, source: serde_json::Error },
    #[error("rows after {0} wait for the next pass")]
    Capped(i64),
}

fn accepted(call: &'static str, reply: &Reply) -> Result<(), PushError> {
    if reply.status.is_success() {
        return Ok(());
    }
    Err(PushError::Refused { call, status: reply.status })
}

fn decoded<T: DeserializeOwned>(call: &'static str, reply: &Reply) -> Result<T, PushError> {
    serde_json::from_slice(&reply.body).map_err(|source| PushError::Response { call, source })
}

impl Source<'_> {
    async fn open<K: Kind>(&self) -> Result<Arc<Database>, DbError> {
        self.broker.open(self.path, K::merge_pending).await?.ok_or(DbError::Missing)
    }

    /// Reads, if this still is the replica that the pass began with: a database that was put in
    /// its place has other rows under the same numbers.
    async fn read<K: Kind, T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, DbError> {
        let id = self.info.id.clone();
        let work = move |connection: &mut Connection| {
            if table::id::<K>(connection)? == id { work(connection) } else { Err(DbError::Missing) }
        };
        self.open::<K>().await?.read(work).await
    }

    /// As [`Source::read`], to write.
    async fn write<K: Kind, T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, DbError> {
        let id = self.info.id.clone();
        let work = move |connection: &mut Connection| {
            if table::id::<K>(connection)? == id { work(connection) } else { Err(DbError::Missing) }
        };
        self.open::<K>().await?.write(work).await
    }

    /// Brings one replica up to date; `gap` gets what it lacked.
    pub(super) async fn push<K: Kind>(
        &self,
        peer: &Peer,
        stats: &mut Replicated,
        gap: &mut Gap,
    ) -> Result<Sent, PushError> {
        let mut reply = peer.call(&self.info.to_sync()).await?;
        if reply.status == StatusCode::NOT_FOUND {
            if self.spent {
                // It was there and has gone: to send it again would never end.
                gap.rows(0);
                return Ok(Sent::UpToDate(None));
            }
            *gap = Gap::Database;
            if reply.takes_databases {
                stats.rsync += 1;
                self.whole::<K>(peer, "complete_rsync").await?;
                return Ok(Sent::UpToDate(None));
            }
            let made = peer.put(&self.info.names(), K::put_headers(&self.info)).await?;
            accepted("PUT", &made)?;
            reply = peer.call(&self.info.to_sync()).await?;
        }
        if reply.status == StatusCode::INSUFFICIENT_STORAGE {
            *gap = Gap::Database;
            return Ok(Sent::NotMounted);
        }
        accepted("sync", &reply)?;
        let remote: Info = decoded("sync", &reply)?;
        gap.rows(0);
        self.learn::<K>(&remote).await?;
        if self.exchange_shards::<K>(peer, &remote).await? {
            stats.deferred += 1;
            return Ok(Sent::Deferred);
        }
        let sent = self.send::<K>(peer, &remote, reply.takes_databases, stats, gap).await?;
        Ok(Sent::UpToDate(reply.mark.filter(|_| sent == Mode::UpToDate)))
    }

    /// Takes over what the replica says of itself.
    async fn learn<K: Kind>(&self, remote: &Info) -> Result<(), DbError> {
        // By what was so before all pushes of this pass: who has just taken the policy of one replica
        // looks younger than those that have not yet, and would take the wrong one from them again.
        let disagrees = K::disagrees(&self.info, remote);
        let news = table::has_newer_times(&self.info, remote)
            || table::has_newer(&self.info.metadata, &remote.metadata)?
            || disagrees;
        if !news {
            return Ok(());
        }
        let (remote, now) = (remote.clone(), self.now);
        self.write::<K, _>(move |connection| {
            if disagrees {
                K::reconcile(connection, &remote, now)?;
            }
            table::merge_metadata::<K>(connection, &remote.metadata)?;
            table::merge_timestamps::<K>(connection, &remote, now)
        })
        .await
    }

    /// Shard ranges go both ways; tells whether rows have to wait.
    async fn exchange_shards<K: Kind>(
        &self,
        peer: &Peer,
        remote: &Info,
    ) -> Result<bool, PushError> {
        let Some(theirs) = remote.shard_max_row else { return Ok(false) };
        if theirs >= 0 {
            let reply = peer.call(&["get_shard_ranges"]).await?;
            accepted("get_shard_ranges", &reply)?;
            let ranges: Value = decoded("get_shard_ranges", &reply)?;
            if let Some(merge) = K::operation("merge_shard_ranges", &[ranges])? {
                self.write::<K, _>(merge).await?;
            }
        }
        let before = self.read::<K, _>(K::before_rows).await?;
        if let Some(ranges) = before.shard_ranges {
            let reply = peer.call(&("merge_shard_ranges", ranges, &self.info.id)).await?;
            accepted("merge_shard_ranges", &reply)?;
        }
        Ok(before.rows_wait)
    }

    /// Sends what the replica lacks; gives the way.
    async fn send<K: Kind>(
        &self,
        peer: &Peer,
        remote: &Info,
        takes_databases: bool,
        stats: &mut Replicated,
        gap: &mut Gap,
    ) -> Result<Mode, PushError> {
        let id = remote.id.clone();
        let sent = self
            .read::<K, _>(move |connection| table::point(connection, Way::Outgoing, &id))
            .await?;
        let mode = match decide::mode(&self.info, remote, sent, self.options.per_diff) {
            Mode::Whole if !takes_databases => Mode::Rows(decide::point(&self.info, remote, sent)),
            mode => mode,
        };
        match mode {
            Mode::UpToDate => stats.no_change += 1,
            Mode::HashMatch => {
                stats.hashmatch += 1;
                self.note::<K>(&remote.id, remote.point.unwrap_or(-1)).await?;
            }
            Mode::Whole => {
                stats.remote_merge += 1;
                gap.rows(self.info.rows());
                self.whole::<K>(peer, "rsync_then_merge").await?;
            }
            Mode::Rows(point) => {
                stats.diff += 1;
                self.rows::<K>(peer, &remote.id, point, stats, gap).await?;
            }
        }
        Ok(mode)
    }

    /// Sends the rows after `point`, page by page.
    async fn rows<K: Kind>(
        &self,
        peer: &Peer,
        remote_id: &str,
        mut point: i64,
        stats: &mut Replicated,
        gap: &mut Gap,
    ) -> Result<(), PushError> {
        let page = self.options.per_diff;
        let behind = |point: i64| u64::try_from(self.info.max_row - point).unwrap_or(0);
        // So that a deletion which all knew is not passed on and on: see [`Kind::is_old_deletion`].
        let then = reclaim::before(self.now, self.options.reclaim_age).to_string();
        let mut pages = 0;
        loop {
            let after = point;
            let rows =
                self.read::<K, _>(move |connection| K::rows_since(connection, after, page)).await?;
            let Some(last) = rows.last().and_then(K::row_id) else { break };
            if pages == self.options.max_diffs {
                stats.diff_capped += 1;
                stats.rows_behind += behind(point);
                gap.rows(behind(point));
                return Err(PushError::Capped(point));
            }
            pages += 1;
            let count = rows.len();
            let reply = peer.call(&("merge_items", rows, &self.info.id, &then)).await;
            let merged = reply.map_err(PushError::from).and_then(|reply| {
                accepted("merge_items", &reply)?;
                Ok(reply.new_rows)
            });
            match merged {
                Ok(new) => gap.rows(new.unwrap_or(count as u64)),
                Err(error) => {
                    stats.rows_behind += behind(point);
                    gap.rows(behind(point));
                    return Err(error);
                }
            }
            apus_fault::point("replicate.rows.sent");
            point = last;
            if count < page {
                // What comes from now on is for the next pass.
                break;
            }
        }
        let points = self.read::<K, _>(table::points).await?;
        accepted("merge_syncs", &peer.call(&("merge_syncs", points)).await?)?;
        self.note::<K>(remote_id, point).await?;
        Ok(())
    }

    /// Notes what the replica has.
    async fn note<K: Kind>(&self, remote_id: &str, point: i64) -> Result<(), DbError> {
        let point = SyncPoint { remote_id: remote_id.to_owned(), sync_point: point };
        self.write::<K, _>(move |connection| table::merge_point(connection, Way::Outgoing, &point))
            .await?;
        apus_fault::point("replicate.points.written");
        Ok(())
    }

    /// Sends the whole database, and has it put in place.
    async fn whole<K: Kind>(&self, peer: &Peer, then: &'static str) -> Result<(), PushError> {
        let taken = snapshot::take::<K>(self.broker, self.device, self.path).await?;
        let snapshot = taken.ok_or(DbError::Missing)?;
        let id = &self.info.id;
        let reply = peer.send_file(id, &snapshot.file, snapshot.length, &snapshot.md5).await?;
        accepted("upload", &reply)?;
        apus_fault::point("replicate.database.sent");
        let name: PathBuf = self.path.file_name().unwrap_or_default().into();
        let call = (then, id, name.to_string_lossy());
        accepted(then, &peer.call_long(&call, snapshot.length).await?)
    }
}
