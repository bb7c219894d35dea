//! Decodes a write and runs it to its end, whether or not its client waits.

use apus_daemon::task::{TaskKind, spawn};
use apus_daemon::{Body, Interim};
use apus_wire::message::object::{
    DeleteObjectRequest, ObjectAddress, PostObjectRequest, PutObjectRequest,
};
use apus_wire::message::{InvalidRequest, Received};
use http::request::Parts;
use http::{Method, Response, StatusCode};

use super::context::Write;
use super::{delete, post, put};
use crate::replication::Replicated;
use crate::server::{Refusal, Server, malformed, refuse};

/// Decodes `PUT`, `POST` or `DELETE` and applies it. A write that was begun ends, with its row,
/// even when the client disconnects.
pub(crate) async fn write(
    server: &Server,
    mut head: Parts,
    body: Body,
    interim: Option<Interim>,
) -> Result<Response<Body>, Refusal> {
    let replicated = Replicated::of(&mut head);
    let written = match head.method {
        Method::PUT => {
            let request = PutObjectRequest::decode(&head);
            let write = begin(server, request, |request| &request.address, replicated)?;
            spawn(TaskKind::Request, async move { put::put(&write, body, interim).await }).await
        }
        Method::POST => {
            let request = PostObjectRequest::decode(&head);
            let write = begin(server, request, |request| &request.address, replicated)?;
            spawn(TaskKind::Request, async move { post::post(&write).await }).await
        }
        _ => {
            let request = DeleteObjectRequest::decode(&head);
            let write = begin(server, request, |request| &request.address, replicated)?;
            spawn(TaskKind::Request, async move { delete::delete(&write).await }).await
        }
    };
    let panicked = |_| Err(refuse(StatusCode::INTERNAL_SERVER_ERROR, "the write panicked"));
    written.unwrap_or_else(panicked)
}

fn begin<T>(
    server: &Server,
    request: Result<Received<T>, InvalidRequest>,
    address: fn(&T) -> &ObjectAddress,
    replicated: Option<Replicated>,
) -> Result<Write<T>, Refusal> {
    let Received { device, message: request } = request.map_err(|error| malformed(&error))?;
    let object = server.object(device, address(&request))?;
    Ok(Write { server: server.clone(), object, request, replicated })
}
