//! Lines of an `SSYNC` exchange, and their reader, for both ends.
//!
//! Source: `swift/obj/ssync_sender.py`, `swift/obj/ssync_receiver.py`.

pub(crate) mod input;
pub(crate) mod line;

/// First and last line of the comparison, in both directions.
pub(crate) const MISSING_CHECK_START: &str = ":MISSING_CHECK: START";
pub(crate) const MISSING_CHECK_END: &str = ":MISSING_CHECK: END";
/// First and last line of the transfer, in both directions.
pub(crate) const UPDATES_START: &str = ":UPDATES: START";
pub(crate) const UPDATES_END: &str = ":UPDATES: END";
