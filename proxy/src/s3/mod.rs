//! stub
use std::sync::Arc;
use apus_daemon::Body;
use http::{Request, Response};
use crate::edge::Parts;
#[derive(Debug)]
pub(crate) struct S3;
impl S3 {
    pub(crate) fn new(_: Parts) -> Self { Self }
    pub(crate) fn speaks(_: &Request<Body>, _: &[String]) -> bool { false }
    pub(crate) async fn handle(&self, _: Request<Body>, _: Arc<str>) -> Response<Body> { apus_daemon::http::status(http::StatusCode::NOT_IMPLEMENTED) }
}
