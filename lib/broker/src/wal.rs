//! Verifies the checksums of a database's write-ahead log.
//!
//! SQLite takes the first frame that does not match its checksum for the end of the log. After a
//! power cut that is right. Where a bit has flipped, it silently undoes every commit after it, and
//! may put older pages over newer ones. A log is never changed here, since another process may be
//! writing it: a database with such a log is quarantined, and its content is read from a copy in
//! which the bit is restored, if the checksum shows which bit it is.
//!
//! A torn write looks different: no single bit makes its frame match 64 bits of checksum, and no
//! two commits follow it, since each is synced before the next.
//! Format: "The Database File Format", section 4 (sqlite.org/fileformat2.html).

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use crate::path::with_suffix;

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
const PAGE_BYTES_MAX: usize = 65_536;
/// The last bit of the magic number is set when words of checksums are big-endian.
const MAGIC: u32 = 0x377f_0682;
const VERSION: u32 = 3_007_000;
/// More flipped bits than this are another kind of damage.
const FLIPS_MAX: usize = 64;
/// Bytes of a copy in memory at a time.
const COPIED_BYTES: usize = 1024 * 1024;
/// Commits after a damaged frame that show that it had been synced.
const COMMITS_AFTER: u32 = 2;

/// A flipped bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Flip {
    /// Byte of the log.
    at: u64,
    mask: u8,
}

/// State of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WalState {
    /// As it was written, or missing.
    Good,
    /// As it was written but for single bits.
    Flipped(Flips),
    /// Damaged from this frame on, which had been written.
    Lost(u64),
}

/// Bits that have flipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flips(Vec<Flip>);

impl WalState {
    /// What is wrong with it.
    pub(crate) fn damage(&self) -> Option<String> {
        match self {
            Self::Good => None,
            Self::Flipped(Flips(flips)) => {
                Some(format!("{} bits of the write-ahead log have flipped", flips.len()))
            }
            Self::Lost(frame) => Some(format!("frame {frame} of the write-ahead log is damaged")),
        }
    }
}

/// Checks the log of a database. Blocks.
///
/// # Errors
/// The file system's.
pub(crate) fn check(database: &Path) -> io::Result<WalState> {
    let found = scan(database)?;
    // A frame that was being written at that moment is whole the second time.
    if found == WalState::Good || scan(database)? != found { Ok(WalState::Good) } else { Ok(found) }
}

