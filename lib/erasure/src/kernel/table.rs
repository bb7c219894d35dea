//! A coefficient as tables: its product with each nibble of a word, and its multiplication as bit matrices.

use crate::field::Field;

/// What the kernels need of a coefficient. A word is one byte or two; of a one-byte field only the
/// first tables are used.
#[derive(Debug, Clone)]
pub(crate) struct Coefficient {
    /// `nibbles[2 * q + o]` has byte `o` of the product with each value of nibble `q` of a word.
    pub(crate) nibbles: [[u8; 16]; 8],
    /// `matrices[2 * n + o]` maps byte `n` of a word to its part of byte `o` of the product, in the order
    /// of `VGF2P8AFFINEQB`: the row for bit i of the result is byte 7 - i.
    pub(crate) matrices: [u64; 4],
}

impl Coefficient {
    pub(crate) fn new(field: Field, value: u16) -> Self {
        let nibbles = 2 * field.word_bytes();
        // The product with each bit of a word; all others are sums of these.
        let bits: [u16; 16] = std::array::from_fn(|bit| match bit < 4 * nibbles {
            true => field.multiply(value, 1 << bit),
            false => 0,
        });
        let product = |nibble: usize, digit: usize| {
            let terms = bits.iter().skip(4 * nibble).take(4).enumerate();
            terms.filter(|(bit, _)| digit >> bit & 1 == 1).fold(0, |sum, (_, term)| sum ^ term)
        };
        let byte = |word: u16, at: usize| (word >> (8 * at)) as u8;
        let matrix = |from: usize, to: usize| {
            let columns = bits.iter().skip(8 * from).take(8).map(|column| byte(*column, to));
            columns.enumerate().fold(0u64, |matrix, (column, bits)| {
                (0..8)
                    .filter(|row| bits >> row & 1 == 1)
                    .fold(matrix, |matrix, row: u64| matrix | 1 << (8 * (7 - row) + column as u64))
            })
        };
        Self {
            nibbles: std::array::from_fn(|table| {
                std::array::from_fn(|digit| byte(product(table / 2, digit), table % 2))
            }),
            matrices: std::array::from_fn(|block| matrix(block / 2, block % 2)),
        }
    }
}
