//! Storage policies and the sizes of their quorums.
//!
//! Source: `swift/common/storage_policy.py`.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

pub use crate::erasure_policy::ErasurePolicy;

/// Index of a storage policy, the N of `objects-N` and `object-N.ring.gz`.
///
/// ```
/// use apus_cluster::PolicyIndex;
/// let policy: PolicyIndex = "1".parse()?;
/// assert_eq!(policy.suffixed("objects"), "objects-1");
/// assert_eq!(PolicyIndex(0).suffixed("objects"), "objects");
/// # Ok::<(), std::num::ParseIntError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct PolicyIndex(pub u32);

impl PolicyIndex {
    /// `base` for policy 0, `base-N` otherwise: `objects`, `objects-1`.
    pub fn suffixed(self, base: &str) -> String {
        if self.0 == 0 { base.to_owned() } else { format!("{base}-{}", self.0) }
    }
}

impl FromStr for PolicyIndex {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        text.parse().map(Self)
    }
}

impl fmt::Display for PolicyIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How a policy stores an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyType {
    /// Whole copies.
    Replication,
    /// Fragments of an erasure code. Read and checked, but not yet served.
    ErasureCoding(ErasurePolicy),
}

/// One `[storage-policy:N]` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The N of the section.
    pub index: PolicyIndex,
    /// The first name.
    pub name: String,
    /// Further names.
    pub aliases: Vec<String>,
    /// Whether new containers get it when the client does not name a policy.
    pub is_default: bool,
    /// Whether new containers may use it.
    pub is_deprecated: bool,
    /// Copies or fragments.
    pub policy_type: PolicyType,
}

/// Policies that do not go together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Old containers are in policy 0.
    #[error("storage policies need one with index 0: add [storage-policy:0]")]
    NoPolicyZero,
    /// A name has other characters than letters, digits and dashes.
    #[error("[storage-policy:{index}] name {name:?}: expected letters, digits and dashes")]
    Name {
        /// The policy.
        index: PolicyIndex,
        /// The name.
        name: String,
    },
    /// Another policy than 0 has the name `Policy-0`.
    #[error("the name Policy-0 is reserved, not for {0}")]
    ReservedName(PolicyIndex),
    /// Two policies have one name.
    #[error("storage policy name {0:?} is used twice")]
    NameUsedTwice(String),
    /// No policy is or can be the default.
    #[error("no storage policy has default = yes")]
    NoDefault,
    /// There are several defaults.
    #[error("more than one storage policy has default = yes")]
    SeveralDefaults,
}

/// All policies of the cluster, ordered by index; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policies(Vec<Policy>);

impl Policies {
    /// Checks names, indexes and the default. An empty list becomes Swift's single `Policy-0`.
    ///
    /// # Errors
    /// See [`PolicyError`].
    pub fn new(mut policies: Vec<Policy>) -> Result<Self, PolicyError> {
        if policies.is_empty() {
            policies.push(Policy {
                index: PolicyIndex(0),
                name: "Policy-0".to_owned(),
                aliases: vec![],
                is_default: true,
                is_deprecated: false,
                policy_type: PolicyType::Replication,
            });
        }
        policies.sort_by_key(|policy| policy.index);
        if !policies.iter().any(|policy| policy.index.0 == 0) {
            return Err(PolicyError::NoPolicyZero);
        }
        let mut seen: Vec<String> = Vec::new();
        for policy in &policies {
            for name in std::iter::once(&policy.name).chain(&policy.aliases) {
                let valid = !name.is_empty()
                    && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
                if !valid {
                    return Err(PolicyError::Name { index: policy.index, name: name.clone() });
                }
                let lower = name.to_ascii_lowercase();
                if lower == "policy-0" && policy.index.0 != 0 {
                    return Err(PolicyError::ReservedName(policy.index));
                }
                if seen.contains(&lower) {
                    return Err(PolicyError::NameUsedTwice(name.clone()));
                }
                seen.push(lower);
            }
        }
        match policies.iter().filter(|policy| policy.is_default).count() {
            0 => match policies.first_mut() {
                Some(only) if seen.len() == 1 || !only.is_deprecated => only.is_default = true,
                _ => return Err(PolicyError::NoDefault),
            },
            1 => {}
            _ => return Err(PolicyError::SeveralDefaults),
        }
        Ok(Self(policies))
    }

    /// The policy with this index.
    pub fn get(&self, index: PolicyIndex) -> Option<&Policy> {
        self.0.iter().find(|policy| policy.index == index)
    }

    /// The policy with this name or alias, in any case.
    pub fn by_name(&self, name: &str) -> Option<&Policy> {
        self.0.iter().find(|policy| {
            std::iter::once(&policy.name)
                .chain(&policy.aliases)
                .any(|known| known.eq_ignore_ascii_case(name))
        })
    }

    /// The policy for containers whose creator does not name one.
    pub fn default_policy(&self) -> &Policy {
        self.0
            .iter()
            .find(|policy| policy.is_default)
            .or_else(|| self.0.first())
            .expect("Policies::new refuses an empty list")
    }

    /// All policies by index.
    pub fn iter(&self) -> impl Iterator<Item = &Policy> {
        self.0.iter()
    }
}

/// Responses that a write needs to succeed: half of `replicas`, rounded up.
pub fn write_quorum(replicas: usize) -> usize {
    replicas.div_ceil(2)
}

/// Responses of which any two sets overlap: more than half of `replicas`.
pub fn majority(replicas: usize) -> usize {
    replicas / 2 + 1
}
