//! Checksums of the blocks of a body, which verify any part of it.
//!
//! Pure. They are stored in an attribute of ours, which Swift ignores. Its room is what ext4 leaves
//! in addition to the metadata, so the blocks grow with the body, and double once more when there
//! is still no room. Bodies of one block have none: the checksum of the whole is sufficient.
//!
//! Version 1: version, binary logarithm of the block size, two zero bytes, length of the body
//! (u64), a CRC-32C for each block (u32 each), CRC-32C of all that. Little-endian.

use crc_fast::{CrcAlgorithm, Digest, checksum_combine, crc32_iscsi};

/// The attribute.
pub(crate) const BLOCKS_ATTRIBUTE: &str = "user.apus.blocks";
/// The smallest block, in bytes. A longer body has checksums of its blocks.
pub(crate) const SMALLEST_BLOCK: u64 = 64 * 1024;
/// Blocks of one body at most: 1.5 KiB of attributes. The largest object of a default
/// configuration (5 GiB) has blocks of 16 MiB.
const BLOCKS_MAX: usize = 384;
/// Bytes of the longest attribute.
pub(crate) const ENCODED_MAX: usize = HEAD_BYTES + (BLOCKS_MAX + 1) * 4;

const VERSION: u8 = 1;
const HEAD_BYTES: usize = 12;
/// Larger than the logarithm that any body needs.
const LOGARITHM_MAX: u8 = 48;

/// The checksums of one body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Blocks {
    /// Bytes of each block but the last, which may be shorter.
    pub(crate) size: u64,
    length: u64,
    sums: Vec<u32>,
}

/// Result of decoding the attribute.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum DecodedBlocks {
    Valid(Blocks),
    /// It was written by a later version.
    Unknown,
    /// It is not what was written.
    Damaged,
}

impl Blocks {
    /// The attribute's value.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let logarithm = u8::try_from(self.size.trailing_zeros()).unwrap_or(u8::MAX);
        let mut out = Vec::with_capacity(HEAD_BYTES + (self.sums.len() + 1) * 4);
        out.extend([VERSION, logarithm, 0, 0]);
        out.extend(self.length.to_le_bytes());
        for sum in &self.sums {
            out.extend(sum.to_le_bytes());
        }
        out.extend(crc32_iscsi(&out).to_le_bytes());
        out
    }

    /// Reads the attribute of a body of `length` bytes.
    pub(crate) fn decode(value: &[u8], length: u64) -> DecodedBlocks {
        let Some((content, own)) = value.split_last_chunk::<4>() else {
            return DecodedBlocks::Damaged;
        };
        if crc32_iscsi(content) != u32::from_le_bytes(*own) {
            return DecodedBlocks::Damaged;
        }
        let Some((head, sums)) = content.split_first_chunk::<HEAD_BYTES>() else {
            return DecodedBlocks::Damaged;
        };
        let [version, logarithm, _, _, stored @ ..] = *head;
        if version != VERSION {
            return DecodedBlocks::Unknown;
        }
        if u64::from_le_bytes(stored) != length || logarithm > LOGARITHM_MAX {
            return DecodedBlocks::Damaged;
        }
        let (sums, rest) = sums.as_chunks::<4>();
        let blocks = Self {
            size: 1 << logarithm,
            length,
            sums: sums.iter().map(|sum| u32::from_le_bytes(*sum)).collect(),
        };
        let whole = rest.is_empty() && blocks.sums.len() as u64 == length.div_ceil(blocks.size);
        if whole { DecodedBlocks::Valid(blocks) } else { DecodedBlocks::Damaged }
    }

    /// Whether the block that begins at `offset` has this checksum.
    pub(crate) fn matches(&self, offset: u64, sum: u32) -> bool {
        let index = usize::try_from(offset / self.size).unwrap_or(usize::MAX);
        self.sums.get(index) == Some(&sum)
    }

    /// Whether whole blocks, the first of which begins at `offset`, are what was written.
    pub(crate) fn all_match(&self, offset: u64, bytes: &[u8]) -> bool {
        let size = usize::try_from(self.size).unwrap_or(usize::MAX);
        let mut at = offset;
        bytes.chunks(size).all(|block| {
            let good = self.matches(at, crc32_iscsi(block));
            at += block.len() as u64;
            good
        })
    }

    /// Merges pairs of blocks, to take less room. Returns whether it could.
    pub(crate) fn double(&mut self) -> bool {
        if self.sums.len() <= 2 {
            return false;
        }
        let last = (self.sums.len() as u64 - 1) * self.size;
        let last_length = self.length.saturating_sub(last);
        self.sums = doubled(&self.sums, self.size, last_length);
        self.size *= 2;
        true
    }
}

/// The checksums of pairs; the last of `sums` is that of `last_length` bytes.
fn doubled(sums: &[u32], size: u64, last_length: u64) -> Vec<u32> {
    let pairs = sums.len() / 2;
    let even = sums.len().is_multiple_of(2);
    let combined = sums.chunks(2).enumerate().map(|(index, pair)| match pair {
        [one, two] => {
            let second = if even && index + 1 == pairs { last_length } else { size };
            let both = checksum_combine(
                CrcAlgorithm::Crc32Iscsi,
                u64::from(*one),
                u64::from(*two),
                second,
            );
            low(both)
        }
        other => other.first().copied().unwrap_or(0),
    });
    combined.collect()
}

/// A CRC-32 as the library gives it.
#[allow(clippy::cast_possible_truncation, reason = "the upper half is zero")]
fn low(sum: u64) -> u32 {
    sum as u32
}

/// Computes the block checksums of a body of any length as it is received.
#[derive(Debug)]
pub(crate) struct BlockDigest {
    size: u64,
    length: u64,
    sums: Vec<u32>,
    current: Digest,
    /// Bytes of the block that is not full yet.
    held: u64,
}

