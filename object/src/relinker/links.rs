//! Links and removals in the hash directories of one suffix.
//!
//! Source: `swift/cli/relinker.py`, `process_location`, `do_relink`. Servers write meanwhile. A name
//! is removed only when the same file has the other one, durably, or something newer makes it
//! obsolete there. A file that vanishes in between was replaced by a newer write, which makes its own
//! link.
//!
//! Tombstones are not reclaimed here, whatever their age: when one is removed from the new place
//! before the older data is removed from the old one, the data reappears.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use apus_cluster::{PartPower, PathHash};
use apus_disk::Counters;

use super::progress::Stats;
use crate::diskfile::cleanup;
use crate::diskfile::layout::Layout;
use crate::diskfile::metadata::overflow_path;
use crate::engine::place::{Partition, Place};

/// How often a removed directory is created again for one link.
const REMAKE_MAX: u32 = 3;

/// How links are made or removed.
#[derive(Debug)]
pub(super) struct Links<'a> {
    /// Whether old names are removed.
    pub(super) cleanup: bool,
    /// Whether a file that has the name of a link is quarantined (`clobber_hardlink_collisions`).
    pub(super) clobber: bool,
    /// The part power after the step.
    pub(super) power: PartPower,
    pub(super) stats: &'a mut Stats,
    pub(super) counters: &'a Arc<Counters>,
}

/// Names that may be removed from an old hash directory.
struct Removal {
    place: Place,
    /// The same file has its other name.
    linked: Vec<String>,
    /// The other place has something newer.
    obsolete: Vec<String>,
}

enum Linked {
    Made,
    /// It existed, or the file does not exist any longer.
    There,
}

/// Work done for one suffix.
#[derive(Debug, Default)]
pub(super) struct SuffixWork {
    /// Partitions in which the suffix was invalidated.
    invalidated: BTreeSet<u32>,
    created: bool,
}

