//! Status of the servers: the rings that they run, and whether replication has caught up.
//!
//! Only reports after the rings were loaded count. They are kept in memory: after a restart servers
//! are asked again. A time of another node is judged by that node's clock.

use std::collections::{BTreeMap, BTreeSet};

use apus_wire::rings::RingClient;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use super::ask::SignedClient;

/// Concurrent requests.
const AT_ONCE: usize = 30;

/// A storage server of a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Server {
    /// `ip:port`.
    pub(super) address: String,
    /// `account`, `container` or `object`.
    pub(super) kind: String,
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} server {}", self.kind, self.address)
    }
}

/// A replicator's last complete pass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Passed {
    /// Start of the pass, in seconds since 1970 by the manager's clock.
    pub(super) began: f64,
    /// Objects or rows below full redundancy, or in an unknown state.
    pub(super) below: u64,
}

/// Reported status of one server.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ServerStatus {
    /// MD5 of the rings that it has and uses, by name.
    pub(super) rings: BTreeMap<String, String>,
    pub(super) passed: Option<Passed>,
}

fn count(value: &Value, keys: &[&str]) -> u64 {
    let number = |key: &&str| value.get(*key).and_then(Value::as_u64).unwrap_or(0);
    keys.iter().map(number).sum()
}

/// The last pass by `/recon/redundancy` and `/recon/replication`; the node's clock is `ahead` of the
/// manager's by this number of seconds.
fn passed(kind: &str, redundancy: &Value, replication: &Value, ahead: f64) -> Option<Passed> {
    let counts = redundancy.get(format!("{kind}_redundancy"))?;
    let last = redundancy.get(format!("{kind}_redundancy_last"))?.as_f64()?;
    let (ended, seconds, below) = match kind {
        "object" => (
            replication.get("object_replication_last")?.as_f64()?,
            replication.get("object_replication_time")?.as_f64()? * 60.0,
            counts.as_object()?.values().map(|one| count(one, &["below", "unknown"])).sum(),
        ),
        _ => (
            replication.get("replication_last")?.as_f64()?,
            replication.get("replication_time")?.as_f64()?,
            count(counts, &["below", "unknown", "databases_below", "databases_unknown"]),
        ),
    };
    // A later pass over a part of the node hides when the complete one began.
    (ended == last).then_some(Passed { began: ended - seconds - ahead, below })
}

/// Clients for the status of servers.
#[derive(Debug)]
pub(super) struct StatusClient {
    pub(super) client: SignedClient,
    pub(super) courier: RingClient,
}

async fn ask(
    scout: &StatusClient,
    server: &Server,
    now: &(dyn Fn() -> f64 + Sync),
) -> Result<ServerStatus, String> {
    let manifest = scout.courier.manifest(&server.address).await;
    let manifest = manifest.map_err(|failure| format!("{}: {failure}", server.address))?;
    let rings = manifest.rings.into_iter().filter(|entry| {
        // A server loads only the rings of its kind.
        let version = entry.ring.map(|ring| ring.version);
        entry.loaded_version.is_none_or(|loaded| Some(loaded) == version)
    });
    let rings = rings.map(|entry| {
        let name = entry.name.to_string();
        (name.trim_end_matches(".ring.gz").to_owned(), entry.md5)
    });
    let get =
        async |check: &str| scout.client.get(&server.address, &format!("/recon/{check}")).await;
    let theirs =
        get("time").await?.as_f64().ok_or_else(|| format!("{server}: time is not a number"))?;
    let ahead = theirs - now();
    let redundancy = get(&format!("redundancy/{}", server.kind)).await?;
    let replication = get(&format!("replication/{}", server.kind)).await?;
    let passed = passed(&server.kind, &redundancy, &replication, ahead);
    Ok(ServerStatus { rings: rings.collect(), passed })
}

/// Asks all servers.
pub(super) async fn ask_all(
    scout: &StatusClient,
    servers: &BTreeSet<Server>,
    now: &(dyn Fn() -> f64 + Sync),
) -> BTreeMap<Server, Result<ServerStatus, String>> {
    let asked = stream::iter(servers.iter().cloned()).map(|server| async move {
        let reply = ask(scout, &server, now).await;
        (server, reply)
    });
    asked.buffer_unordered(AT_ONCE).collect().await
}

/// Observations since the rings last changed.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// MD5 of ring files by name.
    expected: BTreeMap<String, String>,
    /// Since when all servers have them, in seconds since 1970.
    since: Option<f64>,
    /// Servers whose replicator has found everything in place in a pass since then.
    clean: BTreeSet<Server>,
}

/// Status of the cluster.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct ClusterStatus {
    /// Since when all servers run the rings, in seconds since 1970.
    pub(super) since: Option<f64>,
    /// Servers with other rings.
    pub(super) lagging: Vec<String>,
    /// Servers that did not respond, with the error.
    pub(super) silent: Vec<String>,
    /// Servers whose replicator has not found everything in place since.
    pub(super) behind: Vec<String>,
    /// Objects or rows below full redundancy in the last passes.
    pub(super) below: u64,
}

impl ClusterStatus {
    /// Whether all run the rings and replication has caught up.
    pub(super) fn is_settled(&self) -> bool {
        self.since.is_some() && self.behind.is_empty()
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "all_run_the_rings_since": self.since,
            "other_rings": self.lagging,
            "silent": self.silent,
            "replication_not_caught_up": self.behind,
            "below_full_redundancy": self.below,
        })
    }
}

