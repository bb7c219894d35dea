//! Idle TCP connections by address.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use apus_daemon::Body;
use apus_daemon::task::{TaskKind, spawn};
use http_body_util::BodyExt;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::transport::SendError;

/// Idle connections kept per address.
const IDLE_MAX: usize = 32;

#[derive(Default)]
pub(crate) struct Pool {
    idle: Mutex<HashMap<String, Vec<SendRequest<Body>>>>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        f.debug_map().entries(idle.iter().map(|(address, idle)| (address, idle.len()))).finish()
    }
}

async fn connect(address: &str) -> Result<SendRequest<Body>, SendError> {
    let stream = TcpStream::connect(address).await.map_err(SendError::Connect)?;
    stream.set_nodelay(true).map_err(SendError::Connect)?;
    let (connection, driver) = handshake(TokioIo::new(stream))
        .await
        .map_err(|error| SendError::Broken(error.to_string()))?;
    spawn(TaskKind::Background, async move {
        if let Err(error) = driver.await {
            tracing::debug!(%error, "backend connection");
        }
    });
    Ok(connection)
}

impl Pool {
    fn take(&self, address: &str) -> Option<SendRequest<Body>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let connections = idle.get_mut(address)?;
        while let Some(connection) = connections.pop() {
            if connection.is_ready() {
                return Some(connection);
            }
        }
        None
    }

    fn put(&self, address: &str, connection: SendRequest<Body>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let connections = idle.entry(address.to_owned()).or_default();
        if connections.len() < IDLE_MAX && !connection.is_closed() {
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
        loop {
            let idle = self.take(address);
            let reused = idle.is_some();
            let mut connection = match idle {
                Some(connection) => connection,
                None => connect(address).await?,
            };
            match connection.try_send_request(request).await {
                Ok(response) => {
                    self.put(address, connection);
                    return Ok(response.map(|body| body.map_err(Into::into).boxed_unsync()));
                }
                // The server closed an idle connection before anything went out on it.
                Err(mut error) => match error.take_message().filter(|_| reused) {
                    Some(unsent) => request = unsent,
                    None => return Err(SendError::Broken(error.into_error().to_string())),
                },
            }
        }
    }
}
