//! Uploads by HTML forms (POST Object): the fields, the signed policy, the response.

pub(super) mod fields;
pub(super) mod file;
pub(super) mod policy;
pub(super) mod post;
