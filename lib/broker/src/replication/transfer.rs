//! Receives whole databases and installs them.
//!
//! They are received into `<device>/tmp/<id>`, where rsync may have written one too. They are
//! checked, then given their name, or merged with the database that has it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use apus_cluster::{HashConf, PathHash, Timestamp};
use apus_daemon::Body;
use apus_disk::{AtomicFile, Counters, make_directories, sync_directory};
use apus_wire::message::database::{DatabaseUpload, ReplicaInfo};
use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::sync::mpsc;

use super::replica::{Replica, rows_since};
use super::table;
use crate::error::DbError;
use crate::handles::Broker;
use crate::open::{Journal, clear_leftovers, connect};
use crate::raw::Connection;

/// Rows per step of a copy.
const PAGE: usize = 1000;
/// Pieces of a body that wait for the disk.
const WINDOW: usize = 16;

/// A database that was received, and its path.
#[derive(Debug, Clone)]
pub(super) struct ReceivedDatabase<'a> {
    /// The device's directory.
    pub(super) device: &'a Path,
    /// Its file in `tmp`.
    pub(super) file: &'a Path,
    /// Id of the replica that it is a copy of.
    pub(super) id: &'a str,
    /// Its path when it is installed.
    pub(super) path: &'a Path,
    /// The hash of its names.
    pub(super) hash: PathHash,
}

/// Outcome of an installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InstallOutcome {
    /// The database is installed.
    Done,
    /// There is nothing to replace, something already has the name, or nothing is in `tmp`.
    Missing,
}

/// Runs work that waits long for the disk, on a thread of its own.
async fn on_own_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DbError> + Send + 'static,
) -> Result<T, DbError> {
    apus_daemon::task::spawn_blocking(work).await?
}

/// Receives a database into `arrival.file`. It must be as announced, be whole, and have the right
/// names.
///
/// # Errors
/// [`DbError::Invalid`] for a body that is not what was announced.
pub(super) async fn receive<K: Replica>(
    broker: &Broker,
    conf: &HashConf,
    arrival: &ReceivedDatabase<'_>,
    mut body: Body,
    announced: DatabaseUpload,
) -> Result<(), DbError> {
    let (sender, pieces) = mpsc::channel(WINDOW);
    let temporary = arrival.device.join("tmp");
    let received_file = temporary.join(format!("apus-{}", apus_daemon::random::hex::<8>()));
    let disk = broker.disk().clone();
    let (conf, hash, file) = (conf.clone(), arrival.hash, arrival.file.to_owned());
    let device = arrival.device.to_owned();
    let writer = on_own_thread(move || {
        make_directories(&device, &temporary, &disk)?;
        let received = write_pieces(&temporary, &received_file, &announced, pieces, &disk)
            .and_then(|()| {
                apus_fault::point("replicate.database.landed");
                check::<K>(&conf, &received_file, hash)?;
                apus_disk::rename(&received_file, &file)?;
                apus_fault::point("replicate.database.received");
                Ok(sync_directory(&temporary, &disk)?)
            });
        if received.is_err() {
            // A temporary name of our own.
            let _ = apus_disk::remove_file(&received_file);
            let _ = clear_leftovers(&received_file);
        }
        received
    });
    let feeder = async {
        while let Some(frame) = body.frame().await {
            let piece = frame
                .map_err(|error| io::Error::other(error.to_string()))
                .map(|frame| frame.into_data().unwrap_or_default());
            let broken = piece.is_err();
            if sender.send(piece).await.is_err() || broken {
                break;
            }
        }
        drop(sender);
    };
    let (written, ()) = tokio::join!(writer, feeder);
    written
}

