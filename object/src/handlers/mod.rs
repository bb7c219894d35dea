//! One file per verb.

mod body;
mod conditions;
pub(crate) mod delete;
pub(crate) mod get;
pub(crate) mod post;
pub(crate) mod put;
pub(crate) mod repair;
pub(crate) mod replicate;
pub(crate) mod reserve;
pub(crate) mod ssync;
pub(crate) mod write;
