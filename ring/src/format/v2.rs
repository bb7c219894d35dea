//! Version 2: sections with lengths, an index with digests, ids of two, four or eight bytes.
//!
//! We read the whole stream, so we find the index by its uncompressed offset in the tail.

use std::collections::BTreeMap;
use std::io::Write;

use flate2::{Compress, Compression, Crc, FlushCompress};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{GZIP_MTIME, UncheckedRing, level_of_ids, split_rows, two_byte_ids};
use crate::device::DeviceId;
use crate::error::RingError;
use crate::ring::NO_DEVICE;

const METADATA: &str = "swift/ring/metadata";
const DEVICES: &str = "swift/ring/devices";
const ASSIGNMENTS: &str = "swift/ring/assignments";
const INDEX: &str = "swift/index";

#[derive(Serialize, Deserialize)]
struct RingMetadata {
    dev_id_bytes: usize,
    #[serde(default)]
    next_part_power: Option<u32>,
    part_shift: u32,
    replica_count: f64,
    #[serde(default)]
    version: Option<u64>,
}

/// Compressed start, uncompressed start, compressed end, uncompressed end, digest name, digest.
type IndexEntry = (u64, u64, Option<u64>, Option<u64>, Option<String>, Option<String>);

pub(super) fn decode(inflated: &[u8]) -> Result<UncheckedRing, RingError> {
    let tail = inflated.len().checked_sub(16).ok_or("file too short")?;
    let index_at = u64_at(inflated, tail)?;
    let (_, index) = blob(inflated, index_at)?;
    let index: BTreeMap<String, IndexEntry> = serde_json::from_slice(index)
        .map_err(|source| RingError::Json { part: "index", source })?;
    let section = |name: &'static str| -> Result<&[u8], RingError> {
        let entry = index.get(name).ok_or_else(|| format!("no section {name}"))?;
        let (with_length, data) = blob(inflated, entry.1)?;
        if let (Some("sha256"), Some(expected)) = (entry.4.as_deref(), entry.5.as_deref()) {
            let found = hex::encode(Sha256::digest(with_length));
            if found != expected {
                let expected = expected.to_owned();
                return Err(RingError::Checksum { section: name, found, expected });
            }
        }
        Ok(data)
    };
    let metadata: RingMetadata = serde_json::from_slice(section(METADATA)?)
        .map_err(|source| RingError::Json { part: METADATA, source })?;
    let devices = super::devices(&mut serde_json::Deserializer::from_slice(section(DEVICES)?))
        .map_err(|source| RingError::Json { part: DEVICES, source })?;
    let width = metadata.dev_id_bytes;
    if !matches!(width, 2 | 4 | 8) {
        return Err(format!("dev_id_bytes {width}: expected 2, 4 or 8").into());
    }
    let none = if width == 8 { u64::MAX } else { (1u64 << (8 * width)) - 1 };
    let wide_id = |bytes: &[u8]| {
        let id = bytes.iter().fold(0u64, |id, byte| id << 8 | u64::from(*byte));
        if id == none {
            Ok(NO_DEVICE)
        } else {
            DeviceId::try_from(id)
                .map_err(|_| RingError::from(format!("device id {id} is too large")))
        }
    };
    let read = |row: &[u8]| match width {
        2 => Ok(two_byte_ids(row, u16::from_be_bytes)),
        _ => row.chunks(width).map(wide_id).collect(),
    };
    let part_power = 32u32
        .checked_sub(metadata.part_shift)
        .ok_or_else(|| format!("part_shift {}", metadata.part_shift))?;
    Ok(UncheckedRing {
        rows: split_rows(
            section(ASSIGNMENTS)?,
            width,
            part_power,
            metadata.replica_count.ceil() as usize,
            read,
        )?,
        devices,
        part_power,
        next_part_power: metadata.next_part_power,
        version: metadata.version.unwrap_or(0),
        id_width: width,
    })
}

