//! One kept-alive HTTP connection, opened again when it breaks.

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::pattern::Content;

/// Where the server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// Host and port as written; what `Host` says.
    pub(super) authority: String,
    /// Host and port to connect to.
    address: String,
}

impl Endpoint {
    /// Takes `http://HOST[:PORT]` and nothing else.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (endpoint, path) = Self::with_path(text)?;
        if path.is_empty() {
            Ok(endpoint)
        } else {
            Err("expected http://HOST[:PORT] without a path".to_owned())
        }
    }

    /// Takes `http://HOST[:PORT]/PATH`; the path without a slash at its end.
    pub(super) fn with_path(text: &str) -> Result<(Self, String), String> {
        let expected = || "expected http://HOST[:PORT]".to_owned();
        let uri: Uri = text.parse().map_err(|_| expected())?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err(format!("{}; TLS is not spoken here", expected())),
            _ => return Err(expected()),
        }
        let authority = uri.authority().ok_or_else(expected)?;
        if authority.as_str().contains('@') || uri.query().is_some() {
            return Err(expected());
        }
        let address = format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80));
        let endpoint = Self { authority: authority.as_str().to_owned(), address };
        Ok((endpoint, uri.path().trim_end_matches('/').to_owned()))
    }
}

/// A connection to an endpoint.
#[derive(Debug)]
pub(super) struct Connection {
    endpoint: Endpoint,
    sender: Option<SendRequest<Content>>,
    opened: u64,
}

impl Connection {
    /// Opens a connection.
    pub(super) async fn open(endpoint: &Endpoint) -> Result<Self, String> {
        let mut connection = Self { endpoint: endpoint.clone(), sender: None, opened: 0 };
        let sender = connection.dial().await?;
        connection.sender = Some(sender);
        Ok(connection)
    }

    async fn dial(&mut self) -> Result<SendRequest<Content>, String> {
        let fail = |error: &dyn std::fmt::Display| {
            format!("connect to {}: {error}", self.endpoint.address)
        };
        let stream =
            TcpStream::connect(&self.endpoint.address).await.map_err(|error| fail(&error))?;
        stream.set_nodelay(true).map_err(|error| fail(&error))?;
        let (sender, driver) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| fail(&error))?;
        // Its error is also that of the request that is under way.
        apus_daemon::task::spawn(apus_daemon::task::TaskKind::Background, driver);
        self.opened += 1;
        Ok(sender)
    }

    /// Sends a request, over a new connection when the last one has ended.
    pub(super) async fn send(
        &mut self,
        request: Request<Content>,
    ) -> Result<Response<Incoming>, String> {
        let mut kept = self.sender.take();
        if let Some(sender) = &mut kept
            && sender.ready().await.is_err()
        {
            kept = None;
        }
        let mut sender = match kept {
            Some(sender) => sender,
            None => self.dial().await?,
        };
        let response = sender.send_request(request).await.map_err(|error| explain(&error))?;
        self.sender = Some(sender);
        Ok(response)
    }

    /// Forgets the connection, since an answer was left unread.
    pub(super) fn close(&mut self) {
        self.sender = None;
    }

    /// Connections opened after the first.
    pub(super) fn reopened(&self) -> u64 {
        self.opened.saturating_sub(1)
    }
}

/// hyper's errors keep the reason in their source.
fn explain(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// The next piece of an answer's body.
pub(super) async fn piece(body: &mut Incoming) -> Result<Option<Bytes>, String> {
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(|error| explain(&error))?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// The whole body of an answer that may have at most `limit` bytes.
pub(super) async fn whole(mut body: Incoming, limit: usize) -> Result<Vec<u8>, String> {
    let mut all = Vec::new();
    while let Some(data) = piece(&mut body).await? {
        if all.len() + data.len() > limit {
            return Err(format!("the answer is longer than {limit} bytes"));
        }
        all.extend_from_slice(&data);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_plain_http_without_a_path() {
        let endpoint = Endpoint::parse("http://storage.example:8080/").unwrap();
        assert_eq!(endpoint.authority, "storage.example:8080");
        assert_eq!(Endpoint::parse("http://[::1]").unwrap().address, "[::1]:80");
        for text in ["", "localhost:8080", "ftp://a", "http://", "http://a/b", "http://u@a"] {
            assert!(Endpoint::parse(text).is_err(), "{text}");
        }
        assert!(Endpoint::parse("https://a").unwrap_err().contains("TLS"));
    }

    #[test]
    fn a_storage_url_keeps_its_path() {
        let (endpoint, path) = Endpoint::with_path("http://a:1/v1/AUTH_test/").unwrap();
        assert_eq!((endpoint.address.as_str(), path.as_str()), ("a:1", "/v1/AUTH_test"));
    }
}
