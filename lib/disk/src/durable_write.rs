//! Small files that appear whole and are durable when the call returns.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::{AtomicFile, Counters};

/// A file that could not be written.
#[derive(Debug)]
pub struct WriteError {
    path: PathBuf,
    source: io::Error,
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.source)
    }
}

impl std::error::Error for WriteError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Replaces a file, or creates it with `mode`. An existing file keeps its mode.
///
/// # Errors
/// The path, and why it could not be written. The previous content is still there.
pub fn write_durably(path: &Path, bytes: &[u8], mode: u32) -> Result<(), WriteError> {
    let counters: Arc<Counters> = Arc::default();
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = parent.unwrap_or(Path::new("."));
    let written = (|| {
        let mode = std::fs::metadata(path).map_or(mode, |found| found.mode() & 0o777);
        let mut file = AtomicFile::create(directory, directory, &counters)?;
        file.append(bytes)?;
        file.set_mode(mode)?;
        file.sync()?;
        file.publish(&directory.join(path.file_name().unwrap_or_default()), &[])
    })();
    written.map_err(|source| WriteError { path: path.to_owned(), source })
}
