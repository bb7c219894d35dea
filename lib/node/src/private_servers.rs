//! The storage servers of `apus saio` for commands of the same user, behind one Unix-domain socket.
//!
//! The servers need not listen on TCP. A request names its server by the address that rings have, and
//! passes the same guard as one over TCP.

use std::collections::HashMap;
use std::os::unix::net::UnixListener;
use std::path::Path;

use apus_daemon::http::{SharedHandler, header, text};
use apus_daemon::{Body, Handler};
use apus_disk::{SocketAddressPath, is_socket};
use apus_wire::Transport;
use async_trait::async_trait;
use http::{Request, Response, StatusCode};

use super::node::Node;

/// Name of the socket in the folder of the configuration.
pub(crate) const SERVERS_SOCKET: &str = "servers.sock";

/// Servers by the addresses under which rings have them.
#[derive(Default)]
pub(super) struct PrivateServers {
    servers: HashMap<String, SharedHandler>,
    /// Where commands reach them, if they do.
    pub(super) listener: Option<tokio::net::UnixListener>,
}

impl PrivateServers {
    /// Adds a server, which verifies requests itself.
    pub(super) fn add(&mut self, addresses: Vec<String>, server: &SharedHandler) {
        self.servers.extend(addresses.into_iter().map(|address| (address, server.clone())));
    }
}

#[async_trait]
impl Handler for PrivateServers {
    async fn call(&self, request: Request<Body>) -> Response<Body> {
        let host = header(request.headers(), http::header::HOST.as_str()).unwrap_or_default();
        match self.servers.get(host) {
            Some(server) => server.call(request).await,
            None => text(
                StatusCode::MISDIRECTED_REQUEST,
                &format!("Host {host:?}: expected the ring address of a server of this process\n"),
            ),
        }
    }
}

impl Node {
    /// Serves requests of commands on a Unix-domain socket as well.
    ///
    /// # Errors
    /// As the operating system says.
    pub(crate) fn listen_privately(&mut self, listener: UnixListener) -> std::io::Result<()> {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::UnixListener::from_std(listener)?;
        self.private_servers.listener = Some(listener);
        Ok(())
    }
}

/// A transport of commands that use the configuration of this folder.
///
/// # Errors
/// What is wrong with the folder.
pub(super) fn through_socket(transport: Transport, folder: &Path) -> Result<Transport, String> {
    let path = folder.join(SERVERS_SOCKET);
    if !is_socket(&path) {
        return Ok(transport);
    }
    let address =
        SocketAddressPath::of(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(transport.through(Box::new(address)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use apus_daemon::http::{empty, status};

    use super::*;

    struct Answering(StatusCode);

    #[async_trait]
    impl Handler for Answering {
        async fn call(&self, _: Request<Body>) -> Response<Body> {
            status(self.0)
        }
    }

    #[tokio::test]
    async fn a_request_reaches_the_server_whose_address_it_names_and_no_other() {
        let mut servers = PrivateServers::default();
        let server = |status| Arc::new(Answering(status)) as SharedHandler;
        servers.add(vec!["127.0.0.1:1".to_owned()], &server(StatusCode::OK));
        servers.add(vec!["127.0.0.1:2".to_owned()], &server(StatusCode::CREATED));
        for (host, expected) in [
            (Some("127.0.0.1:1"), StatusCode::OK),
            (Some("127.0.0.1:2"), StatusCode::CREATED),
            (Some("127.0.0.1:3"), StatusCode::MISDIRECTED_REQUEST),
            (Some(""), StatusCode::MISDIRECTED_REQUEST),
            (None, StatusCode::MISDIRECTED_REQUEST),
        ] {
            let mut request = Request::get("/");
            if let Some(host) = host {
                request = request.header(http::header::HOST, host);
            }
            let answer = servers.call(request.body(empty()).unwrap()).await;
            assert_eq!(answer.status(), expected, "{host:?}");
        }
    }
}