fn write_pieces(
    temporary: &Path,
    received_file: &Path,
    announced: &DatabaseUpload,
    mut pieces: mpsc::Receiver<io::Result<Bytes>>,
    disk: &Arc<Counters>,
) -> Result<(), DbError> {
    let DatabaseUpload { length, md5, .. } = announced;
    let length = *length;
    let mut file = AtomicFile::create(temporary, temporary, disk)?;
    file.reserve(length)?;
    let mut digest = md5::Context::new();
    while let Some(piece) = pieces.blocking_recv() {
        let piece = piece?;
        if file.length() + piece.len() as u64 > length {
            return Err(DbError::Invalid(format!("more than the {length} bytes announced")));
        }
        digest.consume(&piece);
        file.append(&piece)?;
    }
    if file.length() != length {
        return Err(DbError::Invalid(format!("{} of {length} bytes", file.length())));
    }
    let found = format!("{:x}", digest.finalize());
    if found != md5.to_ascii_lowercase() {
        return Err(DbError::Invalid(format!("MD5 {found}, announced was {md5}")));
    }
    file.sync()?;
    file.publish(received_file, &[])?;
    Ok(())
}

/// Checks a database in `tmp`.
fn check<K: Replica>(conf: &HashConf, file: &Path, hash: PathHash) -> Result<(), DbError> {
    let mut connection = connect(file, Journal::Delete, false)?;
    let mut found = String::new();
    connection.query("PRAGMA integrity_check(1)", &[], |row| {
        found = row.text(0);
        false
    })?;
    if found != "ok" {
        return Err(DbError::Corrupt(found));
    }
    check_names::<K>(&mut connection, conf, hash)?;
    connection.close()
}

/// Checks that the names of a database belong to its hash.
pub(super) fn check_names<K: Replica>(
    connection: &mut Connection,
    conf: &HashConf,
    hash: PathHash,
) -> Result<(), DbError> {
    let info = K::info(connection)?;
    let own = info.path_hash(conf);
    if own == hash {
        return Ok(());
    }
    Err(DbError::Corrupt(format!("{:?} has the hash {own} and not {hash}", info.names())))
}

/// Opens a database in `tmp` to change it. A database that a crash loses is sent again, so it is
/// synced only at the end.
pub(super) fn open_arrived(file: &Path) -> Result<Connection, DbError> {
    let mut connection = connect(file, Journal::Memory, false)?;
    connection.script("PRAGMA synchronous = OFF")?;
    Ok(connection)
}

fn close_synced(connection: Connection, file: &Path, disk: &Counters) -> Result<(), DbError> {
    connection.close()?;
    Ok(apus_disk::sync_file(file, disk)?)
}

fn transaction<T>(
    connection: &mut Connection,
    work: impl FnOnce(&mut Connection) -> Result<T, DbError>,
) -> Result<T, DbError> {
    connection.run("BEGIN IMMEDIATE", &[])?;
    let done = work(connection);
    connection.run(if done.is_ok() { "COMMIT" } else { "ROLLBACK" }, &[])?;
    done
}

