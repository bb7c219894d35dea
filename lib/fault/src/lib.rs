//! Fault injection at named points.
//!
//! A test makes a server fail there: by a kill, an error, a pause, a planted bug, or a wrong clock.
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
//! bug.skip-directory-sync on    a planted bug is active
//! trace /path/to/file           each point that is passed is recorded in that file
//! clock -3600.5                 the clock is wrong by that many seconds
//! ```
//!
//! Points are named `<subject>.<verb>.<state>`; `tests/` finds them by reading the sources, so a new
//! one is in the kill matrix without being added to a list.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

#[cfg(feature = "on")]
mod armed;
pub mod journal;

/// Arms points of this process with lines as in the file, which is not read from then on.
#[cfg(feature = "on")]
pub fn arm(lines: &str) {
    armed::arm(lines);
}

/// Arms points in addition to those of [`arm`], in place of those of an earlier call.
#[cfg(feature = "on")]
pub fn arm_additionally(lines: &str) {
    armed::arm_additionally(lines);
}

/// Passes a point, which may kill the process or pause.
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
/// `EIO` when a test has armed it.
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

/// Whether a planted bug is active; never in an executable that is not under test.
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

/// Seconds by which the clock is wrong.
#[inline]
#[must_use]
pub fn clock_offset() -> f64 {
    #[cfg(feature = "on")]
    return armed::clock_offset();
    #[cfg(not(feature = "on"))]
    0.0
}
