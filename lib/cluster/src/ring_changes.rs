//! Options of `[apus]` in `swift.conf` for new rings.

use std::net::SocketAddr;
use std::time::Duration;

use apus_options::{address, number, options};

use crate::backend_auth::SECTION;
use crate::option_error::{GivenOptions, OptionError};

/// How the servers of a cluster learn of new rings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingChanges {
    /// How often ring files are checked for changes (`ring_check_interval`, Swift's 15 s).
    pub check_interval: Duration,
    /// How long a proxy also reads from the previous primaries (`ring_overlap`). Within this time
    /// a new ring must be on all nodes.
    pub overlap: Duration,
    /// How often servers ask some others for newer rings, if it is given (`ring_fetch_interval`);
    /// 0 for never.
    pub fetch_interval: Option<Duration>,
    /// Where the ring manager listens (`ring_manager`), if the cluster has one.
    pub manager: Option<SocketAddr>,
}

/// How often others are asked for rings by default.
const FETCH_DEFAULT: Duration = Duration::from_secs(60);

options! {
    /// Options of `[apus]` for new rings.
    #[derive(Debug)]
    pub struct RingOptions {
        /// Time between two checks whether ring files have changed.
        ring_check_interval: Duration = number(15.0).unit("seconds").between(0.01, 1e6),
        /// How long a proxy also reads from the previous primaries. Within this time a new ring must be on all nodes.
        ring_overlap: Duration = number(3600.0).unit("seconds").between(0.01, 1e6),
        /// Time between two requests for newer rings to some other nodes; 0 for never.
        ring_fetch_interval: Option<Duration> = number(60.0)
            .unit("seconds from 0.01 to 1000000, or 0 for never")
            .checked(is_fetch_interval)
            .unset("60; never in an open cluster")
            .example("60"),
        /// Where the ring manager listens, if the cluster has one.
        ring_manager: Option<SocketAddr> = address().example("10.0.0.1:6203"),
    }
}

fn is_fetch_interval(text: &str) -> bool {
    text.parse().is_ok_and(|seconds: f64| seconds == 0.0 || (0.01..=1e6).contains(&seconds))
}

impl Default for RingChanges {
    fn default() -> Self {
        Self {
            check_interval: Duration::from_secs(15),
            overlap: Duration::from_secs(3600),
            fetch_interval: None,
            manager: None,
        }
    }
}

impl RingChanges {
    /// From the options of the section `[apus]`.
    ///
    /// # Errors
    /// An option whose value is not as expected.
    pub(crate) fn from_options(options: &[(&str, &str)]) -> Result<Self, OptionError> {
        let given = RingOptions::read(&GivenOptions { section: SECTION, options })?;
        Ok(Self {
            check_interval: given.ring_check_interval,
            overlap: given.ring_overlap,
            fetch_interval: given.ring_fetch_interval,
            manager: given.ring_manager,
        })
    }

    /// How often others are asked for rings; `None` for never.
    pub fn fetch_every(&self) -> Option<Duration> {
        Some(self.fetch_interval.unwrap_or(FETCH_DEFAULT)).filter(|interval| !interval.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_for_new_rings_are_seconds() {
        let rings = |options: &[(&'static str, &'static str)]| {
            RingChanges::from_options(options).map_err(|error| error.to_string())
        };
        assert_eq!(rings(&[]), Ok(RingChanges::default()));
        let both = [("ring_check_interval", "0.5"), ("ring_overlap", "7200")];
        let (check_interval, overlap) = (Duration::from_millis(500), Duration::from_secs(7200));
        let given = RingChanges { check_interval, overlap, ..RingChanges::default() };
        assert_eq!(rings(&both), Ok(given));
        let never = rings(&[("ring_fetch_interval", "0")]).unwrap();
        assert_eq!(never.fetch_every(), None);
        assert_eq!(RingChanges::default().fetch_every(), Some(Duration::from_secs(60)));
        assert!(rings(&[("ring_fetch_interval", "-0.5")]).unwrap_err().contains("0 for never"));
        let manager = Some("10.0.0.1:6203".parse().unwrap());
        let given = RingChanges { manager, ..RingChanges::default() };
        assert_eq!(rings(&[("ring_manager", "10.0.0.1:6203")]), Ok(given));
        let error = rings(&[("ring_manager", "here")]).unwrap_err();
        assert!(error.contains("ring_manager") && error.contains("expected"), "{error}");
        for bad in ["", "soon", "-1", "0", "inf", "NaN"] {
            let error = rings(&[("ring_overlap", bad)]).unwrap_err();
            assert!(error.contains("ring_overlap") && error.contains("expected"), "{error}");
        }
    }
}
