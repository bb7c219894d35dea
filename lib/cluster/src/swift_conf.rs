//! Cluster-wide settings of `swift.conf`, built from key-value pairs that somebody else read.

use crate::backend_auth::{self, BackendAuth};
use crate::hashed_path::HashConf;
use crate::policy::{Policies, Policy, PolicyIndex, PolicyType};

/// What every node of the cluster must have alike.
#[derive(Debug, Clone)]
pub struct SwiftConf {
    /// Prefix and suffix of path hashes.
    pub hash: HashConf,
    /// The storage policies.
    pub policies: Policies,
    /// How its servers know each other.
    pub backend_auth: BackendAuth,
}

impl SwiftConf {
    /// Builds the settings from sections. `sections` yields each section's name and its options.
    ///
    /// # Errors
    /// Text that names the option, the value and what was expected. An empty prefix *and* suffix
    /// is refused: placement would be guessable and, once set, cannot be changed.
    pub fn from_sections<'a>(
        sections: impl Iterator<Item = (&'a str, Vec<(&'a str, &'a str)>)>,
    ) -> Result<Self, String> {
        let mut hash = HashConf::default();
        let mut policies = Vec::new();
        let mut backend_auth = BackendAuth::default();
        for (section, options) in sections {
            let option = |name: &str| {
                options.iter().find(|(key, _)| *key == name).map(|(_, value)| value.trim())
            };
            if section == "swift-hash" {
                let bytes = |name| option(name).unwrap_or_default().as_bytes().to_vec();
                hash.prefix = bytes("swift_hash_path_prefix");
                hash.suffix = bytes("swift_hash_path_suffix");
            } else if section == backend_auth::SECTION {
                backend_auth = BackendAuth::from_options(&options)?;
            } else if let Some(index) = section.strip_prefix("storage-policy:") {
                let index = index.trim().parse().map_err(|_| {
                    format!("[{section}]: expected a whole number after the colon, got {index:?}")
                })?;
                let yes = |name| {
                    option(name).is_some_and(|value| {
                        matches!(
                            value.to_ascii_lowercase().as_str(),
                            "yes" | "true" | "on" | "1" | "t" | "y"
                        )
                    })
                };
                let policy_type = match option("policy_type").unwrap_or("replication") {
                    "replication" => PolicyType::Replication,
                    "erasure_coding" => PolicyType::ErasureCoding,
                    other => {
                        return Err(format!(
                            "[{section}] policy_type = {other:?}: expected replication or erasure_coding"
                        ));
                    }
                };
                policies.push(Policy {
                    index: PolicyIndex(index),
                    name: option("name")
                        .ok_or_else(|| format!("[{section}] has no option `name`"))?
                        .to_owned(),
                    aliases: option("aliases")
                        .unwrap_or_default()
                        .split(',')
                        .map(|alias| alias.trim().to_owned())
                        .filter(|alias| !alias.is_empty())
                        .collect(),
                    is_default: yes("default"),
                    is_deprecated: yes("deprecated"),
                    policy_type,
                });
            }
        }
        if hash.prefix.is_empty() && hash.suffix.is_empty() {
            return Err(
                "[swift-hash]: swift_hash_path_suffix and swift_hash_path_prefix are both empty; \
                 set at least one to a random text that never changes"
                    .to_owned(),
            );
        }
        Ok(Self { hash, policies: Policies::new(policies)?, backend_auth })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_hash_path_is_refused_by_name() {
        let error = SwiftConf::from_sections([("swift-hash", vec![])].into_iter()).unwrap_err();
        assert!(error.contains("swift_hash_path_suffix"), "{error}");
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
