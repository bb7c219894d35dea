//! The arithmetic of blocks with AVX2, or with AVX-512 and GFNI.
//!
//! The crate's only `unsafe` file. Two things need it: calls of functions that are compiled for more
//! instructions than the crate, each after a check that the machine has them; and loads and stores through
//! pointers, each from a reference to an array of exactly that length.
#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m256i, __m512i, _mm_loadu_si128, _mm256_and_si256, _mm256_broadcastsi128_si256,
    _mm256_loadu_si256, _mm256_set1_epi8, _mm256_setzero_si256, _mm256_shuffle_epi8,
    _mm256_srli_epi16, _mm256_storeu_si256, _mm256_unpackhi_epi8, _mm256_unpackhi_epi64,
    _mm256_unpacklo_epi8, _mm256_unpacklo_epi64, _mm256_xor_si256, _mm512_broadcast_i32x4,
    _mm512_gf2p8affine_epi64_epi8, _mm512_loadu_si512, _mm512_set1_epi64, _mm512_setzero_si512,
    _mm512_shuffle_epi8, _mm512_storeu_si512, _mm512_unpackhi_epi8, _mm512_unpackhi_epi64,
    _mm512_unpacklo_epi8, _mm512_unpacklo_epi64, _mm512_xor_si512,
};
use std::ops::Range;

use super::table::Coefficient;
use super::{Kernel, scalar};
use crate::field::Field;

/// Moves the even bytes of 16 to the front, so that words become a run of low and one of high bytes.
const EVEN_ODD: [u8; 16] = [0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15];

pub(super) fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2")
}

pub(super) fn has_gfni() -> bool {
    is_x86_feature_detected!("gfni")
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
}

/// Adds `term` to `output`.
pub(super) fn xor(term: &[u8], output: &mut [u8]) {
    #[target_feature(enable = "avx2")]
    fn with_avx2(term: &[u8], output: &mut [u8]) {
        scalar::xor(term, output);
    }
    if has_avx2() {
        // SAFETY: the machine has AVX2.
        unsafe { with_avx2(term, output) }
    } else {
        scalar::xor(term, output);
    }
}

/// Sums of products of whole steps in `range`, in the layout of `RowGroup`. Returns where the rest starts.
pub(super) fn mix(
    kernel: Kernel,
    field: Field,
    coefficients: &[Coefficient],
    inputs: &[&[u8]],
    outputs: &mut [&mut [u8]],
    range: Range<usize>,
) -> usize {
    match outputs.len() {
        1 => mix_rows::<1>(kernel, field, coefficients, inputs, outputs, range),
        2 => mix_rows::<2>(kernel, field, coefficients, inputs, outputs, range),
        3 => mix_rows::<3>(kernel, field, coefficients, inputs, outputs, range),
        4 => mix_rows::<4>(kernel, field, coefficients, inputs, outputs, range),
        _ => range.start,
    }
}

fn mix_rows<const R: usize>(
    kernel: Kernel,
    field: Field,
    coefficients: &[Coefficient],
    inputs: &[&[u8]],
    outputs: &mut [&mut [u8]],
    range: Range<usize>,
) -> usize {
    let coefficients = coefficients.as_chunks::<R>().0;
    match (kernel, field) {
        (Kernel::Avx2, Field::Bytes) if has_avx2() => {
            let mut steps = Steps::<64>::new(inputs, outputs, range);
            // SAFETY: the machine has AVX2.
            unsafe { avx2_bytes::<R>(coefficients, &mut steps) };
            steps.end
        }
        (Kernel::Avx2, Field::Words) if has_avx2() => {
            let mut steps = Steps::<64>::new(inputs, outputs, range);
            // SAFETY: the machine has AVX2.
            unsafe { avx2_words::<R>(coefficients, &mut steps) };
            steps.end
        }
        (Kernel::Gfni, Field::Bytes) if has_gfni() => {
            let mut steps = Steps::<64>::new(inputs, outputs, range);
            // SAFETY: the machine has GFNI, AVX-512F and AVX-512BW.
            unsafe { gfni_bytes::<R>(coefficients, &mut steps) };
            steps.end
        }
        (Kernel::Gfni, Field::Words) if has_gfni() => {
            let mut steps = Steps::<128>::new(inputs, outputs, range);
            // SAFETY: the machine has GFNI, AVX-512F and AVX-512BW.
            unsafe { gfni_words::<R>(coefficients, &mut steps) };
            steps.end
        }
        _ => range.start,
    }
}

