//! Declarations of the options of the daemons of databases, by section.

use apus_options::OptionDeclaration;

use crate::replication::ReplicationOptions;
use crate::units::{AccountAuditorOptions, ContainerAuditorOptions};

/// `[account-replicator]` and `[container-replicator]`.
pub const REPLICATOR: &[OptionDeclaration] = ReplicationOptions::OPTIONS;
/// `[account-auditor]`.
pub const ACCOUNT_AUDITOR: &[OptionDeclaration] = AccountAuditorOptions::OPTIONS;
/// `[container-auditor]`.
pub const CONTAINER_AUDITOR: &[OptionDeclaration] = ContainerAuditorOptions::OPTIONS;
