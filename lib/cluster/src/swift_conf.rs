//! Cluster-wide settings of `swift.conf`, built from sections that the caller has read.

use std::sync::Arc;

use crate::backend_auth::{self, BackendAuth};
use crate::constraints::{self, Constraints};
use crate::hashed_path::HashConf;
use crate::option_error::OptionError;
use crate::policy::{Policies, Policy, PolicyError, PolicyType};
use crate::ring_changes::RingChanges;

/// Settings that must be the same on all nodes of a cluster.
#[derive(Debug, Clone)]
pub struct SwiftConf {
    /// Prefix and suffix of path hashes.
    pub hash: HashConf,
    /// The storage policies.
    pub policies: Policies,
    /// How its servers authenticate each other.
    pub backend_auth: BackendAuth,
    /// How servers learn of new rings.
    pub rings: RingChanges,
    /// What clients may send and ask for.
    pub constraints: Arc<Constraints>,
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

/// The policy of a section `[storage-policy:<index>]`.
fn policy(section: &str, index: &str, options: &[(&str, &str)]) -> Result<Policy, SwiftConfError> {
    let option =
        |name: &str| options.iter().find(|(key, _)| *key == name).map(|(_, value)| value.trim());
    let index = index.trim();
    let index = index.parse().map_err(|_| SwiftConfError::PolicyIndex(index.to_owned()))?;
    let yes = |name| {
        option(name).is_some_and(|value| {
            let value = value.to_ascii_lowercase();
            matches!(value.as_str(), "yes" | "true" | "on" | "1" | "t" | "y")
        })
    };
    let policy_type = match option("policy_type").unwrap_or("replication") {
        "replication" => PolicyType::Replication,
        "erasure_coding" => PolicyType::ErasureCoding,
        other => {
            let expected = "replication or erasure_coding";
            return Err(OptionError::value(section, "policy_type", other, expected).into());
        }
    };
    let name = option("name").ok_or_else(|| OptionError::hidden(section, "name", "a name"))?;
    let aliases = option("aliases").unwrap_or_default().split(',').map(str::trim);
    Ok(Policy {
        index,
        name: name.to_owned(),
        aliases: aliases.filter(|alias| !alias.is_empty()).map(str::to_owned).collect(),
        is_default: yes("default"),
        is_deprecated: yes("deprecated"),
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
        let mut constraints = Constraints::default();
        for (section, options) in sections {
            let option = |name: &str| {
                options.iter().find(|(key, _)| *key == name).map(|(_, value)| value.trim())
            };
            if section == "swift-hash" {
                let bytes = |name| option(name).unwrap_or_default().as_bytes().to_vec();
                hash.prefix = bytes("swift_hash_path_prefix");
                hash.suffix = bytes("swift_hash_path_suffix");
            } else if section == constraints::SECTION {
                constraints = Constraints::from_options(&options)?;
            } else if section == backend_auth::SECTION {
                backend_auth = BackendAuth::from_options(&options)?;
                rings = RingChanges::from_options(&options)?;
            } else if let Some(index) = section.strip_prefix("storage-policy:") {
                policies.push(policy(section, index, &options)?);
            }
        }
        if hash.prefix.is_empty() && hash.suffix.is_empty() {
            return Err(SwiftConfError::EmptyHashPath);
        }
        let policies = Policies::new(policies)?;
        Ok(Self { hash, policies, backend_auth, rings, constraints: Arc::new(constraints) })
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
                ("storage-policy:1", vec![("name", "ec42"), ("policy_type", "erasure_coding")]),
            ]
            .into_iter(),
        )
        .unwrap();
        assert_eq!(conf.policies.default_policy().name, "gold");
        assert_eq!(conf.policies.by_name("EC42").unwrap().policy_type, PolicyType::ErasureCoding);
    }
}