fn u64_at(bytes: &[u8], at: usize) -> Result<u64, RingError> {
    let bytes = bytes.get(at..at.saturating_add(8)).ok_or("offset past the end")?;
    Ok(bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// The blob at an offset: with its length prefix, and without.
fn blob(bytes: &[u8], at: u64) -> Result<(&[u8], &[u8]), RingError> {
    let at = usize::try_from(at).map_err(|_| "offset past the end")?;
    let length = usize::try_from(u64_at(bytes, at)?).map_err(|_| "section too long")?;
    let end = at.checked_add(8).and_then(|at| at.checked_add(length)).ok_or("section too long")?;
    let whole = bytes.get(at..end).ok_or("section past the end")?;
    Ok((whole, whole.get(8..).unwrap_or_default()))
}

/// Writes raw deflate data with full flushes, and knows both offsets.
struct Sections {
    out: Vec<u8>,
    deflate: Compress,
    uncompressed: u64,
    crc: Crc,
    index: BTreeMap<String, IndexEntry>,
}

impl Sections {
    fn push(&mut self, data: &[u8], flush: FlushCompress) {
        self.crc.update(data);
        self.uncompressed += data.len() as u64;
        let mut input = data;
        loop {
            self.out.reserve(input.len() / 2 + 64);
            let before = self.deflate.total_in();
            // `compress_vec` fills the spare room; room left over means that it is done.
            let status = self.deflate.compress_vec(input, &mut self.out, flush);
            let consumed = usize::try_from(self.deflate.total_in() - before).unwrap_or(0);
            input = input.get(consumed..).unwrap_or_default();
            let room = self.out.capacity() > self.out.len();
            if status.is_err() || (input.is_empty() && room) {
                return;
            }
        }
    }

    fn blob(&mut self, name: &str, data: &[u8]) {
        let (compressed, uncompressed) = (self.out.len() as u64, self.uncompressed);
        let mut with_length = (data.len() as u64).to_be_bytes().to_vec();
        with_length.extend(data);
        self.push(&with_length, FlushCompress::Full);
        self.index.insert(
            name.to_owned(),
            (
                compressed,
                uncompressed,
                Some(self.out.len() as u64),
                Some(self.uncompressed),
                Some("sha256".to_owned()),
                Some(hex::encode(Sha256::digest(&with_length))),
            ),
        );
    }

    /// A stored (uncompressed) deflate block, as the tail needs: its size is known in advance.
    fn stored(&mut self, data: &[u8; 8]) {
        self.crc.update(data);
        self.uncompressed += 8;
        self.out.extend([0, 8, 0, 0xf7, 0xff]);
        self.out.extend(data);
        self.out.extend([0, 0, 0, 0xff, 0xff]);
    }
}

/// Encodes a ring as version 2.
///
/// # Errors
/// Only when JSON cannot be made of it.
pub fn encode(ring: &UncheckedRing) -> Result<Vec<u8>, RingError> {
    let needed = if ring.devices.len() <= usize::from(u16::MAX) { 2 } else { 4 };
    let width = ring.id_width.clamp(needed, 4);
    let metadata = RingMetadata {
        dev_id_bytes: width,
        next_part_power: ring.next_part_power,
        part_shift: 32 - ring.part_power,
        replica_count: ring.replica_count(),
        version: Some(ring.version).filter(|version| *version > 0),
    };
    let mut assignments = Vec::new();
    for id in ring.rows.iter().flatten() {
        let bytes = id.to_be_bytes();
        assignments.extend(bytes.get(4 - width..).unwrap_or_default());
    }
    let mut out = vec![0x1f, 0x8b, 8, 0];
    out.extend(GZIP_MTIME.to_le_bytes());
    out.extend([2, 255]);
    let mut sections = Sections {
        out,
        deflate: Compress::new(Compression::best(), false),
        uncompressed: 0,
        crc: Crc::new(),
        index: BTreeMap::new(),
    };
    let magic = b"R1NG\0\x02";
    sections.crc.update(magic);
    sections.uncompressed = 6;
    sections.out.extend([0, 6, 0, 0xf9, 0xff]);
    sections.out.extend(magic);
    sections.out.extend([0, 0, 0, 0xff, 0xff]);
    let json = |error: serde_json::Error| error.to_string();
    sections.blob(METADATA, &serde_json::to_vec(&metadata).map_err(json)?);
    sections.blob(DEVICES, &serde_json::to_vec(&ring.devices).map_err(json)?);
    // A flush ended the last section, so that another compressor can go on from there.
    let best = Compress::new(Compression::best(), false);
    let for_ids = Compress::new(level_of_ids(ring.devices.len()), false);
    sections.deflate = for_ids;
    sections.blob(ASSIGNMENTS, &assignments);
    sections.deflate = best;
    let (compressed, uncompressed) = (sections.out.len() as u64, sections.uncompressed);
    sections.index.insert(INDEX.to_owned(), (compressed, uncompressed, None, None, None, None));
    let index = serde_json::to_vec(&sections.index).map_err(json)?;
    let mut with_length = (index.len() as u64).to_be_bytes().to_vec();
    with_length.extend(index);
    sections.push(&with_length, FlushCompress::Full);
    sections.stored(&uncompressed.to_be_bytes());
    sections.stored(&compressed.to_be_bytes());
    sections.out.extend([1, 0, 0, 0xff, 0xff]);
    let (sum, amount) = (sections.crc.sum(), sections.crc.amount());
    sections.out.write_all(&sum.to_le_bytes()).map_err(|error| error.to_string())?;
    sections.out.extend(amount.to_le_bytes());
    Ok(sections.out)
}
