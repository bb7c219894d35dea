//! Directories that were made and whose name in their parent may not be durable yet.
//!
//! Who needs a directory that is there already did not make it, and still must not say that
//! something in it is durable before the directory is: whoever makes a directory notes it here, and
//! whoever makes a name durable below it sees to the directory, too.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::atomic_file::{make_directories, open_directory, sync_all_beside, sync_directory};
use crate::counters::Counters;

/// Each with its mark: one that is made again is another.
#[derive(Debug, Default)]
struct Marks {
    marks: HashMap<PathBuf, u64>,
    next: u64,
}

impl Marks {
    fn add(&mut self, directory: PathBuf) {
        self.next += 1;
        self.marks.insert(directory, self.next);
    }
}

/// The new directories of one process.
#[derive(Debug)]
pub struct FreshDirectories {
    marks: Mutex<Marks>,
    /// Numbers of file systems on which nothing of an earlier process can be lost any more.
    settled: Mutex<HashSet<u64>>,
    counters: Arc<Counters>,
}

impl FreshDirectories {
    /// None are known yet.
    pub fn new(counters: Arc<Counters>) -> Self {
        Self { marks: Mutex::default(), settled: Mutex::default(), counters }
    }

    fn marks(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a directory and its missing parents below `root`, as [`make_directories`]. Says whether
    /// `path` itself is new.
    ///
    /// # Errors
    /// As the operating system says; `NotFound` when `root` is missing.
    pub fn make(&self, root: &Path, path: &Path) -> io::Result<bool> {
        // Held while they are made: nobody finds a directory that is not noted.
        let mut marks = self.marks();
        let made = match make_directories(root, path, &self.counters) {
            Ok(made) => made,
            Err(error) => {
                // Some of them may have been made.
                let below = path.ancestors().take_while(|ancestor| *ancestor != root);
                below.for_each(|directory| marks.add(directory.to_owned()));
                return Err(error);
            }
        };
        let new = made.last().is_some_and(|last| last == path);
        made.into_iter().for_each(|directory| marks.add(directory));
        Ok(new)
    }

    /// Makes the names in `directory` durable, and those of itself and of the directories between
    /// it and `root` as far as they are new.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn sync(&self, root: &Path, directory: &Path) -> io::Result<()> {
        sync_directory(directory, &self.counters)?;
        for ancestor in directory.ancestors().take_while(|ancestor| *ancestor != root) {
            let Some(mark) = self.marks().marks.get(ancestor).copied() else { continue };
            if let Some(parent) = ancestor.parent()
                && !apus_fault::planted("bug.skip-new-parent-sync")
            {
                sync_directory(parent, &self.counters)?;
            }
            self.settle([(ancestor.to_owned(), mark)]);
        }
        Ok(())
    }

    /// Those below one of `roots`, to be told to [`settle`](Self::settle) when they were synced.
    pub(crate) fn below<'a>(
        &self,
        roots: &(impl Iterator<Item = &'a Path> + Clone),
    ) -> Vec<(PathBuf, u64)> {
        let marks = self.marks();
        let below = |directory: &Path| roots.clone().any(|root| directory.starts_with(root));
        let chosen = marks.marks.iter().filter(|(directory, _)| below(directory));
        chosen.map(|(directory, mark)| (directory.clone(), *mark)).collect()
    }

    /// Forgets what was synced, unless it was made again meanwhile.
    pub(crate) fn settle(&self, synced: impl IntoIterator<Item = (PathBuf, u64)>) {
        let mut marks = self.marks();
        for (directory, mark) in synced {
            if marks.marks.get(&directory) == Some(&mark) {
                marks.marks.remove(&directory);
            }
        }
    }

    /// Makes durable what an earlier process may have left behind without a sync, once for each
    /// file system; `directory` is on it.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn settle_left_behind(&self, directory: &Path) -> io::Result<()> {
        self.counters.calls(1);
        let number = rustix::fs::stat(directory)?.st_dev;
        // Held meanwhile: others on this file system may not go on before.
        let mut settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        if settled.contains(&number) || apus_fault::planted("bug.forget-left-behind") {
            return Ok(());
        }
        let open = open_directory(directory)?;
        self.counters.sync();
        sync_all_beside(open)?;
        settled.insert(number);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_did_not_make_a_directory_syncs_its_parent_as_long_as_nobody_has() {
        let root = std::env::temp_dir().join(format!("apus-fresh-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        std::fs::create_dir_all(&root).unwrap();
        let counters = Arc::new(Counters::default());
        let fresh = FreshDirectories::new(counters.clone());
        assert!(fresh.make(&root, &root.join("a/b")).unwrap());
        assert!(fresh.make(&root, &root.join("a/c")).unwrap());
        assert!(!fresh.make(&root, &root.join("a/c")).unwrap());
        let mut before = 0;
        let mut syncs = |directory: &str| {
            fresh.sync(&root, &root.join(directory)).unwrap();
            let now = counters.syncs();
            now - std::mem::replace(&mut before, now)
        };
        // Itself, its name in `a`, and that of `a`, which it did not make.
        assert_eq!(syncs("a/c"), 3);
        assert_eq!(syncs("a/c"), 1);
        assert_eq!(syncs("a/b"), 2);
        std::fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn a_directory_that_was_made_again_stays_fresh() {
        let fresh = FreshDirectories::new(Arc::default());
        fresh.marks().add("a".into());
        let mark = fresh.marks().marks[Path::new("a")];
        fresh.marks().add("a".into());
        fresh.settle([("a".into(), mark)]);
        assert!(!fresh.marks().marks.is_empty());
    }
}
