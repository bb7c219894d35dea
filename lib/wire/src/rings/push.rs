//! Pushes new rings to all nodes and reports which of them have them.
//!
//! Servers are asked for their manifest first, so that a ring that is there is not sent again, also
//! when several servers of a node share one `swift_dir`, and a dry run can report what would happen.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use apus_ring::Ring;
use futures_util::{StreamExt, stream};
use serde::Serialize;

use super::judge::{check_step, check_usable, judge};
use super::manifest::Facts;
use super::{
    Entry, Manifest, RingClient, RingClientError, RingFile, RingKeys, RingName, Statement, Step,
};

/// A server that is named by rings.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct RingServer {
    /// `ip:port`.
    pub address: String,
    /// Servers of one address are those of one node; they are not asked at the same time.
    pub ip: String,
    /// Its region; 0 when only the address is known.
    pub region: u32,
    /// Its zone likewise.
    pub zone: u32,
}

impl RingServer {
    /// A server of which only `ip:port` is known; `None` when the text is not such an address.
    pub fn at(address: &str) -> Option<Self> {
        let device = apus_ring::Device::at(address, "")?;
        Some(Self { address: device.address(), ip: device.ip, region: 0, zone: 0 })
    }
}

/// The servers of some rings, each once, in order: one at each `ip:port`, without those for
/// replication only.
pub fn targets_of<'a>(rings: impl IntoIterator<Item = &'a Ring>) -> Vec<RingServer> {
    let mut targets = BTreeMap::new();
    for device in rings.into_iter().flat_map(|ring| ring.devices().iter().flatten()) {
        targets.entry(device.address()).or_insert_with(|| RingServer {
            address: device.address(),
            ip: device.ip.clone(),
            region: device.region,
            zone: device.zone,
        });
    }
    targets.into_values().collect()
}

/// How rings are pushed.
#[derive(Debug, Clone)]
pub struct PushOptions {
    /// Install an older ring, too (a new series).
    pub force: bool,
    /// Ask, but change nothing.
    pub dry_run: bool,
    /// Nodes that are asked at once.
    pub at_once: usize,
    /// Counts the servers that are done, reached or not.
    pub servers_done: Arc<AtomicUsize>,
}

impl Default for PushOptions {
    fn default() -> Self {
        Self { force: false, dry_run: false, at_once: 16, servers_done: Arc::default() }
    }
}

/// Outcome of pushing one ring to one server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum PushOutcome {
    /// It is there now, and was not before.
    Installed {
        /// Version of the ring before.
        before: Option<u64>,
    },
    /// It was there.
    HasIt,
    /// It would be installed (dry run).
    Would {
        /// Version of the ring that is there.
        before: Option<u64>,
    },
    /// It was refused.
    Refused {
        /// Status of the answer.
        status: u16,
        /// Why.
        reason: String,
    },
    /// The server did not answer.
    Unreachable {
        /// Why.
        reason: String,
    },
}

impl PushOutcome {
    /// Whether the server has the ring.
    pub fn is_there(&self) -> bool {
        matches!(self, Self::Installed { .. } | Self::HasIt)
    }
}

impl From<RingClientError> for PushOutcome {
    fn from(failure: RingClientError) -> Self {
        match failure {
            RingClientError::Refused { status, reason } => Self::Refused { status, reason },
            failure => Self::Unreachable { reason: failure.to_string() },
        }
    }
}

/// Outcome of pushing one ring to one server, with their names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServerOutcome {
    /// `ip:port`.
    pub address: String,
    /// The ring.
    pub ring: RingName,
    /// The outcome.
    #[serde(flatten)]
    pub outcome: PushOutcome,
}

/// Report of a push.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PushReport {
    /// What was pushed, as it was signed.
    pub rings: Vec<Statement>,
    /// Outcomes by server and ring.
    pub outcomes: Vec<ServerOutcome>,
    /// Nothing was changed.
    pub dry_run: bool,
}

impl PushReport {
    /// Whether all servers have all rings.
    pub fn is_complete(&self) -> bool {
        self.outcomes.iter().all(|server| server.outcome.is_there())
    }

    /// Outcomes of the rings that are missing at a server.
    pub fn missing(&self) -> impl Iterator<Item = &ServerOutcome> {
        self.outcomes.iter().filter(|server| !server.outcome.is_there())
    }
}

