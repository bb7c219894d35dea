//! New directories whose name in their parent may not be durable yet.
//!
//! A thread that finds a directory which another thread has made must not report a file in it as
//! durable before the directory is. Therefore each new directory is recorded here, and a thread that
//! makes a name below it durable also syncs the parent of the directory.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::atomic_file::{make_directories, open_directory, sync_directory, sync_file_system_of};
use crate::counters::Counters;

/// New directories, each with a mark: a directory that is made again gets another one.
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
    /// Numbers of file systems on which all changes of earlier processes are durable.
    settled: Mutex<HashSet<u64>>,
    counters: Arc<Counters>,
}

impl FreshDirectories {
    /// Without directories.
    pub fn new(counters: Arc<Counters>) -> Self {
        Self { marks: Mutex::default(), settled: Mutex::default(), counters }
    }

    fn marks(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a directory and its missing parents below `root`, as [`make_directories`]. Returns
    /// whether `path` itself is new.
    ///
    /// # Errors
    /// As the operating system says; `NotFound` when `root` is missing.
    pub fn make(&self, root: &Path, path: &Path) -> io::Result<bool> {
        // Locked meanwhile, so that no thread finds a directory that is not recorded.
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

    /// Makes the names in `directory` durable, and those of new directories from it up to `root`.
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

    /// Those below one of `roots`, for [`settle`](Self::settle) when they are synced.
    pub(crate) fn below<'a>(
        &self,
        roots: &(impl Iterator<Item = &'a Path> + Clone),
    ) -> Vec<(PathBuf, u64)> {
        let marks = self.marks();
        let below = |directory: &Path| roots.clone().any(|root| directory.starts_with(root));
        let chosen = marks.marks.iter().filter(|(directory, _)| below(directory));
        chosen.map(|(directory, mark)| (directory.clone(), *mark)).collect()
    }

    /// Removes directories that were synced, unless they were made again meanwhile.
    pub(crate) fn settle(&self, synced: impl IntoIterator<Item = (PathBuf, u64)>) {
        let mut marks = self.marks();
        for (directory, mark) in synced {
            if marks.marks.get(&directory) == Some(&mark) {
                marks.marks.remove(&directory);
            }
        }
    }

    /// Makes changes of earlier processes durable, once for each file system; `directory` is on it.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn settle_left_behind(&self, directory: &Path) -> io::Result<()> {
        self.counters.calls(1);
        let number = rustix::fs::stat(directory)?.st_dev;
        // Locked meanwhile: other commits on this file system must wait.
        let mut settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        if settled.contains(&number) || apus_fault::planted("bug.forget-left-behind") {
            return Ok(());
        }
        let open = open_directory(directory)?;
        self.counters.sync();
        sync_file_system_of(open)?;
        settled.insert(number);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_sync_below_a_directory_of_another_thread_syncs_its_parent() {
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
        // The directory, its name in `a`, and the name of `a`.
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
