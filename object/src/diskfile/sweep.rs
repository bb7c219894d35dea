//! Reads suffix directories for replication, and removes what is obsolete.
//!
//! It removes files that a newer one made obsolete, tombstones after `reclaim_age`, leftovers of
//! broken writes, and empty directories. Source: `swift/obj/diskfile.py`, `cleanup_ondisk_files`, `_hash_suffix_dir`, `yield_hashes`.
//! It never removes a current body, nor a tombstone before its time.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use apus_cluster::PathHash;
use apus_disk::Counters;

use super::cleanup;
use super::layout::Layout;
use crate::engine::object::{Reclaim, Times};
use crate::engine::place::Partition;

/// Age at which temporary files are abandoned.
const TEMPORARY_AGE: Duration = Duration::from_secs(86_400);

/// Whether a name is that of a temporary file: ours, or rsync's.
fn is_temporary(name: &str) -> bool {
    name.starts_with('.')
}

/// Whether a name is one of rsync's (`RE_RSYNC_TEMPFILE` in `swift/obj/diskfile.py`).
fn is_rsyncs(name: &str) -> bool {
    let end = name.rsplit_once('.').map_or("", |(_, end)| end);
    let of_end = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    is_temporary(name) && end.len() == 6 && end.bytes().all(of_end)
}

/// Removes an abandoned temporary file; returns whether it is gone.
fn remove_leftover(path: &Path, now: Duration) -> bool {
    let Ok(found) = std::fs::symlink_metadata(path) else { return true };
    // The time of the last change, which no program can set.
    let changed = Duration::from_secs(u64::try_from(found.ctime()).unwrap_or_default());
    found.is_file()
        && now.saturating_sub(changed) > TEMPORARY_AGE
        && apus_disk::remove_file(path).is_ok()
}

/// Removes abandoned temporary files from a `tmp` directory.
pub(crate) fn sweep_temporary(directory: &Path, now: Duration, counters: &Counters) {
    let names = apus_disk::names(directory).unwrap_or_default();
    counters.calls(names.len() as u64);
    let gone = names.iter().filter(|name| remove_leftover(&directory.join(name), now)).count();
    if gone > 0 {
        tracing::info!(directory = %directory.display(), gone, "Removed leftover temporary files");
    }
}

/// Removes what is obsolete in a hash directory; returns what is left.
fn sweep_hash(
    partition: &Partition,
    directory: &Path,
    hash: &PathHash,
    reclaim: &Reclaim,
    counters: &Counters,
) -> io::Result<Layout> {
    counters.calls(2);
    let names = match std::fs::read_dir(directory) {
        Ok(entries) => entries
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<Vec<_>>>()?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Layout::default()),
        Err(error) => return Err(error),
    };
    let mut layout = Layout::of(&names);
    let mut gone = std::mem::take(&mut layout.obsolete);
    if layout.tombstone.as_ref().is_some_and(|file| reclaim.is_over(file.time)) {
        gone.extend(layout.tombstone.take().map(|file| file.name));
    }
    if layout.data.is_none() {
        // Metadata whose body never arrived.
        for file in [&mut layout.meta, &mut layout.content_type] {
            if file.as_ref().is_some_and(|file| reclaim.is_over(file.time)) {
                gone.extend(file.take().map(|file| file.name));
            }
        }
    }
    cleanup::unlink(&partition.device, directory, hash, &gone, counters);
    let mut left = names.len() - gone.len();
    for name in names.iter().filter(|name| is_temporary(name)) {
        left -= usize::from(remove_leftover(&directory.join(name), reclaim.now));
    }
    if left == 0 {
        counters.calls(1);
        // A directory that is being written to stays.
        let _ = apus_disk::remove_directory(directory);
    }
    Ok(layout)
}