impl Links<'_> {
    /// The hash directories of a suffix that belong elsewhere.
    ///
    /// # Errors
    /// When the suffix cannot be listed.
    pub(super) fn misplaced(
        &self,
        partition: &Partition,
        suffix: &str,
    ) -> io::Result<Vec<PathHash>> {
        let names = cleanup::names(&partition.directory().join(suffix), self.counters)?;
        let mut hashes: Vec<PathHash> = names
            .iter()
            .filter(|name| name.ends_with(suffix))
            .filter_map(|name| PathHash::parse(name).filter(|hash| hash.to_string() == **name))
            .filter(|hash| self.power.partition(hash).0 != partition.number)
            .collect();
        hashes.sort_unstable();
        Ok(hashes)
    }

    /// Links the files of some hash directories of a suffix to their places and, for cleanup, removes
    /// them here. Failures are counted. Returns whether links were made.
    pub(super) fn suffix(&mut self, partition: &Partition, hashes: &[PathHash]) -> bool {
        let mut suffix = SuffixWork::default();
        let mut removals = Vec::new();
        for hash in hashes {
            match self.hash(&partition.place(*hash), &mut suffix) {
                Ok(removal) => removals.extend(removal),
                Err(error) => self.failed(&partition.place(*hash).directory(), &error),
            }
        }
        if !self.cleanup || removals.is_empty() {
            return suffix.created;
        }
        let removed = self.remove(partition, &removals, suffix.created);
        if let Err(error) = removed {
            self.failed(&partition.directory(), &error);
        }
        suffix.created
    }

    fn failed(&mut self, path: &Path, error: &io::Error) {
        tracing::error!(%error, path = %path.display(), "Failed to link or remove a file");
        self.stats.errors += 1;
    }

    /// Links one hash directory; returns what may be removed of it.
    fn hash(&mut self, old: &Place, suffix: &mut SuffixWork) -> io::Result<Option<Removal>> {
        self.stats.hash_dirs += 1;
        let new = Place { partition: self.power.partition(&old.hash).0, ..old.clone() };
        // The new one first: then the old one never has fewer files.
        let new_names = self.tidy(&new)?;
        let old_names = self.tidy(old)?;
        let union: BTreeSet<&String> = new_names.iter().chain(&old_names).collect();
        let obsolete = Layout::of(&union.into_iter().cloned().collect::<Vec<_>>()).obsolete;
        let (obsolete, required): (Vec<String>, Vec<String>) =
            old_names.into_iter().partition(|name| obsolete.contains(name));
        let mut all_there = true;
        for name in &required {
            self.stats.files += 1;
            match self.link(old, &new, name, suffix) {
                Ok(Linked::Made) => {
                    self.stats.linked += 1;
                    suffix.created = true;
                }
                Ok(Linked::There) => {}
                Err(error) => {
                    self.failed(&old.directory().join(name), &error);
                    all_there = false;
                }
            }
        }
        Ok(all_there.then(|| Removal { place: old.clone(), linked: required, obsolete }))
    }

    /// Removes files that are obsolete by the names here alone; returns the others, without temporary
    /// ones.
    fn tidy(&self, place: &Place) -> io::Result<Vec<String>> {
        let directory = place.directory();
        let mut names = cleanup::names(&directory, self.counters)?;
        let obsolete = Layout::of(&names).obsolete;
        if !obsolete.is_empty() {
            cleanup::unlink(&place.device, &directory, &place.hash, &obsolete, self.counters);
        }
        names.retain(|name| !name.starts_with('.') && !obsolete.contains(name));
        Ok(names)
    }

    fn link(
        &mut self,
        old: &Place,
        new: &Place,
        name: &str,
        suffix: &mut SuffixWork,
    ) -> io::Result<Linked> {
        let (file, directory) = (old.directory().join(name), new.directory());
        let target = directory.join(name);
        let (mut tries, mut quarantined) = (0, false);
        loop {
            tries += 1;
            match is_same(&file, &target)? {
                Same::Yes | Same::Gone => return Ok(Linked::There),
                Same::Other => match self.collision(&file, &target, quarantined)? {
                    Collision::Tolerated => return Ok(Linked::There),
                    Collision::Quarantined => quarantined = true,
                },
                Same::No => {}
            }
            apus_disk::make_directories(&new.device, &directory, self.counters)?;
            // Before the link, as writers do: a hash without it must not be trusted.
            if suffix.invalidated.insert(new.partition) {
                let name = new.hash.suffix_dir();
                cleanup::invalidate(&new.partition_directory(), &name, self.counters)?;
            }
            self.counters.calls(1);
            match apus_disk::hard_link(&file, &target) {
                Ok(()) => {
                    apus_fault::point("relink.link.done");
                    tracing::debug!(from = %file.display(), to = %target.display(), "Linked a file");
                    return Ok(Linked::Made);
                }
                // A concurrent cleanup or write; then it is checked again.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists
                    ) && tries <= REMAKE_MAX => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Handles another file that has the name of the link.
    fn collision(&self, file: &Path, target: &Path, again: bool) -> io::Result<Collision> {
        let (from, to) = (file.display(), target.display());
        if file.extension().is_some_and(|extension| extension == "ts") {
            // Two tombstones of one time are equivalent.
            return Ok(Collision::Tolerated);
        }
        if !self.clobber {
            let text = "another file has its name there (consider clobber_hardlink_collisions)";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{to}: {text}")));
        }
        if self.cleanup {
            // Clients are already served from there.
            tracing::warn!(%from, %to, "Another file has the name of a link; the old file is removed");
            return Ok(Collision::Tolerated);
        }
        if again {
            let text = "another file has its name there, and again after one was quarantined";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{to}: {text}")));
        }
        let directory = target.parent().unwrap_or(target);
        // <device>/objects/<partition>/<suffix>/<hash>
        let kind = directory.ancestors().nth(3);
        let (kind, device) = kind
            .and_then(|kind| Some((kind.file_name()?.to_str()?, kind.parent()?)))
            .ok_or(io::ErrorKind::InvalidInput)?;
        let quarantined = apus_disk::quarantine(device, kind, directory)?;
        let quarantined = quarantined.display();
        tracing::warn!(%from, %to, %quarantined, "Quarantined a file that had the name of a link");
        Ok(Collision::Quarantined)
    }

    fn remove(
        &mut self,
        partition: &Partition,
        removals: &[Removal],
        created: bool,
    ) -> io::Result<()> {
        if created {
            apus_disk::sync_file_system(&partition.device, self.counters)?;
        }
        let Some(first) = removals.first() else { return Ok(()) };
        let suffix = first.place.hash.suffix_dir();
        cleanup::invalidate(&partition.directory(), &suffix, self.counters)?;
        for removal in removals {
            let Removal { place, linked, obsolete } = removal;
            let directory = place.directory();
            for name in linked.iter().chain(obsolete) {
                self.counters.calls(1);
                match apus_disk::remove_file(&directory.join(name)) {
                    Ok(()) => self.stats.removed += 1,
                    // A write to the new place has removed it.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => self.failed(&directory.join(name), &error),
                }
            }
            for name in obsolete {
                // Metadata outside the file, which most do not have; a linked file still needs it.
                let _ = apus_disk::remove_file(&overflow_path(&place.device, &place.hash, name));
            }
            apus_fault::point("relink.remove.done");
            // A directory with new files stays.
            let _ = apus_disk::remove_directory(&directory);
        }
        Ok(())
    }
}

enum Collision {
    Tolerated,
    Quarantined,
}

enum Same {
    Yes,
    /// The second file does not exist.
    No,
    Other,
    /// The first file does not exist any longer.
    Gone,
}

fn is_same(file: &Path, target: &Path) -> io::Result<Same> {
    match apus_disk::is_same_file(file, target) {
        Ok(true) => Ok(Same::Yes),
        Ok(false) => Ok(if target.symlink_metadata().is_ok() { Same::Other } else { Same::No }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Same::Gone),
        Err(error) => Err(error),
    }
}