/// Signs ring files and sends them to servers. The report has the outcome at each.
///
/// # Errors
/// When a file cannot be used; no server has been asked then.
pub async fn push(
    client: &RingClient,
    keys: &RingKeys,
    files: &[RingFile],
    targets: &[RingServer],
    options: &PushOptions,
) -> Result<PushReport, String> {
    for file in files {
        check_usable(file.name(), file.ring()).map_err(|refusal| refusal.to_string())?;
    }
    let mut nodes: BTreeMap<&str, Vec<&RingServer>> = BTreeMap::new();
    for target in targets {
        nodes.entry(&target.ip).or_default().push(target);
    }
    let at_once = options.at_once.max(1);
    let asked = stream::iter(targets).map(|target| async move {
        (target.address.clone(), client.manifest(&target.address).await)
    });
    let manifests: BTreeMap<_, _> = asked.buffer_unordered(at_once).collect().await;
    let signed: Vec<(RingFile, Statement)> = files
        .iter()
        .filter_map(|file| {
            let series = series_of(keys, file, manifests.values().flatten(), options.force);
            Some((file.clone(), keys.sign(file, series)?))
        })
        .collect();
    let round = Round { client, keys, signed: &signed, manifests: &manifests, options };
    let pushed = stream::iter(nodes.into_values()).map(|node| round.node(node));
    let mut outcomes: Vec<ServerOutcome> =
        pushed.buffer_unordered(at_once).collect::<Vec<_>>().await.into_iter().flatten().collect();
    outcomes.sort_by(|a, b| (&a.address, &a.ring).cmp(&(&b.address, &b.ring)));
    let rings = signed.into_iter().map(|(_, statement)| statement).collect();
    Ok(PushReport { rings, outcomes, dry_run: options.dry_run })
}

/// The series that a ring is signed in: the highest that is known, or one more if it must be
/// forced.
fn series_of<'a>(
    keys: &RingKeys,
    file: &RingFile,
    manifests: impl Iterator<Item = &'a Manifest>,
    force: bool,
) -> u64 {
    let held = manifests
        .filter_map(|manifest| manifest.get(file.name()))
        .map(|entry| believed(keys, entry));
    held.map(|held| {
        let known = held.rank().map_or(0, |rank| rank.series);
        let is_other = held.sha256 != file.sha256();
        if force && is_other {
            held.series_to_beat(file.ring().version()).max(known)
        } else {
            known
        }
    })
    .max()
    .unwrap_or(0)
}

/// A server's entry, without a statement that no key of the cluster signed.
pub(super) fn believed(keys: &RingKeys, entry: &Entry) -> Entry {
    let statement = entry.statement.clone().filter(|said| keys.verify(said).is_ok());
    Entry { statement, ..entry.clone() }
}

struct Round<'a> {
    client: &'a RingClient,
    keys: &'a RingKeys,
    signed: &'a [(RingFile, Statement)],
    manifests: &'a BTreeMap<String, Result<Manifest, RingClientError>>,
    options: &'a PushOptions,
}

impl Round<'_> {
    /// The servers of one node, one after the other: the second finds what the first was given.
    async fn node(&self, servers: Vec<&RingServer>) -> Vec<ServerOutcome> {
        let mut outcomes = Vec::new();
        for (index, server) in servers.into_iter().enumerate() {
            let address = &server.address;
            let known = self.manifests.get(address).cloned();
            let known =
                known.unwrap_or_else(|| Err(RingClientError::Unreachable("not asked".to_owned())));
            let known = match known {
                Ok(_) if index > 0 && !self.options.dry_run => self.client.manifest(address).await,
                known => known,
            };
            for (file, statement) in self.signed {
                let outcome = match &known {
                    Ok(manifest) => self.ring(address, manifest, file, statement).await,
                    Err(failure) => PushOutcome::from(failure.clone()),
                };
                outcomes.push(ServerOutcome {
                    address: address.clone(),
                    ring: file.name().clone(),
                    outcome,
                });
            }
            self.options.servers_done.fetch_add(1, Ordering::Relaxed);
        }
        outcomes
    }

    async fn ring(
        &self,
        address: &str,
        manifest: &Manifest,
        file: &RingFile,
        statement: &Statement,
    ) -> PushOutcome {
        let held = manifest.get(file.name()).map(|entry| believed(self.keys, entry));
        let before = held.as_ref().and_then(|held| held.ring.as_ref());
        let foreseen = judge(held.as_ref(), statement, |said| self.keys.is_current(said));
        let foreseen = foreseen.and_then(|step| match (step, before) {
            (Step::Install, Some(before)) => {
                check_step(file.name(), before, &Facts::of(file.ring())).map(|()| step)
            }
            (step, _) => Ok(step),
        });
        let before = before.map(|before| before.version);
        match foreseen {
            Ok(Step::Nothing) => return PushOutcome::HasIt,
            Ok(Step::Sign) if self.options.dry_run => return PushOutcome::HasIt,
            Ok(Step::Install) if self.options.dry_run => return PushOutcome::Would { before },
            Ok(_) => {}
            Err(refusal) => {
                let status = refusal.status().as_u16();
                return PushOutcome::Refused { status, reason: refusal.to_string() };
            }
        }
        match self.client.put(address, file, statement).await {
            Ok(Step::Install) => PushOutcome::Installed { before },
            Ok(Step::Sign | Step::Nothing) => PushOutcome::HasIt,
            Err(failure) => PushOutcome::from(failure),
        }
    }
}

/// Which rings many servers have.
pub async fn manifests(
    client: &RingClient,
    targets: &[RingServer],
    at_once: usize,
) -> Vec<(RingServer, Result<Manifest, RingClientError>)> {
    let asked = stream::iter(targets)
        .map(|target| async move { (target.clone(), client.manifest(&target.address).await) });
    asked.buffered(at_once.max(1)).collect().await
}

