//! An orderly stop: no new work, finish open work, exit.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// A stop of the process. Each task that must react to it has a clone.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    begun: CancellationToken,
    hurried: CancellationToken,
    listening: TaskTracker,
}

impl Drain {
    /// Asks all tasks to finish soon.
    pub fn begin(&self) {
        self.begin_patiently();
        self.hurried.cancel();
    }

    /// Asks all tasks to finish; open requests may continue until [`Drain::begin`].
    pub fn begin_patiently(&self) {
        self.begun.cancel();
        self.listening.close();
    }

    /// Whether a stop was requested.
    pub fn has_begun(&self) -> bool {
        self.begun.is_cancelled()
    }

    /// Waits until a stop is requested.
    pub async fn begun(&self) {
        self.begun.cancelled().await;
    }

    /// To be kept by each task with a listening socket.
    pub fn listening(&self) -> TaskTrackerToken {
        self.listening.token()
    }

    /// Waits until a stop was requested and no socket listens.
    pub async fn stopped_listening(&self) {
        self.listening.wait().await;
    }

    /// Whether open requests must end soon.
    pub fn is_hurried(&self) -> bool {
        self.hurried.is_cancelled()
    }

    /// Waits until open requests must end soon.
    pub async fn hurried(&self) {
        self.hurried.cancelled().await;
    }
}

/// The request of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// SIGTERM, or SIGINT (Ctrl-C): stop.
    Stop,
    /// SIGHUP: stop when all open requests are done, as Swift's servers do.
    Finish,
    /// SIGUSR1: hand over to a new process with the current configuration and executable.
    Reload,
}

/// The signals that a server handles, from the creation of this value on.
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
