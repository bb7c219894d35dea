//! Object metadata as stored: a pickled dictionary in extended attributes.
//!
//! Written in the short form that Swift reads as well. Where the file system has no room (ext4
//! gives a file about 4 KiB), the attributes hold what serving the body needs and the MD5 of the
//! whole, and the whole is stored in `<device>/apus-metadata/<suffix>/<hash>-<file name>`. Swift
//! itself refuses such a PUT with 503.

use std::io;
use std::path::{Path, PathBuf};

use apus_cluster::metadata::from_wsgi;
use apus_cluster::pickle::{self, Value};
use apus_cluster::{Metadata, PathHash};
use apus_disk::{AtomicFile, Committer, Counters, Unnamed, XattrError};

use crate::engine::place::Place;

/// Key in the attributes of metadata that did not fit: MD5 of the whole pickle.
const OVERFLOW_KEY: &str = "X-Apus-Metadata-Overflow";
/// Items that the attributes keep in that case.
const ESSENTIAL: [&str; 6] =
    ["name", "X-Timestamp", "Content-Type", "Content-Length", "ETag", "Content-Type-Timestamp"];
/// Directory of overflowing metadata below the device.
pub(crate) const OVERFLOW_DIRECTORY: &str = "apus-metadata";

/// How Python 3 begins to pickle bytes, and within how many bytes of the start.
const PYTHON_3_MARK: &[u8] = b"_codecs\nencode";
const PYTHON_3_HEAD_BYTES: usize = 32;

/// Why stored metadata could not be used.
#[derive(Debug)]
pub(crate) enum MetadataError {
    /// Damaged: quarantine.
    Corrupt(String),
    /// The disk failed.
    Io(io::Error),
    /// The rest is in another file, which must be read on a device thread.
    NeedsDisk,
}

/// Encodes metadata as a pickle.
pub(crate) fn encode(metadata: &Metadata) -> Vec<u8> {
    let bytes = |text: &str| Value::Bytes(text.as_bytes().to_vec());
    let items = metadata.iter().map(|(name, value)| (bytes(name), bytes(value)));
    pickle::dumps_compact(&Value::Dict(items.collect()))
}

/// Decodes pickled metadata.
pub(crate) fn decode(pickled: &[u8]) -> Result<Metadata, MetadataError> {
    let value =
        pickle::loads(pickled).map_err(|error| MetadataError::Corrupt(error.to_string()))?;
    // Python 3 wrote values in WSGI spelling; its pickles of bytes identify it. Only the name is plain
    // UTF-8 in both (https://bugs.launchpad.net/swift/+bug/2012531).
    let head = pickled.get(..PYTHON_3_HEAD_BYTES).unwrap_or(pickled);
    let python_3 = head.windows(PYTHON_3_MARK.len()).any(|window| window == PYTHON_3_MARK);
    let Value::Dict(items) = value else {
        return Err(MetadataError::Corrupt("metadata is not a dictionary".to_owned()));
    };
    Ok(items
        .into_iter()
        .filter_map(|(name, value)| {
            let value = match value {
                Value::Int(number) => number.to_string(),
                value => value.to_text()?,
            };
            let name = name.to_text()?;
            let value = if python_3 && name != "name" { from_wsgi(&value) } else { value };
            Some((name, value))
        })
        .collect())
}

impl Place {
    /// Path of the metadata that did not fit into the attributes of a file.
    pub(super) fn overflow(&self, file: &str) -> PathBuf {
        overflow_path(&self.device, &self.hash, file)
    }
}

/// Path of the overflow of a file.
pub(crate) fn overflow_path(device: &Path, hash: &PathHash, file: &str) -> PathBuf {
    device.join(OVERFLOW_DIRECTORY).join(hash.suffix_dir()).join(format!("{hash}-{file}"))
}

/// Reads and verifies the metadata of an open file. `overflow` is the path of the rest; `None` means
/// that the call must not wait for the disk.
pub(crate) fn read(
    file: &std::fs::File,
    overflow: Option<&Path>,
    counters: &Counters,
) -> Result<Metadata, MetadataError> {
    use std::os::fd::AsFd;
    let pickled = apus_disk::read_xattrs(file.as_fd(), counters).map_err(|error| match error {
        XattrError::Io(error) => MetadataError::Io(error),
        other => MetadataError::Corrupt(other.to_string()),
    })?;
    let metadata = decode(&pickled)?;
    let Some(digest) = metadata.get(OVERFLOW_KEY) else { return Ok(metadata) };
    let path = overflow.ok_or(MetadataError::NeedsDisk)?;
    let whole = match std::fs::read(path) {
        Ok(whole) => whole,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(MetadataError::Corrupt(format!("{} is missing", path.display())));
        }
        Err(error) => return Err(MetadataError::Io(error)),
    };
    if *digest != format!("{:x}", md5::compute(&whole)) {
        return Err(MetadataError::Corrupt(format!("{} is damaged", path.display())));
    }
    decode(&whole)
}

/// Writes metadata to a file that has no name yet. Metadata that does not fit is written to
/// `overflow`, durably, before the file itself is published.
pub(crate) fn write(
    file: &AtomicFile,
    metadata: &Metadata,
    device: &Path,
    overflow: &Path,
    committer: &Committer,
) -> io::Result<()> {
    let whole = encode(metadata);
    match file.set_metadata(&whole) {
        Ok(()) => return Ok(()),
        Err(XattrError::NoRoom) => {}
        Err(XattrError::Io(error)) => return Err(error),
        Err(other) => return Err(io::Error::other(other.to_string())),
    }
    let directory = overflow.parent().unwrap_or(device);
    committer.make_directories(device, directory)?;
    let mut more = AtomicFile::create(directory, &device.join("tmp"), committer.counters())?;
    more.append(&whole)?;
    let (target, root) = (overflow.to_owned(), device.to_owned());
    committer.commit_now(Unnamed { file: more, synced: false, target, root })?;
    let mut short: Metadata = metadata
        .iter()
        .filter(|(name, _)| ESSENTIAL.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    short.insert(OVERFLOW_KEY.to_owned(), format!("{:x}", md5::compute(&whole)));
    file.set_metadata(&encode(&short)).map_err(|error| io::Error::other(error.to_string()))
}
