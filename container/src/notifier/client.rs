//! Requests to webhooks: HTTP/1.1 over TCP or TLS, to addresses that are checked.
//!
//! A host's name is resolved here, and the connection is made to an address that was checked, so that
//! a name cannot lead to a server of the operator's network. Redirects are not followed. The client has
//! nothing of the cluster's own but the webhook's token.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use apus_cluster::webhooks::{Webhook, Webhooks};
use apus_daemon::task::{TaskKind, spawn};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Most bytes of a response's body that are read before its connection is used again.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Longest head of a response, in bytes, and most headers in it.
const HEAD_BYTES_MAX: usize = 64 * 1024;
const HEADERS_MAX: usize = 200;
/// Idle connections that are kept to a webhook.
const IDLE_MAX: usize = 32;

/// Reasons why an event was not delivered.
#[derive(Debug, thiserror::Error)]
pub(super) enum DeliveryError {
    /// The name of the host has no address.
    #[error("the name of the host cannot be resolved: {0}")]
    Resolve(#[source] io::Error),
    /// All addresses of the host are in networks that are not allowed.
    #[error("{address} is a {class} address, which allowed_networks of [notify] does not have")]
    Refused {
        /// The last of them.
        address: std::net::IpAddr,
        /// Its class.
        class: &'static str,
    },
    /// The name has no addresses.
    #[error("the name of the host has no address")]
    NoAddress,
    /// No connection.
    #[error("cannot connect: {0}")]
    Connect(#[source] io::Error),
    /// The authorities' certificates cannot be read, or TLS is not available.
    #[error("{0}")]
    Authorities(String),
    /// The request failed.
    #[error("the request failed: {0}")]
    Http(#[from] hyper::Error),
    /// The request cannot be made.
    #[error("the request cannot be made: {0}")]
    Request(#[from] http::Error),
    /// No response in time.
    #[error("no response within {0:?}")]
    Timeout(Duration),
    /// A response other than success.
    #[error("the webhook responded {0}")]
    Status(StatusCode),
}

impl DeliveryError {
    /// Whether the webhook works and refuses this event, so that those of other keys may go on.
    pub(super) fn is_of_event(&self) -> bool {
        match self {
            Self::Status(status) => {
                !matches!(status.as_u16(), 401 | 403 | 404 | 405 | 408 | 410 | 421 | 429)
                    && !matches!(status.as_u16(), 502..=504)
                    && !status.is_redirection()
            }
            Self::Resolve(_)
            | Self::Refused { .. }
            | Self::NoAddress
            | Self::Connect(_)
            | Self::Authorities(_)
            | Self::Http(_)
            | Self::Request(_)
            | Self::Timeout(_) => false,
        }
    }
}

/// An open connection.
type Sender = SendRequest<Full<Bytes>>;

/// The client of one webhook.
pub(super) struct WebhookClient {
    webhook: Webhook,
    settings: Arc<Webhooks>,
    timeout: Duration,
    tls: Mutex<Option<Arc<ClientConfig>>>,
    idle: Mutex<Vec<Sender>>,
}

impl std::fmt::Debug for WebhookClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebhookClient").field("webhook", &self.webhook).finish_non_exhaustive()
    }
}

/// TLS as the authorities in this file vouch for it.
fn tls_config(ca_file: &Path) -> Result<ClientConfig, DeliveryError> {
    let failed =
        |text: String| DeliveryError::Authorities(format!("ca_file {}: {text}", ca_file.display()));
    let bytes = std::fs::read(ca_file).map_err(|error| failed(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&bytes) {
        let certificate = certificate.map_err(|error| failed(error.to_string()))?;
        // One that this library does not accept leaves the others.
        if let Err(error) = roots.add(certificate) {
            tracing::debug!(%error, "Ignored the certificate of an authority");
        }
    }
    if roots.is_empty() {
        return Err(failed("it has no certificate".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| DeliveryError::Authorities(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

async fn handshake<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: T,
) -> Result<Sender, DeliveryError> {
    let mut http = Builder::new();
    http.max_buf_size(HEAD_BYTES_MAX).max_headers(HEADERS_MAX);
    let (sender, driver) = http.handshake(TokioIo::new(stream)).await?;
    spawn(TaskKind::Background, async move {
        if let Err(error) = driver.await {
            tracing::debug!(%error, "Connection to a webhook");
        }
    });
    Ok(sender)
}

/// Reads the rest of a response; whether its connection can be used again.
async fn discard(mut body: Incoming) -> bool {
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > ANSWER_BYTES_MAX {
            return false;
        }
    }
    true
}

impl WebhookClient {
    pub(super) fn new(webhook: Webhook, settings: Arc<Webhooks>, timeout: Duration) -> Self {
        Self { webhook, settings, timeout, tls: Mutex::default(), idle: Mutex::default() }
    }

    /// The addresses of the host that may be connected to.
    async fn addresses(&self) -> Result<Vec<SocketAddr>, DeliveryError> {
        let url = &self.webhook.url;
        let host = (url.host.as_str(), url.port);
        let found = tokio::net::lookup_host(host).await.map_err(DeliveryError::Resolve)?;
        let mut error = DeliveryError::NoAddress;
        let mut allowed = Vec::new();
        for address in found {
            match self.settings.refused_class(address.ip()) {
                None => allowed.push(address),
                Some(class) => error = DeliveryError::Refused { address: address.ip(), class },
            }
        }
        if allowed.is_empty() { Err(error) } else { Ok(allowed) }
    }

    fn tls(&self) -> Result<Arc<ClientConfig>, DeliveryError> {
        let mut known = self.tls.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = &*known {
            return Ok(config.clone());
        }
        let config = Arc::new(tls_config(&self.settings.ca_file)?);
        *known = Some(config.clone());
        Ok(config)
    }

    async fn connect(&self) -> Result<Sender, DeliveryError> {
        let url = &self.webhook.url;
        let stream = TcpStream::connect(self.addresses().await?.as_slice())
            .await
            .map_err(DeliveryError::Connect)?;
        stream.set_nodelay(true).map_err(DeliveryError::Connect)?;
        if !url.is_https {
            return handshake(stream).await;
        }
        let name = ServerName::try_from(url.host.clone())
            .map_err(|error| DeliveryError::Connect(io::Error::other(error)))?;
        let connector = TlsConnector::from(self.tls()?);
        let stream = connector.connect(name, stream).await.map_err(DeliveryError::Connect)?;
        handshake(stream).await
    }

    fn request(&self, body: Bytes) -> Result<Request<Full<Bytes>>, http::Error> {
        let url = &self.webhook.url;
        let mut request = Request::post(url.path.as_str())
            .header(http::header::HOST, url.authority())
            .header(http::header::CONTENT_TYPE, "application/json")
            .header(http::header::USER_AGENT, "Apus");
        if let Some(token) = &self.webhook.token {
            let mut value = http::HeaderValue::from_str(&format!("Bearer {}", token.text()))?;
            value.set_sensitive(true);
            request = request.header(http::header::AUTHORIZATION, value);
        }
        request.body(Full::new(body))
    }

    fn idle(&self) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::from_fn(|| idle.pop()).find(SendRequest::is_ready)
    }

    async fn send_on(&self, mut sender: Sender, body: Bytes) -> Result<(), DeliveryError> {
        let response = sender.send_request(self.request(body)?).await?;
        let status = response.status();
        if discard(response.into_body()).await && sender.ready().await.is_ok() {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < IDLE_MAX {
                idle.push(sender);
            }
        }
        if status.is_success() { Ok(()) } else { Err(DeliveryError::Status(status)) }
    }

    async fn send_once(&self, body: Bytes) -> Result<(), DeliveryError> {
        if let Some(sender) = self.idle() {
            match self.send_on(sender, body.clone()).await {
                // The server may have closed the idle connection; an event may be sent twice.
                Err(DeliveryError::Http(_)) => {}
                sent => return sent,
            }
        }
        let sender = self.connect().await?;
        self.send_on(sender, body).await
    }

    /// Sends a document to the webhook, which confirms it by a status of success.
    ///
    /// # Errors
    /// See [`DeliveryError`].
    pub(super) async fn send(&self, body: Bytes) -> Result<(), DeliveryError> {
        match tokio::time::timeout(self.timeout, self.send_once(body)).await {
            Ok(sent) => sent,
            Err(_) => Err(DeliveryError::Timeout(self.timeout)),
        }
    }
}

#[cfg(test)]
mod tests {
    use apus_cluster::SwiftConf;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    fn client(url: &str, more: &[(&str, &str)]) -> WebhookClient {
        let mut options = vec![("webhook_w", url)];
        options.extend(more);
        let sections = [
            ("swift-hash", vec![("swift_hash_path_suffix", "x")]),
            ("storage-policy:0", vec![("name", "gold"), ("default", "yes")]),
            ("notify", options),
        ];
        let conf = SwiftConf::from_sections(sections.into_iter()).unwrap();
        let webhook = conf.webhooks.by_name["w"].clone();
        WebhookClient::new(webhook, conf.webhooks, Duration::from_secs(1))
    }

    /// Answers one connection's requests, and returns what it read.
    async fn server(answers: Vec<&'static str>) -> (u16, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = spawn(TaskKind::Background, async move {
            let mut all = String::new();
            let (mut peer, _) = listener.accept().await.unwrap();
            for answer in answers {
                let mut buffer = vec![0; 4096];
                let read = peer.read(&mut buffer).await.unwrap();
                all.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
                peer.write_all(answer.as_bytes()).await.unwrap();
            }
            all
        });
        (port, served)
    }

    const LOOPBACK: &[(&str, &str)] = &[("allowed_networks", "127.0.0.0/8"), ("token_w", "secret")];

    #[tokio::test]
    async fn a_document_is_posted_and_the_connection_is_used_again() {
        let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        let (port, served) = server(vec![ok, "HTTP/1.1 204 No Content\r\n\r\n"]).await;
        let client = client(&format!("http://127.0.0.1:{port}/e?x=y"), LOOPBACK);
        client.send(Bytes::from_static(b"{}")).await.unwrap();
        client.send(Bytes::from_static(b"{}")).await.unwrap();
        let read = served.await.unwrap();
        assert_eq!(read.matches("POST /e?x=y HTTP/1.1\r\n").count(), 2, "{read}");
        assert!(read.contains("authorization: Bearer secret\r\n"), "{read}");
        assert!(read.contains(&format!("host: 127.0.0.1:{port}\r\n")), "{read}");
        assert!(!format!("{client:?}").contains("secret"));
    }

    #[tokio::test]
    async fn addresses_that_are_not_allowed_are_not_connected_to() {
        let (port, _served) = server(Vec::new()).await;
        for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "[::1]", "0.0.0.0", "10.0.0.1"]
        {
            let client = client(&format!("http://{host}:{port}/"), &[]);
            let error = client.send(Bytes::new()).await.unwrap_err();
            assert!(matches!(error, DeliveryError::Refused { .. }), "{host}: {error}");
            assert!(!error.is_of_event());
        }
    }

    #[tokio::test]
    async fn redirects_are_failures_and_a_silent_server_is_one_in_time() {
        let moved =
            "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
        let (port, _served) = server(vec![moved]).await;
        let url = format!("http://127.0.0.1:{port}/");
        let error = client(&url, LOOPBACK).send(Bytes::new()).await.unwrap_err();
        assert!(matches!(error, DeliveryError::Status(StatusCode::FOUND)), "{error}");
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", silent.local_addr().unwrap());
        let error = client(&url, LOOPBACK).send(Bytes::new()).await.unwrap_err();
        assert!(matches!(error, DeliveryError::Timeout(_)), "{error}");
    }

    #[tokio::test]
    async fn an_answer_without_end_costs_the_connection_only() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let serving = spawn(TaskKind::Background, async move {
            let (mut peer, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 4096];
            let _ = peer.read(&mut buffer).await;
            let _ = peer.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            while peer.write_all(&[b'x'; 4096]).await.is_ok() {}
        });
        let client = client(&url, LOOPBACK);
        client.send(Bytes::new()).await.unwrap();
        assert!(client.idle().is_none());
        serving.await.unwrap();
    }

    #[test]
    fn refusals_of_an_event_do_not_stop_others() {
        for (status, is_of_event) in [
            (400, true),
            (409, true),
            (413, true),
            (422, true),
            (500, true),
            (301, false),
            (401, false),
            (403, false),
            (404, false),
            (429, false),
            (502, false),
            (503, false),
        ] {
            let error = DeliveryError::Status(StatusCode::from_u16(status).unwrap());
            assert_eq!(error.is_of_event(), is_of_event, "{status}");
        }
    }

    #[test]
    fn a_file_without_certificates_is_refused_by_name() {
        for path in ["/nonexistent/ca.pem", "/dev/null"] {
            let error = tls_config(Path::new(path)).unwrap_err().to_string();
            assert!(error.contains(path), "{error}");
        }
    }
}
