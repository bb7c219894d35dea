//! Runs a write to its end, whether or not its client waits.

use apus_daemon::task::{TaskKind, spawn};
use apus_daemon::{Body, Interim};
use http::request::Parts;
use http::{Method, Response, StatusCode};

use super::{delete, post, put};
use crate::replication::Replicated;
use crate::server::{Refusal, Server, refuse};
use crate::store::LocalObject;

/// A write that was begun ends, with its row, even when the client disconnects.
pub(crate) async fn write(
    server: &Server,
    target: LocalObject,
    head: Parts,
    body: Body,
    interim: Option<Interim>,
) -> Result<Response<Body>, Refusal> {
    let server = server.clone();
    let write = async move {
        let mut head = head;
        let replicated = Replicated::of(&mut head);
        let (head, replicated) = (&head, replicated.as_ref());
        match head.method {
            Method::PUT => {
                put::put(&server, &target, &head.headers, body, interim, replicated).await
            }
            Method::POST => post::post(&server, &target, &head.headers, replicated).await,
            _ => delete::delete(&server, &target, &head.headers, replicated).await,
        }
    };
    spawn(TaskKind::Request, write)
        .await
        .unwrap_or_else(|_| Err(refuse(StatusCode::INTERNAL_SERVER_ERROR, "the write panicked")))
}
