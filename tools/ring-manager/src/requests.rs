//! Requests to the ring manager, below `/apus/manager`, with JSON bodies.

use std::collections::BTreeMap;
use std::sync::Arc;

use apus_daemon::http::{Body, Handler};
use apus_membership::{json_response, refusal};
use async_trait::async_trait;
use http::{Method, Request, Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::ask::collect;
use super::joining::Joining;
use super::manager::Policy;
use super::rounds::Rounds;
use super::state::Place;

/// Longest request body.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// Devices of a request.
#[derive(Debug, Deserialize)]
struct Search {
    search: String,
    #[serde(default)]
    dry_run: bool,
}

/// Handler of the requests; the guard is in front of it.
#[derive(Debug)]
pub(super) struct Requests {
    rounds: Arc<Rounds>,
}

fn named(places: &[Place]) -> Value {
    places.iter().map(Place::to_string).collect()
}

impl Requests {
    pub(super) fn new(rounds: Arc<Rounds>) -> Self {
        Self { rounds }
    }

    async fn join(&self, joining: Joining) -> Result<Value, String> {
        let is_sized = joining.devices.iter().all(|device| device.weight.is_some());
        let sizes = if is_sized { BTreeMap::new() } else { self.rounds.sizes().await? };
        let (mut response, policy, foresight) = self
            .rounds
            .change(move |manager, now| {
                let response = manager.join(&joining, &sizes, now)?;
                Ok((response, manager.policy, manager.pending(now)))
            })
            .await?;
        if let Some(response) = response.as_object_mut() {
            let policy = if policy == Policy::Ask { "ask" } else { "automatic" };
            response.insert("rebalance".to_owned(), json!(policy));
            response.insert("pending".to_owned(), json!(foresight));
        }
        Ok(response)
    }

    async fn ask(&self, method: &Method, path: &str, body: &[u8]) -> Option<Result<Value, String>> {
        let (rounds, bad) = (&self.rounds, |error: serde_json::Error| format!("body: {error}"));
        let search = || serde_json::from_slice::<Search>(body).map_err(bad);
        let word = path.strip_prefix("/apus/manager/")?;
        Some(match (method.as_str(), word) {
            ("GET", "status") => rounds.status().await,
            ("GET", "foresight") => rounds.with(|manager, now| manager.foresight(now)).await,
            ("POST", "approve") => {
                let rings = rounds.change(|manager, now| manager.approve(now)).await;
                rings.map(|rings| json!({ "approved": rings }))
            }
            ("POST", "join") => match serde_json::from_slice(body).map_err(bad) {
                Ok(joining) => self.join(joining).await,
                Err(error) => Err(error),
            },
            ("POST", "parts") => match search() {
                Ok(Search { search, .. }) => rounds.parts(search).await,
                Err(error) => Err(error),
            },
            ("POST", "drain" | "cancel" | "remove") => match search() {
                Ok(Search { search, dry_run }) => {
                    let word = word.to_owned();
                    let places = rounds.change(move |manager, now| match word.as_str() {
                        "drain" => manager.drain(&search, dry_run, now),
                        "cancel" => manager.cancel(&search, now),
                        _ => manager.remove(&search, now),
                    });
                    places.await.map(|places| json!({ "devices": named(&places) }))
                }
                Err(error) => Err(error),
            },
            _ => return None,
        })
    }
}

#[async_trait]
impl Handler for Requests {
    async fn call(&self, request: Request<Body>) -> Response<Body> {
        let (head, body) = request.into_parts();
        json_response(match collect(body, BODY_BYTES_MAX).await {
            Err(error) => refusal(StatusCode::BAD_REQUEST, &format!("body: {error}")),
            Ok(body) => match self.ask(&head.method, head.uri.path(), &body).await {
                Some(Ok(content)) => (StatusCode::OK, content),
                // The request does not fit the current state.
                Some(Err(error)) => refusal(StatusCode::CONFLICT, &error),
                None => refusal(
                    StatusCode::NOT_FOUND,
                    &format!("{} {}: this is a ring manager", head.method, head.uri.path()),
                ),
            },
        })
    }
}
