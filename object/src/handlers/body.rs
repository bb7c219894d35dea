//! Reads and verifies the part of a body that a response contains.
//!
//! A piece is returned only when its blocks, or at its end the whole, are verified. No byte of a
//! block with a wrong checksum is ever returned, so that a client can resume a broken stream at
//! another server at the same place.

use std::io;
use std::sync::Arc;

use apus_cluster::byte_range::Resolved;
use apus_disk::{NowaitRead, Priority};
use bytes::Bytes;

use crate::engine::blocks::{BlockSum, Blocks, SMALLEST_BLOCK};
use crate::engine::object::{Guard, Object};
use crate::server::Server;

/// Bytes per read, and the largest body that is sent in one piece.
pub(super) const READ_BYTES: usize = 256 * 1024;
/// The largest block that is held in memory until it is verified; a larger one is read twice.
const HELD_BYTES: u64 = 512 * 1024;

/// Why a piece could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// The object is not what was written; the caller quarantines it.
    #[error("the object is damaged: {0}")]
    Damaged(&'static str),
    #[error("the disk failed: {0}")]
    Disk(#[from] io::Error),
}

const SHORTER: &str = "shorter than the metadata says";
const LONGER: &str = "longer than the metadata says";
const BODY: &str = "body does not match its digest";
const BLOCK: &str = "a block of the body does not match its checksum";

/// How the bytes are verified.
enum Check {
    /// Each block by its own checksum; verified up to this offset.
    Blocks(Blocks, u64),
    /// All of them by a digest of the whole.
    Whole(Digest),
    /// They have been verified, and are held from the beginning of the body on.
    Held(Bytes),
    /// They have been verified, or cannot be.
    Nothing,
}

enum Digest {
    Crc(Box<crc_fast::Digest>, u64),
    Md5(Box<md5::Context>, String),
}

impl Digest {
    fn new(guard: Guard) -> Option<Self> {
        let crc64 = || Box::new(crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme));
        match guard {
            Guard::Crc(expected) => Some(Self::Crc(crc64(), expected)),
            Guard::Md5(expected) => Some(Self::Md5(Box::new(md5::Context::new()), expected)),
            Guard::Blocks(_) | Guard::Damaged => None,
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Crc(digest, _) => digest.update(bytes),
            Self::Md5(context, _) => context.consume(bytes),
        }
    }

    fn check(self) -> Result<(), ReadError> {
        let matches = match self {
            Self::Crc(digest, expected) => digest.finalize() == expected,
            Self::Md5(context, expected) => format!("{:x}", context.finalize()) == expected,
        };
        if matches { Ok(()) } else { Err(ReadError::Damaged(BODY)) }
    }
}

/// Reader of a part of a body.
pub(super) struct BodyReader {
    server: Server,
    device: String,
    object: Arc<Object>,
    check: Check,
    offset: u64,
    end: u64,
}

