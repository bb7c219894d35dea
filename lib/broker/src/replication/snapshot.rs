//! A consistent copy of a running database, to be sent whole.
//!
//! Copying the file would not do: in WAL mode part of the rows are in the log.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use apus_disk::make_directories;

use super::kind::Kind;
use super::transfer::open_arrived;
use crate::digest;
use crate::error::DbError;
use crate::handles::Broker;

/// A copy in `<device>/tmp`, which goes when it is dropped.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) file: PathBuf,
    pub(super) length: u64,
    /// 32 hex digits.
    pub(super) md5: String,
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        // One that stays is cleared away when it is old.
        let _ = apus_disk::remove_file(&self.file);
    }
}

/// Copies a database with a connection of its own, beside readers and writers. `None` when there
/// is no such database any more.
pub(super) async fn take<K: Kind>(
    broker: &Broker,
    device: &Path,
    path: &Path,
) -> Result<Option<Snapshot>, DbError> {
    let opener = broker.opener(K::merge_pending);
    let (root, temporary) = (device.to_owned(), device.join("tmp"));
    let disk = broker.disk().clone();
    let path = path.to_owned();
    let taken = tokio::task::spawn_blocking(move || {
        let Some(mut opened) = opener.open(&path)? else { return Ok(None) };
        make_directories(&root, &temporary, &disk)?;
        let name = format!("apus-snapshot-{}", apus_daemon::seed::hex::<8>());
        let mut snapshot = Snapshot { file: temporary.join(name), length: 0, md5: String::new() };
        let target = snapshot.file.to_string_lossy().into_owned();
        digest::check_schema(&mut opened.connection)?;
        opened.connection.run("VACUUM INTO ?", &[(&target).into()])?;
        opened.connection.close()?;
        // It has another `schema_version`, by which the digest of its schema is found.
        let mut copy = open_arrived(&snapshot.file)?;
        digest::seal_schema(&mut copy)?;
        copy.close()?;
        (snapshot.length, snapshot.md5) = length_and_md5(&snapshot.file)?;
        Ok(Some(snapshot))
    });
    taken.await?
}

fn length_and_md5(file: &Path) -> io::Result<(u64, String)> {
    let mut file = std::fs::File::open(file)?;
    let mut piece = vec![0; 256 * 1024];
    let mut context = md5::Context::new();
    let mut length = 0;
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            return Ok((length, format!("{:x}", context.finalize())));
        }
        context.consume(piece.get(..read).unwrap_or_default());
        length += read as u64;
    }
}
