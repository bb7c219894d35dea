//! Declarations of the options of the account server's own daemon.

use apus_options::OptionDeclaration;

use crate::units::ReaperOptions;

/// `[account-reaper]`.
pub const REAPER: &[OptionDeclaration] = ReaperOptions::OPTIONS;
