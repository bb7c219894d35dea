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
        let interim = head.extensions.get::<Interim>().cloned();
        match head.method.as_str() {
            methods::REPLICATE => return handlers::replicate::replicate(self, &head).await,
            methods::SSYNC => return handlers::ssync::ssync(self, &head, body).await,
            _ => {}
        }
        let target = match self.target(head.uri.path(), &head.headers) {
            Ok(target) => target,
            Err(refusal) => return *refusal,
        };
        let answer = match head.method {
            Method::GET => handlers::get::get(self, &target, &head.headers, false).await,
            Method::HEAD => handlers::get::get(self, &target, &head.headers, true).await,
            Method::PUT | Method::POST | Method::DELETE => {
                handlers::write::write(self, target, head, body, interim).await
            }
            method if method.as_str() == methods::RESERVE => {
                handlers::reserve::reserve(self, &target, &head.headers).await
            }
            method if method.as_str() == methods::REPAIR => {
                handlers::repair::repair(self, &target, &head.headers).await
            }
            method if method.as_str() == methods::RELEASE => {
                handlers::reserve::release(self, &target, &head.headers)
            }
            _ => Err(refuse(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed")),
        };
        answer.unwrap_or_else(|refusal| *refusal)
    }
}
