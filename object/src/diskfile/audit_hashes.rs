//! Checks the stored suffix hashes of a partition, for the auditor.
//!
//! A damaged `hashes.pkl` is removed, so that all suffixes are hashed again; it holds nothing else.
//!
//! A readable one may be wrong as well: before an object gets its name, its suffix is noted in
//! `hashes.invalid`, which is not synced, in Swift neither. After a power cut the object may exist
//! while the note is lost; then no node would notice that others lack the object. So each suffix is
//! hashed again here, and noted where `hashes.pkl` differs.

use std::io;
use std::path::Path;
use std::time::Duration;

use apus_cluster::pickle::{self, Value};
use apus_disk::{Counters, DirectoryLock};

use super::cleanup::{INVALIDATIONS, invalidate};
use super::hashes::known;
use super::sweep::look_at_suffix;
use crate::engine::place::Partition;
use crate::engine::suffix_hashes::KnownHashes;

/// Removes the file of a partition if it is damaged; returns whether it was.
pub(super) fn remove_damaged(partition: &Path) -> io::Result<bool> {
    let path = partition.join("hashes.pkl");
    if is_good(&path)? {
        return Ok(false);
    }
    // Its writers hold this lock (`swift/obj/diskfile.py`, `lock_path`).
    let _lock = DirectoryLock::take(partition, ".lock", Duration::from_secs(10))?;
    if is_good(&path)? {
        return Ok(false);
    }
    apus_fault::point("audit.hashes.found");
    apus_disk::remove_file(&path)?;
    tracing::warn!(file = %path.display(), "Removed damaged suffix hashes");
    Ok(true)
}

/// Notes a suffix about which `hashes.pkl` is wrong, durably; returns whether it was. `read_before`
/// are the hashes as of some moments ago, read once for all suffixes.
pub(super) fn note_if_stale(
    partition: &Partition,
    suffix: &str,
    read_before: &KnownHashes,
    counters: &Counters,
) -> io::Result<bool> {
    let Some(stored) = read_before.of(suffix) else { return Ok(false) };
    if stored == look_at_suffix(partition, suffix, counters)?.as_deref() {
        return Ok(false);
    }
    let directory = partition.directory();
    let before = known(&directory, Some(suffix), counters)?;
    let Some(stored) = before.of(suffix) else { return Ok(false) };
    let found = look_at_suffix(partition, suffix, counters)?;
    // A suffix with leftovers but without objects is tidied by the replicator.
    if found.is_none() && directory.join(suffix).exists() {
        return Ok(false);
    }
    // A concurrent writer has noted the suffix first; the note may have been folded in already.
    if stored == found.as_deref()
        || known(&directory, Some(suffix), counters)?.of(suffix) != Some(stored)
    {
        return Ok(false);
    }
    invalidate(&directory, suffix, counters)?;
    counters.sync();
    std::fs::File::open(directory.join(INVALIDATIONS))?.sync_all()?;
    tracing::warn!(partition = %directory.display(), suffix, "Invalidated a suffix whose stored hash was wrong");
    Ok(true)
}

fn is_good(path: &Path) -> io::Result<bool> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(is_valid(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

fn is_valid(pickled: &[u8]) -> bool {
    let Ok(Value::Dict(items)) = pickle::loads(pickled) else { return false };
    items.iter().all(|(key, value)| match key.to_text().as_deref() {
        Some("valid") => matches!(value, Value::Bool(_)),
        Some("updated") => value.as_float().is_some_and(|at| (-1.0..1e11).contains(&at)),
        Some(suffix) => suffix.len() == 3 && is_hex(suffix) && is_hash(value),
        None => false,
    })
}

fn is_hash(value: &Value) -> bool {
    match value {
        Value::None => true,
        // One for each fragment of an erasure code.
        Value::Dict(fragments) => fragments.iter().all(|(_, hash)| is_hash(hash)),
        other => other.to_text().is_some_and(|text| text.len() == 32 && is_hex(&text)),
    }
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_damaged_file_is_removed() {
        let partition = std::env::temp_dir().join(format!("apus-hashes-{}", std::process::id()));
        std::fs::create_dir_all(&partition).unwrap();
        assert!(!remove_damaged(&partition).unwrap(), "no file");
        let text = |text: &str| Value::Str(text.to_owned());
        let good = pickle::dumps(&Value::Dict(vec![
            (text("abc"), text("d41d8cd98f00b204e9800998ecf8427e")),
            (text("fff"), Value::None),
            (text("valid"), Value::Bool(true)),
            (text("updated"), Value::Float(1_700_000_000.5)),
        ]));
        let file = partition.join("hashes.pkl");
        std::fs::write(&file, &good).unwrap();
        assert!(!remove_damaged(&partition).unwrap());
        for damage in [&good[..good.len() / 2], b"", b"\0\0\0\0"] {
            std::fs::write(&file, damage).unwrap();
            assert!(remove_damaged(&partition).unwrap());
            assert!(!file.exists());
        }
        std::fs::remove_dir_all(&partition).unwrap();
    }
}
