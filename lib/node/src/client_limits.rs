//! Limits of the proxy's connections, as the proxy's configuration has them.

use std::time::Duration;

use apus_daemon::config::Section;
use apus_daemon::serve::Limits;

/// Reads them from the section of the proxy: `client_timeout` (seconds, for heads and for each piece
/// of a body either way), `max_clients` (connections at once) and `max_clients_per_address`.
///
/// # Errors
/// An option is not a number of at least one.
pub(super) fn client_limits(section: &Section<'_>, limits: Limits) -> Result<Limits, String> {
    let positive = |option: &str, usual: u64| -> Result<u64, String> {
        match section.parse(option, usual, "a whole number of at least 1")? {
            0 => Err(section.refuse(option, "0", "a whole number of at least 1").into()),
            number => Ok(number),
        }
    };
    let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let timeout = Duration::from_secs(positive("client_timeout", 60)?);
    let connections_max = count(positive("max_clients", limits.connections_max as u64)?);
    let of_address = match section.get("max_clients_per_address") {
        Some(_) => Some(count(positive("max_clients_per_address", 1)?)),
        None => None,
    };
    Ok(Limits {
        head_timeout: timeout,
        write_timeout: timeout,
        connections_max,
        address_connections_max: of_address,
        ..limits
    })
}