/// The blocks of a range in steps of `N` bytes.
struct Steps<'a, const N: usize> {
    inputs: Vec<&'a [[u8; N]]>,
    outputs: Vec<&'a mut [[u8; N]]>,
    count: usize,
    /// Where the last whole step ends.
    end: usize,
}

impl<'a, const N: usize> Steps<'a, N> {
    fn new(inputs: &[&'a [u8]], outputs: &'a mut [&mut [u8]], range: Range<usize>) -> Self {
        let count = range.len() / N;
        let end = range.start + count * N;
        let whole = range.start..end;
        let input =
            |input: &&'a [u8]| input.get(whole.clone()).unwrap_or_default().as_chunks::<N>().0;
        let outputs = outputs
            .iter_mut()
            .map(|output| output.get_mut(whole.clone()).unwrap_or_default().as_chunks_mut::<N>().0);
        Self { inputs: inputs.iter().map(input).collect(), outputs: outputs.collect(), count, end }
    }
}

#[target_feature(enable = "avx2")]
#[inline]
fn load256(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: the pointer is to 32 readable bytes; the load needs no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
#[inline]
fn store256(bytes: &mut [u8; 32], value: __m256i) {
    // SAFETY: the pointer is to 32 writable bytes; the store needs no alignment.
    unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().cast(), value) }
}

#[target_feature(enable = "avx2")]
#[inline]
fn store_both(place: &mut [u8; 64], first: __m256i, second: __m256i) {
    if let Some(place) = place.first_chunk_mut() {
        store256(place, first);
    }
    if let Some(place) = place.last_chunk_mut() {
        store256(place, second);
    }
}

/// 16 bytes in both halves.
#[target_feature(enable = "avx2")]
#[inline]
fn twice(bytes: &[u8; 16]) -> __m256i {
    // SAFETY: the pointer is to 16 readable bytes; the load needs no alignment.
    _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) })
}

/// Low and high nibble of each byte.
#[target_feature(enable = "avx2")]
#[inline]
fn nibbles(bytes: __m256i) -> (__m256i, __m256i) {
    let mask = _mm256_set1_epi8(15);
    (_mm256_and_si256(bytes, mask), _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), mask))
}

/// Two vectors in a step share the loads of tables.
#[target_feature(enable = "avx2")]
fn avx2_bytes<const R: usize>(coefficients: &[[Coefficient; R]], steps: &mut Steps<'_, 64>) {
    for step in 0..steps.count {
        let mut sums = [[_mm256_setzero_si256(); 2]; R];
        for (input, by) in steps.inputs.iter().zip(coefficients) {
            let Some(bytes) = input.get(step) else { return };
            let (Some(first), Some(second)) = (bytes.first_chunk(), bytes.last_chunk()) else {
                return;
            };
            let halves = [nibbles(load256(first)), nibbles(load256(second))];
            for (sums, by) in sums.iter_mut().zip(by) {
                let [low, _, high, ..] = &by.nibbles;
                let tables = (twice(low), twice(high));
                for (sum, (low, high)) in sums.iter_mut().zip(halves) {
                    let product = _mm256_xor_si256(
                        _mm256_shuffle_epi8(tables.0, low),
                        _mm256_shuffle_epi8(tables.1, high),
                    );
                    *sum = _mm256_xor_si256(*sum, product);
                }
            }
        }
        for (output, [first, second]) in steps.outputs.iter_mut().zip(sums) {
            if let Some(place) = output.get_mut(step) {
                store_both(place, first, second);
            }
        }
    }
}

