//! The asynchronous runtime of a process.

use tokio::runtime::{Builder, Runtime};

/// A runtime with a thread for each processor.
///
/// # Errors
/// The system does not provide the threads or descriptors that it needs.
pub fn multi_thread() -> std::io::Result<Runtime> {
    Builder::new_multi_thread().enable_all().build().map_err(|error| {
        std::io::Error::new(error.kind(), format!("cannot start the runtime: {error}"))
    })
}
