//! Ring files. Both versions are gzip streams that begin with `R1NG` and a version number.
//!
//! Source: `swift/common/ring/{ring,io}.py`.

pub mod v1;
pub mod v2;

use std::io::Read;

use crate::device::{Device, DeviceId};

/// Greatest inflated size of a ring file we read, in bytes: 2^32 partitions would not fit anyway.
const INFLATED_MAX: u64 = 4 << 30;
/// Modification time in the gzip header, constant so that equal rings are equal files.
pub(crate) const GZIP_MTIME: u32 = 1_300_507_380;

/// What was read from a file but is not yet believed.
#[derive(Debug, Clone, PartialEq)]
pub struct UncheckedRing {
    /// Devices by id, with holes.
    pub devices: Vec<Option<Device>>,
    /// Device ids of each replica.
    pub rows: Vec<Vec<DeviceId>>,
    /// 2^this is the number of partitions.
    pub part_power: u32,
    /// Part power that an increase is under way to.
    pub next_part_power: Option<u32>,
    /// Version of the builder; 0 when the file does not say.
    pub version: u64,
    /// Bytes of a device id in the file.
    pub id_width: usize,
}

impl UncheckedRing {
    /// Replicas, possibly fractional.
    pub fn replica_count(&self) -> f64 {
        let whole = self.rows.first().map_or(0, Vec::len);
        let last = self.rows.last().map_or(0, Vec::len);
        self.rows.len().saturating_sub(1) as f64 + last as f64 / whole.max(1) as f64
    }
}

/// The version of a ring file's format, from its first bytes.
///
/// # Errors
/// Text that says why it is no ring file.
pub fn version(file: &[u8]) -> Result<u16, String> {
    let mut magic = [0; 6];
    let read = flate2::read::MultiGzDecoder::new(file).read_exact(&mut magic);
    read.map_err(|error| format!("not a gzip file: {error}"))?;
    match magic {
        [b'R', b'1', b'N', b'G', high, low] => Ok(u16::from_be_bytes([high, low])),
        _ => Err("does not begin with R1NG".to_owned()),
    }
}

/// Encodes a ring as a file of format 1 or 2.
///
/// # Errors
/// When the format is another one, or cannot hold the ring.
pub fn encode(ring: &UncheckedRing, version: u8) -> Result<Vec<u8>, String> {
    match version {
        1 => v1::encode(ring),
        2 => v2::encode(ring),
        other => Err(format!("ring format version {other}: expected 1 or 2")),
    }
}

/// Decodes a ring file of either version.
///
/// # Errors
/// Text that says what is wrong.
pub fn decode(file: &[u8]) -> Result<UncheckedRing, String> {
    let mut inflated = Vec::new();
    flate2::read::MultiGzDecoder::new(file)
        .take(INFLATED_MAX)
        .read_to_end(&mut inflated)
        .map_err(|error| format!("not a gzip file: {error}"))?;
    let (magic, rest) = inflated.split_at_checked(6).ok_or("file of under 6 bytes")?;
    match magic {
        b"R1NG\0\x01" => v1::decode(rest),
        b"R1NG\0\x02" => v2::decode(&inflated),
        [b'R', b'1', b'N', b'G', high, low] => {
            Err(format!("ring version {} is not known", u16::from_be_bytes([*high, *low])))
        }
        _ => Err("does not begin with R1NG".to_owned()),
    }
}

/// Splits ids into rows of 2^`part_power`; the last may be short.
pub(crate) fn split_rows(
    ids: &[DeviceId],
    part_power: u32,
    rows: usize,
) -> Result<Vec<Vec<DeviceId>>, String> {
    let parts = 1usize.checked_shl(part_power).ok_or("part power too large")?;
    if ids.len() > rows.saturating_mul(parts) || ids.len() + parts <= rows.saturating_mul(parts) {
        return Err(format!(
            "{} assignments do not fit {rows} replicas of {parts} partitions",
            ids.len()
        ));
    }
    Ok(ids.chunks(parts).map(<[DeviceId]>::to_vec).collect())
}

#[cfg(test)]
mod tests;
