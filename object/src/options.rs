//! Declarations of the options of the object server and its daemons, by section.

use apus_daemon::config::ShareOptions;
use apus_options::OptionDeclaration;

use crate::auditor::watcher::DarkDataOptions;
use crate::expirer::{DELAYS, ObjectExpirerOptions};
use crate::relinker::RelinkerFileOptions;
use crate::replication::ObjectReplicationOptions;
use crate::replicator::ObjectReplicatorOptions;
use crate::units::ObjectAuditorOptions;
use crate::updater::UpdaterOptions;

/// `[app:object-server]`: replication.
pub const REPLICATION: &[OptionDeclaration] = ObjectReplicationOptions::OPTIONS;
/// `[object-replicator]`.
pub const REPLICATOR: &[OptionDeclaration] = ObjectReplicatorOptions::OPTIONS;
/// `[object-auditor]`.
pub const AUDITOR: &[OptionDeclaration] = ObjectAuditorOptions::OPTIONS;
/// `[object-auditor:watcher:swift#dark_data]`.
pub const DARK_DATA: &[OptionDeclaration] = DarkDataOptions::OPTIONS;
/// `[object-relinker]`.
pub const RELINKER: &[OptionDeclaration] = RelinkerFileOptions::OPTIONS;
/// `[object-updater]`.
pub const UPDATER: &[OptionDeclaration] = UpdaterOptions::OPTIONS;
/// `[object-expirer]`.
pub const EXPIRER: &[&[OptionDeclaration]] =
    &[ObjectExpirerOptions::OPTIONS, ShareOptions::OPTIONS, DELAYS];
