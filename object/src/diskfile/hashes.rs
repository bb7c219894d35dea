//! Stored suffix hashes of a partition: `hashes.pkl`, and `hashes.invalid` with the invalidations.
//!
//! Source: `swift/obj/diskfile.py`, `read_hashes`, `consolidate_hashes`, `__get_hashes`. Both files
//! are accessed under the partition's `.lock` only, which is never held while directories are read.
//! An unreadable file is never trusted: everything is hashed again.
//!
//! Invalidations are not synced, so a power cut may lose some of them while their objects stay.
//! Therefore our `hashes.pkl` has the boot id of the machine in an attribute, and is not trusted
//! after another boot.
//!
//! Writers invalidate a suffix before their file gets its name. A hash that is computed between the
//! two must not be stored, so a suffix that was invalidated a moment ago stays invalid in the file.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use apus_disk::{AtomicFile, Counters, DirectoryLock};

use super::cleanup::{INVALIDATIONS, LOCK, LOCK_WAIT};
use crate::engine::place::is_suffix;
use crate::engine::suffix_hashes::{Consolidated, KnownHashes, SuffixHashes};

/// Suffix → hash, pickled.
pub(crate) const HASHES: &str = "hashes.pkl";
/// Larger files are damaged: there are 4096 suffixes.
const BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Bytes of a line of `hashes.invalid` that are read, from its end: a line is a suffix.
const LINE_BYTES_MAX: usize = 256;
/// Attribute with the boot id at the time of writing; Swift's files have none, and are trusted.
const BOOT_ATTRIBUTE: &str = "user.apus.boot";
/// The boot id of this machine; `None` where the kernel does not provide it.
static BOOT: LazyLock<Option<String>> = LazyLock::new(|| {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned())
});
/// A file whose suffix was invalidated this long ago has its name, or never gets it.
const SETTLED_AFTER: Duration = Duration::from_secs(60);

/// Whether the file was written before the machine was started, after a possible power cut.
fn is_of_another_boot(file: &std::fs::File, counters: &Counters) -> bool {
    let mut id = [0; 64];
    let length = apus_disk::read_attribute(file, BOOT_ATTRIBUTE, &mut id, counters);
    let written = length.and_then(|length| id.get(..length));
    written.is_some_and(|id| BOOT.as_deref().is_none_or(|now| now.as_bytes() != id))
}

/// Reads `hashes.pkl`; returns invalid hashes when it is missing, damaged, or of another boot.
fn read(partition: &Path, counters: &Counters) -> SuffixHashes {
    counters.calls(3);
    let mut pickled = Vec::new();
    let read =
        std::fs::File::open(partition.join(HASHES)).and_then(|file| {
            match is_of_another_boot(&file, counters) {
                true => Err(io::ErrorKind::NotFound.into()),
                false => file.take(BYTES_MAX).read_to_end(&mut pickled),
            }
        });
    match read {
        Ok(length) if (length as u64) < BYTES_MAX => {
            SuffixHashes::decode(&pickled).unwrap_or_default()
        }
        _ => SuffixHashes::default(),
    }
}

fn write(partition: &Path, hashes: &SuffixHashes, counters: &Arc<Counters>) -> io::Result<()> {
    let mut file = AtomicFile::create(partition, partition, counters)?;
    file.append(&hashes.encode())?;
    if let Some(boot) = BOOT.as_deref() {
        // Without room for it the file is like Swift's.
        let _ = file.set_attribute(BOOT_ATTRIBUTE, boot.as_bytes());
    }
    file.sync()?;
    file.publish(&partition.join(HASHES), &[])
}

/// The valid suffixes in `hashes.invalid`, whether it has any content, and whether it was written to
/// a moment ago.
fn invalidations(partition: &Path, now: Duration) -> io::Result<(BTreeSet<String>, bool, bool)> {
    let file = match std::fs::File::open(partition.join(INVALIDATIONS)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(<_>::default()),
        file => file?,
    };
    let written = file.metadata()?.modified()?.duration_since(SystemTime::UNIX_EPOCH);
    let recent = now < written.unwrap_or_default() + SETTLED_AFTER;
    let (mut suffixes, mut any) = (BTreeSet::new(), false);
    // One line for each write since the last consolidation: only the names are kept.
    apus_disk::each_piece(io::BufReader::new(file), b'\n', LINE_BYTES_MAX, |line, _| {
        any = true;
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end();
        // The end of a complete line is intact. A power cut may leave part of another line, or zeros,
        // before it.
        let own = line.len().checked_sub(3).and_then(|from| line.get(from..)).unwrap_or_default();
        if is_suffix(own) {
            suffixes.insert(own.to_owned());
        }
        Ok::<(), io::Error>(())
    })?;
    Ok((suffixes, any, recent))
}

