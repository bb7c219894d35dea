//! One file per verb.

mod body;
pub(crate) mod delete;
pub(crate) mod get;
pub(crate) mod post;
pub(crate) mod put;
pub(crate) mod replicate;
pub(crate) mod reserve;
pub(crate) mod ssync;
