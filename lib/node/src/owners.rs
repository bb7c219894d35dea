//! Ownership of devices: one process of each role uses a device.
//!
//! A server keeps leases of conditional writes and invalidated hashes in memory, so no second server
//! of the same kind may use its devices. Nor may a second replicator, auditor, updater or reaper
//! that runs continuously; one with `--once` may.
//!
//! The devices that rings give to this node are taken at the start, which fails when another
//! process has one. A device that appears later is taken when it is first used, or soon after; one
//! that another process has then answers 507. A worker that makes way releases its devices as soon
//! as it is sealed, and the next one takes them before it accepts a connection.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use apus_cluster::percent;
use apus_daemon::config::Conf;
use apus_daemon::http::{Body, Handler, SharedHandler, text};
use apus_daemon::{Drain, Scope};
use async_trait::async_trait;
use http::{Request, Response, StatusCode};
use tokio::time::Instant;

use super::device_lock::{DeviceLock, LockHolder, LockRefusal, identity};
use super::node::Builder;
use super::role::Server;
use super::storage::DeviceSettings;

/// Interval of checks of the locks, and of attempts to get missing ones.
const INTERVAL: Duration = Duration::from_secs(5);
/// How long a start waits for a process that is ending.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// Time between two attempts.
const AGAIN: Duration = Duration::from_millis(20);

/// Description of this process for lock files.
pub(crate) fn this_process(configuration: &Path) -> LockHolder {
    let mut words = std::env::args();
    let name = words.next().unwrap_or_default();
    let name = Path::new(&name).file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_else(|| "apus".to_owned());
    // Under the name of one of Swift's programs, that name is the command.
    let command = words.next().filter(|_| !name.starts_with("swift-"));
    let overseer = super::worker::is_one().then(rustix::process::getppid).flatten();
    let overseer = overseer.and_then(|pid| u32::try_from(pid.as_raw_nonzero().get()).ok());
    LockHolder {
        pid: std::process::id(),
        program: command.map_or_else(|| name.clone(), |command| format!("{name} {command}")),
        configuration: std::path::absolute(configuration)
            .unwrap_or_else(|_| configuration.to_owned()),
        overseer: overseer.and_then(identity),
    }
}

/// State of a device's lock.
#[derive(Debug, Clone)]
enum Claim {
    /// This process holds it.
    Held(Arc<DeviceLock>),
    /// The file system takes no lock file, so no other process can write there either.
    Unwritable,
    /// The worker that this process is about to replace holds it.
    Predecessor,
    /// Another process holds it, or the disk failed.
    Refused,
}

/// The devices of one role of this process.
#[derive(Debug)]
pub(super) struct Owners {
    role: &'static str,
    /// The directory of the devices.
    root: PathBuf,
    mount_check: bool,
    this: LockHolder,
    /// The devices of the rings that are to be held.
    wanted: Vec<String>,
    claims: RwLock<BTreeMap<String, Claim>>,
    /// Held while a device is taken.
    turn: Mutex<()>,
    /// Another worker has taken over; this one finishes open requests.
    released: AtomicBool,
}

impl Owners {
    pub(super) fn new(
        role: &'static str,
        (root, mount_check): (PathBuf, bool),
        this: LockHolder,
        wanted: Vec<String>,
    ) -> Self {
        let (claims, turn) = (RwLock::default(), Mutex::default());
        let released = AtomicBool::new(false);
        Self { role, root, mount_check, this, wanted, claims, turn, released }
    }

    /// The same for some of the wanted devices only.
    pub(super) fn within(mut self, scope: &Scope) -> Self {
        self.wanted.retain(|device| scope.has_device(device));
        self
    }

    /// Whether requests for a device are served; `None` before its first use.
    fn known(&self, device: &str) -> Option<bool> {
        if self.released.load(Ordering::Acquire) {
            return Some(true);
        }
        self.read().get(device).map(|claim| !matches!(claim, Claim::Refused))
    }

