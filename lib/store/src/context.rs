//! The context of a request: caller, rights, consistency. Cheap to clone.

use std::sync::Arc;

use apus_cluster::PolicyIndex;
use apus_policy::Permission;

use crate::access::{Identity, RequestFacts};
use crate::encryption::RequestEncryption;

/// The authority under which an operation runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authority {
    /// The caller's: the gate asks the authorizer.
    Caller,
    /// Our own, for the named feature: always allowed.
    System(&'static str),
}

/// The consistency that an answer needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consistency {
    /// Swift's: any good answer.
    Eventual,
    /// A majority of the primaries agreed.
    Strong,
}

/// The rules for versions of objects, where Swift's API and S3 differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionRules {
    /// S3's: the version before a removed one becomes current. While versioning is suspended, a
    /// deletion leaves a null delete marker and a write replaces the null version wherever it is.
    S3,
    /// Swift's: where the current version is removed, no other becomes current. While versioning is
    /// suspended, writes and deletions change the visible object alone. A null version that moved to
    /// the hidden container has the id of its time. Only owners may name versions.
    Swift,
}

/// Everything about a request that is not the operation itself.
#[derive(Debug, Clone)]
pub struct Context {
    /// Transaction id, in all log lines of one client request.
    pub trans_id: Arc<str>,
    /// The caller.
    pub identity: Arc<Identity>,
    /// The authority of the operation.
    pub authority: Authority,
    /// The consistency of reads and writes.
    pub consistency: Consistency,
    /// The policy in which objects are read and written, whatever the policy of their container is.
    /// It has an effect only under our own authority: daemons use it to move old writes, which keep
    /// their times.
    pub policy: Option<PolicyIndex>,
    /// The rules for versions.
    pub version_rules: VersionRules,
    /// Whether GET, HEAD and POST find objects that have expired and are not deleted yet.
    pub open_expired: bool,
    /// The permission that the operations of this request need, where it is not the one that they
    /// usually need: a configuration of a bucket is read with its metadata.
    pub permission: Option<Permission>,
    /// The request, for conditions of policies.
    pub facts: Option<Arc<dyn RequestFacts>>,
    /// Whether a write is the upload of a browser's form, whose event has a name of its own.
    pub is_form: bool,
    /// What the request says of encryption, where its dialect can.
    pub encryption: Option<Arc<RequestEncryption>>,
}

impl Context {
    /// The context of a client's request, with Swift's consistency.
    pub fn client(identity: Identity, trans_id: impl Into<Arc<str>>) -> Self {
        let system = Self::system("", trans_id);
        Self { identity: Arc::new(identity), authority: Authority::Caller, ..system }
    }

    /// The context of a daemon, whose work no client asked for.
    pub fn system(source: &'static str, trans_id: impl Into<Arc<str>>) -> Self {
        Self {
            trans_id: trans_id.into(),
            identity: Arc::default(),
            authority: Authority::System(source),
            consistency: Consistency::Eventual,
            policy: None,
            version_rules: VersionRules::S3,
            open_expired: false,
            permission: None,
            facts: None,
            is_form: false,
            encryption: None,
        }
    }

    /// The same request, whose operations need this permission.
    #[must_use]
    pub fn with_permission(&self, permission: Permission) -> Self {
        Self { permission: Some(permission), ..self.clone() }
    }

    /// The permission that an operation of this request needs, where it is usually `usual`.
    pub fn needs(&self, usual: Permission) -> Permission {
        self.permission.unwrap_or(usual)
    }

    /// The same request for objects in one policy, whatever the policy of their container is.
    #[must_use]
    pub fn in_policy(&self, policy: PolicyIndex) -> Self {
        Self { policy: Some(policy), ..self.clone() }
    }

    /// The same request under our own authority, for the named feature.
    #[must_use]
    pub fn as_system(&self, source: &'static str) -> Self {
        Self { authority: Authority::System(source), ..self.clone() }
    }

    /// The same request with strong reads.
    #[must_use]
    pub fn strong(&self) -> Self {
        Self { consistency: Consistency::Strong, ..self.clone() }
    }

    /// Whether object servers must refuse the write if it is older than a promise that they gave: a
    /// strong write with the current time. A moved write is older than most promises; its time alone
    /// decides.
    pub(crate) fn is_fenced(&self) -> bool {
        self.is_strong() && self.policy.is_none()
    }

    /// Whether Swift's rules for versions apply.
    pub(crate) fn has_swift_versions(&self) -> bool {
        self.version_rules == VersionRules::Swift
    }

    /// Whether reads must be strong.
    pub fn is_strong(&self) -> bool {
        self.consistency == Consistency::Strong
    }
}
