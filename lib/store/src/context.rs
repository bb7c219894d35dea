//! Who asks, with which rights, how consistent the answer must be. Cheap to clone.

use std::sync::Arc;

use apus_cluster::PolicyIndex;

use crate::access::Identity;

/// In whose name the operation runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authority {
    /// The client's: the gate asks the authorizer.
    Caller,
    /// Our own, for the named feature: allowed by itself.
    System(&'static str),
}

/// How much agreement an answer needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consistency {
    /// Swift's: any good answer.
    Eventual,
    /// A majority of the primaries agreed.
    Strong,
}

/// Everything about a request that is not the operation itself.
#[derive(Debug, Clone)]
pub struct Context {
    /// Joins the log lines of one client request.
    pub trans_id: Arc<str>,
    /// Who asks.
    pub identity: Arc<Identity>,
    /// In whose name.
    pub authority: Authority,
    /// How consistent.
    pub consistency: Consistency,
    /// The policy in which objects are read and written, whatever their container's is. Only what
    /// runs in our own name is heard. Who says so moves writes of the past at their own times.
    pub policy: Option<PolicyIndex>,
    /// Whether objects that have expired and are not deleted yet are read and posted to.
    pub open_expired: bool,
}

impl Context {
    /// Work of our own that no client asked for, in the name of a daemon.
    pub fn system(source: &'static str, trans_id: impl Into<Arc<str>>) -> Self {
        Self {
            trans_id: trans_id.into(),
            identity: Arc::default(),
            authority: Authority::System(source),
            consistency: Consistency::Eventual,
            policy: None,
            open_expired: false,
        }
    }

    /// The same request for objects in one policy, whatever their container's is.
    #[must_use]
    pub fn in_policy(&self, policy: PolicyIndex) -> Self {
        Self { policy: Some(policy), ..self.clone() }
    }

    /// The same request in our own name, for the named feature.
    #[must_use]
    pub fn as_system(&self, source: &'static str) -> Self {
        Self { authority: Authority::System(source), ..self.clone() }
    }

    /// The same request with strong reads.
    #[must_use]
    pub fn strong(&self) -> Self {
        Self { consistency: Consistency::Strong, ..self.clone() }
    }

    /// Whether a write must not get through below what object servers promised: a strong one, of
    /// now. A moved one is older than most promises, and wins or loses by its time.
    pub(crate) fn is_fenced(&self) -> bool {
        self.is_strong() && self.policy.is_none()
    }

    /// Whether reads must be strong.
    pub fn is_strong(&self) -> bool {
        self.consistency == Consistency::Strong
    }
}
