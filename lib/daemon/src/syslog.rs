//! Log lines to syslog, for programs that are started in Swift's way.
//!
//! A line that the other end does not accept is lost: logging never blocks or fails a request.
//! Source of the options: `get_logger` in `swift/common/utils/logs.py`.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use apus_options::{options, path, port, text};
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use crate::config::{ConfigError, Section};

/// Facilities by their names in Swift's configuration, without `LOG_`.
const FACILITIES: [(&str, u8); 20] = [
    ("KERN", 0),
    ("USER", 1),
    ("MAIL", 2),
    ("DAEMON", 3),
    ("AUTH", 4),
    ("SYSLOG", 5),
    ("LPR", 6),
    ("NEWS", 7),
    ("UUCP", 8),
    ("CRON", 9),
    ("AUTHPRIV", 10),
    ("FTP", 11),
    ("LOCAL0", 16),
    ("LOCAL1", 17),
    ("LOCAL2", 18),
    ("LOCAL3", 19),
    ("LOCAL4", 20),
    ("LOCAL5", 21),
    ("LOCAL6", 22),
    ("LOCAL7", 23),
];
/// `LOG_LOCAL0`.
const USUAL_FACILITY: u8 = 16;

options! {
    /// Where logs go that a process under the name of one of Swift's programs writes.
    #[derive(Debug)]
    pub struct SyslogOptions {
        /// Name of the program in syslog.
        log_name: Option<String> = text("", "a name").unset("the name of the role"),
        /// Facility of syslog.
        log_facility: String = text("LOG_LOCAL0", "LOG_LOCAL0 or the like").checked(is_facility),
        /// Socket of syslog on this machine. Without it, logs go to 127.0.0.1 by UDP.
        log_address: PathBuf = path("/dev/log", "a socket"),
        /// Host to which logs go by UDP instead.
        log_udp_host: Option<String> =
            text("", "a host").unset("none").example("10.0.0.9"),
        /// Port of that host.
        log_udp_port: u16 = port(514),
    }
}

/// The number of a facility, with or without `LOG_`.
fn facility_number(text: &str) -> Option<u8> {
    let word = text.trim_start_matches("LOG_");
    FACILITIES.iter().find(|(known, _)| *known == word).map(|(_, number)| *number)
}

fn is_facility(text: &str) -> bool {
    facility_number(text).is_some()
}

#[derive(Debug)]
enum Socket {
    Unix(UnixDatagram, PathBuf),
    Udp(UdpSocket, SocketAddr),
}

/// The destination of the log lines of one process.
#[derive(Debug)]
pub struct Syslog {
    socket: Socket,
    facility: u8,
    name: String,
}

impl Syslog {
    /// From `log_address`, `log_udp_host`, `log_udp_port`, `log_facility` and `log_name` (else
    /// `name`). Without a socket at `log_address` it is UDP to this machine, as in Swift.
    ///
    /// # Errors
    /// An option that is not as expected, or a socket that cannot be opened.
    pub fn from_options(section: &Section<'_>, name: &str) -> Result<Self, ConfigError> {
        let options = SyslogOptions::read(section)?;
        let facility = facility_number(&options.log_facility).unwrap_or(USUAL_FACILITY);
        let (address, port) = (options.log_address.as_path(), options.log_udp_port);
        let host = options.log_udp_host.as_deref().filter(|host| !host.is_empty());
        let failed = |source| ConfigError::Log { target: "syslog".to_owned(), source };
        let socket = if host.is_none() && address.exists() {
            let socket = UnixDatagram::unbound().map_err(failed)?;
            socket.set_nonblocking(true).map_err(failed)?;
            Socket::Unix(socket, address.to_owned())
        } else {
            let host = host.unwrap_or("127.0.0.1");
            let to = (host, port).to_socket_addrs().ok().and_then(|mut found| found.next());
            let to = to.ok_or_else(|| section.refuse("log_udp_host", host, "a host"))?;
            let any = if to.is_ipv4() {
                SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))
            } else {
                SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, 0))
            };
            let socket = UdpSocket::bind(any).map_err(failed)?;
            socket.set_nonblocking(true).map_err(failed)?;
            Socket::Udp(socket, to)
        };
        let name = options.log_name.unwrap_or_else(|| name.to_owned());
        Ok(Self { socket, facility, name })
    }
}

/// The writer of one line.
#[derive(Debug)]
pub struct Line<'a> {
    syslog: &'a Syslog,
    severity: u8,
}

impl Write for Line<'_> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let priority = self.syslog.facility * 8 + self.severity;
        let mut message = format!("<{priority}>{}: ", self.syslog.name).into_bytes();
        message.extend_from_slice(text.trim_ascii_end());
        // A failure of the log cannot be logged.
        let _ = match &self.syslog.socket {
            Socket::Unix(socket, address) => socket.send_to(&message, address),
            Socket::Udp(socket, address) => socket.send_to(&message, address),
        };
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Syslog {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { syslog: self, severity: 6 }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Line<'a> {
        let severity = match *metadata.level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            Level::DEBUG | Level::TRACE => 7,
        };
        Line { syslog: self, severity }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Conf;

    #[test]
    fn lines_have_facility_severity_and_name() {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = socket.local_addr().unwrap().port();
        let text = format!(
            "[DEFAULT]\nlog_facility = LOG_LOCAL2\nlog_udp_host = 127.0.0.1\nlog_udp_port = {port}\n"
        );
        let conf = Conf::parse(&text).unwrap();
        let syslog = Syslog::from_options(&conf.section("DEFAULT"), "object-server").unwrap();
        syslog.make_writer().write_all(b"it is up\n").unwrap();
        let mut message = [0; 100];
        let length = socket.recv(&mut message).unwrap();
        assert_eq!(&message[..length], b"<150>object-server: it is up");
    }

    #[test]
    fn an_unknown_facility_is_refused() {
        let conf = Conf::parse("[DEFAULT]\nlog_facility = LOG_NOISE\n").unwrap();
        let error = Syslog::from_options(&conf.section("DEFAULT"), "x").unwrap_err().to_string();
        assert!(error.contains("log_facility") && error.contains("LOG_NOISE"), "{error}");
    }
}
