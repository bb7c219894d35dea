//! Cluster-wide settings of `swift.conf`, built from sections that the caller has read.

use std::sync::Arc;

use apus_options::{FileDeclaration, SectionDeclaration, choice, flag, list, options, text};

use crate::backend_auth::{self, BackendAuth, BackendAuthOptions};
use crate::constraints::{self, ConstraintOptions, Constraints};
use crate::erasure_policy::{ErasurePolicy, ErasurePolicyError, ErasurePolicyOptions};
use crate::hashed_path::HashConf;
use crate::identity_root::{IdentityOptions, RootSecrets};
use crate::option_error::{GivenOptions, OptionError};
use crate::policy::{Policies, Policy, PolicyError, PolicyType};
use crate::ring_changes::{RingChanges, RingOptions};
use crate::webhooks::{self, NotifyOptions, Webhooks};

const HASH_SECTION: &str = "swift-hash";

/// The file `swift.conf`.
pub static SWIFT_FILE: FileDeclaration = FileDeclaration {
    name: "swift.conf",
    sentence: "Settings that must be the same on all nodes of a cluster.",
    common: &[],
    sections: &[
        SectionDeclaration::plain(
            HASH_SECTION,
            "Placement of data. At least one of the two must be set.",
            &[SwiftHashOptions::OPTIONS],
        )
        .with_lines(&["swift_hash_path_suffix = changeme", "swift_hash_path_prefix = changeme"]),
        SectionDeclaration::plain(
            "storage-policy:<index>",
            "A storage policy; one section for each.",
            &[StoragePolicyOptions::OPTIONS, ErasurePolicyOptions::OPTIONS],
        )
        .with_lines(&["name = gold", "default = yes"]),
        SectionDeclaration::plain(
            backend_auth::SECTION,
            "Settings of Apus. Swift's programs do not read this section.",
            &[BackendAuthOptions::OPTIONS, RingOptions::OPTIONS, IdentityOptions::OPTIONS],
        ),
        SectionDeclaration::plain(
            constraints::SECTION,
            "Limits for clients.",
            &[ConstraintOptions::OPTIONS],
        ),
        SectionDeclaration::plain(
            webhooks::SECTION,
            "Webhooks that receive events of buckets. Swift's programs do not read this section.",
            &[NotifyOptions::OPTIONS, webhooks::WEBHOOKS],
        ),
    ],
};

/// Settings that must be the same on all nodes of a cluster.
#[derive(Debug, Clone)]
pub struct SwiftConf {
    /// Prefix and suffix of path hashes.
    pub hash: HashConf,
    /// The storage policies.
    pub policies: Policies,
    /// How its servers authenticate each other.
    pub backend_auth: BackendAuth,
    /// The root secrets of identities.
    pub identity_roots: RootSecrets,
    /// How servers learn of new rings.
    pub rings: RingChanges,
    /// What clients may send and ask for.
    pub constraints: Arc<Constraints>,
    /// Which webhooks receive events of buckets.
    pub webhooks: Arc<Webhooks>,
}

/// A `swift.conf` that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SwiftConfError {
    /// An option is missing or not as expected.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// The policies do not go together.
    #[error(transparent)]
    Policies(#[from] PolicyError),
    /// An erasure-coded policy cannot be used.
    #[error(transparent)]
    Erasure(#[from] ErasurePolicyError),
    /// The name of a section of a policy does not end in a number.
    #[error("[storage-policy:{0}]: expected a whole number after the colon")]
    PolicyIndex(String),
    /// Placement would be guessable and, once set, cannot be changed.
    #[error(
        "[swift-hash]: swift_hash_path_suffix and swift_hash_path_prefix are both empty; \
         set at least one to a random text that never changes"
    )]
    EmptyHashPath,
}

options! {
    /// Options of `[swift-hash]`. They must never change once there is data.
    #[derive(Debug)]
    pub struct SwiftHashOptions {
        /// Random text before every path that is hashed. It must never change once there is data.
        swift_hash_path_prefix: String = text("", "a text that never changes").secret(),
        /// Random text after every path that is hashed. It must never change once there is data.
        swift_hash_path_suffix: String = text("", "a text that never changes").secret(),
    }
}

options! {
    /// Options of `[storage-policy:<index>]`.
    #[derive(Debug)]
    pub struct StoragePolicyOptions {
        /// Name of the policy, for clients.
        name: String = text("", "a name").unset("none: it must be set").example("gold"),
        /// Other names, between commas.
        aliases: Vec<String> = list("", "names between commas"),
        /// Whether containers that name no policy get this one.
        default: bool = flag(false),
        /// Whether new containers may no longer have this policy.
        deprecated: bool = flag(false),
        /// How objects are kept.
        policy_type: String = choice("replication", &["replication", "erasure_coding"]),
    }
}