    /// The directory of an existing device.
    fn path(&self, device: &str) -> Option<PathBuf> {
        if device.is_empty() || device.starts_with('.') || device.contains(['/', '\0']) {
            return None;
        }
        let path = self.root.join(device);
        let there = if self.mount_check { apus_disk::is_mount(&path) } else { path.is_dir() };
        there.then_some(path)
    }

    /// Locks a device if it exists. Blocks.
    ///
    /// # Errors
    /// The process that holds the lock.
    fn claim(&self, device: &str) -> Result<(), String> {
        // One at a time, or this process would meet its own lock. Requests for devices that are
        // known never wait for this.
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if self.released.load(Ordering::Acquire) {
            return Ok(());
        }
        let Some(path) = self.path(device) else {
            self.write().remove(device);
            return Ok(());
        };
        let before = self.read().get(device).cloned();
        if let Some(Claim::Held(lock)) = &before
            && lock.is_in_place()
        {
            return Ok(());
        }
        let described = |what: &str| format!("{}: {what}", path.display());
        let (claim, result) = match DeviceLock::take(&path, self.role, &self.this) {
            Ok(lock) => (Claim::Held(Arc::new(lock)), Ok(())),
            Err(LockRefusal::Held(Some(holder)))
                if holder.overseer.is_some() && holder.overseer == self.this.overseer =>
            {
                (Claim::Predecessor, Ok(()))
            }
            Err(LockRefusal::Held(holder)) => {
                let holder =
                    holder.map_or_else(|| "another process".to_owned(), |it| it.to_string());
                let what = format!(
                    "the {} of {holder} uses this device; stop it, or configure other devices here",
                    self.role
                );
                (Claim::Refused, Err(described(&what)))
            }
            Err(LockRefusal::Unwritable(error)) => {
                if !matches!(before, Some(Claim::Unwritable)) {
                    tracing::warn!("{}", described(&format!("cannot be locked: {error}")));
                }
                (Claim::Unwritable, Ok(()))
            }
            Err(LockRefusal::Failed(error)) => {
                if !matches!(before, Some(Claim::Refused)) {
                    tracing::error!("{}", described(&format!("cannot be locked: {error}")));
                }
                (Claim::Refused, Ok(()))
            }
        };
        let mut claims = self.write();
        claims.insert(device.to_owned(), claim);
        // It may have been released meanwhile.
        if self.released.load(Ordering::Acquire) {
            claims.clear();
        }
        result
    }

    /// As [`Owners::claim`], after the start: a refusal is logged when it is new.
    fn claim_again(&self, device: &str) {
        let was_refused = matches!(self.read().get(device), Some(Claim::Refused));
        if let Err(error) = self.claim(device)
            && !was_refused
        {
            tracing::error!("{error}");
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<String, Claim>> {
        self.claims.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<String, Claim>> {
        self.claims.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks all existing devices of the rings.
    fn claim_wanted(&self) -> Result<(), String> {
        self.wanted.iter().try_for_each(|device| self.claim(device))
    }

    /// Locks them at the start. A process that is ending gets a moment to do so.
    ///
    /// # Errors
    /// A device that another process has.
    pub(super) async fn start(self: &Arc<Self>) -> Result<(), String> {
        let until = Instant::now() + WAIT_MAX;
        loop {
            let owners = self.clone();
            let claimed = apus_daemon::task::spawn_blocking(move || owners.claim_wanted()).await;
            match claimed.map_err(|error| format!("{}: {error}", self.role))? {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() >= until => return Err(error),
                Err(_) => tokio::time::sleep(AGAIN).await,
            }
        }
    }

    /// Locks the devices that the previous worker has released. Limited to a short time, since requests
    /// wait.
    pub(super) async fn take_over(self: &Arc<Self>) {
        let until = Instant::now() + WAIT_MAX;
        while self.has_predecessor() && Instant::now() < until {
            self.look().await;
            if self.has_predecessor() {
                tokio::time::sleep(AGAIN).await;
            }
        }
    }

    fn has_predecessor(&self) -> bool {
        self.read().values().any(|claim| matches!(claim, Claim::Predecessor))
    }

    /// Releases all devices: another process serves them from now on.
    pub(super) fn release(&self) {
        self.released.store(true, Ordering::Release);
        self.write().clear();
    }

    /// Checks every device that is wanted or was used.
    async fn look(self: &Arc<Self>) {
        let owners = self.clone();
        let look = move || {
            let used: Vec<String> = owners.read().keys().cloned().collect();
            for device in owners.wanted.iter().chain(&used) {
                owners.claim_again(device);
            }
        };
        // After a panic the check is repeated later.
        let _ = apus_daemon::task::spawn_blocking(look).await;
    }

    /// Keeps the locks up to date until the process stops.
    pub(super) async fn watch(self: Arc<Self>, drain: Drain) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                () = drain.begun() => return,
            }
            if self.released.load(Ordering::Acquire) {
                return;
            }
            self.look().await;
        }
    }

    async fn claim_used(self: &Arc<Self>, device: String) -> bool {
        let owners = self.clone();
        let claim = move || {
            owners.claim_again(&device);
            owners.known(&device).unwrap_or(true)
        };
        apus_daemon::task::spawn_blocking(claim).await.unwrap_or(false)
    }
}

/// Daemons that take entries of a queue, of which several processes may run, as in Swift.
const SHARING: [&str; 2] = ["container-reconciler", "object-expirer"];

impl Builder<'_> {
    /// The devices of a place that the rings give to this node.
    fn owners(&self, role: &'static str, site: &DeviceSettings, server: Server) -> Owners {
        let local = site.local();
        let mut wanted: Vec<String> = Vec::new();
        for ring in self.rings_of(server) {
            let ring = ring.get();
            let ours = ring.devices().iter().flatten().filter(|device| local.owns(device));
            wanted.extend(ours.map(|device| device.device.clone()));
        }
        wanted.sort_unstable();
        wanted.dedup();
        let place = (site.devices.clone(), site.mount_check);
        Owners::new(role, place, self.this.clone(), wanted)
    }

