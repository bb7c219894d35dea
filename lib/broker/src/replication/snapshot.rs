//! Consistent copies of running databases, to be sent whole.
//!
//! A copy of the file alone would lack the rows that are in the write-ahead log.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use apus_disk::make_directories;

use super::transfer::open_arrived;
use crate::digest;
use crate::error::DbError;
use crate::handles::Broker;
use crate::kind::DatabaseKind;

/// A copy in `<device>/tmp`, which is removed when this is dropped.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) file: PathBuf,
    pub(super) length: u64,
    /// 32 hex digits.
    pub(super) md5: String,
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        // A file that stays is removed when it is old.
        let _ = apus_disk::remove_file(&self.file);
    }
}

/// Copies a database with a connection of its own, while others read and write. `None` when it does
/// not exist.
pub(super) async fn take<K: DatabaseKind>(
    broker: &Broker,
    device: &Path,
    path: &Path,
) -> Result<Option<Snapshot>, DbError> {
    let opener = broker.opener(K::merge_pending);
    let (root, temporary) = (device.to_owned(), device.join("tmp"));
    let disk = broker.disk().clone();
    let path = path.to_owned();
    let taken = apus_daemon::task::spawn_blocking(move || {
        let Some(mut opened) = opener.open(&path)? else { return Ok(None) };
        make_directories(&root, &temporary, &disk)?;
        let name = format!("apus-snapshot-{}", apus_daemon::random::hex::<8>());
        let mut snapshot = Snapshot { file: temporary.join(name), length: 0, md5: String::new() };
        let target = snapshot.file.to_string_lossy().into_owned();
        digest::check_schema(&mut opened.connection)?;
        opened.connection.run("VACUUM INTO ?", &[(&target).into()])?;
        opened.connection.close()?;
        // The copy has another `schema_version`, which is the id of the digest of its schema.
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
