//! Named points at which a test makes something go wrong: a kill, an error, a pause, a planted bug,
//! a clock that is off.
//!
//! Everything here is empty unless the feature `on` is set, which only executables under test have
//! (`cargo build -p apus --features faults`). Such an executable reads the file named by the
//! environment variable `APUS_FAULTS` at each point, so that a test arms and disarms a running
//! server. Each line is a name and what happens there:
//!
//! ```text
//! object.put.linked kill        the process is killed by SIGKILL when it passes the point
//! object.put.linked kill@3      … when it passes for the third time
//! object.put.synced error@2     the second pass gives an error (EIO)
//! replicate.object.sent pause:500   each pass takes 500 ms longer
//! bug.skip-directory-sync on    a planted bug is there
//! trace /path/to/file           each point that is passed is noted there
//! clock -3600.5                 the clock is that many seconds off
//! ```
//!
//! Points are named `<what>.<verb>.<what has just been done>`; `tests/` finds them by reading the
//! sources, so a new one is in the kill matrix without a list of names to forget.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

#[cfg(feature = "on")]
mod armed;
pub mod journal;

/// Arms points of this very process: lines as in the file, which is not looked at from then on.
#[cfg(feature = "on")]
pub fn arm(lines: &str) {
    armed::arm(lines);
}

/// Arms more points of this process beside those of [`arm`], in place of what this added before.
#[cfg(feature = "on")]
pub fn arm_beside(lines: &str) {
    armed::arm_beside(lines);
}

/// Passes a point: may kill the process or take its time.
#[inline]
pub fn point(name: &'static str) {
    #[cfg(feature = "on")]
    armed::point(name);
    #[cfg(not(feature = "on"))]
    let _ = name;
}

/// Passes a point that may also fail.
///
/// # Errors
/// `EIO`, when a test asked for it.
#[inline]
pub fn fallible(name: &'static str) -> std::io::Result<()> {
    #[cfg(feature = "on")]
    return armed::fallible(name);
    #[cfg(not(feature = "on"))]
    {
        let _ = name;
        Ok(())
    }
}

/// Whether a planted bug is to be there; never in an executable that is not under test.
#[inline]
#[must_use]
pub fn planted(name: &'static str) -> bool {
    #[cfg(feature = "on")]
    return armed::planted(name);
    #[cfg(not(feature = "on"))]
    {
        let _ = name;
        false
    }
}

/// How many seconds the clock is to be off.
#[inline]
#[must_use]
pub fn clock_offset() -> f64 {
    #[cfg(feature = "on")]
    return armed::clock_offset();
    #[cfg(not(feature = "on"))]
    0.0
}
