//! The header of a fragment: 80 packed bytes.
//!
//! Source: liberasurecode `include/erasurecode/erasurecode.h`, `fragment_header_t`. Offsets: index 0,
//! bytes of the payload 4, of the backend's metadata 8, of the segment 12, type of the checksum 20,
//! checksum 21 (eight words, of which CRC-32 uses one), mismatch 53, backend 54, its version 55, magic 59,
//! version of the library 63, CRC of the first 59 bytes 67, nine bytes of zero.

use std::fmt;

use crate::crc::CrcForm;

/// Length of a header.
pub const HEADER_BYTES: usize = 80;
/// The part that the header's CRC covers.
const METADATA_BYTES: usize = 59;
const MAGIC: u32 = 0x0b0c_5ecc;

/// Byte order of the machine that wrote a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteOrder {
    /// As on x86 and ARM. We write no other.
    Little,
    /// As on s390x.
    Big,
}

/// Version of liberasurecode: `major << 16 | minor << 8 | revision`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LibraryVersion(pub u32);

impl LibraryVersion {
    /// The version that we write: the oldest that reads zlib's CRC, since a reader may refuse a fragment of
    /// a newer version than its own (`is_invalid_fragment`).
    pub const WRITTEN: Self = Self(0x01_06_00);
    /// Older versions wrote no CRC of the header.
    const WITH_HEADER_CRC: Self = Self(0x01_02_00);
}

impl fmt::Display for LibraryVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0 >> 16, self.0 >> 8 & 0xff, self.0 & 0xff)
    }
}

/// Checksum of a fragment's payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadChecksum {
    /// None, as Swift has it: the etag of the fragment archive covers the payload.
    None,
    /// CRC-32 in either form.
    Crc32(u32),
    /// Reserved by liberasurecode, which neither writes nor verifies it.
    Md5,
}

/// The header of a fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FragmentHeader {
    /// Which of the k + m fragments this is.
    pub index: u32,
    /// Bytes of data or parity after the header.
    pub payload_bytes: u32,
    /// Bytes of the segment that was encoded.
    pub segment_bytes: u64,
    /// Checksum of the payload.
    pub checksum: PayloadChecksum,
    /// liberasurecode's number for the code.
    pub backend_id: u8,
    /// Version of the code.
    pub backend_version: u32,
    /// Version of liberasurecode that wrote the fragment.
    pub library_version: LibraryVersion,
    /// Byte order of the header.
    pub byte_order: ByteOrder,
}

/// A header that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The fragment is shorter than a header.
    #[error("a fragment has {bytes} bytes: expected a header of {HEADER_BYTES}")]
    Short {
        /// Bytes of the fragment.
        bytes: usize,
    },
    /// Not a fragment.
    #[error("the magic number of a fragment is {0:#010x}: expected {MAGIC:#010x}")]
    Magic(u32),
    /// liberasurecode has no version 0.
    #[error("the library version of a fragment is 0")]
    NoVersion,
    /// A byte of the header has changed.
    #[error("the CRC of a fragment's header does not match: {0:#010x} is stored")]
    Crc(u32),
    /// Unknown type of checksum.
    #[error("the checksum type of a fragment is {0}: expected 1 (none), 2 (CRC-32) or 3 (MD5)")]
    ChecksumType(u8),
    /// No supported code has metadata of its own.
    #[error("a fragment has {0} bytes of backend metadata: expected 0")]
    BackendMetadata(u32),
    /// The fragment was cut, or continues.
    #[error("a fragment has {found} bytes after its header: expected {expected}")]
    PayloadLength {
        /// Bytes after the header.
        found: usize,
        /// Bytes that the header states.
        expected: u32,
    },
    /// A byte of the payload has changed.
    #[error("the CRC of a fragment's payload does not match: {0:#010x} is stored")]
    PayloadCrc(u32),
}

/// Reads the fields of a header in its byte order.
struct FieldReader<'a> {
    bytes: &'a [u8; HEADER_BYTES],
    byte_order: ByteOrder,
}

impl FieldReader<'_> {
    fn field<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut field =
            self.bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N]);
        if self.byte_order == ByteOrder::Big {
            field.reverse();
        }
        field
    }

    fn word(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.field(at))
    }

    fn byte(&self, at: usize) -> u8 {
        u8::from_le_bytes(self.field(at))
    }
}

