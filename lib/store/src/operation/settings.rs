//! Settings of an object that S3 changes without rewriting it.

use apus_bucket::object_lock::Retention;
use apus_cluster::ObjectPath;

use super::version::VersionId;

/// A change of one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettingChange {
    /// Replaces the tags by these, in their stored form; `None` removes them.
    Tagging(Option<String>),
    /// Replaces the retention, as far as the one before allows it.
    Retention {
        /// The new one; `None` removes it.
        retention: Option<Retention>,
        /// Whether the caller asks to bypass governance.
        bypass: bool,
    },
    /// Sets the legal hold on or off.
    LegalHold(bool),
    /// Replaces the ACL.
    Acl {
        /// The new one, in its stored form.
        acl: String,
        /// The owner in the ACL before, for which the new one was made; `None` if it had none.
        owner_before: Option<String>,
    },
}

/// Changes one setting of an object, and keeps its metadata and all other settings.
#[derive(Debug, Clone)]
pub struct UpdateObject {
    /// The object.
    pub object: ObjectPath,
    /// The version to change; the current one when absent.
    pub version: Option<VersionId>,
    /// The change.
    pub change: SettingChange,
}
