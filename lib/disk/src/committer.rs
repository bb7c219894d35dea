//! Gives files their names durably, and shares syncs between concurrent commits.
//!
//! There is one committer per file system. Few files at a time are committed alone, on the threads
//! of their callers: a sync of the file, one of its directory, and one for each new parent. A file
//! that arrives while that many are in progress is queued. One thread commits all queued files as a
//! group, and the files that arrive meanwhile are the next group; the thread never waits for a group
//! to fill. A group costs three syncs, whatever its size: the file system with the unnamed files, the
//! file system with their names, and one directory, since some file systems flush the cache of the
//! device only for a file. A name is never durable before its file.
//!
//! A group syncs everything else on the file system too. Where that takes long, because other data
//! is written in bulk, files are committed alone for a while. Kernels before 5.8 do not report
//! failed writes in such a sync: there, groups are not used.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::atomic_file::{AtomicFile, sync_directory};
use crate::counters::Counters;
use crate::fresh::FreshDirectories;

/// Files that are committed alone at the same time: the replicas of one write on a small cluster.
const ALONE_MAX: usize = 3;
/// From how many files on a group is worth its three syncs.
const GROUP_MIN: usize = 3;
/// Most files in one group.
const GROUP_MAX: usize = 256;
/// Most queued files; each has an open descriptor.
const WAITING_MAX: usize = 1024;
/// A group that takes longer than this plus the time of its bytes at [`BYTES_PER_MILLISECOND`] shows
/// that other data is written in bulk.
const SLOW: Duration = Duration::from_millis(200);
const BYTES_PER_MILLISECOND: u64 = 100_000;
/// How often a directory that was removed is made again for one file.
const REMAKE_MAX: u32 = 3;
/// How long files are then committed alone.
const ALONE_FOR: Duration = Duration::from_secs(5);

/// A file that is complete except for its name.
#[derive(Debug)]
pub struct Unnamed {
    /// The file, with its attributes.
    pub file: AtomicFile,
    /// Whether it has been synced already.
    pub synced: bool,
    /// The name that it gets; a file with this name is replaced.
    pub target: PathBuf,
    /// The device: parents up to here may be new.
    pub root: PathBuf,
}

type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

#[derive(Default)]
struct Queue {
    waiting: Vec<(Unnamed, Done)>,
    /// Files that are being committed alone.
    alone: usize,
    /// Whether a group is being committed.
    grouping: bool,
    /// Until then files are committed alone.
    alone_until: Option<Instant>,
    closed: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    fresh: FreshDirectories,
    /// Whether changes of an earlier process may not be durable.
    left_behind: Mutex<bool>,
    groups: bool,
    counters: Arc<Counters>,
}

/// Whether this kernel reports failed writes through `syncfs`: 5.8 and later.
fn syncfs_reports_errors() -> bool {
    let Ok(release) = std::fs::read_to_string("/proc/sys/kernel/osrelease") else { return false };
    let mut numbers = release.trim().split(['.', '-']).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (5, 8),
        _ => false,
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a file its name. Another thread may have removed its directory while it was empty; then
    /// it is made again.
    fn link(&self, file: &mut AtomicFile, target: &Path, root: &Path) -> io::Result<()> {
        let mut tries = 0;
        loop {
            match file.link(target) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && tries < REMAKE_MAX => {
                    tries += 1;
                    match self.fresh.make(root, target.parent().unwrap_or(root)) {
                        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                        _ => {}
                    }
                }
                other => return other,
            }
        }
    }

    /// The first commit makes the changes of an earlier process durable.
    fn sync_left_behind(&self, file: &AtomicFile) -> io::Result<()> {
        let mut left_behind = self.left_behind.lock().unwrap_or_else(PoisonError::into_inner);
        if *left_behind && !apus_fault::planted("bug.forget-left-behind") {
            file.sync_file_system()?;
            *left_behind = false;
        }
        Ok(())
    }
}

