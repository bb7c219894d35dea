//! Declarations of the options of the container server's own daemons, by section.

use apus_daemon::config::ShareOptions;
use apus_options::OptionDeclaration;

use crate::lifecycle::LifecycleOptions;
use crate::notifier::NotifierOptions;
use crate::reclaimer::ReclaimerOptions;
use crate::reconciler::ReconcilerOptions;
use crate::units::ContainerUpdaterOptions;

/// `[container-updater]`.
pub const UPDATER: &[OptionDeclaration] = ContainerUpdaterOptions::OPTIONS;
/// `[container-lifecycle]`.
pub const LIFECYCLE: &[OptionDeclaration] = LifecycleOptions::OPTIONS;
/// `[container-notifier]`.
pub const NOTIFIER: &[OptionDeclaration] = NotifierOptions::OPTIONS;
/// `[container-reclaimer]`.
pub const RECLAIMER: &[OptionDeclaration] = ReclaimerOptions::OPTIONS;
/// `[container-reconciler]`.
pub const RECONCILER: &[&[OptionDeclaration]] =
    &[ReconcilerOptions::OPTIONS, ShareOptions::OPTIONS];