#[target_feature(enable = "avx2")]
fn avx2_words<const R: usize>(coefficients: &[[Coefficient; R]], steps: &mut Steps<'_, 64>) {
    let even_odd = twice(&EVEN_ODD);
    for step in 0..steps.count {
        let mut sums = [[_mm256_setzero_si256(); 2]; R];
        for (input, by) in steps.inputs.iter().zip(coefficients) {
            let Some(words) = input.get(step) else { return };
            let (Some(first), Some(second)) = (words.first_chunk(), words.last_chunk()) else {
                return;
            };
            let first = _mm256_shuffle_epi8(load256(first), even_odd);
            let second = _mm256_shuffle_epi8(load256(second), even_odd);
            let (n0, n1) = nibbles(_mm256_unpacklo_epi64(first, second));
            let (n2, n3) = nibbles(_mm256_unpackhi_epi64(first, second));
            for (sum, by) in sums.iter_mut().zip(by) {
                let [t00, t01, t10, t11, t20, t21, t30, t31] = &by.nibbles;
                for (sum, tables) in
                    sum.iter_mut().zip([[t00, t10, t20, t30], [t01, t11, t21, t31]])
                {
                    for (table, nibble) in tables.into_iter().zip([n0, n1, n2, n3]) {
                        *sum = _mm256_xor_si256(*sum, _mm256_shuffle_epi8(twice(table), nibble));
                    }
                }
            }
        }
        for (output, [low, high]) in steps.outputs.iter_mut().zip(sums) {
            if let Some(place) = output.get_mut(step) {
                // `low` has the low bytes of eight words of each half of both loads.
                let (first, second) =
                    (_mm256_unpacklo_epi8(low, high), _mm256_unpackhi_epi8(low, high));
                store_both(place, first, second);
            }
        }
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn load512(bytes: &[u8; 64]) -> __m512i {
    // SAFETY: the pointer is to 64 readable bytes; the load needs no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn store512(bytes: &mut [u8; 64], value: __m512i) {
    // SAFETY: the pointer is to 64 writable bytes; the store needs no alignment.
    unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().cast(), value) }
}

#[target_feature(enable = "gfni,avx512f,avx512bw")]
#[inline]
fn transform(bytes: __m512i, matrix: u64) -> __m512i {
    _mm512_gf2p8affine_epi64_epi8::<0>(bytes, _mm512_set1_epi64(matrix.cast_signed()))
}

#[target_feature(enable = "gfni,avx512f,avx512bw")]
fn gfni_bytes<const R: usize>(coefficients: &[[Coefficient; R]], steps: &mut Steps<'_, 64>) {
    for step in 0..steps.count {
        let mut sums = [_mm512_setzero_si512(); R];
        for (input, by) in steps.inputs.iter().zip(coefficients) {
            let Some(bytes) = input.get(step) else { return };
            let bytes = load512(bytes);
            for (sum, by) in sums.iter_mut().zip(by) {
                let [matrix, ..] = by.matrices;
                *sum = _mm512_xor_si512(*sum, transform(bytes, matrix));
            }
        }
        for (output, sum) in steps.outputs.iter_mut().zip(sums) {
            if let Some(place) = output.get_mut(step) {
                store512(place, sum);
            }
        }
    }
}

#[target_feature(enable = "gfni,avx512f,avx512bw")]
fn gfni_words<const R: usize>(coefficients: &[[Coefficient; R]], steps: &mut Steps<'_, 128>) {
    // SAFETY: the pointer is to 16 readable bytes; the load needs no alignment.
    let even_odd = _mm512_broadcast_i32x4(unsafe { _mm_loadu_si128(EVEN_ODD.as_ptr().cast()) });
    for step in 0..steps.count {
        let mut sums = [[_mm512_setzero_si512(); 2]; R];
        for (input, by) in steps.inputs.iter().zip(coefficients) {
            let Some(words) = input.get(step) else { return };
            let (Some(first), Some(second)) = (words.first_chunk(), words.last_chunk()) else {
                return;
            };
            let first = _mm512_shuffle_epi8(load512(first), even_odd);
            let second = _mm512_shuffle_epi8(load512(second), even_odd);
            let low = _mm512_unpacklo_epi64(first, second);
            let high = _mm512_unpackhi_epi64(first, second);
            for (sum, by) in sums.iter_mut().zip(by) {
                let [m00, m01, m10, m11] = by.matrices;
                for (sum, [of_low, of_high]) in sum.iter_mut().zip([[m00, m10], [m01, m11]]) {
                    let product =
                        _mm512_xor_si512(transform(low, of_low), transform(high, of_high));
                    *sum = _mm512_xor_si512(*sum, product);
                }
            }
        }
        for (output, [low, high]) in steps.outputs.iter_mut().zip(sums) {
            if let Some(place) = output.get_mut(step) {
                if let Some(place) = place.first_chunk_mut() {
                    store512(place, _mm512_unpacklo_epi8(low, high));
                }
                if let Some(place) = place.last_chunk_mut() {
                    store512(place, _mm512_unpackhi_epi8(low, high));
                }
            }
        }
    }
}
