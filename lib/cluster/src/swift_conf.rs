//! Cluster-wide settings of `swift.conf`, built from key-value pairs that somebody else read.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::backend_auth::{self, BackendAuth};
use crate::constraints::{self, Constraints};
use crate::hashed_path::HashConf;
use crate::policy::{Policies, Policy, PolicyIndex, PolicyType};

/// What every node of the cluster must have alike.
#[derive(Debug, Clone)]
pub struct SwiftConf {
    /// Prefix and suffix of path hashes.
    pub hash: HashConf,
    /// The storage policies.
    pub policies: Policies,
    /// How its servers know each other.
    pub backend_auth: BackendAuth,
    /// How new rings are taken up.
    pub rings: RingChanges,
    /// What clients may send and ask for.
    pub constraints: Arc<Constraints>,
}

/// Options of `[apus]` for new rings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingChanges {
    /// How often the files are looked at (`ring_check_interval`, Swift's 15 s).
    pub check_interval: Duration,
    /// How long a proxy goes on asking the former primaries as well (`ring_overlap`). Within this
    /// time a new ring must be on all nodes.
    pub overlap: Duration,
    /// How often servers ask some others for newer rings, when that is given
    /// (`ring_fetch_interval`); 0 for never.
    pub fetch_interval: Option<Duration>,
    /// Where the ring manager listens (`ring_manager`), if the cluster has one.
    pub manager: Option<SocketAddr>,
}

/// How often others are asked for rings, unless it is given.
const FETCH_DEFAULT: Duration = Duration::from_secs(60);
/// The option that may be 0.
const FETCH_INTERVAL: &str = "ring_fetch_interval";

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
    /// Names of its options.
    pub const OPTIONS: [&str; 4] =
        ["ring_check_interval", "ring_overlap", FETCH_INTERVAL, "ring_manager"];

    fn from_options(options: &[(&str, &str)]) -> Result<Self, String> {
        let seconds = |name: &str, default: Duration| {
            let given = options.iter().find(|(key, _)| *key == name);
            let Some((_, text)) = given else { return Ok(default) };
            let may_be_off = name == FETCH_INTERVAL;
            let good =
                |seconds: &f64| (0.01..=1e6).contains(seconds) || (may_be_off && *seconds == 0.0);
            let parsed = text.trim().parse().ok().filter(good);
            parsed.map(Duration::from_secs_f64).ok_or_else(|| {
                format!(
                    "[{}] {name} = {text:?}: expected seconds from 0.01 to 1000000{}",
                    backend_auth::SECTION,
                    if may_be_off { ", or 0 for never" } else { "" }
                )
            })
        };
        let manager = options.iter().find(|(key, _)| *key == "ring_manager");
        let manager = manager.map(|(_, text)| {
            text.trim().parse().map_err(|_| {
                format!(
                    "[{}] ring_manager = {text:?}: expected an IP address and a port",
                    backend_auth::SECTION
                )
            })
        });
        let default = Self::default();
        Ok(Self {
            check_interval: seconds("ring_check_interval", default.check_interval)?,
            overlap: seconds("ring_overlap", default.overlap)?,
            fetch_interval: match options.iter().any(|(key, _)| *key == FETCH_INTERVAL) {
                true => Some(seconds(FETCH_INTERVAL, Duration::ZERO)?),
                false => None,
            },
            manager: manager.transpose()?,
        })
    }

    /// How often others are asked: a minute, unless something else is given; `None` for never.
    pub fn fetch_every(&self) -> Option<Duration> {
        Some(self.fetch_interval.unwrap_or(FETCH_DEFAULT)).filter(|interval| !interval.is_zero())
    }
}