/// The suffixes that have a hash in `hashes.pkl`, whether they exist or not.
pub(crate) fn hashed_suffixes(partition: &Path, counters: &Counters) -> Vec<String> {
    let hashed = |(suffix, hash): (String, Option<String>)| hash.map(|_| suffix);
    read(partition, counters).suffixes.into_iter().filter_map(hashed).collect()
}

/// The lines of `hashes.invalid` that are exactly a suffix, so that Swift reads them as well; only
/// those of `suffix`, if it is given.
fn noted_suffixes(partition: &Path, suffix: Option<&str>) -> io::Result<BTreeSet<String>> {
    let file = match std::fs::File::open(partition.join(INVALIDATIONS)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        file => file?,
    };
    let mut noted = BTreeSet::new();
    apus_disk::each_piece(io::BufReader::new(file), b'\n', LINE_BYTES_MAX, |line, _| {
        let Ok(line) = std::str::from_utf8(line) else { return Ok(()) };
        if is_suffix(line) && suffix.is_none_or(|suffix| suffix == line) {
            noted.insert(line.to_owned());
        }
        Ok::<(), io::Error>(())
    })?;
    Ok(noted)
}

/// The valid hashes of a partition; only those of `suffix` count, if it is given.
pub(crate) fn known(
    partition: &Path,
    suffix: Option<&str>,
    counters: &Counters,
) -> io::Result<KnownHashes> {
    let _lock = DirectoryLock::take(partition, LOCK, LOCK_WAIT)?;
    let hashes = read(partition, counters);
    if !hashes.valid {
        return Ok(KnownHashes::default());
    }
    let invalidated = noted_suffixes(partition, suffix)?;
    Ok(KnownHashes { suffixes: Some(hashes.suffixes), invalidated })
}

/// Folds `hashes.invalid` into `hashes.pkl`, durably, and empties it.
pub(crate) fn consolidate(
    partition: &Path,
    now: Duration,
    counters: &Arc<Counters>,
) -> io::Result<Consolidated> {
    let _lock = DirectoryLock::take(partition, LOCK, LOCK_WAIT)?;
    let mut hashes = read(partition, counters);
    let (suffixes, any, recent) = invalidations(partition, now)?;
    if !suffixes.is_empty() {
        hashes.suffixes.extend(suffixes.iter().map(|suffix| (suffix.clone(), None)));
        hashes.updated = now.as_secs_f64();
        write(partition, &hashes, counters)?;
        apus_fault::point("replicate.hashes.consolidated");
    }
    if any {
        apus_disk::truncate(&partition.join(INVALIDATIONS))?;
    }
    let unsettled = if recent { suffixes } else { BTreeSet::new() };
    Ok(Consolidated { hashes, unsettled })
}

