//! Copies of previous rings on disk, for proxies that start within `ring_overlap` of a change.
//!
//! Such a proxy then asks the nodes of the previous ring as well, as running proxies do. A directory
//! has a copy of the last ring of each file and of the previous one. A process that finds a file that
//! differs from its copy has met a change. All processes write under a lock. Without the directory,
//! or with a damaged copy, a proxy starts anyway and logs a warning.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use apus_daemon::Clock;
use apus_ring::{Ring, SharedRing};

/// Name of the directory in `swift_dir`, if that is writable.
const HIDDEN: &str = ".apus-rings";

/// The directory of copies for one `swift_dir`.
#[derive(Debug, Clone)]
pub(super) struct PreviousRings {
    folder: PathBuf,
    overlap: Duration,
    clock: Arc<dyn Clock>,
}

impl PreviousRings {
    /// In `swift_dir`, or else in the directory of recon reports; `None`, with a warning, when neither
    /// is writable.
    pub(super) fn find(
        swift_dir: &Path,
        recon: &Path,
        overlap: Duration,
        clock: &Arc<dyn Clock>,
    ) -> Option<Self> {
        let whole = fs::canonicalize(swift_dir).unwrap_or_else(|_| swift_dir.to_owned());
        let digest = md5::compute(whole.as_os_str().as_encoded_bytes());
        let places = [swift_dir.join(HIDDEN), recon.join(format!("apus-rings-{digest:x}"))];
        let mut failed = Vec::new();
        for folder in places {
            let this = Self { folder, overlap, clock: clock.clone() };
            match this.lock() {
                Ok(_) => return Some(this),
                Err(error) => failed.push(format!("{}: {error}", this.folder.display())),
            }
        }
        tracing::warn!(
            "a restart within ring_overlap loses the previous ring: {}",
            failed.join("; ")
        );
        None
    }

    /// Age of a time; zero for a time in the future.
    fn age(&self, time: SystemTime) -> Duration {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.clock.now().saturating_sub(since)
    }

    fn lock(&self) -> io::Result<File> {
        match fs::DirBuilder::new().mode(0o700).create(&self.folder) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let path = self.folder.join(".lock");
        let mut options = File::options();
        let lock = options.create(true).truncate(false).write(true).mode(0o600).open(path)?;
        lock.lock()?;
        Ok(lock)
    }

    fn copies(&self, ring: &Path) -> Option<(PathBuf, PathBuf)> {
        let name = ring.file_name()?;
        let (current, mut former) = (self.folder.join(name), name.to_owned());
        former.push(".former");
        Some((current, self.folder.join(former)))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let temporary = self.folder.join(".new");
        let mut options = File::options();
        let mut file =
            options.create(true).truncate(true).write(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        // A torn file would be reported as damaged after a power cut.
        file.sync_all()?;
        fs::rename(temporary, path)
    }

    /// Notes the content of a ring's file, and keeps its previous content while that is needed.
    pub(super) fn note(&self, ring: &Path) {
        if let Err(error) = self.try_note(ring) {
            tracing::warn!(ring = %ring.display(), "{}: {error}", self.folder.display());
        }
    }

    fn try_note(&self, ring: &Path) -> io::Result<()> {
        let Some((current, former)) = self.copies(ring) else { return Ok(()) };
        let _lock = self.lock()?;
        let new = fs::read(ring)?;
        let old = read(&current)?;
        if old.as_ref() == Some(&new) {
            return Ok(());
        }
        // A damaged file is reported by the servers that use it, and stays until it is replaced.
        let Ok(decoded) = Ring::decode(&new) else { return Ok(()) };
        let moved = |old: &Vec<u8>| Ring::decode(old).is_ok_and(|old| old.rows() != decoded.rows());
        // Not when it was put there: tools that copy files give them any such time.
        let changed = fs::metadata(ring).map(|found| found.ctime())?;
        let changed = Duration::from_secs(u64::try_from(changed).unwrap_or(0));
        if let Some(old) = old.filter(moved)
            && self.age(SystemTime::UNIX_EPOCH + changed) < self.overlap
        {
            self.write(&former, &old)?;
        }
        self.write(&current, &new)
    }

    /// Gives a ring that was just loaded the one before, if that still counts.
    pub(super) fn recall(&self, ring: &SharedRing) {
        if let Err(error) = self.try_recall(ring) {
            tracing::warn!(ring = %ring.path().display(), "{}: {error}", self.folder.display());
        }
    }

    fn try_recall(&self, ring: &SharedRing) -> Result<(), String> {
        let Some((_, former)) = self.copies(ring.path()) else { return Ok(()) };
        let text = |error: io::Error| error.to_string();
        let _lock = self.lock().map_err(text)?;
        let Some(bytes) = read(&former).map_err(text)? else { return Ok(()) };
        let noted = fs::metadata(&former).and_then(|found| found.modified()).map_err(text)?;
        let age = self.age(noted);
        if age >= self.overlap {
            return fs::remove_file(&former).map_err(text);
        }
        let decoded = Ring::decode(&bytes).map_err(|error| {
            // A damaged copy is used once at most.
            let _ = fs::remove_file(&former);
            format!("{}: {error}", former.display())
        })?;
        ring.remember(decoded, self.overlap - age);
        Ok(())
    }
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OVERLAP: Duration = Duration::from_secs(60);

    fn clock() -> Arc<dyn Clock> {
        Arc::new(apus_daemon::clock::SystemClock)
    }

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + clock().now()
    }

