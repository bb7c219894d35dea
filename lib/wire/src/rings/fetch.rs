//! Takes newer rings from other nodes: once, or regularly while a process runs.
//!
//! This is how a node that was away while a ring was pushed gets it, and a proxy, to which rings are not
//! pushed. Every ring carries the signature of its push, whichever node it comes from.

use std::sync::Arc;
use std::time::Duration;

use apus_daemon::{Drain, random};

use super::{Refusal, RingClient, RingClientError, RingFolder, RingName, Statement, Step};

/// By how many bytes, beyond its own length, a ring may have grown since it was offered.
const GROWTH_BYTES: u64 = 1024 * 1024;
/// Servers that are asked at a time.
const PEERS: usize = 3;

/// Outcome of fetching one ring from a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    /// It is installed here now.
    Installed(Statement),
    /// This node has it, or a newer one.
    HasIt(Statement),
    /// The node cannot pass it on, with its reason.
    NotSigned(String),
    /// This node refuses it.
    Refused(Refusal),
    /// It did not arrive.
    Failed(RingClientError),
}

/// Installs the rings that are newer at the server at `ip:port`; returns the outcome of each.
///
/// # Errors
/// When the server does not send its manifest.
pub async fn fetch_from(
    client: &RingClient,
    folder: &Arc<RingFolder>,
    address: &str,
) -> Result<Vec<(RingName, Fetched)>, RingClientError> {
    let manifest = client.manifest(address).await?;
    let mut outcomes = Vec::new();
    for entry in manifest.rings {
        let fetched = match entry.signed() {
            Some(statement) => ring(client, folder, address, statement).await,
            None => Fetched::NotSigned(entry.fault.unwrap_or_else(|| "not signed".to_owned())),
        };
        outcomes.push((entry.name, fetched));
    }
    Ok(outcomes)
}

async fn ring(
    client: &RingClient,
    folder: &Arc<RingFolder>,
    address: &str,
    offered: &Statement,
) -> Fetched {
    let there = || Fetched::HasIt(offered.clone());
    let (asked, statement) = (folder.clone(), offered.clone());
    let judged = on_a_thread(move || match asked.judge(&statement) {
        Ok(Step::Sign) => asked.keep_statement(&statement).map(|_| Step::Nothing),
        other => other,
    });
    match judged.await {
        Ok(Step::Install) => {}
        Ok(_) => return there(),
        Err(refusal @ Refusal::NotNewer { .. }) => {
            return if is_rival(&refusal) { Fetched::Refused(refusal) } else { there() };
        }
        Err(refusal) => return Fetched::Refused(refusal),
    }
    // It may be a newer one by now, which may be a little longer; one that is much longer is fetched
    // when it was offered and judged.
    let bytes_max = offered.length.saturating_mul(2).saturating_add(GROWTH_BYTES);
    let (statement, bytes) = match client.get(address, &offered.name, bytes_max).await {
        Ok(got) if got.0.name == offered.name => got,
        Ok(_) => {
            return Fetched::Failed(RingClientError::InvalidResponse(
                "another ring than asked for".to_owned(),
            ));
        }
        Err(failure) => return Fetched::Failed(failure),
    };
    let (installer, said) = (folder.clone(), statement.clone());
    let installed = on_a_thread(move || {
        installer.judge(&said)?;
        installer.install(&said.file(&bytes)?, &said)
    });
    match installed.await {
        Ok(Step::Install) => Fetched::Installed(statement),
        Ok(_) => Fetched::HasIt(statement),
        Err(refusal) => Fetched::Refused(refusal),
    }
}

/// Whether another ring of the same rank is here: only an operator can decide between these.
fn is_rival(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::NotNewer { offered, held, .. } if offered == held)
}

async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let done = apus_daemon::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(Refusal::Disk("reading rings failed".to_owned())))
}

