//! A worker: a process that serves on the sockets of its overseer (`overseer.rs`), until another
//! worker takes over.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::time::Duration;

use apus_daemon::drain::{Asked, Signals};
use apus_daemon::handover::{Channel, Word};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

use super::node::Node;
use super::{Task, start};

/// The variable with the process number of the overseer.
pub(super) const OVERSEER: &str = "APUS_OVERSEER";

/// Listening sockets of the previous process, by address.
#[derive(Debug, Default)]
pub(super) struct Inherited(Vec<(SocketAddr, TcpListener)>);

impl Inherited {
    fn new(sockets: Vec<OwnedFd>) -> Self {
        let listeners = sockets.into_iter().map(TcpListener::from);
        let known = |listener: TcpListener| Some((listener.local_addr().ok()?, listener));
        Self(listeners.filter_map(known).collect())
    }

    /// The socket that listens on an address.
    pub(super) fn take(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let found = self.0.iter().position(|(bound, _)| *bound == address)?;
        Some(self.0.swap_remove(found).1)
    }
}

/// The connection of a worker to its overseer.
#[derive(Debug)]
pub(super) struct Overseen {
    pub(super) channel: Channel,
    /// How long open requests may take after another worker took over.
    pub(super) patience: Duration,
}

impl Overseen {
    /// Sends a message to the overseer, which may have ended.
    pub(super) async fn say(&self, word: Word) {
        if let Err(error) = self.channel.say(word, "", &[]).await {
            tracing::debug!(%error, "cannot send a message to the overseer");
        }
    }

    /// From now on this process survives the end of its overseer.
    pub(super) fn let_go() {
        if let Err(error) = set_parent_process_death_signal(None) {
            tracing::warn!(%error, "prctl failed");
        }
    }
}

/// Whether this process was started by an overseer.
pub(super) fn is_one() -> bool {
    let given = std::env::var(OVERSEER).ok().and_then(|text| text.parse().ok());
    given.is_some() && given == getppid().map(Pid::as_raw_nonzero)
}

/// Serves until the overseer or a signal ends it.
pub(super) async fn run(task: &Task<'_>) -> Result<(), String> {
    // Without its overseer no process would end it, and its sockets would block the next one. The
    // kernel notes the calling thread: this future is polled by the first one.
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| format!("prctl: {error}"))?;
    if !is_one() {
        return Err("the overseer has ended".to_owned());
    }
    let channel = Channel::from_stdin().map_err(|error| format!("standard input: {error}"))?;
    match prepare(task, &channel).await {
        Ok(Some((node, mut signals, patience))) => {
            let overseen = Overseen { channel, patience };
            node.run_overseen(task.scope.clone(), &mut signals, overseen).await;
            Ok(())
        }
        Ok(None) => Ok(()),
        Err(error) => {
            let _ = channel.say(Word::Failed, &error, &[]).await;
            Err(error)
        }
    }
}

/// A node that may start to serve; `None` after a signal to stop.
async fn prepare(
    task: &Task<'_>,
    channel: &Channel,
) -> Result<Option<(Node, Signals, Duration)>, String> {
    let gone = || "the overseer has ended".to_owned();
    let failed = |error: std::io::Error| format!("the overseer: {error}");
    let oversight = start::begin(task)?;
    let mut signals = Signals::catch().map_err(|error| format!("signals: {error}"))?;
    let handed = channel.hear().await.map_err(failed)?.ok_or_else(gone)?;
    let mut node = Node::prepare_on(task.path, task.roles, Inherited::new(handed.sockets)).await?;
    node.own_for_daemons(&task.scope).await?;
    channel.say(Word::Ready, "", &node.sockets()).await.map_err(failed)?;
    loop {
        tokio::select! {
            heard = channel.hear() => match heard.map_err(failed)?.ok_or_else(gone)?.word {
                Word::Go => break,
                word => tracing::warn!(?word, "unexpected message from the overseer"),
            },
            asked = signals.next() => if asked == Asked::Stop {
                return Ok(None);
            },
        }
    }
    node.take_over().await;
    tracing::info!(conf = %task.path.display(), "ready: {}", node.running());
    if task.options.detached {
        start::detach()?;
    }
    Ok(Some((node, signals, oversight.patience)))
}