impl Watch {
    /// Evaluates the servers' replies. `expected`: the current rings; `take_up`: seconds in which a
    /// process loads a new ring file.
    pub(super) fn note(
        &mut self,
        expected: BTreeMap<String, String>,
        replies: &BTreeMap<Server, Result<ServerStatus, String>>,
        now: f64,
        take_up: f64,
    ) -> ClusterStatus {
        if self.expected != expected {
            *self = Self { expected, ..Self::default() };
        }
        let mut standing = ClusterStatus::default();
        for (server, reply) in replies {
            match reply {
                Ok(status) => {
                    if self
                        .expected
                        .iter()
                        .any(|(name, digest)| status.rings.get(name) != Some(digest))
                    {
                        standing.lagging.push(server.to_string());
                    }
                }
                Err(error) => standing.silent.push(error.clone()),
            }
        }
        if standing.lagging.is_empty() && standing.silent.is_empty() && !replies.is_empty() {
            self.since = self.since.or(Some(now));
        } else if !standing.lagging.is_empty() {
            // A server may have moved data by other rings meanwhile.
            self.since = None;
            self.clean.clear();
        }
        // A server that does not respond may only be busy: the time is kept.
        standing.since = self.since.filter(|_| standing.silent.is_empty());
        for (server, reply) in replies {
            let passed = reply.as_ref().ok().and_then(|status| status.passed);
            standing.below += passed.map_or(0, |passed| passed.below);
            let is_clean = passed.zip(self.since).is_some_and(|(passed, since)| {
                passed.began >= since + take_up && passed.below == 0
            });
            if is_clean {
                self.clean.insert(server.clone());
            }
            if !self.clean.contains(server) {
                standing.behind.push(server.to_string());
            }
        }
        standing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(number: u8) -> Server {
        Server { address: format!("10.0.0.{number}:6200"), kind: "object".to_owned() }
    }

    fn rings(digest: &str) -> BTreeMap<String, String> {
        BTreeMap::from([("object".to_owned(), digest.to_owned())])
    }

    fn reply(digest: &str, passed: Option<(f64, u64)>) -> Result<ServerStatus, String> {
        let passed = passed.map(|(began, below)| Passed { began, below });
        Ok(ServerStatus { rings: rings(digest), passed })
    }

    #[test]
    fn the_cluster_is_settled_when_each_has_passed_since_all_have_the_rings() {
        let mut watch = Watch::default();
        let mut note = |now: f64, one, other| {
            let replies = BTreeMap::from([(server(1), one), (server(2), other)]);
            watch.note(rings("new"), &replies, now, 10.0)
        };
        let standing = note(100.0, reply("new", None), reply("old", None));
        assert_eq!((standing.since, standing.lagging.len()), (None, 1));
        let standing = note(110.0, reply("new", None), reply("new", None));
        assert_eq!((standing.since, standing.is_settled()), (Some(110.0), false));
        // One pass began too early, the other found something.
        let standing = note(150.0, reply("new", Some((119.0, 0))), reply("new", Some((121.0, 3))));
        assert_eq!((standing.behind.len(), standing.below), (2, 3));
        let standing = note(160.0, reply("new", Some((120.0, 0))), reply("new", Some((121.0, 3))));
        assert_eq!(standing.behind, ["object server 10.0.0.2:6200"]);
        // Later findings of the first server are not caused by these rings.
        let standing = note(170.0, reply("new", Some((165.0, 1))), reply("new", Some((165.0, 0))));
        assert!(standing.is_settled());
        let standing = note(180.0, Err("10.0.0.1:6200: gone".to_owned()), reply("new", None));
        assert!(!standing.is_settled(), "one does not respond");
        assert!(note(190.0, reply("new", None), reply("new", None)).is_settled());
        let standing = note(200.0, reply("old", None), reply("new", None));
        assert!(!standing.is_settled() && standing.since.is_none());
    }

    #[test]
    fn new_rings_start_a_new_evaluation() {
        let mut watch = Watch::default();
        let all = |digest: &str| BTreeMap::from([(server(1), reply(digest, Some((20.0, 0))))]);
        assert!(watch.note(rings("a"), &all("a"), 0.0, 1.0).is_settled());
        assert!(watch.note(rings("a"), &all("a"), 30.0, 1.0).is_settled());
        assert!(!watch.note(rings("b"), &all("b"), 40.0, 1.0).is_settled());
    }

    #[test]
    fn the_start_of_a_pass_follows_from_its_end_and_the_clock_of_its_node() {
        let redundancy = json!({"object_redundancy": {"0": {"below": 1, "unknown": 2}, "1": {"below": 0, "unknown": 4}}, "object_redundancy_last": 1000.0});
        let replication =
            json!({"object_replication_last": 1000.0, "object_replication_time": 0.5});
        let found = passed("object", &redundancy, &replication, 100.0);
        assert_eq!(found, Some(Passed { began: 870.0, below: 7 }));
        let later = json!({"object_replication_last": 1001.0, "object_replication_time": 0.5});
        assert_eq!(passed("object", &redundancy, &later, 0.0), None);
        let redundancy = json!({"container_redundancy": {"below": 1, "unknown": 0, "databases_below": 2, "databases_unknown": 0}, "container_redundancy_last": 10.0});
        let replication = json!({"replication_last": 10.0, "replication_time": 3.0});
        let found = passed("container", &redundancy, &replication, 0.0);
        assert_eq!(found, Some(Passed { began: 7.0, below: 3 }));
    }
}
