//! Authentication, and the rules by which the gate authorizes.

pub mod account_acl;
pub mod acl;
pub mod authorize;
pub mod failed_sign_ins;
pub mod form_signature;
pub mod identities;
pub(crate) mod key_lookup;
mod policy_rules;
mod s3_acl;
pub mod temp_url;
pub mod tempauth;
pub(crate) mod tokens;