/// Calls `each` for every hash directory of a suffix, in the order of their names.
fn sweep_suffix(
    partition: &Partition,
    suffix: &str,
    reclaim: &Reclaim,
    counters: &Counters,
    mut each: impl FnMut(PathHash, &Layout),
) -> io::Result<()> {
    let directory = partition.directory().join(suffix);
    counters.calls(2);
    let mut names = apus_disk::names(&directory)?;
    names.sort_unstable();
    for name in names {
        let path = directory.join(&name);
        if is_temporary(&name) {
            remove_leftover(&path, reclaim.now);
            continue;
        }
        let is_here = |hash: &PathHash| hash.to_string() == name && name.ends_with(suffix);
        let Some(hash) = PathHash::parse(&name).filter(is_here) else {
            tracing::warn!(path = %path.display(), "Skipped an entry of a suffix that is not a hash directory");
            continue;
        };
        match sweep_hash(partition, &path, &hash, reclaim, counters) {
            Ok(layout) => each(hash, &layout),
            Err(error) if is_broken_directory(&error) => {
                let kind = partition.policy.suffixed("objects");
                let to = apus_disk::quarantine(&partition.device, &kind, &path);
                tracing::error!(%error, object = %path.display(), ?to, "Quarantined an unreadable hash directory");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A file where a directory should be, or a directory that the file system cannot read.
fn is_broken_directory(error: &io::Error) -> bool {
    /// `ENODATA`, as some bad sectors show.
    const NO_DATA: i32 = 61;
    /// `EUCLEAN`: the file system's structure is damaged.
    const UNCLEAN: i32 = 117;
    error.kind() == io::ErrorKind::NotADirectory
        || matches!(error.raw_os_error(), Some(NO_DATA | UNCLEAN))
}

/// Adds an object to the hash of its suffix.
fn consume(context: &mut md5::Context, layout: &Layout) {
    if let (Some(_), Some(meta)) = (&layout.data, &layout.meta) {
        context.consume(format!("{}.meta", meta.time));
    }
    if let Some(tombstone) = &layout.tombstone {
        context.consume(format!("{}.ts", tombstone.time));
    }
    if let Some(data) = &layout.data {
        context.consume(format!("{}.data", data.time));
    }
    if let Some(time) = layout.newer_content_type() {
        context.consume(format!("{time}_ctype"));
    }
}

/// The hash of one suffix, without removing anything. `None` when it has no objects.
pub(crate) fn look_at_suffix(
    partition: &Partition,
    suffix: &str,
    counters: &Counters,
) -> io::Result<Option<String>> {
    let directory = partition.directory().join(suffix);
    counters.calls(2);
    let mut names = apus_disk::names(&directory)?;
    names.sort_unstable();
    let (mut context, mut any) = (md5::Context::new(), false);
    for name in names {
        if PathHash::parse(&name).is_none_or(|hash| hash.suffix_dir() != suffix) {
            continue;
        }
        let layout = Layout::of(&cleanup::names(&directory.join(&name), counters)?);
        any |= layout.times().is_some();
        consume(&mut context, &layout);
    }
    Ok(any.then(|| format!("{:x}", context.finalize())))
}

/// Hashes one suffix as Swift does: over the times of its current files. `None` when the suffix does
/// not exist any longer.
pub(crate) fn hash_suffix(
    partition: &Partition,
    suffix: &str,
    reclaim: &Reclaim,
    counters: &Counters,
) -> io::Result<Option<String>> {
    let mut context = md5::Context::new();
    sweep_suffix(partition, suffix, reclaim, counters, |_, layout| consume(&mut context, layout))?;
    counters.calls(1);
    match apus_disk::remove_directory(&partition.directory().join(suffix)) {
        Ok(()) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(None),
        Err(_) => Ok(Some(format!("{:x}", context.finalize()))),
    }
}

/// The objects of one suffix and the times of their files.
pub(crate) fn objects_of_suffix(
    partition: &Partition,
    suffix: &str,
    reclaim: &Reclaim,
    counters: &Counters,
) -> io::Result<Vec<(PathHash, Times)>> {
    let mut found = Vec::new();
    sweep_suffix(partition, suffix, reclaim, counters, |hash, layout| {
        found.extend(layout.times().map(|times| (hash, times)));
    })?;
    if found.is_empty() {
        // The next hashing finds it empty and removes it.
        cleanup::invalidate(&partition.directory(), suffix, counters)?;
    }
    Ok(found)
}

/// Removes an object in exactly this state, and nothing newer. Returns whether it was removed.
pub(crate) fn remove_object(
    partition: &Partition,
    hash: PathHash,
    times: Times,
    counters: &Counters,
) -> io::Result<bool> {
    let directory = partition.place(hash).directory();
    let names = cleanup::names(&directory, counters)?;
    let layout = Layout::of(&names);
    if layout.times() != Some(times) {
        return Ok(false);
    }
    cleanup::invalidate(&partition.directory(), &hash.suffix_dir(), counters)?;
    apus_fault::point("replicate.handoff.invalidated");
    let mut gone = layout.obsolete;
    gone.extend(layout.meta.map(|file| file.name));
    gone.extend(layout.content_type.map(|file| file.name));
    gone.extend(layout.tombstone.map(|file| file.name));
    // The body last: an interruption leaves an older state of the object, not a wrong one.
    gone.extend(layout.data.map(|file| file.name));
    // An rsync into a directory that is being emptied starts again.
    gone.extend(names.into_iter().filter(|name| is_rsyncs(name)));
    cleanup::unlink(&partition.device, &directory, &hash, &gone, counters);
    // A directory with new files stays.
    let _ = apus_disk::remove_directory(&directory);
    if let Some(suffix) = directory.parent() {
        let _ = apus_disk::remove_directory(suffix);
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
