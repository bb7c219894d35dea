//! Storage policies of type `erasure_coding`: their code, segments, copies of fragments and quorum.
//!
//! Source: `ECStoragePolicy` of `swift/common/storage_policy.py`.

use apus_erasure::{ErasureScheme, LayoutError, SchemeError, SegmentLayout};
use apus_options::{choice, options, whole};

use crate::option_error::{GivenOptions, OptionError};

/// Parity fragments that a write needs in addition to all data fragments. PyECLib has 1 for every code
/// (`min_parity_fragments_needed`).
const PARITY_NEEDED: usize = 1;
/// All options of these policies, and no others, begin so.
const OPTION_PREFIX: &str = "ec_";

options! {
    /// Options of `[storage-policy:<index>]` with `policy_type = erasure_coding`; they must never change.
    #[derive(Debug)]
    pub struct ErasurePolicyOptions {
        /// Erasure code, by PyECLib's name. It must never change.
        ec_type: Option<String> = choice(
            "",
            &[
                "liberasurecode_rs_vand",
                "isa_l_rs_vand",
                "isa_l_rs_vand_inv",
                "isa_l_rs_cauchy",
                "flat_xor_hd_3",
                "flat_xor_hd_4",
            ],
        )
        .unset("none: it must be set with `erasure_coding`"),
        /// Fragments of a segment that hold its data. It must never change.
        ec_num_data_fragments: Option<usize> =
            whole(0).from(1).to(255).unset("none: it must be set with `erasure_coding`"),
        /// Fragments of a segment that can be lost. It must never change.
        ec_num_parity_fragments: Option<usize> =
            whole(0).from(1).to(255).unset("none: it must be set with `erasure_coding`"),
        /// Length of the segments that are encoded, each by itself. It must never change.
        ec_object_segment_size: u64 = whole(1_048_576).unit("bytes").from(1).to(2_147_483_647),
        /// Copies of each fragment.
        ec_duplication_factor: usize = whole(1).from(1).to(256),
    }
}

/// A code with which objects of a policy are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErasurePolicy {
    layout: SegmentLayout,
    duplication: usize,
}

/// Options of an erasure-coded policy that do not go together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ErasurePolicyError {
    /// An option is missing or not as expected.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// The code does not exist with these numbers of fragments.
    #[error("[{section}] ec_num_data_fragments, ec_num_parity_fragments: {source}")]
    Scheme {
        /// The section.
        section: String,
        /// Why.
        source: SchemeError,
    },
    /// The length of segments cannot be used.
    #[error("[{section}] ec_object_segment_size: {source}")]
    Layout {
        /// The section.
        section: String,
        /// Why.
        source: LayoutError,
    },
    /// Objects could be lost with fewer failures than the numbers promise
    /// (<https://bugs.launchpad.net/swift/+bug/1639691>).
    #[error(
        "[{section}] deprecated = false: expected true, since {scheme} cannot repair some losses of \
         five fragments"
    )]
    Unsafe {
        /// The section.
        section: String,
        /// The code.
        scheme: ErasureScheme,
    },
}

impl ErasurePolicy {
    /// Copies of each fragment are on `duplication` nodes, at least one.
    pub fn new(layout: SegmentLayout, duplication: usize) -> Self {
        Self { layout, duplication: duplication.max(1) }
    }

    /// Reads the options of a section.
    pub(crate) fn read(
        section: &str,
        options: &[(&str, &str)],
        is_deprecated: bool,
    ) -> Result<Self, ErasurePolicyError> {
        let given = ErasurePolicyOptions::read(&GivenOptions { section, options })?;
        let missing =
            |name| OptionError::hidden(section, name, "a value, with policy_type = erasure_coding");
        let name = given.ec_type.ok_or_else(|| missing("ec_type"))?;
        let data = given.ec_num_data_fragments.ok_or_else(|| missing("ec_num_data_fragments"))?;
        let parity =
            given.ec_num_parity_fragments.ok_or_else(|| missing("ec_num_parity_fragments"))?;
        let of_scheme = |source| ErasurePolicyError::Scheme { section: section.to_owned(), source };
        let scheme = ErasureScheme::new(name.parse().map_err(of_scheme)?, data, parity);
        let scheme = scheme.map_err(of_scheme)?;
        if scheme.is_unsafe() && !is_deprecated {
            return Err(ErasurePolicyError::Unsafe { section: section.to_owned(), scheme });
        }
        let layout = SegmentLayout::new(scheme, given.ec_object_segment_size);
        let layout = layout
            .map_err(|source| ErasurePolicyError::Layout { section: section.to_owned(), source })?;
        Ok(Self::new(layout, given.ec_duplication_factor))
    }

    /// Refuses these options in a policy of another type, as Swift does: they would have no effect.
    pub(crate) fn refuse_options(
        section: &str,
        options: &[(&str, &str)],
    ) -> Result<(), OptionError> {
        match options.iter().find(|(name, _)| name.starts_with(OPTION_PREFIX)) {
            Some((name, value)) => {
                let expected = "no such option without policy_type = erasure_coding";
                Err(OptionError::value(section, name, value.trim(), expected))
            }
            None => Ok(()),
        }
    }

