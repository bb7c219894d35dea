//! Sums of products over whole blocks: `outputs = coefficients × inputs`.
//!
//! The implementation is chosen at run time; all return the same bytes. Rows are applied four at a time, in
//! stripes that stay in the first-level cache, so that each input is read from memory once. Rows whose
//! coefficients are all zero or one are XORs of some inputs, where that is faster.

mod scalar;
mod table;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::ops::Range;
use std::sync::LazyLock;

use crate::field::Field;
use table::Coefficient;

/// Bytes of each block that are worked on at a time; a multiple of every kernel's step.
const STRIPE_BYTES: usize = 4096;
/// Rows whose sums fit in registers together.
const ROWS_MAX: usize = 4;

/// Which instructions do the arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// Table look-ups, two for each byte. On every machine.
    Scalar,
    /// Look-ups of 32 bytes at a time with `VPSHUFB`.
    Avx2,
    /// Bit matrices of 64 bytes at a time with `VGF2P8AFFINEQB`.
    Gfni,
}

static BEST: LazyLock<Kernel> =
    LazyLock::new(|| Kernel::available().last().copied().unwrap_or(Kernel::Scalar));

impl Kernel {
    /// What this machine has, slowest first.
    pub fn available() -> Vec<Self> {
        let mut kernels = vec![Self::Scalar];
        #[cfg(target_arch = "x86_64")]
        {
            if x86::has_avx2() {
                kernels.push(Self::Avx2);
            }
            if x86::has_gfni() {
                kernels.push(Self::Gfni);
            }
        }
        kernels
    }

    /// The fastest that this machine has.
    pub fn best() -> Self {
        *BEST
    }
}

/// Up to [`ROWS_MAX`] rows of coefficients, input by input.
#[derive(Debug)]
struct RowGroup {
    outputs: Range<usize>,
    /// `outputs.len()` coefficients for the first input, then those for the second.
    coefficients: Vec<Coefficient>,
}

/// Rows of coefficients as the kernels need them.
#[derive(Debug)]
pub(crate) struct Rows {
    field: Field,
    kernel: Kernel,
    inputs: usize,
    outputs: usize,
    /// Outputs that are the XOR of these inputs.
    xors: Vec<(usize, Vec<usize>)>,
    groups: Vec<RowGroup>,
    /// Outputs in the order of `groups`.
    mixed: Vec<usize>,
}

impl Rows {
    /// Prepares rows that have a coefficient for each of `inputs` blocks.
    pub(crate) fn new(field: Field, kernel: Kernel, inputs: usize, rows: &[Vec<u16>]) -> Self {
        let sums_only = rows.iter().flatten().all(|coefficient| *coefficient <= 1);
        // Where a product costs no more than a load, a pass of its own is slower.
        let separates = match (kernel, field) {
            (Kernel::Gfni, _) | (Kernel::Avx2, Field::Bytes) => sums_only,
            (Kernel::Scalar, _) | (Kernel::Avx2, Field::Words) => true,
        };
        let is_xor = |(_, row): &(usize, &Vec<u16>)| {
            separates && row.iter().all(|coefficient| *coefficient <= 1)
        };
        let (xors, mixed): (Vec<_>, Vec<_>) = rows.iter().enumerate().partition(is_xor);
        let ones = |row: &[u16]| (0..inputs).filter(|at| row.get(*at) == Some(&1)).collect();
        let mut groups = Vec::new();
        for (number, group) in mixed.chunks(ROWS_MAX).enumerate() {
            let start = number * ROWS_MAX;
            let of = |input: usize| {
                group.iter().map(move |(_, row)| row.get(input).copied().unwrap_or_default())
            };
            let coefficients = (0..inputs).flat_map(of).map(|value| Coefficient::new(field, value));
            let coefficients = coefficients.collect();
            groups.push(RowGroup { outputs: start..start + group.len(), coefficients });
        }
        Self {
            field,
            kernel,
            inputs,
            outputs: rows.len(),
            xors: xors.into_iter().map(|(output, row)| (output, ones(row))).collect(),
            groups,
            mixed: mixed.into_iter().map(|(output, _)| output).collect(),
        }
    }

    /// Writes the sums of products to `outputs`, whose contents do not matter. False, and nothing is written,
    /// unless there are as many blocks as the rows have, of one length of whole words.
    #[must_use]
    pub(crate) fn apply(&self, inputs: &[&[u8]], outputs: &mut [&mut [u8]]) -> bool {
        let length = inputs.first().map_or(0, |input| input.len());
        let fits = inputs.len() == self.inputs
            && outputs.len() == self.outputs
            && inputs.iter().all(|input| input.len() == length)
            && outputs.iter().all(|output| output.len() == length)
            && length.is_multiple_of(self.field.word_bytes());
        if !fits {
            return false;
        }
        let (mut mixed, mut xors) = (Vec::new(), Vec::new());
        for (at, output) in outputs.iter_mut().enumerate() {
            if self.mixed.contains(&at) {
                mixed.push(&mut **output)
            } else {
                xors.push(&mut **output)
            }
        }
        for start in (0..length).step_by(STRIPE_BYTES) {
            let stripe = start..length.min(start + STRIPE_BYTES);
            for (output, (_, terms)) in xors.iter_mut().zip(&self.xors) {
                xor(self.kernel, inputs, terms, output, stripe.clone());
            }
            for group in &self.groups {
                if let Some(outputs) = mixed.get_mut(group.outputs.clone()) {
                    self.mix(group, inputs, outputs, stripe.clone());
                }
            }
        }
        true
    }

