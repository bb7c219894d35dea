//! Names and parameters of erasure codes.

use std::fmt;
use std::str::FromStr;

/// The most fragments of a segment (liberasurecode's `EC_MAX_FRAGMENTS`).
const FRAGMENTS_MAX: usize = 256;

/// A family of codes, by PyECLib's name for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErasureType {
    /// liberasurecode's own Reed-Solomon code over words of 16 bits.
    LiberasurecodeRsVand,
    /// ISA-L with a Vandermonde matrix. From five parity fragments on, some losses cannot be repaired.
    IsaLRsVand,
    /// ISA-L with a Vandermonde matrix brought to systematic form by its inverse.
    IsaLRsVandInv,
    /// ISA-L with a Cauchy matrix.
    IsaLRsCauchy,
    /// Flat XOR codes with a Hamming distance of 3: any two losses are repaired.
    FlatXorHd3,
    /// Flat XOR codes with a Hamming distance of 4: any three losses are repaired.
    FlatXorHd4,
}

/// A code that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemeError {
    /// The type is unknown, or known but not supported.
    #[error("erasure code type {0:?} is not supported; expected {names}", names = ErasureType::names())]
    Type(String),
    /// No fragments of one kind.
    #[error("{data} data and {parity} parity fragments: expected at least one of each")]
    NoFragments {
        /// Data fragments.
        data: usize,
        /// Parity fragments.
        parity: usize,
    },
    /// More fragments than the type allows.
    #[error("{data} data and {parity} parity fragments: expected at most {FRAGMENTS_MAX} together")]
    TooManyFragments {
        /// Data fragments.
        data: usize,
        /// Parity fragments.
        parity: usize,
    },
    /// Flat XOR codes exist for some numbers only.
    #[error(
        "{erasure_type} with {data} data and {parity} parity fragments does not exist; expected {expected}"
    )]
    Shape {
        /// The type.
        erasure_type: ErasureType,
        /// Data fragments.
        data: usize,
        /// Parity fragments.
        parity: usize,
        /// The numbers that exist.
        expected: &'static str,
    },
    /// No matrix has these numbers; does not happen with the types that are supported.
    #[error("{0} has no generator matrix")]
    Matrix(ErasureScheme),
}

impl ErasureType {
    /// All supported types.
    pub const ALL: [Self; 6] = [
        Self::LiberasurecodeRsVand,
        Self::IsaLRsVand,
        Self::IsaLRsVandInv,
        Self::IsaLRsCauchy,
        Self::FlatXorHd3,
        Self::FlatXorHd4,
    ];

    /// The name in `ec_type` of `swift.conf`.
    pub fn name(self) -> &'static str {
        match self {
            Self::LiberasurecodeRsVand => "liberasurecode_rs_vand",
            Self::IsaLRsVand => "isa_l_rs_vand",
            Self::IsaLRsVandInv => "isa_l_rs_vand_inv",
            Self::IsaLRsCauchy => "isa_l_rs_cauchy",
            Self::FlatXorHd3 => "flat_xor_hd_3",
            Self::FlatXorHd4 => "flat_xor_hd_4",
        }
    }

    fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }

    /// The code's id and version in a fragment's header. Flat XOR codes share theirs
    /// (`ec_backend_id_t` and `ec_backend_version` of liberasurecode's backends).
    pub(crate) fn backend(self) -> (u8, u32) {
        let version = |major: u32, minor: u32, revision: u32| major << 16 | minor << 8 | revision;
        match self {
            Self::FlatXorHd3 | Self::FlatXorHd4 => (3, version(1, 0, 0)),
            Self::IsaLRsVand => (4, version(2, 13, 0)),
            Self::LiberasurecodeRsVand => (6, version(1, 0, 0)),
            Self::IsaLRsCauchy => (7, version(2, 14, 1)),
            Self::IsaLRsVandInv => (9, version(1, 0, 0)),
        }
    }

    /// Bytes of which a fragment's payload is a multiple.
    pub(crate) fn word_bytes(self) -> usize {
        match self {
            Self::LiberasurecodeRsVand => 2,
            Self::IsaLRsVand | Self::IsaLRsVandInv | Self::IsaLRsCauchy => 1,
            Self::FlatXorHd3 | Self::FlatXorHd4 => 4,
        }
    }

    /// The numbers of data and parity fragments that exist, as text, if these do not
    /// (`init_xor_hd_code` of liberasurecode).
    fn expected_instead_of(self, data: usize, parity: usize) -> Option<&'static str> {
        let (exists, shapes) = match self {
            Self::FlatXorHd3 => (
                matches!((data, parity), (3, 3) | (5..=10, 5) | (6..=15, 6)),
                "3+3, 5+5 to 10+5, or 6+6 to 15+6",
            ),
            Self::FlatXorHd4 => {
                (matches!((data, parity), (5..=10, 5) | (6..=20, 6)), "5+5 to 10+5, or 6+6 to 20+6")
            }
            Self::LiberasurecodeRsVand
            | Self::IsaLRsVand
            | Self::IsaLRsVandInv
            | Self::IsaLRsCauchy => (true, "any"),
        };
        (!exists).then_some(shapes)
    }
}