impl FragmentHeader {
    /// Reads and verifies the header of a whole fragment, and the payload's length and CRC.
    ///
    /// # Errors
    /// See [`HeaderError`].
    pub fn verify(fragment: &[u8]) -> Result<(Self, &[u8]), HeaderError> {
        let header = Self::parse(fragment)?;
        let payload = fragment.get(HEADER_BYTES..).unwrap_or_default();
        if payload.len() as u64 != u64::from(header.payload_bytes) {
            let expected = header.payload_bytes;
            return Err(HeaderError::PayloadLength { found: payload.len(), expected });
        }
        match header.checksum {
            PayloadChecksum::Crc32(crc) if !CrcForm::any_matches(payload, crc) => {
                Err(HeaderError::PayloadCrc(crc))
            }
            _ => Ok((header, payload)),
        }
    }

    /// Reads and verifies the header at the start of `fragment`; the payload may be missing.
    ///
    /// # Errors
    /// See [`HeaderError`].
    pub fn parse(fragment: &[u8]) -> Result<Self, HeaderError> {
        let short = HeaderError::Short { bytes: fragment.len() };
        let bytes: &[u8; HEADER_BYTES] = fragment.first_chunk().ok_or(short)?;
        let mut reader = FieldReader { bytes, byte_order: ByteOrder::Little };
        let magic = reader.word(59);
        if magic == MAGIC.swap_bytes() {
            reader.byte_order = ByteOrder::Big;
        } else if magic != MAGIC {
            return Err(HeaderError::Magic(magic));
        }
        let library_version = LibraryVersion(reader.word(63));
        if library_version.0 == 0 {
            return Err(HeaderError::NoVersion);
        }
        let crc = reader.word(67);
        let metadata = bytes.get(..METADATA_BYTES).unwrap_or_default();
        if library_version >= LibraryVersion::WITH_HEADER_CRC
            && !CrcForm::any_matches(metadata, crc)
        {
            return Err(HeaderError::Crc(crc));
        }
        let backend_metadata = reader.word(8);
        if backend_metadata != 0 {
            return Err(HeaderError::BackendMetadata(backend_metadata));
        }
        Ok(Self {
            index: reader.word(0),
            payload_bytes: reader.word(4),
            segment_bytes: u64::from_le_bytes(reader.field(12)),
            checksum: match reader.byte(20) {
                1 => PayloadChecksum::None,
                2 => PayloadChecksum::Crc32(reader.word(21)),
                3 => PayloadChecksum::Md5,
                other => return Err(HeaderError::ChecksumType(other)),
            },
            backend_id: reader.byte(54),
            backend_version: reader.word(55),
            library_version,
            byte_order: reader.byte_order,
        })
    }

    /// The header as bytes, with its CRC in this form.
    pub fn to_bytes(&self, crc_form: CrcForm) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let (checksum_type, checksum) = match self.checksum {
            PayloadChecksum::None => (1, 0),
            PayloadChecksum::Crc32(crc) => (2, crc),
            PayloadChecksum::Md5 => (3, 0),
        };
        self.write(&mut bytes, 0, self.index.to_le_bytes());
        self.write(&mut bytes, 4, self.payload_bytes.to_le_bytes());
        self.write(&mut bytes, 12, self.segment_bytes.to_le_bytes());
        self.write(&mut bytes, 20, [checksum_type]);
        self.write(&mut bytes, 21, checksum.to_le_bytes());
        self.write(&mut bytes, 54, [self.backend_id]);
        self.write(&mut bytes, 55, self.backend_version.to_le_bytes());
        self.write(&mut bytes, 59, MAGIC.to_le_bytes());
        self.write(&mut bytes, 63, self.library_version.0.to_le_bytes());
        let crc = crc_form.of(bytes.get(..METADATA_BYTES).unwrap_or_default());
        self.write(&mut bytes, 67, crc.to_le_bytes());
        bytes
    }

    fn write<const N: usize>(&self, bytes: &mut [u8; HEADER_BYTES], at: usize, mut field: [u8; N]) {
        if self.byte_order == ByteOrder::Big {
            field.reverse();
        }
        if let Some(place) = bytes.get_mut(at..at + N) {
            place.copy_from_slice(&field);
        }
    }
}
