//! Verbs of containers, one file per verb.

pub(crate) mod delete;
pub(crate) mod get;
pub(crate) mod put;
pub(crate) mod row;
pub(crate) mod update;