impl fmt::Display for ErasureType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for ErasureType {
    type Err = SchemeError;

    fn from_str(name: &str) -> Result<Self, SchemeError> {
        let found = Self::ALL.into_iter().find(|known| known.name() == name);
        found.ok_or_else(|| SchemeError::Type(name.to_owned()))
    }
}

/// A code with its numbers of fragments.
///
/// ```
/// use apus_erasure::ErasureScheme;
/// let scheme = ErasureScheme::new("isa_l_rs_cauchy".parse()?, 4, 2)?;
/// assert_eq!(scheme.to_string(), "isa_l_rs_cauchy 4+2");
/// assert_eq!(scheme.fragments(), 6);
/// # Ok::<(), apus_erasure::SchemeError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ErasureScheme {
    erasure_type: ErasureType,
    data: usize,
    parity: usize,
}

impl ErasureScheme {
    /// # Errors
    /// See [`SchemeError`].
    pub fn new(erasure_type: ErasureType, data: usize, parity: usize) -> Result<Self, SchemeError> {
        if data == 0 || parity == 0 {
            return Err(SchemeError::NoFragments { data, parity });
        }
        if data.checked_add(parity).is_none_or(|fragments| fragments > FRAGMENTS_MAX) {
            return Err(SchemeError::TooManyFragments { data, parity });
        }
        match erasure_type.expected_instead_of(data, parity) {
            Some(expected) => Err(SchemeError::Shape { erasure_type, data, parity, expected }),
            None => Ok(Self { erasure_type, data, parity }),
        }
    }

    /// The family of codes.
    pub fn erasure_type(self) -> ErasureType {
        self.erasure_type
    }

    /// Data fragments of a segment.
    pub fn data(self) -> usize {
        self.data
    }

    /// Parity fragments of a segment.
    pub fn parity(self) -> usize {
        self.parity
    }

    /// Fragments of a segment.
    pub fn fragments(self) -> usize {
        self.data + self.parity
    }

    /// Whether some losses of no more fragments than there are parities cannot be repaired, so that Swift
    /// accepts the policy only if it is deprecated (`ECStoragePolicy.__init__`).
    pub fn is_unsafe(self) -> bool {
        self.erasure_type == ErasureType::IsaLRsVand && self.parity >= 5
    }

    /// Bytes of a fragment's payload for a segment of this length: its share, rounded up to whole words.
    pub(crate) fn payload_bytes(self, segment_bytes: u64) -> u64 {
        let word = self.erasure_type.word_bytes() as u64;
        segment_bytes.div_ceil(self.data as u64 * word) * word
    }
}

/// Swift's description in `X-Object-Sysmeta-Ec-Scheme` (`ec_scheme_description`).
impl fmt::Display for ErasureScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}+{}", self.erasure_type, self.data, self.parity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsupported_types_are_refused_with_the_names_of_the_others() {
        for name in ["jerasure_rs_vand", "isa_l_rs_lrc", "flat_xor_hd", "ISA_L_RS_VAND", ""] {
            let error = name.parse::<ErasureType>().unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("isa_l_rs_cauchy"), "{error}");
        }
        for known in ErasureType::ALL {
            assert_eq!(known.name().parse(), Ok(known));
        }
    }

    #[test]
    fn numbers_of_fragments_that_do_not_exist_are_refused() {
        use ErasureType::{FlatXorHd3, FlatXorHd4, IsaLRsVand};
        let cases = [
            (IsaLRsVand, 0, 2, "at least one"),
            (IsaLRsVand, 2, 0, "at least one"),
            (IsaLRsVand, 200, 57, "at most 256"),
            (IsaLRsVand, usize::MAX, 1, "at most 256"),
            (FlatXorHd3, 4, 2, "expected 3+3"),
            (FlatXorHd3, 16, 6, "6+6 to 15+6"),
            (FlatXorHd4, 3, 3, "5+5 to 10+5"),
        ];
        for (erasure_type, data, parity, part) in cases {
            let error = ErasureScheme::new(erasure_type, data, parity).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        assert!(ErasureScheme::new(IsaLRsVand, 200, 56).unwrap().is_unsafe());
        assert!(!ErasureScheme::new(IsaLRsVand, 10, 4).unwrap().is_unsafe());
    }
}