/// The policy of a section `[storage-policy:<index>]`.
fn policy(section: &str, index: &str, options: &[(&str, &str)]) -> Result<Policy, SwiftConfError> {
    let index = index.trim();
    let index = index.parse().map_err(|_| SwiftConfError::PolicyIndex(index.to_owned()))?;
    let given = StoragePolicyOptions::read(&GivenOptions { section, options })?;
    let policy_type = match given.policy_type.as_str() {
        "erasure_coding" => {
            PolicyType::ErasureCoding(ErasurePolicy::read(section, options, given.deprecated)?)
        }
        _ => {
            ErasurePolicy::refuse_options(section, options)?;
            PolicyType::Replication
        }
    };
    Ok(Policy {
        index,
        name: given.name,
        aliases: given.aliases,
        is_default: given.default,
        is_deprecated: given.deprecated,
        policy_type,
    })
}

impl SwiftConf {
    /// Builds the settings from sections. `sections` yields each section's name and its options.
    ///
    /// # Errors
    /// See [`SwiftConfError`].
    pub fn from_sections<'a>(
        sections: impl Iterator<Item = (&'a str, Vec<(&'a str, &'a str)>)>,
    ) -> Result<Self, SwiftConfError> {
        let mut hash = HashConf::default();
        let mut policies = Vec::new();
        let mut backend_auth = BackendAuth::default();
        let mut rings = RingChanges::default();
        let mut identity_roots = RootSecrets::default();
        let mut constraints = Constraints::default();
        let mut webhooks = Webhooks::default();
        for (section, options) in sections {
            if section == HASH_SECTION {
                let given = SwiftHashOptions::read(&GivenOptions { section, options: &options })?;
                hash.prefix = given.swift_hash_path_prefix.into_bytes();
                hash.suffix = given.swift_hash_path_suffix.into_bytes();
            } else if section == constraints::SECTION {
                constraints = Constraints::from_options(&options)?;
            } else if section == webhooks::SECTION {
                webhooks = Webhooks::from_options(&options)?;
            } else if section == backend_auth::SECTION {
                backend_auth = BackendAuth::from_options(&options)?;
                rings = RingChanges::from_options(&options)?;
                identity_roots = RootSecrets::from_options(&options)?;
            } else if let Some(index) = section.strip_prefix("storage-policy:") {
                policies.push(policy(section, index, &options)?);
            }
        }
        if hash.prefix.is_empty() && hash.suffix.is_empty() {
            return Err(SwiftConfError::EmptyHashPath);
        }
        let policies = Policies::new(policies)?;
        let (constraints, webhooks) = (Arc::new(constraints), Arc::new(webhooks));
        let identity_roots = identity_roots.with_hashes(&hash);
        Ok(Self { hash, policies, backend_auth, identity_roots, rings, constraints, webhooks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_hash_path_is_refused_by_name() {
        let error = SwiftConf::from_sections([("swift-hash", vec![])].into_iter()).unwrap_err();
        assert!(error.to_string().contains("swift_hash_path_suffix"), "{error}");
    }

    #[test]
    fn policies_are_read_with_default_and_type() {
        let conf = SwiftConf::from_sections(
            [
                ("swift-hash", vec![("swift_hash_path_suffix", "x")]),
                ("storage-policy:0", vec![("name", "gold"), ("default", "yes")]),
                (
                    "storage-policy:1",
                    vec![
                        ("name", "ec42"),
                        ("policy_type", "erasure_coding"),
                        ("ec_type", "isa_l_rs_cauchy"),
                        ("ec_num_data_fragments", "4"),
                        ("ec_num_parity_fragments", "2"),
                    ],
                ),
            ]
            .into_iter(),
        )
        .unwrap();
        assert_eq!(conf.policies.default_policy().name, "gold");
        let found = &conf.policies.by_name("EC42").unwrap().policy_type;
        let PolicyType::ErasureCoding(erasure) = found else { panic!("{found:?}") };
        assert_eq!(erasure.layout().scheme().to_string(), "isa_l_rs_cauchy 4+2");
    }

    #[test]
    fn options_of_erasure_codes_are_refused_in_other_policies() {
        let sections = [
            ("swift-hash", vec![("swift_hash_path_suffix", "x")]),
            ("storage-policy:0", vec![("name", "gold"), ("ec_type", "isa_l_rs_cauchy")]),
        ];
        let error = SwiftConf::from_sections(sections.into_iter()).unwrap_err().to_string();
        assert!(error.starts_with("[storage-policy:0] ec_type = \"isa_l_rs_cauchy\""), "{error}");
    }
}