fn scan(database: &Path) -> io::Result<WalState> {
    match File::open(with_suffix(database, "-wal")) {
        Ok(file) => scan_log(&mut BufReader::with_capacity(256 * 1024, file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(WalState::Good),
        Err(error) => Err(error),
    }
}

/// Copies a database and its log, with the flipped bits restored. Blocks.
///
/// # Errors
/// The file system's.
pub(crate) fn copy_mended(database: &Path, flips: &Flips, to: &Path) -> io::Result<()> {
    copy(database, to, &[])?;
    copy(&with_suffix(database, "-wal"), &with_suffix(to, "-wal"), &flips.0)
}

fn copy(from: &Path, to: &Path, flips: &[Flip]) -> io::Result<()> {
    let mut file = File::open(from)?;
    let mut piece = Vec::with_capacity(COPIED_BYTES);
    let mut start = 0;
    loop {
        piece.clear();
        Read::by_ref(&mut file).take(COPIED_BYTES as u64).read_to_end(&mut piece)?;
        if piece.is_empty() {
            return Ok(());
        }
        for flip in flips {
            let at = flip.at.checked_sub(start).and_then(|at| usize::try_from(at).ok());
            if let Some(byte) = at.and_then(|at| piece.get_mut(at)) {
                *byte ^= flip.mask;
            }
        }
        apus_disk::append(to, &piece)?;
        start += piece.len() as u64;
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    for (to, from) in word.iter_mut().zip(bytes.iter().skip(at)) {
        *to = *from;
    }
    u32::from_be_bytes(word)
}

/// Two words as one number.
fn pair(bytes: &[u8], at: usize) -> u64 {
    u64::from(word(bytes, at)) << 32 | u64::from(word(bytes, at + 4))
}

/// A checksum: two sums that depend on each other, each word added once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sums(u32, u32);

impl Sums {
    fn of(stored: u64) -> Self {
        Self((stored >> 32) as u32, stored as u32)
    }

    fn stored(self) -> u64 {
        u64::from(self.0) << 32 | u64::from(self.1)
    }

    fn add(mut self, bytes: &[u8], is_big: bool) -> Self {
        for words in bytes.chunks_exact(8) {
            let read = |at| {
                let word = word(words, at);
                if is_big { word } else { word.swap_bytes() }
            };
            self.0 = self.0.wrapping_add(read(0)).wrapping_add(self.1);
            self.1 = self.1.wrapping_add(read(4)).wrapping_add(self.0);
        }
        self
    }
}

/// The bits of `bytes` any of which makes their sums come out as `wanted` instead of `found`.
///
/// Adding one to a word adds a vector to the sums that depends only on the place of the word: it is
/// known for the last words, and for those before by one more step. The sums cannot distinguish
/// some of the highest bits of words.
fn flipped_bits(bytes: &[u8], found: Sums, wanted: Sums, is_big: bool) -> Vec<Flip> {
    let delta = Sums(wanted.0.wrapping_sub(found.0), wanted.1.wrapping_sub(found.1));
    let (mut first, mut second) = (Sums(1, 1), Sums(0, 1));
    let step = |Sums(a, b): Sums| Sums(a.wrapping_add(b), a.wrapping_add(b).wrapping_add(b));
    let mut flips = Vec::new();
    for (number, words) in bytes.chunks_exact(8).enumerate().rev() {
        for (at, effect) in [(0, first), (4, second)] {
            let big = word(words, at);
            let value = if is_big { big } else { big.swap_bytes() };
            for bit in 0..32u32 {
                let one = 1u32 << bit;
                let change = if value & one == 0 { one } else { one.wrapping_neg() };
                let moved = Sums(effect.0.wrapping_mul(change), effect.1.wrapping_mul(change));
                if moved == delta {
                    let byte = if is_big { 3 - bit / 8 } else { bit / 8 };
                    let at = (number * 8 + at) as u64 + u64::from(byte);
                    flips.push(Flip { at, mask: 1 << (bit % 8) });
                }
            }
        }
        (first, second) = (step(first), step(second));
    }
    flips
}

/// The bit in which two numbers at `at` differ, if it is one.
fn one_bit(found: u64, wanted: u64, at: u64) -> Option<Flip> {
    let differing = found ^ wanted;
    (differing.count_ones() == 1).then(|| {
        let bit = differing.trailing_zeros();
        Flip { at: at + u64::from(7 - bit / 8), mask: 1 << (bit % 8) }
    })
}

/// The header of a log.
#[derive(Debug, Clone, Copy)]
struct Header {
    is_big: bool,
    page_bytes: usize,
    salts: u64,
    sums: Sums,
}

impl Header {
    fn read(bytes: &[u8; HEADER_BYTES]) -> Option<Self> {
        let magic = word(bytes, 0);
        let is_big = magic & 1 == 1;
        let page_bytes = usize::try_from(word(bytes, 8)).ok()?;
        let sums = Sums::of(pair(bytes, 24));
        let is_good = magic & !1 == MAGIC
            && word(bytes, 4) == VERSION
            && page_bytes.is_power_of_two()
            && (512..=PAGE_BYTES_MAX).contains(&page_bytes)
            && Sums(0, 0).add(bytes.get(..24)?, is_big) == sums;
        is_good.then(|| Self { is_big, page_bytes, salts: pair(bytes, 16), sums })
    }

    /// A header in which one bit has flipped, and that bit. Of several candidates, the one that the
    /// first frame belongs to, which is among the `next` bytes.
    fn mended(bytes: &[u8; HEADER_BYTES], next: &[u8]) -> Option<(Self, Flip)> {
        let candidates = || {
            (0..HEADER_BYTES * 8).filter_map(|bit| {
                let (at, mask) = (bit / 8, 1 << (bit % 8));
                let mut tried = *bytes;
                tried.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= mask);
                Some((Self::read(&tried)?, Flip { at: at as u64, mask }))
            })
        };
        let fits = |(header, _): &(Self, Flip)| {
            let frame = next.get(..FRAME_HEADER_BYTES + header.page_bytes);
            frame.is_some_and(|frame| {
                matches!(Frame::of(frame, header, header.sums), Frame::Good(_))
            })
        };
        candidates().find(fits).or_else(|| candidates().next())
    }
}

/// Fills the buffer; false at the end.
fn fill(log: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match log.read_exact(buffer) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        read => read.map(|()| true),
    }
}

fn scan_log(log: &mut impl Read) -> io::Result<WalState> {
    let mut bytes = [0; HEADER_BYTES];
    if !fill(log, &mut bytes)? {
        return Ok(WalState::Good);
    }
    let mut flips = Vec::new();
    let mut next = Vec::new();
    log.take((FRAME_HEADER_BYTES + PAGE_BYTES_MAX) as u64).read_to_end(&mut next)?;
    let header = match Header::read(&bytes) {
        Some(header) => header,
        None => match Header::mended(&bytes, &next) {
            Some((header, flip)) => {
                flips.push(flip);
                header
            }
            // The beginning of a log that was never synced.
            None => return Ok(WalState::Good),
        },
    };
    let mut log = next.as_slice().chain(log);
    let mut frame = vec![0; FRAME_HEADER_BYTES + header.page_bytes];
    let (mut sums, mut number) = (header.sums, 0u64);
    while fill(&mut log, &mut frame)? {
        let start = HEADER_BYTES as u64 + number * frame.len() as u64;
        match Frame::of(&frame, &header, sums) {
            Frame::Good(after) => sums = after,
            Frame::Flipped(flip, after) if flips.len() < FLIPS_MAX => {
                flips.push(Flip { at: start + flip.at, ..flip });
                sums = after;
            }
            Frame::OneOfSeveral => return Ok(WalState::Lost(number)),
            Frame::Flipped(..) | Frame::Other => {
                let after = Sums::of(pair(&frame, 16));
                if commits_after(&mut log, &header, after)? {
                    return Ok(WalState::Lost(number));
                }
                break;
            }
        }
        number += 1;
    }
    // A header alone is not a loss: it is written again with the first frame.
    if flips.is_empty() || number == 0 {
        Ok(WalState::Good)
    } else {
        Ok(WalState::Flipped(Flips(flips)))
    }
}

enum Frame {
    /// Good, with the sums after it.
    Good(Sums),
    /// Good but for one bit, at a byte of the frame.
    Flipped(Flip, Sums),
    /// Good but for one bit, which may be one of several.
    OneOfSeveral,
    /// Damaged, torn, or of an earlier use of the log.
    Other,
}

impl Frame {
    fn of(frame: &[u8], header: &Header, before: Sums) -> Self {
        let (salts, stored) = (pair(frame, 8), pair(frame, 16));
        let covered =
            [frame.get(..8), frame.get(FRAME_HEADER_BYTES..)].map(Option::unwrap_or_default);
        let found = covered.iter().fold(before, |sums, bytes| sums.add(bytes, header.is_big));
        let wanted = Sums::of(stored);
        if found == wanted {
            return match one_bit(salts, header.salts, 8) {
                _ if salts == header.salts => Self::Good(wanted),
                Some(flip) => Self::Flipped(flip, wanted),
                None => Self::Other,
            };
        }
        if salts != header.salts {
            return Self::Other;
        }
        let mut flips = flipped_bits(&covered.concat(), found, wanted, header.is_big);
        for flip in &mut flips {
            if flip.at >= 8 {
                flip.at += (FRAME_HEADER_BYTES - 8) as u64;
            }
        }
        match (one_bit(stored, found.stored(), 16), flips.as_slice()) {
            (Some(flip), []) => Self::Flipped(flip, found),
            (None, [flip]) => Self::Flipped(*flip, wanted),
            (None, []) => Self::Other,
            _ => Self::OneOfSeveral,
        }
    }
}

/// Whether enough commits follow in the log.
fn commits_after(log: &mut impl Read, header: &Header, mut sums: Sums) -> io::Result<bool> {
    let mut frame = vec![0; FRAME_HEADER_BYTES + header.page_bytes];
    let mut commits = 0;
    while commits < COMMITS_AFTER && fill(log, &mut frame)? {
        let Frame::Good(after) = Frame::of(&frame, header, sums) else { break };
        // The size of the database, in frames that end a transaction.
        commits += u32::from(word(&frame, 4) != 0);
        sums = after;
    }
    Ok(commits >= COMMITS_AFTER)
}

#[cfg(test)]
mod tests;
