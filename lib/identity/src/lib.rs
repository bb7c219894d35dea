//! Users, groups and access keys of the cluster: their rules, their stored form, and the directory.
//!
//! [`IdentityDirectory`] keeps them as small objects in an account of the cluster itself, and is the
//! only part that does I/O. The user's object is the one truth: whether a key is valid is written
//! nowhere else, so that one conditional write makes each change, and a crash leaves none half done.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

mod access_key;
mod directory;
mod error;
mod expiry;
mod group;
mod head;
mod name;
mod seal;
mod user;

pub use access_key::{AccessKeyId, SecretKey};
pub use directory::{FoundKey, IdentityDirectory, NewKey};
pub use error::IdentityError;
pub use expiry::{iso_time, parse_expiry};
pub use group::GroupRecord;
pub use head::IdentityHead;
pub use name::{AccountGroup, AccountUser, GroupName, PolicyName, UserName};
pub use seal::{SealedSecret, Sealing};
pub use user::{KEYS_MAX, KeyRecord, KeyRefusal, Membership, Status, UserRecord};
