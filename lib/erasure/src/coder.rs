//! Segments to fragments with headers, and back.
//!
//! Source: liberasurecode `src/erasurecode.c` (`liberasurecode_encode`, `_decode`,
//! `_reconstruct_fragment`). Two things differ: a fragment is refused if its header does not fit its own
//! length or the other headers, and fragments of machines of the other byte order are read.

use std::sync::Arc;

use crate::codec::{Codec, MatrixCodec};
use crate::crc::CrcForm;
use crate::fragment_error::FragmentError;
use crate::header::{ByteOrder, FragmentHeader, HEADER_BYTES, LibraryVersion, PayloadChecksum};
use crate::scheme::{ErasureScheme, SchemeError};

/// Encodes segments and decodes fragments of one code.
///
/// ```
/// use apus_erasure::{ErasureScheme, ErasureType, SegmentCoder};
/// let coder = SegmentCoder::new(ErasureScheme::new(ErasureType::IsaLRsCauchy, 4, 2)?)?;
/// let fragments = coder.encode(b"a segment")?;
/// let left: Vec<&[u8]> = fragments.iter().skip(2).map(Vec::as_slice).collect();
/// assert_eq!(coder.decode(&left)?, b"a segment");
/// assert_eq!(coder.reconstruct(&left, 0)?, fragments[0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct SegmentCoder {
    codec: Arc<dyn Codec>,
    library_version: LibraryVersion,
    crc_form: CrcForm,
    checksum: PayloadChecksum,
}

/// Verified fragments of one segment.
struct Stripe<'a> {
    /// The header of the first one.
    header: FragmentHeader,
    /// Each fragment's index and payload, by index, each index once.
    blocks: Vec<(usize, &'a [u8])>,
}

impl SegmentCoder {
    /// A coder with our own implementation of the code.
    ///
    /// # Errors
    /// See [`SchemeError`].
    pub fn new(scheme: ErasureScheme) -> Result<Self, SchemeError> {
        Ok(Self::with_codec(Arc::new(MatrixCodec::new(scheme)?)))
    }

    /// A coder with another implementation.
    pub fn with_codec(codec: Arc<dyn Codec>) -> Self {
        Self {
            codec,
            library_version: LibraryVersion::WRITTEN,
            crc_form: CrcForm::Zlib,
            checksum: PayloadChecksum::None,
        }
    }

    /// Writes this version of liberasurecode to headers.
    #[must_use]
    pub fn with_library_version(mut self, version: LibraryVersion) -> Self {
        self.library_version = version;
        self
    }

    /// Writes CRCs in this form (Swift's `write_legacy_ec_crc`).
    #[must_use]
    pub fn with_crc_form(mut self, form: CrcForm) -> Self {
        self.crc_form = form;
        self
    }

    /// Writes a CRC-32 of each payload (PyECLib's `chksum_type = inline_crc32`).
    #[must_use]
    pub fn with_payload_crc(mut self) -> Self {
        self.checksum = PayloadChecksum::Crc32(0);
        self
    }

    /// The code.
    pub fn scheme(&self) -> ErasureScheme {
        self.codec.scheme()
    }

    /// What the code does with blocks.
    pub fn codec(&self) -> &dyn Codec {
        &*self.codec
    }

    /// All fragments of a segment.
    ///
    /// # Errors
    /// [`FragmentError::SegmentLength`].
    pub fn encode(&self, segment: &[u8]) -> Result<Vec<Vec<u8>>, FragmentError> {
        let mut fragments = vec![Vec::new(); self.scheme().fragments()];
        self.encode_into(segment, &mut fragments)?;
        Ok(fragments)
    }