    /// One group of rows in one stripe: whole steps by the kernel, the rest by the scalar one.
    fn mix(
        &self,
        group: &RowGroup,
        inputs: &[&[u8]],
        outputs: &mut [&mut [u8]],
        stripe: Range<usize>,
    ) {
        let done = match self.kernel {
            Kernel::Scalar => stripe.start,
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 | Kernel::Gfni => x86::mix(
                self.kernel,
                self.field,
                &group.coefficients,
                inputs,
                outputs,
                stripe.clone(),
            ),
            #[cfg(not(target_arch = "x86_64"))]
            Kernel::Avx2 | Kernel::Gfni => stripe.start,
        };
        scalar::mix(self.field, &group.coefficients, inputs, outputs, done..stripe.end);
    }
}

/// The XOR of some inputs in one stripe.
fn xor(kernel: Kernel, inputs: &[&[u8]], terms: &[usize], output: &mut [u8], stripe: Range<usize>) {
    let Some(output) = output.get_mut(stripe.clone()) else { return };
    let mut terms = terms.iter().filter_map(|term| inputs.get(*term)?.get(stripe.clone()));
    match terms.next() {
        Some(first) => output.copy_from_slice(first),
        None => output.fill(0),
    }
    for term in terms {
        match kernel {
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 | Kernel::Gfni => x86::xor(term, output),
            #[cfg(not(target_arch = "x86_64"))]
            Kernel::Avx2 | Kernel::Gfni => scalar::xor(term, output),
            Kernel::Scalar => scalar::xor(term, output),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn expected(field: Field, rows: &[Vec<u16>], inputs: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let word = field.word_bytes();
        let length = inputs[0].len();
        let mut outputs = vec![vec![0; length]; rows.len()];
        for (row, output) in rows.iter().zip(&mut outputs) {
            for at in (0..length).step_by(word) {
                let value = |input: &Vec<u8>| match field {
                    Field::Bytes => u16::from(input[at]),
                    Field::Words => u16::from_le_bytes([input[at], input[at + 1]]),
                };
                let products =
                    row.iter().zip(inputs).map(|(by, input)| field.multiply(*by, value(input)));
                let sum = products.fold(0, |sum, product| sum ^ product).to_le_bytes();
                output[at..at + word].copy_from_slice(&sum[..word]);
            }
        }
        outputs
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn every_kernel_returns_the_sums_of_products(
            is_words: bool,
            words in 0usize..4500,
            seed: u64,
            inputs in 1usize..7,
            outputs in 0usize..10,
            largest in prop::sample::select(vec![1u16, 255, u16::MAX]),
        ) {
            let field = if is_words { Field::Words } else { Field::Bytes };
            let mut state = seed;
            let mut next = || {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (state >> 48) as u16
            };
            let limit = if is_words { largest } else { largest.min(255) };
            let rows: Vec<Vec<u16>> =
                (0..outputs).map(|_| (0..inputs).map(|_| next() & limit).collect()).collect();
            let blocks: Vec<Vec<u8>> = (0..inputs)
                .map(|_| (0..words * field.word_bytes()).map(|_| next() as u8).collect())
                .collect();
            let wanted = expected(field, &rows, &blocks);
            let blocks: Vec<&[u8]> = blocks.iter().map(Vec::as_slice).collect();
            for kernel in Kernel::available() {
                let mut made = vec![vec![7; words * field.word_bytes()]; outputs];
                let mut slices: Vec<&mut [u8]> = made.iter_mut().map(Vec::as_mut_slice).collect();
                let prepared = Rows::new(field, kernel, inputs, &rows);
                prop_assert!(prepared.apply(&blocks, &mut slices));
                prop_assert!(made == wanted, "{kernel:?}");
            }
        }
    }

    #[test]
    fn blocks_that_do_not_fit_are_refused() {
        let rows = Rows::new(Field::Words, Kernel::Scalar, 2, &[vec![3, 4]]);
        let cases: [(&[&[u8]], usize); 4] = [
            (&[&[1, 2]], 2),
            (&[&[1, 2], &[1, 2, 3, 4]], 2),
            (&[&[1, 2], &[3, 4]], 4),
            (&[&[1], &[2]], 1),
        ];
        for (inputs, output) in cases {
            let mut output = vec![0; output];
            assert!(!rows.apply(inputs, &mut [&mut output]), "{inputs:?}");
        }
    }
}