/// Writes new hashes, unless the file is no longer as `before`: then another process was faster
/// and nothing is written.
pub(crate) fn store(
    partition: &Path,
    before: &SuffixHashes,
    hashes: &SuffixHashes,
    counters: &Arc<Counters>,
) -> io::Result<bool> {
    let _lock = DirectoryLock::take(partition, LOCK, LOCK_WAIT)?;
    if read(partition, counters) != *before {
        return Ok(false);
    }
    write(partition, hashes, counters)?;
    apus_fault::point("replicate.hashes.stored");
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use apus_cluster::pickle::{self, Value};

    use super::*;
    use crate::diskfile::cleanup::invalidate;

    fn scratch(name: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("apus-hashes-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    fn now() -> Duration {
        use apus_daemon::Clock;
        apus_daemon::clock::SystemClock.now()
    }

    fn hashed(pairs: &[(&str, Option<&str>)]) -> BTreeMap<String, Option<String>> {
        pairs.iter().map(|(suffix, hash)| ((*suffix).to_owned(), hash.map(str::to_owned))).collect()
    }

    #[test]
    fn invalidations_are_folded_in_and_a_fresh_one_stays_unsettled() {
        let (path, counters) = (scratch("fold"), Arc::default());
        assert!(
            store(
                &path,
                &SuffixHashes::default(),
                &SuffixHashes::new(hashed(&[("abc", Some("1"))]), now()),
                &counters
            )
            .unwrap()
        );
        invalidate(&path, "abc", &counters).unwrap();
        invalidate(&path, "def", &counters).unwrap();
        std::fs::write(path.join(INVALIDATIONS), "abc\ndef\nXYZ\n\nab\n").unwrap();
        let found = consolidate(&path, now(), &counters).unwrap();
        assert!(found.hashes.valid);
        assert_eq!(found.hashes.suffixes, hashed(&[("abc", None), ("def", None)]));
        assert_eq!(found.unsettled.len(), 2);
        assert_eq!(std::fs::read(path.join(INVALIDATIONS)).unwrap(), b"");
        invalidate(&path, "abc", &counters).unwrap();
        let found = consolidate(&path, now() + 2 * SETTLED_AFTER, &counters).unwrap();
        assert!(found.unsettled.is_empty());
        std::fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn a_line_torn_by_a_power_cut_does_not_hide_the_next_one() {
        let (path, counters) = (scratch("torn"), Arc::default());
        std::fs::write(path.join(INVALIDATIONS), "abc\n\0\0\0\0").unwrap();
        invalidate(&path, "def", &counters).unwrap();
        std::fs::OpenOptions::new()
            .append(true)
            .open(path.join(INVALIDATIONS))
            .and_then(|mut file| std::io::Write::write_all(&mut file, b"01"))
            .unwrap();
        invalidate(&path, "23e", &counters).unwrap();
        let found = consolidate(&path, now(), &counters).unwrap();
        assert_eq!(found.hashes.suffixes, hashed(&[("23e", None), ("abc", None), ("def", None)]));
        std::fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn hashes_are_not_stored_over_newer_ones() {
        let (path, counters) = (scratch("overtaken"), Arc::default());
        let seen = consolidate(&path, now(), &counters).unwrap().hashes;
        assert!(!seen.valid);
        invalidate(&path, "abc", &counters).unwrap();
        consolidate(&path, now(), &counters).unwrap();
        assert!(
            !store(
                &path,
                &seen,
                &SuffixHashes::new(hashed(&[("def", Some("1"))]), now()),
                &counters
            )
            .unwrap()
        );
        assert_eq!(read(&path, &counters).suffixes, hashed(&[("abc", None)]));
        std::fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn after_another_boot_nothing_is_trusted() {
        let (path, counters) = (scratch("boot"), Arc::default());
        let seen = SuffixHashes::default();
        assert!(
            store(
                &path,
                &seen,
                &SuffixHashes::new(hashed(&[("abc", Some("1"))]), now()),
                &counters
            )
            .unwrap()
        );
        assert!(read(&path, &counters).valid);
        let file = std::fs::OpenOptions::new().write(true).open(path.join(HASHES)).unwrap();
        apus_disk::write_attribute(&file, BOOT_ATTRIBUTE, b"another", &counters).unwrap();
        assert_eq!(consolidate(&path, now(), &counters).unwrap().hashes, SuffixHashes::default());
        assert!(
            store(
                &path,
                &seen,
                &SuffixHashes::new(hashed(&[("abc", Some("2"))]), now()),
                &counters
            )
            .unwrap()
        );
        assert_eq!(read(&path, &counters).suffixes, hashed(&[("abc", Some("2"))]));
        std::fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn damaged_or_unknown_content_is_not_trusted() {
        let (path, counters) = (scratch("damaged"), Counters::default());
        let pickled = |items: Vec<(&str, Value)>| {
            let items = items.into_iter().map(|(key, value)| (Value::Str(key.to_owned()), value));
            pickle::dumps(&Value::Dict(items.collect()))
        };
        let good = pickled(vec![("abc", Value::Str("1".to_owned()))]);
        std::fs::write(path.join(HASHES), &good).unwrap();
        let old = read(&path, &counters);
        assert!(old.valid && old.updated < 0.0, "a file without our keys is trusted");
        for bad in [
            good[..good.len() - 3].to_vec(),
            b"".to_vec(),
            pickled(vec![("../", Value::None)]),
            pickled(vec![("abc", Value::Dict(vec![]))]),
            pickled(vec![("valid", Value::Bool(false))]),
        ] {
            std::fs::write(path.join(HASHES), bad).unwrap();
            assert!(!read(&path, &counters).valid);
        }
        std::fs::remove_dir_all(&path).unwrap();
    }
}