/// Asks some of the servers that `peers` names, at once and then about every `interval`, until the
/// process stops.
pub async fn keep_fetching(
    client: RingClient,
    folder: Arc<RingFolder>,
    peers: impl Fn() -> Vec<String> + Send,
    interval: Duration,
    drain: Drain,
) {
    let mut logged = LoggedFailures::default();
    loop {
        let renewed = folder.clone();
        if let Err(refusal) = on_a_thread(move || renewed.renew_statements()).await {
            tracing::debug!("Ring statements are not renewed: {refusal}");
        }
        for address in chosen(peers()) {
            tokio::select! {
                fetched = fetch_from(&client, &folder, &address) => logged.log(&address, fetched),
                () = drain.begun() => return,
            }
        }
        // Not all nodes at the same moment.
        let wait = interval.mul_f64(0.75 + random::share() / 2.0);
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = drain.begun() => return,
        }
    }
}

/// Some of them, by chance.
fn chosen(mut peers: Vec<String>) -> Vec<String> {
    let mut chosen = Vec::new();
    while chosen.len() < PEERS && !peers.is_empty() {
        let at = usize::try_from(u64::from_le_bytes(random::bytes())).unwrap_or_default();
        chosen.push(peers.swap_remove(at % peers.len()));
    }
    chosen
}

/// The last logged failure of each ring: the same failure is logged once.
#[derive(Default)]
struct LoggedFailures {
    last: std::collections::BTreeMap<RingName, String>,
}

