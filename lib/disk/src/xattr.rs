//! Swift's metadata in extended attributes.
//!
//! `user.swift.metadata`, `…1`, `…2` have the pieces of 64 KiB, and
//! `user.swift.metadata_checksum` the MD5 of all of them.
//!
//! Source: `swift/obj/diskfile.py`, `read_metadata`, `write_metadata`.

use std::io;
use std::os::fd::BorrowedFd;

use apus_fault::journal::Which;
use rustix::fs::XattrFlags;
use rustix::io::Errno;

use crate::change::note_attribute;
use crate::counters::Counters;

/// Name of the first metadata attribute.
pub const METADATA_KEY: &str = "user.swift.metadata";
const CHECKSUM_KEY: &str = "user.swift.metadata_checksum";
const PIECE_BYTES: usize = 65_536;
/// Most pieces that are read: 16 MiB of metadata is far above every limit.
const PIECES_MAX: usize = 256;

/// Why attributes could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum XattrError {
    /// The file does not have metadata.
    #[error("no metadata attribute")]
    Missing,
    /// The MD5 of the value is not the stored one: the metadata is damaged.
    #[error("metadata does not match its checksum")]
    Checksum,
    /// Attributes of this size do not fit on the file system.
    #[error("no room for metadata attributes")]
    NoRoom,
    /// Another error of the operating system.
    #[error(transparent)]
    Io(#[from] io::Error),
}

fn piece_key(index: usize) -> String {
    if index == 0 { METADATA_KEY.to_owned() } else { format!("{METADATA_KEY}{index}") }
}

/// Reads and checks the metadata of an open file.
///
/// # Errors
/// See [`XattrError`].
pub fn read_xattrs(file: BorrowedFd<'_>, counters: &Counters) -> Result<Vec<u8>, XattrError> {
    let mut value = Vec::new();
    let mut piece = vec![0u8; 4096];
    for index in 0..PIECES_MAX {
        let length = loop {
            counters.calls(1);
            match rustix::fs::fgetxattr(file, piece_key(index), piece.as_mut_slice()) {
                Ok(length) => break Some(length),
                Err(Errno::RANGE) if piece.len() < PIECE_BYTES => piece.resize(PIECE_BYTES, 0),
                Err(Errno::NODATA) => break None,
                Err(error) => return Err(XattrError::Io(error.into())),
            }
        };
        let Some(length) = length else { break };
        value.extend_from_slice(piece.get(..length).unwrap_or_default());
        if length < PIECE_BYTES {
            break;
        }
    }
    if value.is_empty() {
        return Err(XattrError::Missing);
    }
    let mut stored = [0u8; 64];
    counters.calls(1);
    match rustix::fs::fgetxattr(file, CHECKSUM_KEY, stored.as_mut_slice()) {
        Ok(length) => {
            let computed = format!("{:x}", md5::compute(&value));
            if stored.get(..length) != Some(computed.as_bytes()) {
                return Err(XattrError::Checksum);
            }
        }
        // Written by an older Swift.
        Err(Errno::NODATA) => {}
        Err(error) => return Err(XattrError::Io(error.into())),
    }
    Ok(value)
}

/// Writes the metadata of an open file.
///
/// # Errors
/// [`XattrError::NoRoom`] when it does not fit (ext4 has about 4 KiB a file).
pub(crate) fn write_xattrs(
    file: BorrowedFd<'_>,
    which: &Which,
    value: &[u8],
    counters: &Counters,
) -> Result<(), XattrError> {
    let checksum = format!("{:x}", md5::compute(value));
    let set = |key: &str, value: &[u8]| {
        counters.calls(1);
        rustix::fs::fsetxattr(file, key, value, XattrFlags::empty()).map_err(
            |error| match error {
                Errno::NOSPC | Errno::TOOBIG | Errno::DQUOT | Errno::RANGE => XattrError::NoRoom,
                other => XattrError::Io(other.into()),
            },
        )?;
        note_attribute(which, key, value);
        Ok(())
    };
    for (index, piece) in value.chunks(PIECE_BYTES).enumerate() {
        set(&piece_key(index), piece)?;
    }
    set(CHECKSUM_KEY, checksum.as_bytes())
}

/// Reads one small attribute that Swift does not have into `value`, and returns its length; `None`
/// when it does not exist, does not fit, or cannot be read.
pub fn read_attribute(
    file: &std::fs::File,
    key: &str,
    value: &mut [u8],
    counters: &Counters,
) -> Option<usize> {
    counters.calls(1);
    rustix::fs::fgetxattr(file, key, value).ok()
}

/// Sets one small attribute that Swift does not have on an open file; it is durable when the file is
/// synced.
///
/// # Errors
/// As the operating system says; `StorageFull` when it does not fit with the others.
pub fn write_attribute(
    file: &std::fs::File,
    key: &str,
    value: &[u8],
    counters: &Counters,
) -> io::Result<()> {
    counters.calls(1);
    Ok(rustix::fs::fsetxattr(file, key, value, XattrFlags::empty())?)
}
