//! Identities, actions and the interface of the authorizer.

use apus_cluster::{AccountName, ContainerName};

/// The caller.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// Name of the user, for logs; `None` for an anonymous caller.
    pub user: Option<String>,
    /// Groups, among them `account`, `account:user` and, for administrators, the account's name.
    pub groups: Vec<String>,
    /// The `Referer`, which referrer ACLs look at.
    pub referrer: Option<String>,
}

/// A kind of access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// List or head an account.
    ReadAccount,
    /// Change an account's metadata.
    WriteAccount,
    /// Create or delete an account.
    ManageAccount,
    /// List or head a container.
    ReadContainer,
    /// Create, change or delete a container.
    WriteContainer,
    /// Read an object.
    ReadObject,
    /// Write, change or delete an object.
    WriteObject,
}

/// What is accessed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The account.
    pub account: AccountName,
    /// The container, unless it is the account itself.
    pub container: Option<ContainerName>,
}

/// The access lists that the owner of the target has set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lists {
    /// `X-Container-Read`.
    pub read: String,
    /// `X-Container-Write`.
    pub write: String,
    /// `X-Account-Access-Control` as JSON.
    pub account: String,
}

/// The decision of the authorizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Allowed.
    Allow {
        /// Whether the caller owns the account, and therefore sees what only owners see.
        owner: bool,
    },
    /// Not allowed.
    Deny,
}

/// Decides on access. Implementations must deny what they do not know.
pub trait Authorizer: Send + Sync + std::fmt::Debug {
    /// Whether `identity` may do `action` to `target`.
    fn decide(
        &self,
        identity: &Identity,
        action: Action,
        target: &Target,
        lists: &Lists,
    ) -> Decision;
}

/// Denies every caller, where only the system itself uses the store.
#[derive(Debug, Clone, Copy)]
pub struct DenyAll;

impl Authorizer for DenyAll {
    fn decide(&self, _: &Identity, _: Action, _: &Target, _: &Lists) -> Decision {
        Decision::Deny
    }
}
