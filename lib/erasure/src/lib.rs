//! Erasure codes of Swift's policies: fragments of segments, byte for byte as liberasurecode writes them.
//!
//! An object is cut into segments; each is encoded alone into k data and m parity fragments, each with
//! a header of 80 bytes. [`ErasureScheme`] names a code, [`SegmentCoder`] makes and reads fragments,
//! [`SegmentLayout`] maps lengths and ranges of objects to those of fragment archives. [`Codec`] is
//! what a code does with blocks of equal length; [`MatrixCodec`] is every code that is one matrix
//! over a field, which all supported types are. Nothing here does I/O.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

mod codec;
mod coder;
mod crc;
mod field;
mod fragment_error;
mod generator;
mod header;
mod kernel;
mod layout;
mod range;
mod scheme;
mod solve;

pub use codec::{Codec, CodecError, MatrixCodec};
pub use coder::SegmentCoder;
pub use crc::CrcForm;
pub use fragment_error::FragmentError;
pub use header::{
    ByteOrder, FragmentHeader, HEADER_BYTES, HeaderError, LibraryVersion, PayloadChecksum,
};
pub use kernel::Kernel;
pub use layout::{LayoutError, SegmentLayout};
pub use range::{ClientRange, DecodedRange};
pub use scheme::{ErasureScheme, ErasureType, SchemeError};
