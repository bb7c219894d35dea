//! The only place that spawns Tokio tasks.

use std::future::Future;

use tokio::task::JoinHandle;
use tracing::{Instrument, Span};

/// What a task belongs to, which decides the span of its log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskKind {
    /// Work for the request, or for the pass, that starts it, in its span; it may go on after the
    /// answer.
    Request,
    /// Work that outlives what starts it (a listener, a connection to another server), in no span.
    Background,
}

/// Runs a future on the runtime. A panic of the task is logged where it happens, and the handle
/// gives it as an error.
#[allow(clippy::disallowed_methods, reason = "the one place that spawns")]
pub fn spawn<F>(kind: TaskKind, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    match kind {
        TaskKind::Request => tokio::spawn(future.in_current_span()),
        TaskKind::Background => tokio::spawn(future),
    }
}

/// Runs work that waits for the disk on the runtime's threads for such work, in the current span.
#[allow(clippy::disallowed_methods, reason = "the one place that spawns")]
pub fn spawn_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    let span = Span::current();
    tokio::task::spawn_blocking(move || span.in_scope(work))
}
