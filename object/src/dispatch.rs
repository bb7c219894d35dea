//! Dispatches requests to the handler of their verb.

use apus_daemon::{Body, Handler, Interim};
use apus_wire::methods;
use async_trait::async_trait;
use http::{Method, Request, Response, StatusCode};

use crate::handlers;
use crate::server::{Server, refuse};

#[async_trait]
impl Handler for Server {
    async fn call(&self, request: Request<Body>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let answer = match (head.method.as_str(), &head.method) {
            (_, &Method::GET | &Method::HEAD) => handlers::get::get(self, &head).await,
            (_, &Method::PUT | &Method::POST | &Method::DELETE) => {
                let interim = head.extensions.get::<Interim>().cloned();
                handlers::write::write(self, head, body, interim).await
            }
            (methods::REPLICATE, _) => handlers::replicate::replicate(self, &head).await,
            (methods::SSYNC, _) => handlers::ssync::ssync(self, &head, body).await,
            (methods::RESERVE, _) => handlers::reserve::reserve(self, &head).await,
            (methods::RELEASE, _) => handlers::reserve::release(self, &head),
            (methods::REPAIR, _) => handlers::repair::repair(self, &head).await,
            _ => Err(refuse(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed")),
        };
        answer.unwrap_or_else(|refusal| *refusal)
    }
}
