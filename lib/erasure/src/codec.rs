//! What a code does with the blocks of one segment, without headers.

use std::fmt::Debug;

use crate::field::Field;
use crate::generator;
use crate::kernel::{Kernel, Rows};
use crate::scheme::{ErasureScheme, SchemeError};
use crate::solve::combine;

/// A code: blocks of data to blocks of parity, and lost blocks from others.
///
/// Blocks are numbered as fragments are: data first, then parity. All blocks of a call have the same
/// length, which is a multiple of the code's word.
pub trait Codec: Debug + Send + Sync {
    /// The code's name and numbers.
    fn scheme(&self) -> ErasureScheme;

    /// Writes all parity blocks.
    ///
    /// # Errors
    /// [`CodecError::Blocks`].
    fn encode(&self, data: &[&[u8]], parity: &mut [&mut [u8]]) -> Result<(), CodecError>;

    /// Which of the available blocks are needed to make the wanted ones.
    ///
    /// # Errors
    /// [`CodecError::Index`], [`CodecError::Lost`].
    fn sources(&self, available: &[usize], wanted: &[usize]) -> Result<Vec<usize>, CodecError>;

    /// Makes the wanted blocks from available ones, which may be more than needed.
    ///
    /// # Errors
    /// See [`CodecError`].
    fn recover(
        &self,
        available: &[(usize, &[u8])],
        wanted: &mut [(usize, &mut [u8])],
    ) -> Result<(), CodecError>;
}

/// Blocks that a code cannot work with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Wrong number of blocks, or lengths that differ or are not whole words.
    #[error("the blocks do not fit {0}: expected one length, a multiple of its word, for all")]
    Blocks(ErasureScheme),
    /// No block has this number.
    #[error("block {index} does not exist in {scheme}")]
    Index {
        /// The number.
        index: usize,
        /// The code.
        scheme: ErasureScheme,
    },
    /// Too many blocks are missing.
    #[error("{scheme}: blocks {wanted:?} cannot be made from blocks {available:?}")]
    Lost {
        /// The code.
        scheme: ErasureScheme,
        /// The blocks to make.
        wanted: Vec<usize>,
        /// The blocks that are there.
        available: Vec<usize>,
    },
}

/// A code that is one matrix over a field: parity blocks are sums of multiples of data blocks.
#[derive(Debug)]
pub struct MatrixCodec {
    scheme: ErasureScheme,
    field: Field,
    kernel: Kernel,
    /// A row of coefficients for each block; those of data blocks have one 1.
    generator: Vec<Vec<u16>>,
    parity: Rows,
}

impl MatrixCodec {
    /// # Errors
    /// [`SchemeError::Matrix`].
    pub fn new(scheme: ErasureScheme) -> Result<Self, SchemeError> {
        Self::with_kernel(scheme, Kernel::best())
    }

    /// A code that calculates with the given instructions. Those that the machine does not have are replaced.
    ///
    /// # Errors
    /// [`SchemeError::Matrix`].
    pub fn with_kernel(scheme: ErasureScheme, kernel: Kernel) -> Result<Self, SchemeError> {
        let field = generator::field(scheme.erasure_type());
        let parity = generator::parity_rows(scheme).ok_or(SchemeError::Matrix(scheme))?;
        let rows = Rows::new(field, kernel, scheme.data(), &parity);
        let unit =
            |block: usize| (0..scheme.data()).map(|column| u16::from(column == block)).collect();
        let generator = (0..scheme.data()).map(unit).chain(parity).collect();
        Ok(Self { scheme, field, kernel, generator, parity: rows })
    }

    fn row(&self, index: usize) -> Result<&[u16], CodecError> {
        let row = self.generator.get(index).map(Vec::as_slice);
        row.ok_or(CodecError::Index { index, scheme: self.scheme })
    }

    /// For each wanted block the coefficients of the available ones.
    fn coefficients(
        &self,
        available: &[usize],
        wanted: &[usize],
    ) -> Result<Vec<Vec<u16>>, CodecError> {
        let rows = |blocks: &[usize]| -> Result<Vec<&[u16]>, CodecError> {
            blocks.iter().map(|block| self.row(*block)).collect()
        };
        let (from, to) = (rows(available)?, rows(wanted)?);
        combine(self.field, &from, &to).ok_or_else(|| CodecError::Lost {
            scheme: self.scheme,
            wanted: wanted.to_vec(),
            available: available.to_vec(),
        })
    }
}

/// Positions of the blocks that any row uses.
fn used(rows: &[Vec<u16>], blocks: usize) -> Vec<usize> {
    let is_used = |at: &usize| rows.iter().any(|row| row.get(*at).is_some_and(|by| *by != 0));
    (0..blocks).filter(is_used).collect()
}

impl Codec for MatrixCodec {
    fn scheme(&self) -> ErasureScheme {
        self.scheme
    }

    fn encode(&self, data: &[&[u8]], parity: &mut [&mut [u8]]) -> Result<(), CodecError> {
        let done = self.parity.apply(data, parity);
        done.then_some(()).ok_or(CodecError::Blocks(self.scheme))
    }

    fn sources(&self, available: &[usize], wanted: &[usize]) -> Result<Vec<usize>, CodecError> {
        let rows = self.coefficients(available, wanted)?;
        let used = used(&rows, available.len());
        Ok(used.into_iter().filter_map(|at| available.get(at).copied()).collect())
    }

    fn recover(
        &self,
        available: &[(usize, &[u8])],
        wanted: &mut [(usize, &mut [u8])],
    ) -> Result<(), CodecError> {
        let from: Vec<usize> = available.iter().map(|(index, _)| *index).collect();
        let to: Vec<usize> = wanted.iter().map(|(index, _)| *index).collect();
        let rows = self.coefficients(&from, &to)?;
        let used = used(&rows, available.len());
        let pick = |row: &Vec<u16>| used.iter().filter_map(|at| row.get(*at).copied()).collect();
        let rows: Vec<Vec<u16>> = rows.iter().map(pick).collect();
        let inputs: Vec<&[u8]> =
            used.iter().filter_map(|at| available.get(*at).map(|(_, block)| *block)).collect();
        let mut outputs: Vec<&mut [u8]> =
            wanted.iter_mut().map(|(_, block)| &mut **block).collect();
        let done =
            Rows::new(self.field, self.kernel, inputs.len(), &rows).apply(&inputs, &mut outputs);
        done.then_some(()).ok_or(CodecError::Blocks(self.scheme))
    }
}
