//! Notifications of the state of a process for systemd (`sd_notify`) and `swift-reload`.
//!
//! Failures are ignored: usually neither of them listens.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use rustix::time::{ClockId, clock_gettime};

/// The environment variable with the name of systemd's socket.
pub const SOCKET: &str = "NOTIFY_SOCKET";

/// The state of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It serves.
    Ready,
    /// It reloads its configuration, and will be ready again.
    Reloading,
    /// It ends.
    Stopping,
}

/// Notifies systemd, if it started this process, and `swift-reload`, if it waits for it.
pub fn notify(state: State) {
    if let Some(name) = std::env::var_os(SOCKET) {
        let _ = send(&name, &words(state));
    }
    let _ = send(waiting(std::process::id()).as_ref(), &words(state));
}

/// The socket at which `swift-reload` waits for a process (`get_pid_notify_socket`).
fn waiting(process: u32) -> String {
    format!("@swift-notifications\0{process}")
}

fn words(state: State) -> String {
    match state {
        State::Ready => "READY=1".to_owned(),
        State::Reloading => {
            // `Type=notify-reload` needs the time.
            let now = clock_gettime(ClockId::Monotonic);
            let micros = now.tv_sec.saturating_mul(1_000_000) + now.tv_nsec / 1000;
            format!("RELOADING=1\nMONOTONIC_USEC={micros}")
        }
        State::Stopping => "STOPPING=1".to_owned(),
    }
}

fn send(name: &OsStr, text: &str) -> std::io::Result<()> {
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.send_to_addr(text.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemd_is_notified_on_its_socket() {
        let name = format!("apus-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        assert_eq!(waiting(17), "@swift-notifications\x0017");
        for (state, expected) in [
            (State::Ready, "READY=1"),
            (State::Reloading, "RELOADING=1\nMONOTONIC_USEC="),
            (State::Stopping, "STOPPING=1"),
        ] {
            send(format!("@{name}").as_ref(), &words(state)).unwrap();
            let mut got = [0; 100];
            let length = socket.recv(&mut got).unwrap();
            assert!(std::str::from_utf8(&got[..length]).unwrap().starts_with(expected));
        }
    }
}