    /// The code, and how objects are cut for it.
    pub fn layout(&self) -> &SegmentLayout {
        &self.layout
    }

    /// Nodes that have the same fragment.
    pub fn duplication(&self) -> usize {
        self.duplication
    }

    /// Different fragments of an object.
    pub fn fragments(&self) -> usize {
        self.layout.scheme().fragments()
    }

    /// Replicas that the ring of the policy must have, no more and no fewer.
    pub fn ring_replicas(&self) -> usize {
        self.fragments() * self.duplication
    }

    /// Responses that a write needs to succeed.
    pub fn write_quorum(&self) -> usize {
        (self.layout.scheme().data() + PARITY_NEEDED) * self.duplication
    }

    /// Index of the fragment for a primary, by its position in the ring (`get_backend_index`).
    pub fn fragment_of_primary(&self, position: usize) -> usize {
        position % self.fragments()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use apus_erasure::ErasureType;
    use apus_options::OptionKind;

    const GOOD: [(&str, &str); 3] = [
        ("ec_type", "isa_l_rs_cauchy"),
        ("ec_num_data_fragments", "4"),
        ("ec_num_parity_fragments", "2"),
    ];

    /// Changed options, and parts of the error.
    type RefusedCase = (&'static [(&'static str, &'static str)], &'static [&'static str]);

    fn read(changes: &[(&'static str, &'static str)]) -> Result<ErasurePolicy, String> {
        let mut options = changes.to_vec();
        options.extend(GOOD.iter().filter(|(name, _)| changes.iter().all(|(of, _)| of != name)));
        options.retain(|(_, value)| *value != "absent");
        ErasurePolicy::read("storage-policy:1", &options, false).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_and_quorums_are_those_of_swift() {
        let policy = read(&[]).unwrap();
        assert_eq!(policy.layout().segment_bytes(), 1 << 20);
        assert_eq!((policy.fragments(), policy.ring_replicas(), policy.write_quorum()), (6, 6, 5));
        let twice = read(&[("ec_duplication_factor", "2")]).unwrap();
        assert_eq!((twice.fragments(), twice.ring_replicas(), twice.write_quorum()), (6, 12, 10));
        assert_eq!([0, 5, 6, 11].map(|position| twice.fragment_of_primary(position)), [0, 5, 0, 5]);
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_field_value_and_expectation() {
        let cases: [RefusedCase; 12] = [
            (&[("ec_type", "absent")], &["ec_type: expected a value"]),
            (&[("ec_type", "")], &["ec_type", "expected liberasurecode_rs_vand"]),
            (&[("ec_type", "jerasure_rs_vand")], &["\"jerasure_rs_vand\"", "or flat_xor_hd_4"]),
            (&[("ec_num_data_fragments", "absent")], &["ec_num_data_fragments: expected a value"]),
            (
                &[("ec_num_data_fragments", "0")],
                &["ec_num_data_fragments = \"0\"", "from 1 to 255"],
            ),
            (&[("ec_num_parity_fragments", "absent")], &["ec_num_parity_fragments: expected"]),
            (&[("ec_num_parity_fragments", "-1")], &["ec_num_parity_fragments = \"-1\""]),
            (&[("ec_num_data_fragments", "255")], &["255 data and 2 parity", "at most 256"]),
            (&[("ec_type", "flat_xor_hd_3")], &["flat_xor_hd_3 with 4 data", "expected 3+3"]),
            (
                &[("ec_object_segment_size", "0")],
                &["ec_object_segment_size = \"0\"", "bytes from 1"],
            ),
            (
                &[("ec_duplication_factor", "0")],
                &["ec_duplication_factor = \"0\"", "from 1 to 256"],
            ),
            (
                &[("ec_type", "isa_l_rs_vand"), ("ec_num_parity_fragments", "5")],
                &["deprecated = false: expected true", "isa_l_rs_vand 4+5"],
            ),
        ];
        for (changes, parts) in cases {
            let error = read(changes).unwrap_err();
            assert!(error.starts_with("[storage-policy:1] "), "{error}");
            for part in parts {
                assert!(error.contains(part), "{part}: {error}");
            }
        }
        let options: Vec<_> = GOOD.iter().copied().filter(|(name, _)| *name != "ec_type").collect();
        let options = [&options[..], &[("ec_type", "isa_l_rs_vand")]].concat();
        assert!(ErasurePolicy::read("storage-policy:1", &options, true).is_ok());
    }

    #[test]
    fn the_declared_types_are_those_of_the_codecs() {
        let declared = ErasurePolicyOptions::OPTIONS.iter().find(|option| option.name == "ec_type");
        let Some(OptionKind::Choice(names)) = declared.map(|option| option.kind) else {
            panic!("ec_type is not a choice");
        };
        assert_eq!(names, ErasureType::ALL.map(ErasureType::name));
    }
}