impl LoggedFailures {
    fn log(&mut self, address: &str, fetched: Result<Vec<(RingName, Fetched)>, RingClientError>) {
        let fetched = match fetched {
            Ok(fetched) => fetched,
            // A node that is away is reported elsewhere.
            Err(failure) => {
                return tracing::debug!(
                    address,
                    "Server did not send its ring manifest: {failure}"
                );
            }
        };
        for (name, fetched) in fetched {
            let trouble = match fetched {
                Fetched::Installed(said) => {
                    self.last.remove(&name);
                    tracing::info!(ring = %name, from = address, "Installed a fetched ring: {}", said.rank());
                    continue;
                }
                Fetched::HasIt(_) | Fetched::NotSigned(_) => continue,
                Fetched::Refused(refusal) => refusal.to_string(),
                Fetched::Failed(failure) => failure.to_string(),
            };
            if self.last.get(&name) != Some(&trouble) {
                tracing::warn!(ring = %name, from = address, "Ring was not fetched: {trouble}");
                self.last.insert(name, trouble);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use apus_daemon::http::{SharedHandler, full, set, text};
    use apus_daemon::{Body, Handler};
    use async_trait::async_trait;
    use bytes::Bytes;
    use http::{Request, Response, StatusCode};

    use super::super::file::tests::ring_file;
    use super::super::folder::tests::{Directory, keys};
    use super::super::manifest::Facts;
    use super::super::{Entry, Manifest, PATH, RingFile, RingKeys, STATEMENT};
    use super::*;
    use crate::Transport;

    const PEER: &str = "127.0.0.9:6200";

    /// A server whose answers are set by the test.
    struct Peer {
        manifest: Manifest,
        given: Option<(Statement, Bytes)>,
        asked: Mutex<Vec<String>>,
    }

    #[async_trait]
    impl Handler for Peer {
        async fn call(&self, request: Request<Body>) -> Response<Body> {
            let path = request.uri().path().to_owned();
            self.asked.lock().unwrap().push(path.clone());
            if path == PATH {
                return Response::new(full(serde_json::to_vec(&self.manifest).unwrap()));
            }
            let Some((statement, bytes)) = self.given.clone() else {
                return text(StatusCode::NOT_FOUND, "not here\nand more");
            };
            let mut answer = Response::new(full(bytes));
            set(answer.headers_mut(), STATEMENT, &statement.to_text());
            answer
        }
    }

    fn manifest_of(file: &RingFile, statement: Statement) -> Manifest {
        let entry = Entry {
            name: file.name().clone(),
            length: file.length(),
            sha256: file.sha256().to_owned(),
            md5: file.md5().to_owned(),
            ring: Some(Facts::of(file.ring())),
            loaded_version: None,
            statement: Some(statement),
            fault: None,
        };
        Manifest { rings: vec![entry] }
    }

    fn signed(keys: &RingKeys, file: &RingFile) -> Statement {
        keys.sign(file, 0).unwrap()
    }

    /// What comes of asking a peer, at a node that has version 7; and what the peer was asked.
    async fn fetched(
        name: &str,
        manifest: Manifest,
        given: Option<(Statement, Bytes)>,
    ) -> (Fetched, u64, usize) {
        let directory = Directory::new(name);
        let ours = keys(&["ab"]);
        let folder = Arc::new(RingFolder::new(&directory.0, ours.clone(), Vec::new()));
        let here = ring_file("object", 7);
        folder.install(&here, &signed(&ours, &here)).unwrap();
        let peer = Arc::new(Peer { manifest, given, asked: Mutex::default() });
        let transport = Arc::new(Transport::default());
        let handler: SharedHandler = peer.clone();
        transport.register(PEER, handler);
        let client = RingClient::new(transport, Duration::from_secs(5));
        let mut rings = fetch_from(&client, &folder, PEER).await.unwrap();
        let version = folder.open_signed(here.name()).unwrap().unwrap().1.version;
        let asked = peer.asked.lock().unwrap().len();
        (rings.remove(0).1, version, asked)
    }

    #[tokio::test]
    async fn what_is_newer_and_signed_is_taken_and_what_is_not_is_not_even_asked_for() {
        let ours = keys(&["ab"]);
        for (version, kept, asked) in [(8, 8, 2), (7, 7, 1), (6, 7, 1)] {
            let file = ring_file("object", version);
            let statement = signed(&ours, &file);
            let given = Some((statement.clone(), file.bytes().clone()));
            let name = format!("fetch-{version}");
            let found = fetched(&name, manifest_of(&file, statement.clone()), given).await;
            let expected = match version {
                8 => Fetched::Installed(statement),
                _ => Fetched::HasIt(statement),
            };
            assert_eq!(found, (expected, kept, asked), "{version}");
        }
    }

    #[tokio::test]
    async fn a_peer_that_lies_changes_nothing() {
        let (ours, theirs) = (keys(&["ab"]), keys(&["cd"]));
        let (older, newer) = (ring_file("object", 6), ring_file("object", 8));
        let good = signed(&ours, &newer);
        let bytes = |file: &RingFile| file.bytes().clone();
        let longer = Bytes::from([newer.bytes().as_ref(), b"x"].concat());
        let container = ring_file("container", 9);
        let of_container = (signed(&ours, &container), bytes(&container));
        for (name, manifest, given) in [
            (
                "foreign",
                manifest_of(&newer, signed(&theirs, &newer)),
                Some((good.clone(), bytes(&newer))),
            ),
            (
                "foreign-file",
                manifest_of(&newer, good.clone()),
                Some((signed(&theirs, &newer), bytes(&newer))),
            ),
            ("other-bytes", manifest_of(&newer, good.clone()), Some((good.clone(), bytes(&older)))),
            ("more-bytes", manifest_of(&newer, good.clone()), Some((good.clone(), longer))),
            (
                "older",
                manifest_of(&newer, good.clone()),
                Some((signed(&ours, &older), bytes(&older))),
            ),
            ("other-ring", manifest_of(&newer, good.clone()), Some(of_container)),
            ("nothing", manifest_of(&newer, good.clone()), None),
        ] {
            let (found, version, _) = fetched(name, manifest, given).await;
            assert!(matches!(found, Fetched::Refused(_) | Fetched::Failed(_)), "{name}: {found:?}");
            assert_eq!(version, 7, "{name}");
        }
    }

    #[tokio::test]
    async fn another_ring_of_the_same_version_is_reported_for_an_operator_to_decide() {
        let mut raw = super::super::file::tests::raw(7);
        raw.devices[0].as_mut().unwrap().weight = 2.0;
        let rival = super::super::file::tests::file_of("object", &raw);
        let manifest = manifest_of(&rival, signed(&keys(&["ab"]), &rival));
        let (found, ..) = fetched("rival", manifest, None).await;
        let Fetched::Refused(refusal) = found else { panic!("{found:?}") };
        assert!(refusal.to_string().contains("another ring of version 7"), "{refusal}");
    }

    #[test]
    fn peers_are_drawn_each_once_and_no_more_than_there_are() {
        let peers = |count: usize| (0..count).map(|number| number.to_string()).collect::<Vec<_>>();
        for count in [0, 2, 3, 50] {
            let mut drawn = chosen(peers(count));
            drawn.sort_unstable();
            drawn.dedup();
            assert_eq!(drawn.len(), count.min(PEERS));
        }
    }
}
