//! Generator matrices: the coefficients with which data fragments add up to parity fragments.
//!
//! Sources: ISA-L `erasure_code/ec_base.c` (`gf_gen_rs_matrix`, `gf_gen_cauchy1_matrix`); liberasurecode
//! `isa_l_rs_vand_inv.c`, `builtin/rs_vand/liberasurecode_rs_vand.c` (`make_systematic_matrix`) and
//! `xor_codes/xor_hd_code_defs.h`. They are frozen by `tests/fixtures/erasure`.
#![allow(clippy::indexing_slicing, reason = "indexes are within the matrix that this file makes")]

use crate::field::Field;
use crate::scheme::{ErasureScheme, ErasureType};
use crate::solve::combine;

/// Parities that contain each data fragment, as bits. A code with k data fragments uses the first k.
const XOR_HD3_M3: [u8; 3] = [5, 6, 3];
const XOR_HD3_M5: [u8; 10] = [5, 9, 10, 18, 20, 3, 12, 17, 6, 24];
const XOR_HD3_M6: [u8; 15] = [17, 33, 36, 24, 10, 6, 3, 12, 48, 5, 18, 40, 9, 34, 20];
const XOR_HD4_M5: [u8; 10] = [11, 13, 21, 22, 26, 7, 25, 14, 19, 28];
const XOR_HD4_M6: [u8; 20] =
    [25, 41, 49, 14, 22, 38, 7, 56, 11, 52, 19, 44, 35, 28, 13, 50, 21, 42, 37, 26];
/// 12+6 with a Hamming distance of 4 is a code of its own.
const XOR_HD4_12_6: [u8; 12] = [7, 14, 28, 56, 49, 35, 13, 26, 52, 41, 19, 38];

/// The field of a type's code. XOR codes have coefficients 0 and 1, which both fields have.
pub(crate) fn field(erasure_type: ErasureType) -> Field {
    match erasure_type {
        ErasureType::LiberasurecodeRsVand => Field::Words,
        ErasureType::IsaLRsVand
        | ErasureType::IsaLRsVandInv
        | ErasureType::IsaLRsCauchy
        | ErasureType::FlatXorHd3
        | ErasureType::FlatXorHd4 => Field::Bytes,
    }
}

/// A row of coefficients for each parity fragment; `None` if the code does not exist.
pub(crate) fn parity_rows(scheme: ErasureScheme) -> Option<Vec<Vec<u16>>> {
    let field = field(scheme.erasure_type());
    let (data, fragments) = (scheme.data(), scheme.fragments());
    // Row i of a Vandermonde matrix has the powers of `base(i)`.
    let vandermonde =
        |rows: std::ops::Range<usize>, base: &dyn Fn(usize) -> u16| -> Vec<Vec<u16>> {
            rows.map(|row| powers(field, base(row), data)).collect()
        };
    match scheme.erasure_type() {
        ErasureType::IsaLRsVand => {
            Some(vandermonde(0..scheme.parity(), &|row| power(field, 2, row)))
        }
        ErasureType::IsaLRsCauchy => {
            let entry = |row: usize, column: usize| field.invert((row ^ column) as u16);
            Some(
                (data..fragments).map(|row| (0..data).map(|at| entry(row, at)).collect()).collect(),
            )
        }
        ErasureType::IsaLRsVandInv => {
            let rows = vandermonde(0..fragments, &|row| power(field, 2, row + 1));
            systematic(field, &rows, data)
        }
        ErasureType::LiberasurecodeRsVand => {
            // The row of zero is 1, 0, 0, …
            let rows = vandermonde(0..fragments, &|row| row as u16);
            let mut parity = systematic(field, &rows, data)?;
            // Each column is scaled so that the first parity is the sum of all data.
            let scales: Vec<u16> =
                parity.first()?.iter().map(|entry| field.invert(*entry)).collect();
            for row in &mut parity {
                for (entry, scale) in row.iter_mut().zip(&scales) {
                    *entry = field.multiply(*entry, *scale);
                }
            }
            Some(parity)
        }
        ErasureType::FlatXorHd3 => match scheme.parity() {
            3 => xor_rows(&XOR_HD3_M3, scheme),
            5 => xor_rows(&XOR_HD3_M5, scheme),
            _ => xor_rows(&XOR_HD3_M6, scheme),
        },
        ErasureType::FlatXorHd4 => match (data, scheme.parity()) {
            (_, 5) => xor_rows(&XOR_HD4_M5, scheme),
            (12, _) => xor_rows(&XOR_HD4_12_6, scheme),
            _ => xor_rows(&XOR_HD4_M6, scheme),
        },
    }
}

fn power(field: Field, base: u16, exponent: usize) -> u16 {
    (0..exponent).fold(1, |product, _| field.multiply(product, base))
}

/// 1, base, base², …
fn powers(field: Field, base: u16, count: usize) -> Vec<u16> {
    std::iter::successors(Some(1), |power| Some(field.multiply(*power, base))).take(count).collect()
}

/// The rows after the first `data` ones as sums of those: the parity part of the matrix in systematic form.
fn systematic(field: Field, rows: &[Vec<u16>], data: usize) -> Option<Vec<Vec<u16>>> {
    let rows: Vec<&[u16]> = rows.iter().map(Vec::as_slice).collect();
    let (top, rest) = rows.split_at_checked(data)?;
    combine(field, top, rest)
}

fn xor_rows(columns: &[u8], scheme: ErasureScheme) -> Option<Vec<Vec<u16>>> {
    let columns = columns.get(..scheme.data())?;
    let row = |parity: usize| columns.iter().map(|bits| u16::from(bits >> parity & 1)).collect();
    Some((0..scheme.parity()).map(row).collect())
}
