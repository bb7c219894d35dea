//! The arithmetic of blocks without vector instructions.

use std::ops::Range;

use super::table::Coefficient;
use crate::field::Field;

/// Adds `term` to `output`, byte by byte; compilers make vectors of it.
#[inline(always)]
pub(super) fn xor(term: &[u8], output: &mut [u8]) {
    for (byte, added) in output.iter_mut().zip(term) {
        *byte ^= added;
    }
}

/// Sums of products of the bytes in `range`, in the layout of `RowGroup`.
pub(super) fn mix(
    field: Field,
    coefficients: &[Coefficient],
    inputs: &[&[u8]],
    outputs: &mut [&mut [u8]],
    range: Range<usize>,
) {
    let rows = outputs.len().max(1);
    for (row, output) in outputs.iter_mut().enumerate() {
        let Some(output) = output.get_mut(range.clone()) else { continue };
        output.fill(0);
        for (input, coefficients) in inputs.iter().zip(coefficients.chunks(rows)) {
            if let (Some(input), Some(by)) = (input.get(range.clone()), coefficients.get(row)) {
                match field {
                    Field::Bytes => add_bytes(by, input, output),
                    Field::Words => add_words(by, input, output),
                }
            }
        }
    }
}

fn entry(table: &[u8; 16], nibble: u8) -> u8 {
    table.get(usize::from(nibble & 15)).copied().unwrap_or_default()
}

fn add_bytes(by: &Coefficient, input: &[u8], output: &mut [u8]) {
    let [low, _, high, ..] = &by.nibbles;
    for (sum, byte) in output.iter_mut().zip(input) {
        *sum ^= entry(low, *byte) ^ entry(high, byte >> 4);
    }
}

fn add_words(by: &Coefficient, input: &[u8], output: &mut [u8]) {
    let [t00, t01, t10, t11, t20, t21, t30, t31] = &by.nibbles;
    let words = input.as_chunks::<2>().0;
    for ([low, high], [a, b]) in output.as_chunks_mut::<2>().0.iter_mut().zip(words) {
        *low ^= entry(t00, *a) ^ entry(t10, a >> 4) ^ entry(t20, *b) ^ entry(t30, b >> 4);
        *high ^= entry(t01, *a) ^ entry(t11, a >> 4) ^ entry(t21, *b) ^ entry(t31, b >> 4);
    }
}