impl BodyReader {
    /// Decides how `range` is verified. When only a digest of the whole exists, the whole is read, up
    /// to the configured length.
    ///
    /// # Errors
    /// When the body is damaged, or the disk fails.
    pub(super) async fn begin(
        server: &Server,
        device: &str,
        object: &Arc<Object>,
        range: Resolved,
    ) -> Result<Self, ReadError> {
        let mut reading = Self {
            server: server.clone(),
            device: device.to_owned(),
            object: object.clone(),
            check: Check::Nothing,
            offset: range.start,
            end: range.start + range.length,
        };
        if apus_fault::planted("bug.read-unverified") {
            return Ok(reading);
        }
        let whole = range.length == object.length;
        let limit = server.verify_ranges_bytes.max(SMALLEST_BLOCK);
        reading.check = match object.guard() {
            Guard::Damaged => {
                return Err(ReadError::Damaged("checksums of the blocks are damaged"));
            }
            Guard::Blocks(blocks) => Check::Blocks(blocks, 0),
            guard if whole => Digest::new(guard).map_or(Check::Nothing, Check::Whole),
            guard if object.length <= limit => reading.check_whole(Digest::new(guard)).await?,
            _ => Check::Nothing,
        };
        Ok(reading)
    }

    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// When the piece is damaged, or the disk fails.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        if self.offset >= self.end {
            return Ok(None);
        }
        let piece = match std::mem::replace(&mut self.check, Check::Nothing) {
            Check::Blocks(blocks, checked) if blocks.size <= HELD_BYTES => {
                let piece = self.checked_blocks(&blocks).await?;
                self.check = Check::Blocks(blocks, checked);
                piece
            }
            Check::Blocks(blocks, mut checked) => {
                if self.offset >= checked {
                    checked = self.check_block(&blocks).await?;
                }
                let piece = self.read(self.offset, self.end.min(checked)).await?;
                self.check = Check::Blocks(blocks, checked);
                piece
            }
            Check::Whole(mut digest) => {
                // One byte more than expected, which a file of the right length does not have.
                let more = usize::from(self.object.length <= SMALLEST_BLOCK);
                let wanted = length_of(self.offset, self.end);
                let piece = self.run(self.offset, wanted + more, wanted).await?;
                if piece.len() > wanted {
                    return Err(ReadError::Damaged(LONGER));
                }
                digest.update(&piece);
                if self.offset + piece.len() as u64 == self.end {
                    // The last piece is held back until the whole is verified.
                    digest.check()?;
                } else {
                    self.check = Check::Whole(digest);
                }
                piece
            }
            Check::Held(body) => {
                let [start, end] = [self.offset, self.end].map(|at| usize::try_from(at).ok());
                let part = start.zip(end).filter(|(_, end)| *end <= body.len());
                let (start, end) = part.ok_or(ReadError::Damaged(SHORTER))?;
                body.slice(start..end)
            }
            Check::Nothing => self.read(self.offset, self.end).await?,
        };
        self.offset += piece.len() as u64;
        Ok(Some(piece))
    }

    /// Reads some whole blocks from the beginning of the next piece; returns the requested part.
    async fn checked_blocks(&self, blocks: &Blocks) -> Result<Bytes, ReadError> {
        let begin = self.offset - self.offset % blocks.size;
        let end = self.end.next_multiple_of(blocks.size).min(self.object.length);
        let run = blocks.size.max(READ_BYTES as u64);
        let length = usize::try_from(run.min(end - begin)).unwrap_or(READ_BYTES);
        let mut run = self.run(begin, length, length).await?;
        if !blocks.all_match(begin, &run) {
            return Err(ReadError::Damaged(BLOCK));
        }
        let wanted = usize::try_from(self.end - begin).unwrap_or(usize::MAX);
        run.truncate(wanted);
        let skipped = usize::try_from(self.offset - begin).unwrap_or(usize::MAX);
        Ok(run.split_off(skipped.min(run.len())))
    }

    /// Reads and verifies the block in which the next piece begins; returns its end.
    async fn check_block(&self, blocks: &Blocks) -> Result<u64, ReadError> {
        let begin = self.offset - self.offset % blocks.size;
        let end = (begin + blocks.size).min(self.object.length);
        let mut sum = BlockSum::new();
        let mut at = begin;
        while at < end {
            let piece = self.read(at, end).await?;
            sum.update(&piece);
            at += piece.len() as u64;
        }
        if blocks.matches(begin, sum.take()) { Ok(end) } else { Err(ReadError::Damaged(BLOCK)) }
    }

    /// Reads and verifies the whole body; keeps a short one.
    async fn check_whole(&self, digest: Option<Digest>) -> Result<Check, ReadError> {
        let Some(mut digest) = digest else { return Ok(Check::Nothing) };
        let mut at = 0;
        let mut only = Bytes::new();
        while at < self.object.length {
            only = self.read(at, self.object.length).await?;
            digest.update(&only);
            at += only.len() as u64;
        }
        digest.check()?;
        let kept = only.len() as u64 == self.object.length;
        Ok(if kept { Check::Held(only) } else { Check::Nothing })
    }

    /// One piece from `offset`, but not past `end`.
    async fn read(&self, offset: u64, end: u64) -> Result<Bytes, ReadError> {
        let length = length_of(offset, end);
        self.run(offset, length, length).await
    }

    /// Reads `length` bytes, or fewer but `enough`; from memory if possible, else on a thread of
    /// the device.
    async fn run(&self, offset: u64, length: usize, enough: usize) -> Result<Bytes, ReadError> {
        let mut buffer = self.server.store.buffers.take(length);
        let mut filled = match self.object.body.read_nowait(buffer.as_mut(), offset) {
            // Some kernels (5.9, 5.10) return 0 when the read would wait.
            Ok(NowaitRead::Read(read)) => read,
            Ok(NowaitRead::WouldWait) => 0,
            Err(error) => return Err(error.into()),
        };
        if filled >= enough {
            buffer.truncate(filled);
            return Ok(buffer.freeze());
        }
        let object = self.object.clone();
        let work = move || {
            while filled < enough {
                let rest = buffer.as_mut().get_mut(filled..).unwrap_or_default();
                match object.body.read_at(rest, offset + filled as u64)? {
                    0 => break,
                    read => filled += read,
                }
            }
            buffer.truncate(filled);
            Ok::<_, std::io::Error>(buffer.freeze())
        };
        match self.server.store.devices.run(&self.device, Priority::Read, work).await {
            Ok(Ok(bytes)) if bytes.len() >= enough => Ok(bytes),
            Ok(Ok(_)) => Err(ReadError::Damaged(SHORTER)),
            Ok(Err(error)) => Err(error.into()),
            Err(error) => Err(io::Error::from(error).into()),
        }
    }
}

/// The length of one piece.
fn length_of(offset: u64, end: u64) -> usize {
    usize::try_from(end.saturating_sub(offset)).unwrap_or(READ_BYTES).min(READ_BYTES)
}