impl SwiftConf {
    /// Builds the settings from sections. `sections` yields each section's name and its options.
    ///
    /// # Errors
    /// Text that names the option, the value and what was expected. An empty prefix *and* suffix
    /// is refused: placement would be guessable and, once set, cannot be changed.
    pub fn from_sections<'a>(
        sections: impl Iterator<Item = (&'a str, Vec<(&'a str, &'a str)>)>,
    ) -> Result<Self, String> {
        let mut hash = HashConf::default();
        let mut policies = Vec::new();
        let mut backend_auth = BackendAuth::default();
        let mut rings = RingChanges::default();
        let mut constraints = Constraints::default();
        for (section, options) in sections {
            let option = |name: &str| {
                options.iter().find(|(key, _)| *key == name).map(|(_, value)| value.trim())
            };
            if section == "swift-hash" {
                let bytes = |name| option(name).unwrap_or_default().as_bytes().to_vec();
                hash.prefix = bytes("swift_hash_path_prefix");
                hash.suffix = bytes("swift_hash_path_suffix");
            } else if section == constraints::SECTION {
                constraints = Constraints::from_options(&options)?;
            } else if section == backend_auth::SECTION {
                backend_auth = BackendAuth::from_options(&options)?;
                rings = RingChanges::from_options(&options)?;
            } else if let Some(index) = section.strip_prefix("storage-policy:") {
                let index = index.trim().parse().map_err(|_| {
                    format!("[{section}]: expected a whole number after the colon, got {index:?}")
                })?;
                let yes = |name| {
                    option(name).is_some_and(|value| {
                        matches!(
                            value.to_ascii_lowercase().as_str(),
                            "yes" | "true" | "on" | "1" | "t" | "y"
                        )
                    })
                };
                let policy_type = match option("policy_type").unwrap_or("replication") {
                    "replication" => PolicyType::Replication,
                    "erasure_coding" => PolicyType::ErasureCoding,
                    other => {
                        return Err(format!(
                            "[{section}] policy_type = {other:?}: expected replication or erasure_coding"
                        ));
                    }
                };
                policies.push(Policy {
                    index: PolicyIndex(index),
                    name: option("name")
                        .ok_or_else(|| format!("[{section}] has no option `name`"))?
                        .to_owned(),
                    aliases: option("aliases")
                        .unwrap_or_default()
                        .split(',')
                        .map(|alias| alias.trim().to_owned())
                        .filter(|alias| !alias.is_empty())
                        .collect(),
                    is_default: yes("default"),
                    is_deprecated: yes("deprecated"),
                    policy_type,
                });
            }
        }
        if hash.prefix.is_empty() && hash.suffix.is_empty() {
            return Err(
                "[swift-hash]: swift_hash_path_suffix and swift_hash_path_prefix are both empty; \
                 set at least one to a random text that never changes"
                    .to_owned(),
            );
        }
        let policies = Policies::new(policies)?;
        Ok(Self { hash, policies, backend_auth, rings, constraints: Arc::new(constraints) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_hash_path_is_refused_by_name() {
        let error = SwiftConf::from_sections([("swift-hash", vec![])].into_iter()).unwrap_err();
        assert!(error.contains("swift_hash_path_suffix"), "{error}");
    }

    #[test]
    fn policies_are_read_with_default_and_type() {
        let conf = SwiftConf::from_sections(
            [
                ("swift-hash", vec![("swift_hash_path_suffix", "x")]),
                ("storage-policy:0", vec![("name", "gold"), ("default", "yes")]),
                ("storage-policy:1", vec![("name", "ec42"), ("policy_type", "erasure_coding")]),
            ]
            .into_iter(),
        )
        .unwrap();
        assert_eq!(conf.policies.default_policy().name, "gold");
        assert_eq!(conf.policies.by_name("EC42").unwrap().policy_type, PolicyType::ErasureCoding);
    }

    #[test]
    fn options_for_new_rings_are_seconds_beside_those_of_the_key() {
        let rings = |options: &[(&'static str, &'static str)]| {
            let hash = ("swift-hash", vec![("swift_hash_path_suffix", "x")]);
            let sections = [hash, ("apus", options.to_vec())];
            SwiftConf::from_sections(sections.into_iter()).map(|conf| conf.rings)
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