    /// Appends the fragments of a segment to one buffer each.
    ///
    /// # Errors
    /// [`FragmentError::SegmentLength`], [`FragmentError::Archives`]. The buffers have not changed then.
    pub fn encode_into(
        &self,
        segment: &[u8],
        archives: &mut [Vec<u8>],
    ) -> Result<(), FragmentError> {
        let scheme = self.scheme();
        let (found, expected) = (archives.len(), scheme.fragments());
        if found != expected {
            return Err(FragmentError::Archives { found, expected });
        }
        let too_long = || FragmentError::SegmentLength(segment.len());
        i32::try_from(segment.len()).map_err(|_| too_long())?;
        let segment_bytes = segment.len() as u64;
        let payload_bytes =
            u32::try_from(scheme.payload_bytes(segment_bytes)).map_err(|_| too_long())?;
        let payload = payload_bytes as usize;
        let starts: Vec<usize> =
            archives.iter().map(|archive| archive.len() + HEADER_BYTES).collect();
        let mut rest = segment;
        for archive in &mut *archives {
            archive.reserve(HEADER_BYTES + payload);
            archive.extend_from_slice(&[0; HEADER_BYTES]);
            let end = archive.len() + payload;
            let (block, behind) = rest.split_at(payload.min(rest.len()));
            archive.extend_from_slice(block);
            archive.resize(end, 0);
            rest = behind;
        }
        let (data, parity) = archives.split_at_mut(scheme.data());
        let (data_starts, parity_starts) = starts.split_at(scheme.data());
        let blocks: Vec<&[u8]> = data
            .iter()
            .zip(data_starts)
            .filter_map(|(archive, start)| archive.get(*start..))
            .collect();
        let mut parities: Vec<&mut [u8]> = parity
            .iter_mut()
            .zip(parity_starts)
            .filter_map(|(archive, start)| archive.get_mut(*start..))
            .collect();
        self.codec.encode(&blocks, &mut parities)?;
        let (backend_id, backend_version) = scheme.erasure_type().backend();
        let header = FragmentHeader {
            index: 0,
            payload_bytes,
            segment_bytes,
            checksum: self.checksum,
            backend_id,
            backend_version,
            library_version: self.library_version,
            byte_order: ByteOrder::Little,
        };
        for ((index, archive), start) in (0..).zip(archives).zip(starts) {
            if let Some(fragment) = archive.get_mut(start - HEADER_BYTES..) {
                self.finish(FragmentHeader { index, ..header }, fragment);
            }
        }
        Ok(())
    }

    /// Writes the header at the start of a fragment, and the checksum of its payload if the header has one.
    fn finish(&self, mut header: FragmentHeader, fragment: &mut [u8]) {
        if let Some((place, payload)) = fragment.split_first_chunk_mut::<HEADER_BYTES>() {
            if matches!(header.checksum, PayloadChecksum::Crc32(_)) {
                header.checksum = PayloadChecksum::Crc32(self.crc_form.of(payload));
            }
            *place = header.to_bytes(self.crc_form);
        }
    }

    /// The segment of these fragments, in any order.
    ///
    /// # Errors
    /// See [`FragmentError`]. A damaged fragment is an error even if the others suffice: the error has its
    /// position, and the caller decides.
    pub fn decode(&self, fragments: &[&[u8]]) -> Result<Vec<u8>, FragmentError> {
        let mut segment = Vec::new();
        self.decode_into(fragments, &mut segment)?;
        Ok(segment)
    }

    /// Appends the segment of these fragments to a buffer.
    ///
    /// # Errors
    /// As [`SegmentCoder::decode`]. The buffer has not changed then.
    pub fn decode_into(
        &self,
        fragments: &[&[u8]],
        segment: &mut Vec<u8>,
    ) -> Result<(), FragmentError> {
        let stripe = self.stripe(fragments)?;
        let data = self.scheme().data();
        let payload = stripe.header.payload_bytes as usize;
        // Refused before memory is taken for the missing blocks.
        let available: Vec<usize> = stripe.blocks.iter().map(|(index, _)| *index).collect();
        let missing: Vec<usize> = (0..data).filter(|index| !available.contains(index)).collect();
        self.codec.sources(&available, &missing)?;
        let start = segment.len();
        segment.reserve(payload * data);
        let mut blocks = stripe.blocks.iter().peekable();
        for index in 0..data {
            match blocks.next_if(|(block, _)| *block == index) {
                Some((_, block)) => segment.extend_from_slice(block),
                None => segment.resize(segment.len() + payload, 0),
            }
        }
        if !missing.is_empty() && payload > 0 {
            let places = segment.get_mut(start..).unwrap_or_default().chunks_exact_mut(payload);
            let mut wanted: Vec<(usize, &mut [u8])> =
                places.enumerate().filter(|(index, _)| missing.contains(index)).collect();
            if let Err(error) = self.recover(&stripe, &mut wanted) {
                segment.truncate(start);
                return Err(error);
            }
        }
        segment
            .truncate(start + usize::try_from(stripe.header.segment_bytes).unwrap_or(usize::MAX));
        Ok(())
    }

