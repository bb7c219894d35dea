//! Stopping in order: no new work, finish what was begun, then leave.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// Cloned into everything that must notice a stop.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    begun: CancellationToken,
    hurried: CancellationToken,
    listening: TaskTracker,
}

impl Drain {
    /// Asks everybody to finish soon.
    pub fn begin(&self) {
        self.begin_patiently();
        self.hurried.cancel();
    }

    /// Asks everybody to finish; open requests may take their time until [`Drain::begin`].
    pub fn begin_patiently(&self) {
        self.begun.cancel();
        self.listening.close();
    }

    /// Whether a stop was asked for.
    pub fn has_begun(&self) -> bool {
        self.begun.is_cancelled()
    }

    /// Waits for a stop to be asked for.
    pub async fn begun(&self) {
        self.begun.cancelled().await;
    }

    /// To be held by whoever has a listening socket.
    pub fn listening(&self) -> TaskTrackerToken {
        self.listening.token()
    }

    /// Waits until a stop was asked for and nothing listens any more.
    pub async fn deaf(&self) {
        self.listening.wait().await;
    }

    /// Whether there is no more time for open requests.
    pub fn is_hurried(&self) -> bool {
        self.hurried.is_cancelled()
    }

    /// Waits until there is no more time for open requests.
    pub async fn hurried(&self) {
        self.hurried.cancelled().await;
    }
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// SIGTERM, or SIGINT (Ctrl-C): stop.
    Stop,
    /// SIGHUP: stop when all open requests are done, as Swift's servers do.
    Finish,
    /// SIGUSR1: let a new process, with the configuration and the executable as they are now, take
    /// over.
    Reload,
}

/// The signals that a server answers to, from its making on.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
    user: Signal,
}

impl Signals {
    /// Catches them from now on.
    ///
    /// # Errors
    /// When the signals cannot be caught.
    pub fn catch() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
            user: signal(SignalKind::user_defined1())?,
        })
    }

    /// Waits for the next one.
    pub async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.interrupt.recv() => Asked::Stop,
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.hang_up.recv() => Asked::Finish,
            _ = self.user.recv() => Asked::Reload,
        }
    }
}
