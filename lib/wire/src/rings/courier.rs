//! Asks servers for their rings, and brings them some. What they answer is believed only as far as
//! it is signed.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use apus_daemon::Body;
use apus_daemon::http::{empty, full, header};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};

use super::body::{Unfit, whole};
use super::{Manifest, PATH, RingFile, RingName, STATEMENT, Statement, Step};
use crate::Transport;

/// Longest manifest or refusal that is read.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Longest part of a refusal that is told.
const REASON_CHARS_MAX: usize = 500;

/// Why a server did not do what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// No answer.
    Unreachable(String),
    /// It says no.
    Refused {
        /// Status of its answer.
        status: u16,
        /// What it says.
        reason: String,
    },
    /// Its answer is not one: another program, or altered on the way.
    Nonsense(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(error) => f.write_str(error),
            Self::Refused { status, reason } => write!(f, "{status} {reason}"),
            Self::Nonsense(error) => write!(f, "answer not understood: {error}"),
        }
    }
}

impl std::error::Error for Failure {}

/// Carries rings between this process and servers.
#[derive(Debug, Clone)]
pub struct Courier {
    transport: Arc<Transport>,
    /// For an answer without a file.
    answer: Duration,
    /// For a file and its answer.
    file: Duration,
}

impl Courier {
    /// Over a transport that signs. A file may take ten times as long as an answer.
    pub fn new(transport: Arc<Transport>, answer: Duration) -> Self {
        Self { transport, answer, file: answer * 10 }
    }

    /// What rings the server at `ip:port` has.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn manifest(&self, address: &str) -> Result<Manifest, Failure> {
        within(self.answer, async {
            let answer = self.ask(address, Method::GET, PATH, empty(), None).await?;
            let answer = accepted(answer).await?;
            let body = collect(answer.into_body(), ANSWER_BYTES_MAX as u64).await?;
            serde_json::from_slice(&body).map_err(|error| Failure::Nonsense(error.to_string()))
        })
        .await
    }

    /// A ring of the server that is not longer than `bytes_max`, and what it says of it: neither is
    /// believed yet.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn get(
        &self,
        address: &str,
        name: &RingName,
        bytes_max: u64,
    ) -> Result<(Statement, Bytes), Failure> {
        within(self.file, async {
            let path = format!("{PATH}/{name}");
            let answer =
                accepted(self.ask(address, Method::GET, &path, empty(), None).await?).await?;
            let said = header(answer.headers(), STATEMENT).unwrap_or_default();
            let statement =
                Statement::parse(said).map_err(|error| Failure::Nonsense(error.to_string()))?;
            let bytes = collect(answer.into_body(), statement.length.min(bytes_max)).await?;
            Ok((statement, bytes))
        })
        .await
    }

    /// Brings a ring to the server, and tells what it did.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn put(
        &self,
        address: &str,
        file: &RingFile,
        statement: &Statement,
    ) -> Result<Step, Failure> {
        within(self.file, async {
            let path = format!("{PATH}/{}", file.name());
            let body = full(file.bytes().clone());
            let answer = self.ask(address, Method::PUT, &path, body, Some(statement)).await?;
            match accepted(answer).await?.status() {
                StatusCode::CREATED => Ok(Step::Install),
                StatusCode::ACCEPTED => Ok(Step::Sign),
                StatusCode::OK => Ok(Step::Nothing),
                other => Err(Failure::Nonsense(format!("status {other}"))),
            }
        })
        .await
    }

    async fn ask(
        &self,
        address: &str,
        method: Method,
        path: &str,
        body: Body,
        statement: Option<&Statement>,
    ) -> Result<Response<Body>, Failure> {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(statement) = statement {
            request = request.header(STATEMENT, statement.to_text());
        }
        let request = request.body(body).map_err(|error| Failure::Nonsense(error.to_string()))?;
        let sent = self.transport.send(address, request).await;
        sent.map_err(|error| Failure::Unreachable(error.to_string()))
    }
}

/// The whole of a body, up to a length.
async fn collect(mut body: Body, bytes_max: u64) -> Result<Bytes, Failure> {
    whole(&mut body, bytes_max, 0).await.map_err(|unfit| match unfit {
        Unfit::Broken(error) => Failure::Unreachable(error),
        Unfit::TooLong => Failure::Nonsense(format!("more than {bytes_max} bytes")),
    })
}

async fn within<T>(
    deadline: Duration,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::time::timeout(deadline, work)
        .await
        .unwrap_or_else(|_| Err(Failure::Unreachable("no answer in time".to_owned())))
}

/// Makes a failure of an answer that says no.
async fn accepted(answer: Response<Body>) -> Result<Response<Body>, Failure> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let body = collect(answer.into_body(), ANSWER_BYTES_MAX as u64).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&body);
    let line = text.lines().next().unwrap_or_default();
    // It goes to a terminal or a log.
    let plain = line.chars().filter(|letter| !letter.is_control());
    let reason = plain.take(REASON_CHARS_MAX).collect();
    Err(Failure::Refused { status: status.as_u16(), reason })
}
