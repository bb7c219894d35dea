//! Stopping in order: no new work, finish what was begun, then leave.

use tokio_util::sync::CancellationToken;

/// Cloned into everything that must notice a stop.
#[derive(Debug, Clone, Default)]
pub struct Drain(CancellationToken);

impl Drain {
    /// Asks everybody to finish.
    pub fn begin(&self) {
        self.0.cancel();
    }

    /// Whether a stop was asked for.
    pub fn has_begun(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Waits for a stop to be asked for.
    pub async fn begun(&self) {
        self.0.cancelled().await;
    }
}

/// Waits for SIGINT (Ctrl-C) or SIGTERM.
///
/// # Errors
/// When the signals cannot be caught.
pub async fn stop_signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
