//! Idle connections by address, and what goes out on them: signed, when the cluster has a key.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use apus_daemon::Body;
use apus_daemon::http::empty;
use apus_daemon::metadata_names::MetadataNames;
use apus_daemon::serve::Limits;
use apus_daemon::task::{TaskKind, spawn};
use http_body_util::{BodyExt, Limited};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::signed::{FRAMES, Signer};
use crate::transport::SendError;

/// Idle connections kept per address.
const IDLE_MAX: usize = 32;

/// Longest answer to the question whether a peer reads frames.
const ASKED_BYTES_MAX: usize = 64 * 1024;

struct Connection {
    sender: SendRequest<Body>,
    /// Whether bodies may go out in frames.
    frames: bool,
}

#[derive(Default)]
pub(crate) struct Pool {
    idle: Mutex<HashMap<String, Vec<Connection>>>,
    signer: Option<Signer>,
    /// Leads to the servers on loopback.
    socket: Option<Box<dyn AsRef<Path> + Send + Sync>>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        f.debug_map().entries(idle.iter().map(|(address, idle)| (address, idle.len()))).finish()
    }
}

fn broken(error: &dyn std::fmt::Display) -> SendError {
    SendError::Broken(error.to_string())
}

/// Whether an address is one of this machine only.
fn is_loopback(address: &str) -> bool {
    address.parse::<SocketAddr>().is_ok_and(|address| address.ip().to_canonical().is_loopback())
}

/// Connects to the Unix-domain socket; `None` if no process listens there.
async fn connect_to_socket(socket: &Path) -> Result<Option<UnixStream>, SendError> {
    match UnixStream::connect(socket).await {
        Ok(stream) => Ok(Some(stream)),
        Err(error)
            if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) =>
        {
            Ok(None)
        }
        Err(error) => Err(SendError::Connect(error)),
    }
}

/// Agrees with a peer on how bodies go out.
async fn begin<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: T,
    address: &str,
    signer: Option<&Signer>,
) -> Result<Connection, SendError> {
    // An answer may have as many headers as a request: 90 metadata items are not all of them.
    let limits = Limits::default();
    let mut http = Builder::new();
    http.max_headers(limits.headers_max).max_buf_size(limits.head_bytes_max);
    // Swift's servers may keep metadata under names that are none to HTTP: such an item is left out,
    // and must not take the object with it.
    http.ignore_invalid_headers_in_responses(true);
    if signer.is_some_and(|signer| !signer.asks()) {
        return Ok(Connection { sender: handshake(&http, stream).await?, frames: true });
    }
    // The peer may be one of Swift's.
    let (stream, peer_is_ours) = MetadataNames::client(stream, limits.head_bytes_max);
    let mut sender = handshake(&http, stream).await?;
    let frames = signer.is_some() && reads_frames(&mut sender, address).await?;
    peer_is_ours.store(frames, Ordering::Release);
    Ok(Connection { sender, frames })
}

/// Begins to speak HTTP.
async fn handshake<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    http: &Builder,
    stream: T,
) -> Result<SendRequest<Body>, SendError> {
    let (sender, driver) =
        http.handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
    spawn(TaskKind::Background, async move {
        if let Err(error) = driver.await {
            tracing::debug!(%error, "backend connection");
        }
    });
    Ok(sender)
}

/// Asks a peer whether it reads frames.
async fn reads_frames(sender: &mut SendRequest<Body>, address: &str) -> Result<bool, SendError> {
    let question = http::Request::options("/").header(http::header::HOST, address).body(empty());
    let question = question.map_err(|error| broken(&error))?;
    let answer = sender.send_request(question).await.map_err(|error| broken(&error))?;
    let frames = answer.headers().contains_key(FRAMES);
    // Read to its end, so that the connection can be used.
    Limited::new(answer.into_body(), ASKED_BYTES_MAX)
        .collect()
        .await
        .map_err(|error| broken(&error))?;
    sender.ready().await.map_err(|error| broken(&error))?;
    Ok(frames)
}

impl Pool {
    pub(crate) fn new(signer: Option<Signer>) -> Self {
        Self { idle: Mutex::default(), signer, socket: None }
    }

