//! CRC-32 as zlib has it, and the variant of older versions of liberasurecode.

use std::sync::LazyLock;

/// How the CRC of a header or payload is calculated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrcForm {
    /// zlib's CRC-32. liberasurecode reads it since 1.6.0.
    Zlib,
    /// liberasurecode's own up to 1.5.0, which extends the sign of the shifted register
    /// (`liberasurecode_crc32_alt` in `src/utils/chksum/crc32.c`). Swift's option is `write_legacy_ec_crc`.
    Legacy,
}

static TABLE: LazyLock<[u32; 256]> = LazyLock::new(|| {
    std::array::from_fn(|byte| {
        (0..8).fold(
            byte as u32,
            |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 },
        )
    })
});

impl CrcForm {
    /// The CRC of these bytes.
    pub(crate) fn of(self, bytes: &[u8]) -> u32 {
        match self {
            Self::Zlib => crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, bytes) as u32,
            Self::Legacy => !bytes.iter().fold(u32::MAX, |crc, byte| {
                let index = (crc ^ u32::from(*byte)) & 0xff;
                let entry = TABLE.get(index as usize).copied().unwrap_or_default();
                entry ^ ((crc >> 8 ^ 0x0080_0000).wrapping_sub(0x0080_0000))
            }),
        }
    }

    /// Whether one of the forms has this CRC: readers do not know which one was written.
    pub(crate) fn any_matches(bytes: &[u8], crc: u32) -> bool {
        Self::Zlib.of(bytes) == crc || Self::Legacy.of(bytes) == crc
    }
}
