//! Handlers of requests, one file per verb.
//!
//! Each decodes its message, checks it against the store, acts, and responds.

mod body;
mod conditions;
mod context;
mod delete;
pub(crate) mod get;
mod post;
mod put;
mod put_body;
mod quarantine;
pub(crate) mod repair;
pub(crate) mod replicate;
pub(crate) mod reserve;
pub(crate) mod ssync;
pub(crate) mod write;