    pub(crate) fn through(self, socket: Box<dyn AsRef<Path> + Send + Sync>) -> Self {
        Self { socket: Some(socket), ..self }
    }

    async fn connect(&self, address: &str) -> Result<Connection, SendError> {
        let signer = self.signer.as_ref();
        if let Some(socket) = self.socket.as_ref().filter(|_| is_loopback(address))
            && let Some(stream) = connect_to_socket((**socket).as_ref()).await?
        {
            return begin(stream, address, signer).await;
        }
        let stream = TcpStream::connect(address).await.map_err(SendError::Connect)?;
        stream.set_nodelay(true).map_err(SendError::Connect)?;
        begin(stream, address, signer).await
    }

    fn take(&self, address: &str) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let connections = idle.get_mut(address)?;
        while let Some(connection) = connections.pop() {
            if connection.sender.is_ready() {
                return Some(connection);
            }
        }
        None
    }

    fn put(&self, address: &str, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let connections = idle.entry(address.to_owned()).or_default();
        if connections.len() < IDLE_MAX && !connection.sender.is_closed() {
            connections.push(connection);
        }
    }

    pub(crate) async fn send(
        &self,
        address: &str,
        mut request: http::Request<Body>,
    ) -> Result<http::Response<Body>, SendError> {
        if !request.headers().contains_key(http::header::HOST)
            && let Ok(host) = http::HeaderValue::from_str(address)
        {
            request.headers_mut().insert(http::header::HOST, host);
        }
        // How the body goes out, once that is decided.
        let mut signed = None;
        loop {
            let idle = self.take(address);
            let reused = idle.is_some();
            let mut connection = match idle {
                Some(connection) => connection,
                None => self.connect(address).await?,
            };
            match (&self.signer, signed) {
                (Some(signer), None) => {
                    request = signer
                        .sign(address, connection.frames, request)
                        .ok_or_else(|| broken(&"address cannot be signed"))?;
                    signed = Some(connection.frames);
                }
                (Some(_), Some(frames)) if frames != connection.frames => {
                    return Err(broken(&"another server is at the address"));
                }
                _ => {}
            }
            match connection.sender.try_send_request(request).await {
                Ok(response) => {
                    self.put(address, connection);
                    return Ok(response.map(|body| body.map_err(Into::into).boxed_unsync()));
                }
                // The server closed an idle connection before anything went out on it.
                Err(mut error) => match error.take_message().filter(|_| reused) {
                    Some(unsent) => request = unsent,
                    None => return Err(broken(&error.into_error())),
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[test]
    fn addresses_of_other_machines_are_not_on_loopback() {
        for (address, expected) in [
            ("127.0.0.1:6200", true),
            ("127.9.9.9:1", true),
            ("[::1]:6200", true),
            ("[::ffff:127.0.0.1]:6200", true),
            ("10.0.0.1:6200", false),
            ("localhost:6200", false),
            ("127.0.0.1", false),
            ("", false),
        ] {
            assert_eq!(is_loopback(address), expected, "{address}");
        }
    }

    #[tokio::test]
    async fn names_travel_as_swifts_servers_have_them_and_one_that_is_none_spoils_nothing() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = spawn(TaskKind::Background, async move {
            let (mut peer, _) = listener.accept().await.unwrap();
            let mut asked = vec![0; 1024];
            let many = peer.read(&mut asked).await.unwrap();
            let answer = "HTTP/1.1 200 OK\r\nX-Object-Meta-A=5Fb: 1\r\nX-Object-Meta-(=2: 1\r\nX-Object-Meta-C: 2\r\nContent-Length: 0\r\n\r\n";
            peer.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(asked[..many].to_vec()).unwrap()
        });
        let request = http::Request::get("/a_b").header("x-object-meta-c_d", "e_f").body(empty());
        let answer = Pool::new(None).send(&address, request.unwrap()).await.unwrap();
        assert_eq!(answer.headers()["x-object-meta-a_b"], "1");
        assert_eq!(answer.headers()["x-object-meta-c"], "2");
        let asked = server.await.unwrap();
        assert!(asked.contains("GET /a_b ") && asked.contains("-c=5Fd: e_f\r\n"), "{asked}");
    }
}