impl BlockDigest {
    /// For a body of this length, if it is known; the checksums are the same in any case. Without it
    /// blocks double as the body grows, and their checksums are combined.
    pub(crate) fn new(length: Option<u64>) -> Self {
        let mut size = SMALLEST_BLOCK;
        while length.is_some_and(|length| length / size >= BLOCKS_MAX as u64) {
            size *= 2;
        }
        Self {
            size,
            length: 0,
            sums: Vec::new(),
            current: Digest::new(CrcAlgorithm::Crc32Iscsi),
            held: 0,
        }
    }

    /// Adds the next bytes.
    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = usize::try_from(self.size - self.held).unwrap_or(usize::MAX);
            let (now, rest) = bytes.split_at(room.min(bytes.len()));
            self.current.update(now);
            self.held += now.len() as u64;
            self.length += now.len() as u64;
            bytes = rest;
            if self.held == self.size {
                self.close_block();
            }
        }
    }

    fn close_block(&mut self) {
        self.sums.push(low(self.current.finalize_reset()));
        self.held = 0;
        // An even number of blocks, all of them full.
        if self.sums.len() == BLOCKS_MAX {
            self.sums = doubled(&self.sums, self.size, self.size);
            self.size *= 2;
        }
    }

    /// The checksums; `None` for a body of one block.
    pub(crate) fn finish(mut self) -> Option<Blocks> {
        if self.length <= SMALLEST_BLOCK {
            return None;
        }
        if self.held > 0 {
            self.sums.push(low(self.current.finalize()));
        }
        Some(Blocks { size: self.size, length: self.length, sums: self.sums })
    }
}

/// The CRC-32C of one block that is read in pieces.
#[derive(Debug)]
pub(crate) struct BlockSum(Digest);

impl BlockSum {
    pub(crate) fn new() -> Self {
        Self(Digest::new(CrcAlgorithm::Crc32Iscsi))
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of the bytes since the last call.
    pub(crate) fn take(&mut self) -> u32 {
        low(self.0.finalize_reset())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(length: usize) -> Vec<u8> {
        let mut state = 88_172_645_463_325_252u64;
        std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        })
        .flatten()
        .take(length)
        .collect()
    }

    fn blocks(body: &[u8], piece: usize) -> Option<Blocks> {
        let mut digest = BlockDigest::new(None);
        body.chunks(piece).for_each(|piece| digest.update(piece));
        digest.finish()
    }

    #[test]
    fn a_known_length_saves_combining_and_changes_nothing() {
        let full = BLOCKS_MAX * 64 * 1024;
        let whole = body(2 * full + 100_000);
        for length in [0, 1, 70_000, full - 1, full, full + 1, 2 * full, whole.len()] {
            let sums = |known| {
                let mut digest = BlockDigest::new(known);
                whole[..length].chunks(100_000).for_each(|piece| digest.update(piece));
                digest.finish()
            };
            assert_eq!(sums(Some(length as u64)), sums(None), "{length}");
        }
    }

    #[test]
    fn a_body_of_one_block_has_no_checksums_of_blocks() {
        assert_eq!(blocks(&body(65_536), 1000), None);
        assert_eq!(blocks(&body(65_537), 1000).unwrap().sums.len(), 2);
    }

    #[test]
    fn checksums_do_not_depend_on_the_pieces_and_survive_their_encoding() {
        let body = body(1_000_003);
        let one = blocks(&body, 7777).unwrap();
        assert_eq!(one, blocks(&body, 1 << 20).unwrap());
        assert_eq!(Blocks::decode(&one.encode(), 1_000_003), DecodedBlocks::Valid(one.clone()));
        assert!(one.all_match(0, &body));
        assert!(one.all_match(65_536 * 3, &body[65_536 * 3..65_536 * 5]));
    }

    #[test]
    fn a_long_body_has_larger_blocks_with_the_same_meaning() {
        let body = body(40_000_000);
        let blocks = blocks(&body, 1 << 20).unwrap();
        assert_eq!(blocks.size, 131_072);
        assert!(blocks.sums.len() <= BLOCKS_MAX && blocks.encode().len() <= ENCODED_MAX);
        assert!(blocks.all_match(0, &body));
    }

    #[test]
    fn doubled_blocks_are_those_of_the_same_body() {
        for length in [200_000, 65_536 * 4, 65_536 * 5 + 1, 65_536 * 6 - 1] {
            let body = body(length);
            let mut blocks = blocks(&body, 10_000).unwrap();
            while blocks.double() {
                assert!(blocks.all_match(0, &body), "{length}");
                assert_eq!(blocks.sums.len() as u64, blocks.length.div_ceil(blocks.size));
            }
            assert_eq!(blocks.sums.len(), 2);
        }
    }

    #[test]
    fn every_flipped_bit_of_body_and_attribute_is_detected() {
        let mut body = body(200_000);
        let blocks = blocks(&body, 200_000).unwrap();
        for bit in (0..body.len() * 8).step_by(4099) {
            body[bit / 8] ^= 1 << (bit % 8);
            assert!(!blocks.all_match(0, &body));
            body[bit / 8] ^= 1 << (bit % 8);
        }
        let mut value = blocks.encode();
        for bit in 0..value.len() * 8 {
            value[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Blocks::decode(&value, 200_000), DecodedBlocks::Damaged);
            value[bit / 8] ^= 1 << (bit % 8);
        }
        assert_eq!(Blocks::decode(&value, 200_001), DecodedBlocks::Damaged);
        assert_eq!(Blocks::decode(&[], 200_000), DecodedBlocks::Damaged);
    }
}