    /// Locks the devices of a storage server before it listens, and limits it to them.
    pub(super) async fn owned(
        &mut self,
        server: Server,
        conf: &Conf,
        handler: SharedHandler,
    ) -> Result<SharedHandler, String> {
        let role = match server {
            Server::Proxy => return Ok(handler),
            Server::Account => "account-server",
            Server::Container => "container-server",
            Server::Object => "object-server",
        };
        let owners = Arc::new(self.owners(role, &DeviceSettings::read(conf, "", server)?, server));
        owners.start().await?;
        self.node.owners.push(owners.clone());
        Ok(Arc::new(OwnDevices::new(handler, owners)))
    }

    /// Notes the devices of daemons, which are locked if these run continuously.
    pub(super) fn note_daemons(
        &mut self,
        server: Server,
        conf: &Conf,
        daemons: &[&'static str],
    ) -> Result<(), String> {
        for daemon in daemons.iter().filter(|daemon| !SHARING.contains(daemon)) {
            let owners = self.owners(daemon, &DeviceSettings::read(conf, daemon, server)?, server);
            self.node.daemon_owners.push(owners);
        }
        Ok(())
    }
}

/// The device in the path of a request.
fn device_of(path: &str) -> Option<std::borrow::Cow<'_, str>> {
    let first = path.strip_prefix('/')?.split('/').next()?;
    match first.contains('%') {
        false => Some(first.into()),
        true => percent::decode_utf8(first).map(Into::into),
    }
}

/// A storage server that serves only devices that this process owns.
pub(super) struct OwnDevices {
    inner: SharedHandler,
    owners: Arc<Owners>,
}

impl OwnDevices {
    pub(super) fn new(inner: SharedHandler, owners: Arc<Owners>) -> Self {
        Self { inner, owners }
    }
}

#[async_trait]
impl Handler for OwnDevices {
    async fn call(&self, request: Request<Body>) -> Response<Body> {
        let device = device_of(request.uri().path());
        let serves = match device.as_deref().map(|device| (device, self.owners.known(device))) {
            // The server refuses such a path.
            None => true,
            Some((_, Some(known))) => known,
            // A device that does not exist is reported by the server.
            Some((device, None)) if self.owners.path(device).is_none() => true,
            Some((device, None)) => self.owners.claim_used(device.to_owned()).await,
        };
        if !serves {
            let why = "another process uses this device, or it cannot be locked";
            return text(StatusCode::INSUFFICIENT_STORAGE, why);
        }
        self.inner.call(request).await
    }
}

