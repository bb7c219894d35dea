//! Errors of operations on identities.

/// Why an operation on identities failed.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A name has other characters or another length than allowed.
    #[error("{kind} name {name:?}: expected 1 to {max} letters, digits or characters of +=,.@_-")]
    Name {
        /// What it is the name of.
        kind: &'static str,
        /// The name.
        name: String,
        /// Greatest length.
        max: usize,
    },
    /// An account's name cannot be one with users.
    #[error("account {0:?}: expected the name of an account that is not internal")]
    Account(String),
    /// An expiry time cannot be read.
    #[error(
        "expiry {0:?}: expected a duration such as 90d, 12h or 30m, a UTC time such as 2027-01-31 or 2027-01-31T12:00:00Z, or never"
    )]
    Expiry(String),
    /// It does not exist.
    #[error("{kind} {name}: does not exist")]
    Missing {
        /// User, group, access key or policy.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// It exists already.
    #[error("{kind} {name}: exists already")]
    Exists {
        /// User, group, access key or policy.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// There are as many as allowed.
    #[error("{owner}: has {max} {kind}, and no more are allowed")]
    Limit {
        /// What has them.
        owner: String,
        /// What there are too many of.
        kind: &'static str,
        /// How many are allowed.
        max: usize,
    },
    /// A policy document is too long.
    #[error("policy {name}: {length} bytes, and at most {max} are allowed")]
    PolicyTooLong {
        /// Name of the policy.
        name: String,
        /// Its length in bytes.
        length: usize,
        /// Greatest length in bytes.
        max: usize,
    },
    /// A policy document cannot be evaluated.
    #[error("policy {name}: {source}")]
    Policy {
        /// Name of the policy.
        name: String,
        /// The element, and what is wrong with it.
        source: apus_policy::DocumentError,
    },
    /// Other processes changed it again and again.
    #[error("{0}: other processes change it at the same time; try again")]
    Contended(String),
    /// Its stored form cannot be read.
    #[error("{name}: the stored form is damaged: {source}")]
    Damaged {
        /// Name of the object.
        name: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A newer version of this software wrote it.
    #[error("{name}: format {format} is unknown; a newer apus wrote it")]
    Format {
        /// Name of the object.
        name: String,
        /// The format's number.
        format: u32,
    },
    /// No root secret of this cluster encrypted it.
    #[error(
        "access key {0}: the secret cannot be decrypted; swift.conf must have the identity_root_secret with which it was made, or the same as identity_root_secret_previous"
    )]
    Undecryptable(String),
    /// A secret could not be encrypted.
    #[error("a secret could not be encrypted")]
    Encrypt,
    /// The cluster failed.
    #[error("{0}")]
    Store(#[from] apus_store::Error),
}
