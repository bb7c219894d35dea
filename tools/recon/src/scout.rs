//! Requests to many hosts, a bounded number at a time.

use std::time::Duration;

use apus_daemon::Clock;
use apus_daemon::clock::SystemClock;
use apus_daemon::http::empty;
use apus_wire::Transport;
use futures_util::{StreamExt, stream};
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use serde_json::Value;

use super::hosts::Host;
use super::report::CheckReport;

/// Concurrent requests, as in Swift.
const AT_ONCE: usize = 30;
/// Longest response body.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Client of the hosts' recon servers.
#[derive(Debug)]
pub(super) struct Scout {
    pub(super) transport: Transport,
    pub(super) timeout: Duration,
    pub(super) verbose: bool,
    pub(super) suppress: bool,
}

/// Response of one host.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) url: String,
    /// `ip:port`.
    pub(super) address: String,
    pub(super) ip: String,
    pub(super) content: Value,
    /// Times of request and response, in seconds since 1970.
    pub(super) span: (f64, f64),
}

impl Answer {
    /// A number by key; `None` where a server of another version has something else.
    pub(super) fn number(&self, key: &str) -> Option<f64> {
        self.content.get(key).and_then(Value::as_f64)
    }

    /// The first key that exists; 0 when none does, as in the responses of old servers.
    pub(super) fn first_number(&self, keys: [&str; 2]) -> Option<f64> {
        let found = keys.iter().find_map(|key| self.content.get(key));
        found.map_or(Some(0.0), Value::as_f64)
    }
}

/// The parts of a response that checks use.
struct Raw {
    status: StatusCode,
    server: Option<String>,
    body: Vec<u8>,
}

impl Scout {
    pub(super) fn now(&self) -> Duration {
        SystemClock.now()
    }

    async fn send(&self, host: &Host, method: Method, path: &str) -> Result<Raw, String> {
        let request = Request::builder().method(method).uri(path);
        // One request for each of many hosts: no connection is kept open.
        let request = request.header(header::CONNECTION, "close").body(empty());
        let request = request.map_err(|error| error.to_string())?;
        let exchange = async {
            let answer = self.transport.send(&host.address, request).await;
            let answer = answer.map_err(|error| error.to_string())?;
            let server = answer.headers().get(header::SERVER);
            let server = server.and_then(|server| server.to_str().ok()).map(str::to_owned);
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| error.to_string())?.to_bytes().to_vec();
            Ok(Raw { status, server, body })
        };
        let done = tokio::time::timeout(self.timeout, exchange).await;
        done.unwrap_or_else(|_| Err("timed out".to_owned()))
    }

    async fn check(&self, host: &Host, check: &str) -> Result<Answer, (String, String)> {
        let url = format!("http://{}/recon/{check}", host.address);
        let asked = self.now().as_secs_f64();
        let raw = self.send(host, Method::GET, &format!("/recon/{check}")).await;
        let content = raw.and_then(|raw| match raw.status {
            StatusCode::OK => serde_json::from_slice(&raw.body)
                .map_err(|error| format!("the response is not JSON: {error}")),
            status => Err(http_error(status)),
        });
        let span = (asked, self.now().as_secs_f64());
        let (address, ip) = (host.address.clone(), host.ip.clone());
        match content {
            Ok(content) => Ok(Answer { url, address, ip, content, span }),
            Err(error) => Err((url, error)),
        }
    }

    /// Asks all hosts for a check; returns the responses, and reports the hosts that failed.
    pub(super) async fn ask(
        &self,
        hosts: &[Host],
        check: &str,
        report: &mut CheckReport,
    ) -> Vec<Answer> {
        let asked = stream::iter(hosts).map(|host| self.check(host, check));
        let mut asked = asked.buffered(AT_ONCE);
        let mut answers = Vec::new();
        while let Some(answer) = asked.next().await {
            match answer {
                Ok(answer) => {
                    if self.verbose {
                        report.line(format!("-> {}: {}", answer.url, answer.content));
                    }
                    answers.push(answer);
                }
                Err((url, error)) => {
                    report.host_failed(&url, &error, !self.suppress || self.verbose)
                }
            }
        }
        answers
    }

    /// The server type that each host reports, by its URL.
    pub(super) async fn server_types(
        &self,
        hosts: &[Host],
        report: &mut CheckReport,
    ) -> Vec<(String, String)> {
        let asked = stream::iter(hosts).map(|host| async move {
            let url = format!("http://{}/", host.address);
            let server = self.send(host, Method::OPTIONS, "/").await.and_then(|raw| {
                match (raw.status, raw.server) {
                    (StatusCode::OK, Some(server)) => Ok(server),
                    (StatusCode::OK, None) => Err("has no Server header".to_owned()),
                    (status, _) => Err(http_error(status)),
                }
            });
            (url, server)
        });
        let mut asked = asked.buffered(AT_ONCE);
        let mut types = Vec::new();
        while let Some((url, server)) = asked.next().await {
            match server {
                Ok(server) => {
                    let server = server.split('/').next().unwrap_or_default().to_owned();
                    types.push((url, server));
                }
                Err(error) => report.host_failed(&url, &error, !self.suppress || self.verbose),
            }
        }
        types
    }
}

fn http_error(status: StatusCode) -> String {
    let reason = status.canonical_reason().unwrap_or_default();
    format!("HTTP Error {}: {reason}", status.as_u16())
}
