//! The only place that spawns. A task says what its error means.

use std::future::Future;

/// What a task is for, which decides what happens when it ends or panics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskKind {
    /// Work for one request; its panic is that request's failure.
    Request,
    /// Work that goes on after the answer (a late replica); its failure is logged.
    Background,
}

/// Runs a future on the runtime.
#[allow(clippy::disallowed_methods, reason = "the one place that spawns")]
pub fn spawn<F>(kind: TaskKind, future: F) -> tokio::task::JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let _ = kind;
    tokio::spawn(future)
}
