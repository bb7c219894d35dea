//! Client of `/apus/rings`: asks servers for their rings and sends them new ones. Only signed parts of
//! an answer are trusted.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use apus_daemon::Body;
use apus_daemon::http::{empty, full, header};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};

use super::body::{BodyError, whole};
use super::{Manifest, PATH, RingFile, RingName, STATEMENT, Statement, Step};
use crate::Transport;

/// Longest manifest or refusal that is read.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Longest part of a refusal that is reported.
const REASON_CHARS_MAX: usize = 500;

/// Errors of requests about rings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RingClientError {
    /// No answer.
    Unreachable(String),
    /// The server refused.
    Refused {
        /// Status of its answer.
        status: u16,
        /// What it says.
        reason: String,
    },
    /// The answer is not one of `/apus/rings`: another program, or altered on the way.
    InvalidResponse(String),
}

impl fmt::Display for RingClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(error) => f.write_str(error),
            Self::Refused { status, reason } => write!(f, "{status} {reason}"),
            Self::InvalidResponse(error) => write!(f, "invalid response: {error}"),
        }
    }
}

impl std::error::Error for RingClientError {}

/// Client of the servers' `/apus/rings`.
#[derive(Debug, Clone)]
pub struct RingClient {
    transport: Arc<Transport>,
    /// For an answer without a file.
    answer: Duration,
    /// For a file and its answer.
    file: Duration,
}

impl RingClient {
    /// A client over a transport that signs. A file may take ten times as long as an answer.
    pub fn new(transport: Arc<Transport>, answer: Duration) -> Self {
        Self { transport, answer, file: answer * 10 }
    }

    /// What rings the server at `ip:port` has.
    ///
    /// # Errors
    /// See [`RingClientError`].
    pub async fn manifest(&self, address: &str) -> Result<Manifest, RingClientError> {
        within(self.answer, async {
            let answer = self.ask(address, Method::GET, PATH, empty(), None).await?;
            let answer = accepted(answer).await?;
            let body = collect(answer.into_body(), ANSWER_BYTES_MAX as u64).await?;
            serde_json::from_slice(&body)
                .map_err(|error| RingClientError::InvalidResponse(error.to_string()))
        })
        .await
    }

    /// A ring of the server that is not longer than `bytes_max`, and its statement. Neither is verified
    /// yet.
    ///
    /// # Errors
    /// See [`RingClientError`].
    pub async fn get(
        &self,
        address: &str,
        name: &RingName,
        bytes_max: u64,
    ) -> Result<(Statement, Bytes), RingClientError> {
        within(self.file, async {
            let path = format!("{PATH}/{name}");
            let answer =
                accepted(self.ask(address, Method::GET, &path, empty(), None).await?).await?;
            let said = header(answer.headers(), STATEMENT).unwrap_or_default();
            let statement = Statement::parse(said)
                .map_err(|error| RingClientError::InvalidResponse(error.to_string()))?;
            let bytes = collect(answer.into_body(), statement.length.min(bytes_max)).await?;
            Ok((statement, bytes))
        })
        .await
    }

    /// Sends a ring to the server; returns what it did with it.
    ///
    /// # Errors
    /// See [`RingClientError`].
    pub async fn put(
        &self,
        address: &str,
        file: &RingFile,
        statement: &Statement,
    ) -> Result<Step, RingClientError> {
        within(self.file, async {
            let path = format!("{PATH}/{}", file.name());
            let body = full(file.bytes().clone());
            let answer = self.ask(address, Method::PUT, &path, body, Some(statement)).await?;
            match accepted(answer).await?.status() {
                StatusCode::CREATED => Ok(Step::Install),
                StatusCode::ACCEPTED => Ok(Step::Sign),
                StatusCode::OK => Ok(Step::Nothing),
                other => Err(RingClientError::InvalidResponse(format!("status {other}"))),
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
    ) -> Result<Response<Body>, RingClientError> {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(statement) = statement {
            request = request.header(STATEMENT, statement.to_text());
        }
        let request = request
            .body(body)
            .map_err(|error| RingClientError::InvalidResponse(error.to_string()))?;
        let sent = self.transport.send(address, request).await;
        sent.map_err(|error| RingClientError::Unreachable(error.to_string()))
    }
}

/// The whole of a body, up to a length.
async fn collect(mut body: Body, bytes_max: u64) -> Result<Bytes, RingClientError> {
    whole(&mut body, bytes_max, 0).await.map_err(|unfit| match unfit {
        BodyError::Broken(error) => RingClientError::Unreachable(error),
        BodyError::TooLong => {
            RingClientError::InvalidResponse(format!("more than {bytes_max} bytes"))
        }
    })
}

async fn within<T>(
    deadline: Duration,
    work: impl Future<Output = Result<T, RingClientError>>,
) -> Result<T, RingClientError> {
    tokio::time::timeout(deadline, work)
        .await
        .unwrap_or_else(|_| Err(RingClientError::Unreachable("no answer in time".to_owned())))
}

/// Makes an error of an answer that is not a success.
async fn accepted(answer: Response<Body>) -> Result<Response<Body>, RingClientError> {
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
    Err(RingClientError::Refused { status: status.as_u16(), reason })
}
