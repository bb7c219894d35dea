//! The one place that authenticates, and the rules by which the gate authorizes.

pub mod acl;
pub mod authorize;
pub mod tempauth;
