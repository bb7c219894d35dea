//! Arithmetic of the two finite fields of erasure codes, GF(2^8) and GF(2^16).
//!
//! The polynomials are those of ISA-L (`erasure_code/ec_base.c`) and of liberasurecode
//! (`src/builtin/rs_vand/rs_galois.c`).
#![allow(
    clippy::indexing_slicing,
    reason = "indexes are elements of the field, sums of two logarithms at most"
)]

use std::sync::LazyLock;

/// A field of characteristic two whose elements are words of a block, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    /// GF(2^8) with x^8 + x^4 + x^3 + x^2 + 1.
    Bytes,
    /// GF(2^16) with x^16 + x^12 + x^3 + x + 1.
    Words,
}

struct FieldTables {
    /// Logarithm of each element; that of zero is not used.
    log: Vec<u16>,
    /// Powers of the generator, twice in a row, so that a sum of two logarithms needs no reduction.
    exp: Vec<u16>,
}

impl FieldTables {
    fn new(bits: u32, polynomial: u32) -> Self {
        let order = (1usize << bits) - 1;
        let mut tables = Self { log: vec![0; order + 1], exp: vec![0; 2 * order] };
        let mut element = 1u32;
        for power in 0..order {
            tables.log[element as usize] = power as u16;
            tables.exp[power] = element as u16;
            tables.exp[power + order] = element as u16;
            element <<= 1;
            if element >> bits != 0 {
                element ^= polynomial;
            }
        }
        tables
    }
}

static BYTES: LazyLock<FieldTables> = LazyLock::new(|| FieldTables::new(8, 0x11d));
static WORDS: LazyLock<FieldTables> = LazyLock::new(|| FieldTables::new(16, 0x1100b));

impl Field {
    /// Bytes of an element.
    pub(crate) fn word_bytes(self) -> usize {
        match self {
            Self::Bytes => 1,
            Self::Words => 2,
        }
    }

    fn tables(self) -> &'static FieldTables {
        match self {
            Self::Bytes => &BYTES,
            Self::Words => &WORDS,
        }
    }

    pub(crate) fn multiply(self, a: u16, b: u16) -> u16 {
        if a == 0 || b == 0 {
            return 0;
        }
        let tables = self.tables();
        tables.exp
            [usize::from(tables.log[usize::from(a)]) + usize::from(tables.log[usize::from(b)])]
    }

    /// The inverse of an element; of zero, zero, as in ISA-L's `gf_inv`.
    pub(crate) fn invert(self, a: u16) -> u16 {
        if a == 0 {
            return 0;
        }
        let tables = self.tables();
        let order = tables.log.len() - 1;
        tables.exp[order - usize::from(tables.log[usize::from(a)])]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Multiplication bit by bit, without tables.
    fn slow_product(field: Field, a: u16, b: u16) -> u16 {
        let (bits, polynomial) = match field {
            Field::Bytes => (8, 0x11du64),
            Field::Words => (16, 0x1100b),
        };
        let mut product = (0..bits)
            .filter(|bit| b >> bit & 1 == 1)
            .fold(0u64, |sum, bit| sum ^ u64::from(a) << bit);
        for bit in (bits..2 * bits).rev() {
            if product >> bit & 1 == 1 {
                product ^= polynomial << (bit - bits);
            }
        }
        product as u16
    }

    #[test]
    fn products_are_those_of_polynomials() {
        for a in 0..256 {
            for b in 0..256 {
                assert_eq!(
                    Field::Bytes.multiply(a, b),
                    slow_product(Field::Bytes, a, b),
                    "{a} {b}"
                );
                let (a, b) = (a.wrapping_mul(40503), b.wrapping_mul(257).rotate_left(5));
                assert_eq!(
                    Field::Words.multiply(a, b),
                    slow_product(Field::Words, a, b),
                    "{a} {b}"
                );
            }
        }
    }

    #[test]
    fn an_element_times_its_inverse_is_one() {
        assert!((1..=255).all(|a| Field::Bytes.multiply(a, Field::Bytes.invert(a)) == 1));
        assert!((1..=u16::MAX).all(|a| Field::Words.multiply(a, Field::Words.invert(a)) == 1));
    }
}