    struct Bench {
        root: PathBuf,
    }

    impl Bench {
        fn new(name: &str) -> Self {
            let root =
                std::env::temp_dir().join(format!("apus-former-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&root);
            fs::create_dir_all(root.join("etc")).unwrap();
            Self { root }
        }

        fn etc(&self) -> PathBuf {
            self.root.join("etc")
        }

        fn ring(&self) -> PathBuf {
            self.etc().join("object.ring.gz")
        }

        fn put(&self, name: &str) {
            let vectors = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/ring");
            fs::copy(format!("{vectors}/{name}.ring.gz"), self.ring()).unwrap();
        }

        fn rings(&self) -> PreviousRings {
            PreviousRings::find(&self.etc(), &self.root, OVERLAP, &clock()).unwrap()
        }

        /// Devices of the previous ring of a process that starts now.
        fn former_of_a_new_process(&self, overlap: Duration) -> Option<usize> {
            let rings = PreviousRings { overlap, ..self.rings() };
            let ring = SharedRing::load(&self.ring()).unwrap();
            rings.note(ring.path());
            rings.recall(&ring);
            ring.former().map(|former| former.devices().iter().flatten().count())
        }

        fn former_file(&self) -> PathBuf {
            self.etc().join(".apus-rings/object.ring.gz.former")
        }
    }

    impl Drop for Bench {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.root);
        }
    }

    #[test]
    fn a_process_that_starts_after_a_change_knows_the_previous_ring() {
        let bench = Bench::new("start");
        bench.put("saio");
        let saio =
            SharedRing::load(&bench.ring()).unwrap().get().devices().iter().flatten().count();
        assert_eq!(bench.former_of_a_new_process(OVERLAP), None);
        bench.put("two-regions");
        assert_eq!(bench.former_of_a_new_process(OVERLAP), Some(saio));
        // So does the next process.
        assert_eq!(bench.former_of_a_new_process(OVERLAP), Some(saio));
        let file = File::options().write(true).open(bench.former_file()).unwrap();
        file.set_modified(now() + Duration::from_secs(9999)).unwrap();
        assert_eq!(bench.former_of_a_new_process(OVERLAP), Some(saio), "a clock that was ahead");
        file.set_modified(now() - OVERLAP).unwrap();
        assert_eq!(bench.former_of_a_new_process(OVERLAP), None, "its time is over");
        assert!(!bench.former_file().exists());
    }

    #[test]
    fn a_ring_that_changed_long_ago_has_no_previous_one() {
        let bench = Bench::new("late");
        bench.put("saio");
        bench.rings().note(&bench.ring());
        bench.put("two-regions");
        assert_eq!(bench.former_of_a_new_process(Duration::ZERO), None);
        assert_eq!(bench.former_of_a_new_process(OVERLAP), None);
    }

    #[test]
    fn damaged_copies_do_not_prevent_a_start() {
        let bench = Bench::new("bad");
        bench.put("saio");
        bench.rings().note(&bench.ring());
        bench.put("two-regions");
        bench.rings().note(&bench.ring());
        fs::write(bench.former_file(), "no ring").unwrap();
        assert_eq!(bench.former_of_a_new_process(OVERLAP), None);
        assert!(!bench.former_file().exists());
        fs::write(bench.etc().join(".apus-rings/object.ring.gz"), "no ring").unwrap();
        assert_eq!(bench.former_of_a_new_process(OVERLAP), None);
        fs::write(bench.ring(), "no ring").unwrap();
        bench.rings().note(&bench.ring());
        bench.put("saio");
        assert!(bench.former_of_a_new_process(OVERLAP).is_some());
    }

    #[test]
    fn the_recon_directory_is_used_when_the_configuration_is_read_only() {
        let bench = Bench::new("read-only");
        bench.put("saio");
        // The test may run as root; even root cannot create a directory in place of a file.
        fs::write(bench.etc().join(".apus-rings"), "").unwrap();
        let rings = bench.rings();
        assert!(rings.folder.starts_with(&bench.root) && !rings.folder.starts_with(bench.etc()));
        bench.rings().note(&bench.ring());
        bench.put("two-regions");
        assert!(bench.former_of_a_new_process(OVERLAP).is_some());
        assert!(
            PreviousRings::find(&bench.etc(), &bench.root.join("none"), OVERLAP, &clock())
                .is_none()
        );
    }
}
