//! A log file that is rotated by size. What is written may be lost in a power cut.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::change::{append, remove_file, rename};
use crate::lock::DirectoryLock;

/// Wait for another process that rotates the same file.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// A log file and the older ones next to it, `<name>.1` being the newest of them. Several processes may
/// append to it.
#[derive(Debug)]
pub struct RotatedFile {
    path: PathBuf,
    bytes_max: u64,
    older_max: u32,
}

impl RotatedFile {
    /// A file that is renamed when it has `bytes_max` bytes or more; `older_max` older files are kept.
    pub fn new(path: PathBuf, bytes_max: u64, older_max: u32) -> Self {
        Self { path, bytes_max, older_max }
    }

    /// Path of the current file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends whole lines. Blocks the thread.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn append(&self, lines: &[u8]) -> io::Result<()> {
        append(&self.path, lines)?;
        if self.is_full()? { self.rotate() } else { Ok(()) }
    }

    /// Whether the current file is due. Another process may have renamed it.
    fn is_full(&self) -> io::Result<bool> {
        match std::fs::metadata(&self.path) {
            Ok(metadata) => Ok(metadata.len() >= self.bytes_max),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn older(&self, number: u32) -> PathBuf {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{number}"));
        self.path.with_file_name(name)
    }

    fn rotate(&self) -> io::Result<()> {
        let directory = self.path.parent().unwrap_or_else(|| Path::new("."));
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(".lock");
        let _lock = DirectoryLock::take(directory, &name.to_string_lossy(), LOCK_WAIT)?;
        if !self.is_full()? {
            return Ok(());
        }
        let absent = |result: io::Result<()>| match result {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        };
        if self.older_max == 0 {
            return absent(remove_file(&self.path));
        }
        for number in (1..self.older_max).rev() {
            absent(rename(&self.older(number), &self.older(number + 1)))?;
        }
        absent(rename(&self.path, &self.older(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("apus-rotated-{name}-{}", std::process::id()));
            let counters = crate::Counters::default();
            crate::make_directories(&std::env::temp_dir(), &path, &counters).unwrap();
            Self(path)
        }

        fn path(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn full_files_are_renamed_and_the_oldest_is_replaced() {
        let folder = Folder::new("rotate");
        let path = folder.path().join("audit.log");
        let file = RotatedFile::new(path.clone(), 10, 2);
        let text = |name: &str| std::fs::read_to_string(folder.path().join(name)).ok();
        file.append(b"one\n").unwrap();
        assert_eq!(text("audit.log").as_deref(), Some("one\n"));
        for line in ["second\n", "third line\n", "fourth line\n", "5\n"] {
            file.append(line.as_bytes()).unwrap();
        }
        assert_eq!(text("audit.log").as_deref(), Some("5\n"));
        assert_eq!(text("audit.log.1").as_deref(), Some("fourth line\n"));
        assert_eq!(text("audit.log.2").as_deref(), Some("third line\n"));
        assert_eq!(text("audit.log.3"), None);
    }

    #[test]
    fn without_older_files_the_full_one_is_removed() {
        let folder = Folder::new("none");
        let file = RotatedFile::new(folder.path().join("a"), 4, 0);
        file.append(b"one\n").unwrap();
        assert!(!folder.path().join("a").exists());
        file.append(b"2\n").unwrap();
        assert!(folder.path().join("a").exists());
    }

    #[test]
    fn two_writers_rotate_once() {
        let folder = Folder::new("two");
        let path = folder.path().join("a");
        let writers: Vec<_> = (0..2)
            .map(|_| {
                let file = RotatedFile::new(path.clone(), 100, 1000);
                std::thread::spawn(move || {
                    for _ in 0..200 {
                        file.append(b"0123456789abcdef\n").unwrap();
                    }
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        let lines: usize = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap().lines().count())
            .sum();
        assert_eq!(lines, 400);
    }

    #[test]
    fn an_error_names_what_the_system_says() {
        let folder = Folder::new("error");
        let file = RotatedFile::new(folder.path().join("missing/a"), 4, 0);
        assert_eq!(file.append(b"x\n").unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
