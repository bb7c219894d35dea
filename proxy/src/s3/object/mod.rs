//! Operations on objects, one file each.

pub(super) mod attributes;
pub(super) mod condition;
pub(super) mod copy;
pub(super) mod delete;
pub(super) mod delete_many;
pub(super) mod expiration;
pub(super) mod get;
pub(super) mod head;
pub(super) mod lock;
pub(super) mod put;
pub(super) mod restore;
pub(super) mod tagging;
pub(super) mod version;
