//! Limits of the proxy's connections, as the proxy's configuration has them.

use std::time::Duration;

use apus_daemon::config::{ConfigError, Section};
use apus_daemon::serve::Limits;
use apus_options::{options, whole};

options! {
    /// Limits of `[app:proxy-server]` for clients.
    #[derive(Debug)]
    pub struct ClientLimitOptions {
        /// Time for the head of a request, and for each piece of a body in either direction.
        client_timeout: u64 = whole(60).unit("seconds").from(1),
        /// Connections at the same time.
        max_clients: Option<usize> =
            whole(0).from(1).unset("a quarter of the limit of open files").example("1024"),
        /// Connections of one address at the same time.
        max_clients_per_address: Option<usize> = whole(0).from(1).unset("no limit").example("100"),
    }
}

/// Reads them from the section of the proxy.
///
/// # Errors
/// An option is not a number of at least one.
pub(super) fn client_limits(section: &Section<'_>, limits: Limits) -> Result<Limits, ConfigError> {
    let options = ClientLimitOptions::read(section)?;
    let timeout = Duration::from_secs(options.client_timeout);
    Ok(Limits {
        head_timeout: timeout,
        write_timeout: timeout,
        connections_max: options.max_clients.unwrap_or(limits.connections_max),
        address_connections_max: options.max_clients_per_address,
        ..limits
    })
}

/// The time that a client may take for each piece of a body, in seconds.
///
/// # Errors
/// As [`client_limits`].
pub(super) fn client_timeout_seconds(section: &Section<'_>) -> Result<u64, ConfigError> {
    Ok(ClientLimitOptions::read(section)?.client_timeout)
}