fn device_name(device: &Path) -> String {
    device.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Gives a database in `tmp` its name, if no other has it: Swift's `complete_rsync`.
pub(super) async fn complete<K: Replica>(
    broker: &Broker,
    conf: &HashConf,
    arrival: &ReceivedDatabase<'_>,
) -> Result<InstallOutcome, DbError> {
    if arrival.path.exists() || !arrival.file.exists() {
        return Ok(InstallOutcome::Missing);
    }
    let disk = broker.disk().clone();
    let (file, id, conf) = (arrival.file.to_owned(), arrival.id.to_owned(), conf.clone());
    let (device, hash) = (device_name(arrival.device), arrival.hash);
    on_own_thread(move || {
        let mut connection = open_arrived(&file)?;
        check_names::<K>(&mut connection, &conf, hash)?;
        transaction(&mut connection, |connection| table::renew::<K>(connection, &id, &device))?;
        close_synced(connection, &file, &disk)
    })
    .await?;
    let new = broker.install(arrival.device, arrival.file, arrival.path).await?;
    Ok(if new { InstallOutcome::Done } else { InstallOutcome::Missing })
}

/// Replaces a database by one in `tmp`, merged with the rows, sync points, metadata and timestamps of
/// the old one: Swift's `rsync_then_merge`.
///
/// Rows are copied while the database is in use. Other operations wait only for the copy of rows
/// that came meanwhile.
pub(super) async fn merge<K: Replica>(
    broker: &Broker,
    conf: &HashConf,
    arrival: &ReceivedDatabase<'_>,
    now: Timestamp,
) -> Result<InstallOutcome, DbError> {
    if !arrival.path.exists() || !arrival.file.exists() {
        return Ok(InstallOutcome::Missing);
    }
    let merged = merge_into::<K>(broker, conf, arrival, now).await;
    if merged.is_err() {
        // Its rows do not fit its id any longer. The source sends it again.
        let _ = apus_disk::remove_file(arrival.file);
        let _ = clear_leftovers(arrival.file);
    }
    merged
}

async fn merge_into<K: Replica>(
    broker: &Broker,
    conf: &HashConf,
    arrival: &ReceivedDatabase<'_>,
    now: Timestamp,
) -> Result<InstallOutcome, DbError> {
    let (opener, disk) = (broker.opener(K::merge_pending), broker.disk().clone());
    let (file, path) = (arrival.file.to_owned(), arrival.path.to_owned());
    let (id, conf) = (arrival.id.to_owned(), conf.clone());
    let (device, hash) = (device_name(arrival.device), arrival.hash);
    let copied = on_own_thread(move || {
        let Some(mut old) = opener.open(&path)? else { return Ok(None) };
        let mut new = open_arrived(&file)?;
        check_names::<K>(&mut new, &conf, hash)?;
        transaction(&mut new, |new| table::renew::<K>(new, &id, &device))?;
        let copied = copy_rows::<K>(&mut old.connection, &mut new, -1)?;
        old.connection.close()?;
        close_synced(new, &file, &disk)?;
        Ok(Some(copied))
    })
    .await?;
    let Some(copied) = copied else { return Ok(InstallOutcome::Missing) };
    let disk = broker.disk().clone();
    let (file, path) = (arrival.file.to_owned(), arrival.path.to_owned());
    let replaced = broker
        .alone(arrival.path, K::merge_pending, move |old| {
            let mut new = open_arrived(&file)?;
            copy_rows::<K>(old, &mut new, copied)?;
            transaction(&mut new, |new| inherit::<K>(new, old, now))?;
            close_synced(new, &file, &disk)?;
            apus_fault::point("replicate.database.merged");
            apus_disk::rename(&file, &path)?;
            apus_fault::point("replicate.database.replaced");
            sync_directory(path.parent().unwrap_or(&path), &disk)?;
            Ok(())
        })
        .await?;
    Ok(if replaced.is_some() { InstallOutcome::Done } else { InstallOutcome::Missing })
}

/// Merges rows after `after` from one database into the other. Returns the last one's `ROWID`.
fn copy_rows<K: Replica>(
    from: &mut Connection,
    to: &mut Connection,
    mut after: i64,
) -> Result<i64, DbError> {
    loop {
        let rows = rows_since::<K>(from, after, PAGE)?;
        let last = rows.len() < PAGE;
        let newest = rows.last().and_then(K::row_id);
        transaction(to, |to| rows.into_iter().try_for_each(|row| K::merge_row(to, row)))?;
        after = newest.unwrap_or(after);
        if last {
            return Ok(after);
        }
    }
}

/// Takes over what the replaced database has in addition to rows.
fn inherit<K: Replica>(
    new: &mut Connection,
    old: &mut Connection,
    now: Timestamp,
) -> Result<(), DbError> {
    for point in table::points(old)? {
        table::merge_point(new, table::Direction::Incoming, &point)?;
    }
    let replaced: ReplicaInfo = K::info(old)?;
    K::reconcile(new, &replaced, now)?;
    table::merge_metadata::<K>(new, &replaced.metadata)?;
    table::merge_timestamps::<K>(new, &replaced, now)?;
    K::inherit(new, old)
}