/// The committer of one file system. Its thread ends when it is dropped.
///
/// ```
/// use std::sync::Arc;
/// use apus_disk::{AtomicFile, Committer, Unnamed};
/// let root = std::env::temp_dir().join(format!("apus-commit-{}", std::process::id()));
/// std::fs::create_dir_all(&root)?;
/// let committer = Committer::start("example", Arc::default())?;
/// let directory = root.join("a/b");
/// committer.make_directories(&root, &directory)?;
/// let mut file = AtomicFile::create(&directory, &root, committer.counters())?;
/// file.append(b"content")?;
/// let target = directory.join("file");
/// let unnamed = Unnamed { file, synced: false, target: target.clone(), root: root.clone() };
/// committer.commit_now(unnamed)?;
/// assert_eq!(std::fs::read(target)?, b"content");
/// std::fs::remove_dir_all(&root)?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Committer(Arc<Shared>);

impl std::fmt::Debug for Committer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Committer")
    }
}

impl Committer {
    /// Starts the committer of a file system. The first commit also syncs the changes of an earlier
    /// process: directories that it made may not be durable.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(name: &str, counters: Arc<Counters>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
            fresh: FreshDirectories::new(counters.clone()),
            left_behind: Mutex::new(true),
            groups: syncfs_reports_errors(),
            counters,
        });
        let own = shared.clone();
        std::thread::Builder::new()
            .name(format!("commit-{name}"))
            .stack_size(512 * 1024)
            .spawn(move || work(&own))?;
        Ok(Self(shared))
    }

    /// The counters of its syncs and calls.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.0.counters
    }

    /// Makes a directory and its missing parents below `root`, as [`crate::make_directories`]; they are
    /// durable when the first file below them is. Returns whether `path` itself is new.
    ///
    /// # Errors
    /// As the operating system says; `NotFound` when `root` is missing.
    pub fn make_directories(&self, root: &Path, path: &Path) -> io::Result<bool> {
        self.0.fresh.make(root, path)
    }

    /// Makes the names in `directory` durable, and those of new directories up to `root`.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn sync_names(&self, root: &Path, directory: &Path) -> io::Result<()> {
        self.0.fresh.sync(root, directory)
    }

    /// Commits a file: at once on this thread, which must be one that may block, or later in a
    /// group. `done` is called on any thread when the file is durable, and must not block; it gets
    /// `ResourceBusy` when too many files are queued.
    pub fn commit(&self, unnamed: Unnamed, done: impl FnOnce(io::Result<()>) + Send + 'static) {
        if let Err(error) = self.0.sync_left_behind(&unnamed.file) {
            return done(Err(error));
        }
        if apus_fault::planted("bug.acknowledge-before-commit") {
            done(Ok(()));
            self.0.lock().waiting.push((unnamed, Box::new(drop)));
            return self.0.wake.notify_one();
        }
        let mut queue = self.0.lock();
        let crowd = queue.grouping || !queue.waiting.is_empty() || queue.alone >= ALONE_MAX;
        let slow = queue.alone_until.is_some_and(|until| Instant::now() < until);
        if crowd && self.0.groups && !slow {
            if queue.waiting.len() >= WAITING_MAX {
                drop(queue);
                return done(Err(io::ErrorKind::ResourceBusy.into()));
            }
            queue.waiting.push((unnamed, Box::new(done)));
            drop(queue);
            self.0.wake.notify_one();
            return;
        }
        queue.alone += 1;
        drop(queue);
        let result = commit_alone(&self.0, unnamed);
        self.0.lock().alone -= 1;
        done(result);
    }

    /// Commits a file and waits for it.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn commit_now(&self, unnamed: Unnamed) -> io::Result<()> {
        let (sender, receiver) = channel();
        // The receiver exists until the send.
        self.commit(unnamed, move |result| drop(sender.send(result)));
        receiver.recv().unwrap_or_else(|_| Err(io::ErrorKind::Interrupted.into()))
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.wake.notify_all();
    }
}

