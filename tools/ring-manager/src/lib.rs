//! `apus ring-manager`: the daemon that lets nodes join, drains devices and rebalances.
//!
//! It runs on one node that the operator chooses, next to the builder files, which stay
//! authoritative: `ring-builder` may be used at any time. Reads and writes of objects do not need it:
//! while it is stopped, rings stay as they are. All requests are signed. `docs/operating/joining.md` is for
//! operators.
//!
//! One partition never has two moving replicas: the next step starts when every server runs the
//! rings of the last one and every replicator has found everything in place since.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

mod ask;
mod builders;
mod conf;
mod draining;
mod freshness;
pub mod join;
mod joining;
mod manager;
pub mod operate;
mod requests;
mod rounds;
pub mod samples;
mod state;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;

use apus_cluster::SwiftConf;
use apus_cluster::backend_auth::Mode;
use apus_daemon::clock::SystemClock;
use apus_daemon::drain::Signals;
use apus_daemon::runtime;
use apus_daemon::systemd::{State as Systemd, notify};
use apus_daemon::task::{TaskKind, spawn};
use apus_daemon::{Clock, Drain, serve};
use apus_membership::swift_conf;
use apus_wire::signed::Guard;
use apus_wire::signed::seal::Sealed;
use tokio::net::TcpListener;

pub use self::conf::RING_MANAGER_FILE;
use self::conf::Settings;
use self::freshness::{DateNoted, Freshness};
use self::requests::Requests;
use self::rounds::Rounds;

/// Mode of files that other users, such as servers, may read.
const FILE_MODE: u32 = 0o644;
/// Mode of files with keys.
const SECRET_FILE_MODE: u32 = 0o600;

/// Options of `apus ring-manager`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// ring-manager.conf, or the directory that it is in
    conf: PathBuf,
}

/// Serves until a signal.
///
/// # Errors
/// What is wrong with the configuration, or why it cannot listen.
pub fn main(options: &Options) -> Result<(), String> {
    let settings = Settings::read(&options.conf)?;
    apus_daemon::log::start(settings.log_level);
    let cluster = swift_conf(&settings.swift_dir)?;
    if cluster.backend_auth.mode != Mode::Signed {
        return Err(
            "the ring manager accepts signed requests only: set cluster_key in [apus] of swift.conf, without backend_auth = open"
                .to_owned(),
        );
    }
    runtime::multi_thread().map_err(|error| error.to_string())?.block_on(run(settings, cluster))
}

async fn run(settings: Settings, cluster: SwiftConf) -> Result<(), String> {
    let mut signals = Signals::catch().map_err(|error| format!("signals: {error}"))?;
    let bind = settings.bind;
    let auth = cluster.backend_auth.clone();
    let builder_dir = settings.builder_dir.clone();
    let rounds = Arc::new(Rounds::open(settings, cluster)?);
    let requests = Arc::new(Requests::new(rounds.clone()));
    let now_ms = u64::try_from(SystemClock.now().as_millis()).unwrap_or(u64::MAX);
    let fresh = Arc::new(Freshness::new(requests, &builder_dir, now_ms)?);
    let sealed = Sealed::new(fresh, &auth, &["/"]);
    let guard = Guard::new(Arc::new(sealed), &auth, Arc::new(SystemClock), Vec::new());
    let listener = TcpListener::bind(bind).await;
    let listener = listener.map_err(|error| format!("cannot listen on {bind}: {error}"))?;
    let drain = Drain::default();
    let serving = serve::serve(
        listener,
        Arc::new(DateNoted(Arc::new(guard))),
        serve::Callers::Plain,
        drain.clone(),
        serve::Limits::default(),
    );
    let serving = spawn(TaskKind::Background, serving);
    tracing::info!(%bind, "ready");
    notify(Systemd::Ready);
    let stop = async {
        let _ = signals.next().await;
        notify(Systemd::Stopping);
        drain.begin();
    };
    tokio::join!(rounds.run(drain.clone()), stop);
    // A task that panicked has been reported by the panic itself.
    let _ = serving.await;
    Ok(())
}