    /// The fragment with this index, from others of its segment. If it is among them, it is returned.
    ///
    /// # Errors
    /// As [`SegmentCoder::decode`].
    pub fn reconstruct(&self, fragments: &[&[u8]], index: usize) -> Result<Vec<u8>, FragmentError> {
        let stripe = self.stripe(fragments)?;
        let mut fragment = vec![0; HEADER_BYTES + stripe.header.payload_bytes as usize];
        let payload = fragment.get_mut(HEADER_BYTES..).unwrap_or_default();
        self.recover(&stripe, &mut [(index, payload)])?;
        let index = index as u32;
        let library_version = self.library_version;
        self.finish(FragmentHeader { index, library_version, ..stripe.header }, &mut fragment);
        Ok(fragment)
    }

    /// Verifies a fragment for itself, as an auditor does.
    ///
    /// # Errors
    /// See [`FragmentError`].
    pub fn verify(&self, fragment: &[u8]) -> Result<FragmentHeader, FragmentError> {
        Ok(self.verified(0, fragment)?.0)
    }

    fn verified<'a>(
        &self,
        position: usize,
        fragment: &'a [u8],
    ) -> Result<(FragmentHeader, &'a [u8]), FragmentError> {
        let scheme = self.scheme();
        let (header, payload) = FragmentHeader::verify(fragment)
            .map_err(|source| FragmentError::Header { position, source })?;
        let (id, version) = (header.backend_id, header.backend_version);
        let (expected_id, expected_version) = scheme.erasure_type().backend();
        if (id, version) != (expected_id, expected_version) {
            return Err(FragmentError::Backend {
                position,
                id,
                version,
                expected_id,
                expected_version,
                scheme,
            });
        }
        let (index, fragments) = (header.index, scheme.fragments());
        if index as usize >= fragments {
            return Err(FragmentError::Index { position, index, fragments });
        }
        let (payload_bytes, segment_bytes) = (header.payload_bytes, header.segment_bytes);
        let expected = scheme.payload_bytes(segment_bytes);
        if u64::from(payload_bytes) != expected {
            return Err(FragmentError::Share { position, payload_bytes, segment_bytes, expected });
        }
        Ok((header, payload))
    }

    fn stripe<'a>(&self, fragments: &[&'a [u8]]) -> Result<Stripe<'a>, FragmentError> {
        let mut first: Option<FragmentHeader> = None;
        let mut blocks = Vec::with_capacity(fragments.len());
        for (position, fragment) in fragments.iter().enumerate() {
            let (header, payload) = self.verified(position, fragment)?;
            let known = first.get_or_insert(header);
            if (known.segment_bytes, known.byte_order) != (header.segment_bytes, header.byte_order)
            {
                return Err(FragmentError::OtherSegment { position });
            }
            blocks.push((header.index as usize, payload));
        }
        blocks.sort_by_key(|(index, _)| *index);
        blocks.dedup_by_key(|(index, _)| *index);
        Ok(Stripe { header: first.ok_or(FragmentError::NoFragments)?, blocks })
    }

    /// Makes blocks of a stripe. The words of a field are in the byte order of the machine that encoded them.
    fn recover(
        &self,
        stripe: &Stripe<'_>,
        wanted: &mut [(usize, &mut [u8])],
    ) -> Result<(), FragmentError> {
        let word = self.scheme().erasure_type().word_bytes();
        if stripe.header.byte_order == ByteOrder::Little || word != 2 {
            return Ok(self.codec.recover(&stripe.blocks, wanted)?);
        }
        let swap = |block: &mut [u8]| block.chunks_exact_mut(2).for_each(<[u8]>::reverse);
        let mut swapped: Vec<(usize, Vec<u8>)> =
            stripe.blocks.iter().map(|(index, block)| (*index, block.to_vec())).collect();
        swapped.iter_mut().for_each(|(_, block)| swap(block));
        let blocks: Vec<(usize, &[u8])> =
            swapped.iter().map(|(index, block)| (*index, block.as_slice())).collect();
        self.codec.recover(&blocks, wanted)?;
        wanted.iter_mut().for_each(|(_, block)| swap(block));
        Ok(())
    }
}