#[cfg(test)]
mod tests {
    use apus_daemon::http::SharedHandler;
    use apus_daemon::{Body, Handler};
    use async_trait::async_trait;
    use http::{Request, Response, StatusCode};

    use super::super::file::tests::{file_of, raw, ring_file};
    use super::super::folder::tests::{Directory, keys};
    use super::super::{RingFolder, RingsHttp};
    use super::*;
    use crate::Transport;

    struct Nothing;

    #[async_trait]
    impl Handler for Nothing {
        async fn call(&self, _: Request<Body>) -> Response<Body> {
            apus_daemon::http::status(StatusCode::NOT_FOUND)
        }
    }

    /// Servers at these addresses, each with a directory of its own.
    fn client(addresses: &[(&str, &Directory)]) -> RingClient {
        let transport = Transport::default();
        for (address, directory) in addresses {
            let folder = RingFolder::new(&directory.0, keys(&["ab"]), Vec::new());
            let handler: SharedHandler = std::sync::Arc::new(RingsHttp::new(
                std::sync::Arc::new(Nothing),
                Some(folder.into()),
            ));
            transport.register(address, handler);
        }
        RingClient::new(transport.into(), std::time::Duration::from_secs(5))
    }

    fn outcomes(report: &PushReport) -> Vec<&PushOutcome> {
        report.outcomes.iter().map(|server| &server.outcome).collect()
    }

    #[test]
    fn each_server_is_asked_once_also_when_many_devices_and_rings_have_it() {
        let (one, two) = (ring_file("object", 7), ring_file("container", 7));
        let targets = targets_of([one.ring(), two.ring()]);
        let addresses: Vec<_> = targets.iter().map(|target| target.address.as_str()).collect();
        assert_eq!(addresses, ["127.0.0.1:6200", "127.0.0.2:6200", "127.0.0.3:6200"]);
        assert_eq!(targets[1].zone, 2);
        assert_eq!(RingServer::at("[::1]:6200").unwrap().address, "[::1]:6200");
        assert_eq!(RingServer::at("host"), None);
    }

    #[tokio::test]
    async fn a_directory_that_two_servers_share_is_given_a_ring_once() {
        let (shared, own) = (Directory::new("shared"), Directory::new("own"));
        let addresses = ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.2:1"];
        let client =
            client(&[(addresses[0], &shared), (addresses[1], &shared), (addresses[2], &own)]);
        let targets = addresses.map(|address| RingServer::at(address).unwrap());
        let (ours, files) = (keys(&["ab"]), [ring_file("object", 7)]);
        let dry = PushOptions { dry_run: true, ..PushOptions::default() };
        let report = push(&client, &ours, &files, &targets, &dry).await.unwrap();
        assert_eq!(outcomes(&report), [&PushOutcome::Would { before: None }; 3]);
        let options = PushOptions::default();
        let report = push(&client, &ours, &files, &targets, &options).await.unwrap();
        let installed = PushOutcome::Installed { before: None };
        assert_eq!(outcomes(&report), [&installed, &PushOutcome::HasIt, &installed]);
        assert!(report.is_complete());
        let report = push(&client, &ours, &files, &targets, &options).await.unwrap();
        assert_eq!(outcomes(&report), [&PushOutcome::HasIt; 3]);
    }

    #[tokio::test]
    async fn a_series_begins_only_when_an_older_ring_must_be_forced() {
        let directory = Directory::new("series");
        let (client, ours) = (client(&[("127.0.0.1:1", &directory)]), keys(&["ab"]));
        let targets = [RingServer::at("127.0.0.1:1").unwrap()];
        let mut rival = raw(9);
        rival.devices[0].as_mut().unwrap().weight = 2.0;
        for (file, force, series, is_there) in [
            (ring_file("object", 8), true, 0, true),
            (ring_file("object", 7), false, 0, false),
            (ring_file("object", 7), true, 1, true),
            (ring_file("object", 7), true, 1, true),
            (ring_file("object", 9), true, 1, true),
            (file_of("object", &rival), false, 1, false),
            (file_of("object", &rival), true, 2, true),
        ] {
            let version = file.ring().version();
            let options = PushOptions { force, ..PushOptions::default() };
            let report = push(&client, &ours, &[file], &targets, &options).await.unwrap();
            assert_eq!(report.rings[0].series, series, "{version} {force}");
            assert_eq!(report.is_complete(), is_there, "{version} {force}: {report:?}");
        }
    }

    #[tokio::test]
    async fn a_server_out_of_reach_is_missing_and_does_not_delay_the_others() {
        let directory = Directory::new("away");
        let client = client(&[("127.0.0.1:1", &directory)]);
        // No server listens there.
        let targets =
            ["127.0.0.1:1", "127.0.0.2:1"].map(|address| RingServer::at(address).unwrap());
        let (ours, files) = (keys(&["ab"]), [ring_file("object", 7)]);
        let report = push(&client, &ours, &files, &targets, &PushOptions::default()).await.unwrap();
        let missing: Vec<_> = report.missing().map(|server| server.address.as_str()).collect();
        assert_eq!(missing, ["127.0.0.2:1"]);
        assert!(report.outcomes[0].outcome.is_there());
    }
}
