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
    /// Version of the builder.
    pub version: u64,
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