fn work(shared: &Shared) {
    loop {
        let batch: Vec<_> = {
            let mut queue = shared.lock();
            queue.grouping = false;
            while queue.waiting.is_empty() {
                if queue.closed {
                    return;
                }
                queue = shared.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            queue.grouping = true;
            let count = queue.waiting.len().min(GROUP_MAX);
            queue.waiting.drain(..count).collect()
        };
        // A panic must not end the thread that all commits need; the callers of this batch see a
        // dropped reply.
        let _ = catch_unwind(AssertUnwindSafe(|| commit_batch(shared, batch)));
    }
}

fn commit_batch(shared: &Shared, batch: Batch) {
    let (mut group, others) = same_file_system(batch);
    if group.len() >= GROUP_MIN {
        let bytes: u64 = group.iter().map(|(unnamed, _)| unnamed.file.length()).sum();
        let begun = Instant::now();
        commit_group(shared, group);
        if begun.elapsed() > SLOW + Duration::from_millis(bytes / BYTES_PER_MILLISECOND) {
            shared.lock().alone_until = Some(Instant::now() + ALONE_FOR);
        }
        group = Vec::new();
    }
    for (unnamed, done) in group.into_iter().chain(others) {
        done(commit_alone(shared, unnamed));
    }
}

type Batch = Vec<(Unnamed, Done)>;

/// Files on the file system of the first, and others: a device may have been mounted again.
fn same_file_system(batch: Batch) -> (Batch, Batch) {
    if batch.len() < GROUP_MIN {
        return (batch, Vec::new());
    }
    let first = batch.first().and_then(|(unnamed, _)| unnamed.file.file_system().ok());
    batch
        .into_iter()
        .partition(|(unnamed, _)| first.is_some() && unnamed.file.file_system().ok() == first)
}

fn commit_alone(shared: &Shared, unnamed: Unnamed) -> io::Result<()> {
    let Unnamed { mut file, synced, target, root } = unnamed;
    if !synced {
        file.sync()?;
    }
    shared.link(&mut file, &target, &root)?;
    apus_fault::point("commit.link.done");
    shared.fresh.sync(&root, target.parent().unwrap_or(&root))
}

/// Commits files of one file system.
fn commit_group(shared: &Shared, mut group: Batch) {
    let fresh = shared.fresh.below(&group.iter().map(|(unnamed, _)| unnamed.root.as_path()));
    // The descriptor that was opened first reports every failed write since then.
    group.sort_by_key(|(unnamed, _)| unnamed.file.opened());
    let mut linked = Vec::with_capacity(group.len());
    let result = sync_and_link(shared, &mut group, &mut linked);
    if result.is_ok() {
        shared.fresh.settle(fresh);
    }
    // No file of a failed sync is durable, even if it has its name.
    let failed = result.err();
    let mut linked = linked.into_iter();
    for (_, done) in group {
        let own = linked.next().unwrap_or_else(|| Err(io::ErrorKind::Interrupted.into()));
        done(match &failed {
            Some(error) => Err(io::Error::new(error.kind(), error.to_string())),
            None => own,
        });
    }
}

fn sync_and_link(
    shared: &Shared,
    group: &mut Batch,
    linked: &mut Vec<io::Result<()>>,
) -> io::Result<()> {
    if let Some((first, _)) = group.first() {
        first.file.sync_file_system()?;
        apus_fault::point("commit-group.sync.done");
    }
    for (unnamed, _) in group.iter_mut() {
        linked.push(shared.link(&mut unnamed.file, &unnamed.target, &unnamed.root));
    }
    apus_fault::point("commit-group.link.done");
    if let Some((first, _)) = group.first() {
        first.file.sync_file_system()?;
    }
    // Any directory is enough; one may have been quarantined meanwhile.
    let good = group.iter().zip(linked.iter()).filter(|(_, linked)| linked.is_ok());
    for ((unnamed, _), _) in good {
        let directory = unnamed.target.parent().unwrap_or(&unnamed.root);
        match sync_directory(directory, &shared.counters) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("apus-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn unnamed(committer: &Committer, root: &Path, name: &str, content: &[u8]) -> Unnamed {
        let target = root.join(name);
        let directory = target.parent().unwrap();
        committer.make_directories(root, directory).unwrap();
        let mut file = AtomicFile::create(directory, root, committer.counters()).unwrap();
        file.append(content).unwrap();
        Unnamed { file, synced: false, target, root: root.to_owned() }
    }

    #[test]
    fn a_directory_that_was_removed_is_made_again() {
        let scratch = Scratch::new("removed");
        let committer = Committer::start("test", Arc::default()).unwrap();
        let file = unnamed(&committer, &scratch.0, "a/b/1", b"kept");
        std::fs::remove_dir(scratch.0.join("a/b")).unwrap();
        std::fs::remove_dir(scratch.0.join("a")).unwrap();
        committer.commit_now(file).unwrap();
        assert_eq!(std::fs::read(scratch.0.join("a/b/1")).unwrap(), b"kept");
    }

    #[test]
    fn one_file_costs_its_own_syncs_and_those_of_new_parents_once() {
        let scratch = Scratch::new("alone");
        let committer = Committer::start("test", Arc::default()).unwrap();
        let mut costs = Vec::new();
        for name in ["first", "a/b/1", "a/b/2", "a/c/1"] {
            let before = committer.counters().syncs();
            let (sender, receiver) = channel();
            committer.commit(unnamed(&committer, &scratch.0, name, b"x"), move |result| {
                sender.send(result).unwrap();
            });
            receiver.recv().unwrap().unwrap();
            assert_eq!(std::fs::read(scratch.0.join(name)).unwrap(), b"x");
            costs.push(committer.counters().syncs() - before);
        }
        assert_eq!(
            costs,
            [1 + 2, 2 + 2, 2, 2 + 1],
            "the first commit also syncs changes of an earlier process"
        );
    }

    #[test]
    fn the_first_commit_below_a_directory_of_another_thread_syncs_it() {
        let scratch = Scratch::new("shared-parent");
        let committer = Committer::start("test", Arc::default()).unwrap();
        let slow = unnamed(&committer, &scratch.0, "a/b/slow", b"");
        let quick = unnamed(&committer, &scratch.0, "a/b/quick", b"");
        let (sender, receiver) = channel();
        committer.commit(quick, move |result| sender.send(result).unwrap());
        receiver.recv().unwrap().unwrap();
        assert_eq!(committer.counters().syncs(), 1 + 2 + 2);
        drop(slow);
    }

    #[test]
    fn a_group_shares_three_syncs_and_one_bad_name_fails_alone() {
        let scratch = Scratch::new("group");
        let counters: Arc<Counters> = Arc::default();
        let shared = Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
            fresh: FreshDirectories::new(counters.clone()),
            left_behind: Mutex::default(),
            groups: true,
            counters,
        };
        let committer = Committer(Arc::new(shared));
        let (sender, receiver) = channel();
        let group: Batch = (0..10)
            .map(|index| {
                let name = format!("d{index}/file");
                let unnamed = unnamed(&committer, &scratch.0, &name, name.as_bytes());
                if index == 3 {
                    std::fs::create_dir(&unnamed.target).unwrap();
                }
                let sender = sender.clone();
                let done: Done = Box::new(move |result| sender.send((index, result)).unwrap());
                (unnamed, done)
            })
            .collect();
        commit_group(&committer.0, group);
        drop(sender);
        for (index, result) in receiver {
            assert_eq!(result.is_ok(), index != 3, "{index}: {result:?}");
            let name = format!("d{index}/file");
            if index != 3 {
                assert_eq!(std::fs::read(scratch.0.join(&name)).unwrap(), name.as_bytes());
            }
        }
        assert_eq!(committer.counters().syncs(), 3);
        assert!(committer.0.fresh.below(&[scratch.0.as_path()].into_iter()).is_empty());
    }
}
