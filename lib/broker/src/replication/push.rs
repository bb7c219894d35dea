//! One database to one replica: asks what it has, sends what it lacks, notes what it got.
//!
//! PushSource: `_repl_to_node`, `_usync_db` and `_rsync_db`. The database is open only for moments: a
//! server that wants to replace it waits for us no longer than for a page of rows.

use std::path::Path;
use std::sync::Arc;

use apus_cluster::Timestamp;
use apus_wire::message::database::{
    ContainerCall, DatabaseCall, DatabaseUpload, InstallMode, ReplicaInfo, ShardRange, SyncPoint,
};
use http::StatusCode;
use serde::de::DeserializeOwned;

use super::decide::{self, PushMode};
use super::options::ReplicationOptions;
use super::replica::{Replica, rows_since};
use super::report::Replicated;

use super::peer::{CallError, CallReply, Peer};
use super::redundancy::Gap;
use super::table::{self, Direction};
use super::{reclaim, snapshot};
use crate::database::Database;
use crate::error::DbError;
use crate::handles::Broker;
use crate::mark::FileMark;
use crate::raw::Connection;

/// A database that is pushed.
#[derive(Debug)]
pub(super) struct PushSource<'a> {
    pub(super) broker: &'a Arc<Broker>,
    pub(super) options: &'a ReplicationOptions,
    /// Directory of its device.
    pub(super) device: &'a Path,
    pub(super) path: &'a Path,
    /// Its state when the pass came to it.
    pub(super) info: ReplicaInfo,
    /// Deleted for so long that it is removed once all replicas have that.
    pub(super) spent: bool,
    pub(super) now: Timestamp,
}

/// Outcome of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PushOutcome {
    /// The replica has everything. With a mark, it already had.
    UpToDate(Option<FileMark>),
    /// The replica has everything but rows, which go to shards.
    Deferred,
    /// The device is not mounted.
    NotMounted,
}

