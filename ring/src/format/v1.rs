//! Version 1: a JSON head and rows of two-byte device ids.

use std::io::Write;

use flate2::GzBuilder;
use serde::{Deserialize, Serialize};

use super::{GZIP_MTIME, UncheckedRing, level_of_ids, split_rows, two_byte_ids};
use crate::device::Device;
use crate::error::RingError;
use crate::ring::NO_DEVICE;

/// The JSON head. Fields stand in the order of their names, as Swift writes them.
#[derive(Serialize, Deserialize)]
struct Head {
    byteorder: String,
    #[serde(deserialize_with = "super::devices")]
    devs: Vec<Option<Device>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next_part_power: Option<u32>,
    part_shift: u32,
    replica_count: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
}

pub(super) fn decode(rest: &[u8]) -> Result<UncheckedRing, RingError> {
    let (length, rest) = rest.split_at_checked(4).ok_or("ends in the head")?;
    let length: [u8; 4] = length.try_into().map_err(|_| "ends in the head")?;
    let (json, ids) =
        rest.split_at_checked(u32::from_be_bytes(length) as usize).ok_or("ends in the head")?;
    let head: Head =
        serde_json::from_slice(json).map_err(|source| RingError::Json { part: "head", source })?;
    let part_power = 32u32
        .checked_sub(head.part_shift)
        .ok_or_else(|| format!("part_shift {}", head.part_shift))?;
    let big = head.byteorder == "big";
    let read = |row: &[u8]| {
        Ok(if big {
            two_byte_ids(row, u16::from_be_bytes)
        } else {
            two_byte_ids(row, u16::from_le_bytes)
        })
    };
    Ok(UncheckedRing {
        rows: split_rows(ids, 2, part_power, head.replica_count, read)?,
        devices: head.devs,
        part_power,
        next_part_power: head.next_part_power,
        version: head.version.unwrap_or(0),
        id_width: 2,
    })
}

/// Encodes a ring as version 1.
///
/// # Errors
/// When a device id does not fit two bytes.
pub fn encode(ring: &UncheckedRing) -> Result<Vec<u8>, RingError> {
    if ring.id_width != 2 {
        return Err("Ring v1 only supports 2-byte dev IDs".into());
    }
    let head = Head {
        byteorder: "little".to_owned(),
        devs: ring.devices.clone(),
        next_part_power: ring.next_part_power,
        part_shift: 32 - ring.part_power,
        replica_count: ring.rows.len(),
        version: Some(ring.version).filter(|version| *version > 0),
    };
    let json =
        serde_json::to_vec(&head).map_err(|source| RingError::Json { part: "head", source })?;
    let level = level_of_ids(ring.devices.len());
    let mut out = GzBuilder::new().mtime(GZIP_MTIME).write(Vec::new(), level);
    let length = u32::try_from(json.len()).map_err(|_| "too many devices")?;
    let mut bytes = b"R1NG\0\x01".to_vec();
    bytes.extend(length.to_be_bytes());
    bytes.extend(json);
    for id in ring.rows.iter().flatten() {
        let id = if *id == NO_DEVICE {
            u16::MAX
        } else {
            u16::try_from(*id)
                .ok()
                .filter(|id| *id != u16::MAX)
                .ok_or_else(|| format!("device id {id} needs ring version 2"))?
        };
        bytes.extend(id.to_le_bytes());
    }
    out.write_all(&bytes).and_then(|()| out.finish()).map_err(RingError::Gzip)
}
