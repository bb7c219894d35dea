//! How a request reaches a server: a function call in the same process, a socket otherwise; what goes
//! over a socket is signed when the cluster has a key.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use apus_daemon::http::SharedHandler;
use apus_daemon::{Body, Handler};

use crate::pool::Pool;
use crate::signed::Signer;

/// Why a request got no answer.
#[derive(Debug)]
pub enum SendError {
    /// No connection.
    Connect(std::io::Error),
    /// The connection broke before the head of the answer.
    Broken(String),
}

impl std::fmt::Display for SendError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Connect(error) => write!(f, "connect: {error}"),
            Self::Broken(error) => write!(f, "connection broke: {error}"),
        }
    }
}

impl std::error::Error for SendError {}

/// The servers of this process by ring address, and connections to all others.
#[derive(Default)]
pub struct Transport {
    local: RwLock<HashMap<String, SharedHandler>>,
    pool: Pool,
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport").field("pool", &self.pool).finish_non_exhaustive()
    }
}

impl Transport {
    /// A transport that signs what it sends over sockets, if there is something to sign with.
    pub fn new(signer: Option<Signer>) -> Self {
        Self { local: RwLock::default(), pool: Pool::new(signer) }
    }

    /// A transport that reaches servers on this machine's loopback through a Unix-domain socket. While
    /// no process listens there, they are reached over TCP.
    #[must_use]
    pub fn through(self, socket: Box<dyn AsRef<Path> + Send + Sync>) -> Self {
        Self { pool: self.pool.through(socket), ..self }
    }

    /// Lets requests to a ring address call this server directly.
    pub fn register(&self, address: &str, handler: SharedHandler) {
        let mut local = self.local.write().unwrap_or_else(PoisonError::into_inner);
        local.insert(address.to_owned(), handler);
    }

    fn local(&self, address: &str) -> Option<Arc<dyn Handler>> {
        self.local.read().unwrap_or_else(PoisonError::into_inner).get(address).cloned()
    }

    /// Whether the server at a ring address is called in this process.
    pub fn is_local(&self, address: &str) -> bool {
        self.local(address).is_some()
    }

    /// Sends a request and gives the head of the answer.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn send(
        &self,
        address: &str,
        request: http::Request<Body>,
    ) -> Result<http::Response<Body>, SendError> {
        match self.local(address) {
            Some(handler) => Ok(handler.call(request).await),
            None => self.pool.send(address, request).await,
        }
    }
}