/// Reasons why a replica could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub(super) enum PushError {
    #[error(transparent)]
    Database(#[from] DbError),
    #[error(transparent)]
    CallError(#[from] CallError),
    #[error("{call}: the server returned {status}")]
    Refused { call: &'static str, status: StatusCode },
    #[error("{call}: the response is invalid: {source}")]
    Response { call: &'static str, source: serde_json::Error },
    #[error("rows after {0} wait for the next pass")]
    Capped(i64),
}

fn accepted(call: &'static str, reply: &CallReply) -> Result<(), PushError> {
    if reply.status.is_success() {
        return Ok(());
    }
    Err(PushError::Refused { call, status: reply.status })
}

fn decoded<T: DeserializeOwned>(call: &'static str, reply: &CallReply) -> Result<T, PushError> {
    serde_json::from_slice(&reply.body).map_err(|source| PushError::Response { call, source })
}

impl PushSource<'_> {
    async fn open<K: Replica>(&self) -> Result<Arc<Database>, DbError> {
        self.broker.open(self.path, K::merge_pending).await?.ok_or(DbError::Missing)
    }

    /// Reads, if this still is the database that the pass began with: one that replaced it has other
    /// rows under the same numbers.
    async fn read<K: Replica, T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, DbError> {
        let id = self.info.id.clone();
        let work = move |connection: &mut Connection| {
            if table::id::<K>(connection)? == id { work(connection) } else { Err(DbError::Missing) }
        };
        self.open::<K>().await?.read(work).await
    }

    /// As [`PushSource::read`], to write.
    async fn write<K: Replica, T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, DbError> {
        let id = self.info.id.clone();
        let work = move |connection: &mut Connection| {
            if table::id::<K>(connection)? == id { work(connection) } else { Err(DbError::Missing) }
        };
        self.open::<K>().await?.write(work).await
    }

    /// Brings one replica up to date; what it lacked is added to `gap`.
    pub(super) async fn push<K: Replica>(
        &self,
        peer: &Peer,
        stats: &mut Replicated,
        gap: &mut Gap,
    ) -> Result<PushOutcome, PushError> {
        let sync = DatabaseCall::Sync(Box::new(self.info.clone()));
        let mut reply = peer.ask(&sync).await?;
        if reply.status == StatusCode::NOT_FOUND {
            if self.spent {
                // It existed and was removed: sending it again would never end.
                gap.rows(0);
                return Ok(PushOutcome::UpToDate(None));
            }
            *gap = Gap::Database;
            if reply.head.takes_databases {
                stats.rsync += 1;
                self.whole::<K>(peer, InstallMode::New).await?;
                return Ok(PushOutcome::UpToDate(None));
            }
            let made = peer.put(K::put_request(&self.info, peer.address.partition)?).await?;
            accepted("PUT", &made)?;
            reply = peer.ask(&sync).await?;
        }
        if reply.status == StatusCode::INSUFFICIENT_STORAGE {
            *gap = Gap::Database;
            return Ok(PushOutcome::NotMounted);
        }
        accepted("sync", &reply)?;
        let remote: ReplicaInfo = decoded("sync", &reply)?;
        gap.rows(0);
        self.learn::<K>(&remote).await?;
        if self.exchange_shards::<K>(peer, &remote).await? {
            stats.deferred += 1;
            return Ok(PushOutcome::Deferred);
        }
        let sent = self.send::<K>(peer, &remote, reply.head.takes_databases, stats, gap).await?;
        let mark = reply.head.mark.as_deref().and_then(FileMark::parse);
        Ok(PushOutcome::UpToDate(mark.filter(|_| sent == PushMode::UpToDate)))
    }

    /// Takes over what the replica reports of itself.
    async fn learn<K: Replica>(&self, remote: &ReplicaInfo) -> Result<(), DbError> {
        // Only whether to look again is decided by the state that the pass began with: another
        // replica may have changed ours since.
        let is_newer = table::has_newer_times(&self.info, remote)
            || table::has_newer(&self.info.metadata, &remote.metadata)?
            || K::disagrees(&self.info, remote);
        if !is_newer {
            return Ok(());
        }
        let (remote, now) = (remote.clone(), self.now);
        self.write::<K, _>(move |connection| {
            K::reconcile(connection, &remote, now)?;
            table::merge_metadata::<K>(connection, &remote.metadata)?;
            table::merge_timestamps::<K>(connection, &remote, now)
        })
        .await
    }

    /// Exchanges shard ranges in both directions. Returns whether rows have to wait.
    async fn exchange_shards<K: Replica>(
        &self,
        peer: &Peer,
        remote: &ReplicaInfo,
    ) -> Result<bool, PushError> {
        let Some(theirs) = remote.shard_max_row else { return Ok(false) };
        if theirs >= 0 {
            let call = DatabaseCall::Container(ContainerCall::GetShardRanges);
            let reply = peer.ask(&call).await?;
            accepted(call.word(), &reply)?;
            let ranges: Vec<ShardRange> = decoded(call.word(), &reply)?;
            let source = Some(remote.id.clone());
            if let Some(merge) = K::operation(ContainerCall::MergeShardRanges { ranges, source }) {
                self.write::<K, _>(merge).await?;
            }
        }
        let before = self.read::<K, _>(K::before_rows).await?;
        if !before.shard_ranges.is_empty() {
            let (ranges, source) = (before.shard_ranges, Some(self.info.id.clone()));
            let call = DatabaseCall::Container(ContainerCall::MergeShardRanges { ranges, source });
            accepted(call.word(), &peer.ask(&call).await?)?;
        }
        Ok(before.rows_wait)
    }

    /// Sends what the replica lacks. Returns how.
    async fn send<K: Replica>(
        &self,
        peer: &Peer,
        remote: &ReplicaInfo,
        takes_databases: bool,
        stats: &mut Replicated,
        gap: &mut Gap,
    ) -> Result<PushMode, PushError> {
        let id = remote.id.clone();
        let sent = self
            .read::<K, _>(move |connection| table::point(connection, Direction::Outgoing, &id))
            .await?;
        let mode = match decide::mode(&self.info, remote, sent, self.options.per_diff) {
            PushMode::Whole if !takes_databases => {
                PushMode::Rows(decide::point(&self.info, remote, sent))
            }
            mode => mode,
        };
        match mode {
            PushMode::UpToDate => stats.no_change += 1,
            PushMode::HashMatch => {
                stats.hashmatch += 1;
                self.note::<K>(&remote.id, remote.point.unwrap_or(-1)).await?;
            }
            PushMode::Whole => {
                stats.remote_merge += 1;
                gap.rows(self.info.rows());
                self.whole::<K>(peer, InstallMode::Merged).await?;
            }
            PushMode::Rows(point) => {
                stats.diff += 1;
                self.rows::<K>(peer, &remote.id, point, stats, gap).await?;
            }
        }
        Ok(mode)
    }

    /// Sends the rows after `point`, page by page.
    async fn rows<K: Replica>(
        &self,
        peer: &Peer,
        remote_id: &str,
        mut point: i64,
        stats: &mut Replicated,
        gap: &mut Gap,
    ) -> Result<(), PushError> {
        let page = self.options.per_diff;
        let behind = |point: i64| u64::try_from(self.info.max_row - point).unwrap_or(0);
        // Keeps old deletions from being sent back and forth: see [`Replica::is_old_deletion`].
        let then = reclaim::before(self.now, self.options.reclaim_age);
        let mut pages = 0;
        loop {
            let after = point;
            let rows = self
                .read::<K, _>(move |connection| rows_since::<K>(connection, after, page))
                .await?;
            let Some(last) = rows.last().and_then(K::row_id) else { break };
            if pages == self.options.max_diffs {
                stats.diff_capped += 1;
                stats.rows_behind += behind(point);
                gap.rows(behind(point));
                return Err(PushError::Capped(point));
            }
            pages += 1;
            let count = rows.len();
            let source = Some(self.info.id.clone());
            let call = DatabaseCall::MergeItems { rows, source, reclaimed: Some(then) };
            let reply = peer.call(&call).await;
            let merged = reply.map_err(PushError::from).and_then(|reply| {
                accepted(call.word(), &reply)?;
                Ok(reply.head.new_rows)
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
                // Newer rows are for the next pass.
                break;
            }
        }
        let points = self.read::<K, _>(table::points).await?;
        let call = DatabaseCall::MergeSyncs(points);
        accepted(call.word(), &peer.ask(&call).await?)?;
        self.note::<K>(remote_id, point).await?;
        Ok(())
    }

    /// Stores up to which row the replica has all.
    async fn note<K: Replica>(&self, remote_id: &str, point: i64) -> Result<(), DbError> {
        let point = SyncPoint { remote_id: remote_id.to_owned(), sync_point: point };
        self.write::<K, _>(move |connection| {
            table::merge_point(connection, Direction::Outgoing, &point)
        })
        .await?;
        apus_fault::point("replicate.points.written");
        Ok(())
    }

    /// Sends the whole database and asks for its installation.
    async fn whole<K: Replica>(&self, peer: &Peer, mode: InstallMode) -> Result<(), PushError> {
        let taken = snapshot::take::<K>(self.broker, self.device, self.path).await?;
        let snapshot = taken.ok_or(DbError::Missing)?;
        let (id, length) = (self.info.id.clone(), snapshot.length);
        let upload = DatabaseUpload { id: id.clone(), length, md5: snapshot.md5.clone() };
        accepted("upload", &peer.send_file(&snapshot.file, upload).await?)?;
        apus_fault::point("replicate.database.sent");
        let name = self.path.file_name().unwrap_or_default();
        let file = Some(name.to_string_lossy().into_owned());
        let call = DatabaseCall::Install { mode, id, file };
        accepted(call.word(), &peer.ask_long(&call, length).await?)
    }
}
