//! Ring files of both versions.
//!
//! They are gzip streams that begin with `R1NG` and a version number. Source: `swift/common/ring/{ring,io}.py`.

pub mod v1;
pub mod v2;

use std::fmt;
use std::io::Read;

use flate2::Compression;
use serde::de::{Error, SeqAccess, Visitor};

use crate::device::{Device, DeviceId};
use crate::error::RingError;

/// A ring file may inflate to so many times its size, and [`INFLATED_EXTRA`]. Ids of three devices
/// and more shrink to a twentieth at best.
const INFLATED_RATIO_MAX: u64 = 64;
/// Bytes that any ring file may inflate to: a ring of one device is all zeros.
const INFLATED_EXTRA: u64 = 16 << 20;
/// Most replicas of a ring file.
const REPLICAS_MAX: usize = 4096;
/// Ids without a device that a ring file may have in any case.
const HOLES_EXTRA: usize = 65_536;
/// Ids without a device that a ring file may have for each device.
const HOLES_PER_DEVICE: usize = 4;
/// Modification time in the gzip header, constant so that equal rings are equal files.
pub(crate) const GZIP_MTIME: u32 = 1_300_507_380;

/// The content of a ring file before its checks.
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
/// The file is not a ring file.
pub fn version(file: &[u8]) -> Result<u16, RingError> {
    let mut magic = [0; 6];
    let read = flate2::read::MultiGzDecoder::new(file).read_exact(&mut magic);
    read.map_err(RingError::Gzip)?;
    match magic {
        [b'R', b'1', b'N', b'G', high, low] => Ok(u16::from_be_bytes([high, low])),
        _ => Err("does not begin with R1NG".into()),
    }
}

/// Encodes a ring as a file of format 1 or 2.
///
/// # Errors
/// When the format is another one, or cannot hold the ring.
pub fn encode(ring: &UncheckedRing, version: u8) -> Result<Vec<u8>, RingError> {
    match version {
        1 => v1::encode(ring),
        2 => v2::encode(ring),
        other => Err(format!("ring format version {other}: expected 1 or 2").into()),
    }
}

/// Decodes a ring file of either version.
///
/// # Errors
/// Text that says what is wrong.
pub fn decode(file: &[u8]) -> Result<UncheckedRing, RingError> {
    let inflated = inflate(file)?;
    let (magic, rest) = inflated.split_at_checked(6).ok_or("file of under 6 bytes")?;
    match magic {
        b"R1NG\0\x01" => v1::decode(rest),
        b"R1NG\0\x02" => v2::decode(&inflated),
        [b'R', b'1', b'N', b'G', high, low] => {
            Err(format!("ring version {} is not known", u16::from_be_bytes([*high, *low])).into())
        }
        _ => Err("does not begin with R1NG".into()),
    }
}

/// Compression of ids. Those of many devices shrink by a fifth at best, and inflating them would be
/// most of the time that a server takes to load the ring.
pub(crate) fn level_of_ids(devices: usize) -> Compression {
    const MANY: usize = 1000;
    if devices > MANY { Compression::none() } else { Compression::best() }
}

fn inflate(file: &[u8]) -> Result<Vec<u8>, RingError> {
    let max = (file.len() as u64).saturating_mul(INFLATED_RATIO_MAX);
    let max = max.saturating_add(INFLATED_EXTRA);
    // The trailer of a gzip file has its size, which is only a hint.
    let said = file.last_chunk::<4>().map_or(0, |size| u64::from(u32::from_le_bytes(*size)));
    let room = usize::try_from(said.min(max)).unwrap_or(0).saturating_add(1);
    let mut inflated = Vec::with_capacity(room);
    flate2::bufread::MultiGzDecoder::new(file)
        .take(max.saturating_add(1))
        .read_to_end(&mut inflated)
        .map_err(RingError::Gzip)?;
    match inflated.len() as u64 > max {
        true => {
            Err(format!("{} bytes inflate to more than {max}: expected a ring file", file.len())
                .into())
        }
        false => Ok(inflated),
    }
}

/// The list of devices. Holes cost much more in memory than in a file, so they are limited.
pub(crate) fn devices<'de, D>(deserializer: D) -> Result<Vec<Option<Device>>, D::Error>
where
    D: serde::Deserializer<'de>,
{
    deserializer.deserialize_seq(Devices)
}

struct Devices;

impl<'de> Visitor<'de> for Devices {
    type Value = Vec<Option<Device>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of devices")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let (mut devices, mut present) = (Vec::new(), 0usize);
        while let Some(device) = items.next_element::<Option<Device>>()? {
            present += usize::from(device.is_some());
            let holes_max = present.saturating_mul(HOLES_PER_DEVICE).saturating_add(HOLES_EXTRA);
            if devices.len().saturating_sub(present) > holes_max {
                return Err(A::Error::custom(format!(
                    "{present} devices among {} ids: too many are without a device",
                    devices.len()
                )));
            }
            devices.push(device);
        }
        Ok(devices)
    }
}

/// Splits the bytes of ids into rows of 2^`part_power` ids; the last may be short.
pub(crate) fn split_rows(
    bytes: &[u8],
    width: usize,
    part_power: u32,
    rows: usize,
    ids: impl Fn(&[u8]) -> Result<Vec<DeviceId>, RingError>,
) -> Result<Vec<Vec<DeviceId>>, RingError> {
    let parts = 1usize.checked_shl(part_power).ok_or("part power too large")?;
    let count = bytes.len() / width;
    if rows > REPLICAS_MAX {
        return Err(format!("{rows} replicas: expected at most {REPLICAS_MAX}").into());
    }
    let room = rows.saturating_mul(parts);
    if !bytes.len().is_multiple_of(width) || count > room || count.saturating_add(parts) <= room {
        return Err(format!(
            "{} bytes of assignments do not fit {rows} replicas of {parts} partitions",
            bytes.len()
        )
        .into());
    }
    bytes.chunks(parts.saturating_mul(width)).map(ids).collect()
}

/// Ids of two bytes; the highest stands for "no device".
pub(crate) fn two_byte_ids(bytes: &[u8], read: impl Fn([u8; 2]) -> u16) -> Vec<DeviceId> {
    let (pairs, _) = bytes.as_chunks::<2>();
    let id = |pair: &[u8; 2]| match read(*pair) {
        u16::MAX => crate::ring::NO_DEVICE,
        id => DeviceId::from(id),
    };
    pairs.iter().map(id).collect()
}

#[cfg(test)]
mod tests;