#[cfg(test)]
mod tests {
    use apus_daemon::http::status;

    use super::*;

    struct Answers;

    #[async_trait]
    impl Handler for Answers {
        async fn call(&self, _: Request<Body>) -> Response<Body> {
            status(StatusCode::OK)
        }
    }

    fn owners(root: &Path, overseer: Option<&str>, wanted: &[&str]) -> Arc<Owners> {
        let this = LockHolder {
            overseer: overseer.map(str::to_owned),
            ..this_process(Path::new("/etc/swift"))
        };
        let wanted = wanted.iter().map(|name| (*name).to_owned()).collect();
        Arc::new(Owners::new("object-server", (root.to_owned(), false), this, wanted))
    }

    async fn ask(server: &OwnDevices, path: &str) -> StatusCode {
        let request = Request::get(path).body(apus_daemon::http::empty()).unwrap();
        server.call(request).await.status()
    }

    fn root(name: &str) -> PathBuf {
        let root = std::env::temp_dir().join(format!("apus-owners-{name}-{}", std::process::id()));
        std::fs::create_dir_all(root.join("sd1")).unwrap();
        root
    }

    #[tokio::test]
    async fn a_device_of_another_process_answers_507_until_that_has_gone() {
        let root = root("other");
        let first = owners(&root, None, &["sd1"]);
        first.start().await.unwrap();
        let second = owners(&root, None, &["sd1"]);
        let error = second.start().await.unwrap_err();
        let pid = std::process::id().to_string();
        assert!(error.contains("sd1") && error.contains(&pid), "{error}");
        let server = OwnDevices::new(Arc::new(Answers), second.clone());
        assert_eq!(ask(&server, "/sd1/0/a/c/o").await, StatusCode::INSUFFICIENT_STORAGE);
        assert_eq!(ask(&server, "/%73d1/0/a/c/o").await, StatusCode::INSUFFICIENT_STORAGE);
        // Other paths are passed to the server.
        for path in ["/", "/sd9/0/a/c/o", "/../0/a", "/.apus-locks/0/a"] {
            assert_eq!(ask(&server, path).await, StatusCode::OK, "{path}");
        }
        drop(first);
        second.look().await;
        assert_eq!(ask(&server, "/sd1/0/a/c/o").await, StatusCode::OK);
        std::fs::remove_dir_all(&root).unwrap();
    }

    #[tokio::test]
    async fn a_device_that_comes_later_is_taken_when_it_is_used() {
        let root = root("later");
        let first = owners(&root, None, &["sd2"]);
        first.start().await.unwrap();
        std::fs::create_dir(root.join("sd2")).unwrap();
        let server = OwnDevices::new(Arc::new(Answers), first.clone());
        assert_eq!(ask(&server, "/sd2/0/a/c/o").await, StatusCode::OK);
        let second = OwnDevices::new(Arc::new(Answers), owners(&root, None, &[]));
        assert_eq!(ask(&second, "/sd2/0/a/c/o").await, StatusCode::INSUFFICIENT_STORAGE);
        std::fs::remove_dir_all(&root).unwrap();
    }

    #[tokio::test]
    async fn a_worker_takes_over_from_the_one_before_and_no_other_process_can_between() {
        let root = root("worker");
        let old = owners(&root, Some("9:1"), &["sd1"]);
        old.start().await.unwrap();
        let next = owners(&root, Some("9:1"), &["sd1"]);
        next.start().await.unwrap();
        assert!(next.has_predecessor());
        old.release();
        next.take_over().await;
        assert!(!next.has_predecessor());
        // What is open is finished.
        let finishing = OwnDevices::new(Arc::new(Answers), old);
        assert_eq!(ask(&finishing, "/sd1/0/a/c/o").await, StatusCode::OK);
        assert!(owners(&root, Some("9:2"), &["sd1"]).start().await.is_err());
        std::fs::remove_dir_all(&root).unwrap();
    }
}
