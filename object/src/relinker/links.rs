//! Links and removals in the hash directories of one suffix: the part that may lose nothing.
//!
//! Source: `swift/cli/relinker.py`, `process_location`, `do_relink`. Servers write meanwhile. A name
//! is removed only when the same file has the other one, durably, or something newer makes it
//! obsolete there. What vanishes in between was replaced by a newer write, which links itself.
//!
//! Tombstones are not reclaimed here, whatever their age: one that goes from the new place before its
//! older data goes from the old one would bring that back.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use apus_cluster::PathHash;
use apus_disk::Counters;

use super::progress::Stats;
use crate::diskfile::cleanup;
use crate::diskfile::layout::Layout;
use crate::diskfile::metadata::overflow_path;
use crate::engine::place::{Partition, Place};

/// How often a directory that was tidied away is made again for one link.
const REMAKE_MAX: u32 = 3;

/// How links are made or removed.
#[derive(Debug)]
pub(super) struct Links<'a> {
    /// Whether old names are removed.
    pub(super) cleanup: bool,
    /// Whether a file that is in the way of a link is moved aside (`clobber_hardlink_collisions`).
    pub(super) clobber: bool,
    /// The part power that everything is to be at.
    pub(super) power: u32,
    pub(super) stats: &'a mut Stats,
    pub(super) counters: &'a Arc<Counters>,
}

/// Names that may go from an old hash directory.
struct Removal {
    place: Place,
    /// The same file has its other name.
    linked: Vec<String>,
    /// Something newer is in the other place.
    obsolete: Vec<String>,
}

enum Linked {
    Made,
    /// It was there, or there is nothing to link any more.
    There,
}

/// What one suffix came to.
#[derive(Debug, Default)]
pub(super) struct Suffix {
    /// Partitions of which the suffix is noted to be hashed again.
    told: BTreeSet<u32>,
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
            .filter(|hash| hash.partition(self.power) != partition.number)
            .collect();
        hashes.sort_unstable();
        Ok(hashes)
    }

    /// Links the files of some hash directories of a suffix to where they belong and, when that is
    /// what is wanted, removes them here. Failures are counted. Says whether links were made.
    pub(super) fn suffix(&mut self, partition: &Partition, hashes: &[PathHash]) -> bool {
        let mut suffix = Suffix::default();
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
        tracing::error!(%error, path = %path.display(), "relink");
        self.stats.errors += 1;
    }

    /// One hash directory; gives what may be removed of it.
    fn hash(&mut self, old: &Place, suffix: &mut Suffix) -> io::Result<Option<Removal>> {
        self.stats.hash_dirs += 1;
        let new = Place { partition: old.hash.partition(self.power), ..old.clone() };
        // The new one first: then the old one is never less tidy than it.
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

    /// Removes what is obsolete by the names here alone; gives the others but those on their way.
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
        suffix: &mut Suffix,
    ) -> io::Result<Linked> {
        let (file, directory) = (old.directory().join(name), new.directory());
        let target = directory.join(name);
        let (mut tries, mut moved_aside) = (0, false);
        loop {
            tries += 1;
            match is_same(&file, &target)? {
                Same::Yes | Same::Gone => return Ok(Linked::There),
                Same::Other => match self.collision(&file, &target, moved_aside)? {
                    Collision::Tolerated => return Ok(Linked::There),
                    Collision::MovedAside => moved_aside = true,
                },
                Same::No => {}
            }
            apus_disk::make_directories(&new.device, &directory, self.counters)?;
            // Before the link, as writers do: nobody may take a hash without it for the last word.
            if suffix.told.insert(new.partition) {
                let name = new.hash.suffix_dir();
                cleanup::invalidate(&new.partition_directory(), &name, self.counters)?;
            }
            self.counters.calls(1);
            match apus_disk::hard_link(&file, &target) {
                Ok(()) => {
                    apus_fault::point("relink.link.done");
                    tracing::debug!(from = %file.display(), to = %target.display(), "linked");
                    return Ok(Linked::Made);
                }
                // Somebody tidies, or writes; then it is looked at again.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists
                    ) && tries <= REMAKE_MAX => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Another file has the name that is wanted.
    fn collision(&self, file: &Path, target: &Path, again: bool) -> io::Result<Collision> {
        let (from, to) = (file.display(), target.display());
        if file.extension().is_some_and(|extension| extension == "ts") {
            // Two tombstones of one time say the same.
            return Ok(Collision::Tolerated);
        }
        if !self.clobber {
            let text = "another file has its name there (consider clobber_hardlink_collisions)";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{to}: {text}")));
        }
        if self.cleanup {
            // Clients are served from there already.
            tracing::warn!(%from, %to, "another file has its name there: the old one goes");
            return Ok(Collision::Tolerated);
        }
        if again {
            let text = "another file has its name there, and again after one was moved aside";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{to}: {text}")));
        }
        let directory = target.parent().unwrap_or(target);
        // <device>/objects/<partition>/<suffix>/<hash>
        let kind = directory.ancestors().nth(3);
        let (kind, device) = kind
            .and_then(|kind| Some((kind.file_name()?.to_str()?, kind.parent()?)))
            .ok_or(io::ErrorKind::InvalidInput)?;
        let aside = apus_disk::quarantine(device, kind, directory)?;
        tracing::warn!(%from, %to, aside = %aside.display(), "another file had its name there");
        Ok(Collision::MovedAside)
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
                    // A write to the new place has tidied here.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => self.failed(&directory.join(name), &error),
                }
            }
            for name in obsolete {
                // Metadata beside the file, which most have not; of a linked file it is still needed.
                let _ = apus_disk::remove_file(&overflow_path(&place.device, &place.hash, name));
            }
            apus_fault::point("relink.remove.done");
            // What came meanwhile keeps it.
            let _ = apus_disk::remove_directory(&directory);
        }
        Ok(())
    }
}

enum Collision {
    Tolerated,
    MovedAside,
}

enum Same {
    Yes,
    /// There is no second one.
    No,
    Other,
    /// There is no first one any more.
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
