//! Who is loaded: where the bucket is and what makes a request acceptable there.

use std::time::{Duration, Instant};

use apus_cluster::percent;
use apus_daemon::Clock;
use apus_daemon::clock::SystemClock;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue};
use http::{Method, Request, Uri};

use super::connection::Endpoint;
use super::pattern::Content;
use super::sign::Signer;

/// S3 refuses signatures older than 15 minutes; a request must also be on its way before that.
const SIGNATURE_AGE_MAX: Duration = Duration::from_mins(10);

/// What makes a request acceptable.
#[derive(Debug)]
pub(super) enum Access {
    /// Keys to sign with.
    S3(Signer),
    /// A token of Swift.
    Swift(HeaderValue),
}

/// A bucket and the access to it.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) endpoint: Endpoint,
    /// Path of the bucket, encoded.
    pub(super) root: String,
    pub(super) access: Access,
}

/// The head of a request, signed if need be, to be sent once or often.
#[derive(Debug, Clone)]
pub(super) struct Ticket {
    method: Method,
    uri: Uri,
    headers: Box<[(HeaderName, HeaderValue)]>,
    signed: Option<Instant>,
}

impl Ticket {
    /// A request without a signature, as before there is a token.
    pub(super) fn plain(
        method: Method,
        path: &str,
        headers: Box<[(HeaderName, HeaderValue)]>,
    ) -> Result<Self, String> {
        let uri = path.parse().map_err(|error| format!("{path}: {error}"))?;
        Ok(Self { method, uri, headers, signed: None })
    }

    /// The request with this body.
    pub(super) fn request(&self, body: Content) -> Request<Content> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        // hyper leaves it out when there is nothing to send, which servers refuse.
        if [Method::PUT, Method::POST].contains(&self.method) {
            let length = request.body().left().into();
            request.headers_mut().insert(CONTENT_LENGTH, length);
        }
        for (name, value) in &self.headers {
            request.headers_mut().insert(name, value.clone());
        }
        request
    }

    /// Whether the server might refuse the signature for its age.
    pub(super) fn is_stale(&self) -> bool {
        self.signed.is_some_and(|signed| signed.elapsed() > SIGNATURE_AGE_MAX)
    }

    /// Method and path, to name the request in an error.
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.method, self.uri)
    }
}

/// A header's value, which a secret or a name of the user's may not be.
pub(super) fn value(text: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_str(text).map_err(|_| format!("{text:?} cannot stand in a header"))
}

impl Target {
    /// A request for `key` in the bucket, or for the bucket when it is empty. The query is encoded
    /// and sorted; `payload_hash` is for the signature.
    pub(super) fn ticket(
        &self,
        method: Method,
        key: &str,
        query: &str,
        payload_hash: &str,
    ) -> Result<Ticket, String> {
        let mut path = self.root.clone();
        if !key.is_empty() {
            path.push('/');
            percent::encode_into(&mut path, key.as_bytes(), b"/");
        }
        let host = (HOST, value(&self.endpoint.authority)?);
        let (headers, signed): (Box<[_]>, _) = match &self.access {
            Access::Swift(token) => {
                (Box::new([host, (HeaderName::from_static("x-auth-token"), token.clone())]), None)
            }
            Access::S3(signer) => {
                let now = SystemClock.now();
                let signed = signer.sign(now, method.as_str(), &path, query, payload_hash);
                let headers = [
                    host,
                    (HeaderName::from_static("x-amz-date"), value(&signed.date)?),
                    (HeaderName::from_static("x-amz-content-sha256"), value(payload_hash)?),
                    (AUTHORIZATION, value(&signed.authorization)?),
                ];
                (Box::new(headers), Some(Instant::now()))
            }
        };
        if !query.is_empty() {
            path.push('?');
            path.push_str(query);
        }
        Ok(Ticket { signed, ..Ticket::plain(method, &path, headers)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_body_that_is_written_says_its_length() {
        let length = |method: Method, body: Content| {
            let ticket = Ticket::plain(method, "/a", Box::new([])).unwrap();
            ticket.request(body).headers().get(CONTENT_LENGTH).cloned()
        };
        assert_eq!(length(Method::PUT, Content::empty()).unwrap(), "0");
        assert_eq!(length(Method::PUT, Content::document("abc".into())).unwrap(), "3");
        assert_eq!(length(Method::GET, Content::empty()), None);
    }

    #[test]
    fn a_request_is_sent_as_it_was_signed() {
        let target = Target {
            endpoint: Endpoint::parse("http://127.0.0.1:8080").unwrap(),
            root: "/b".to_owned(),
            access: Access::S3(Signer {
                access_key: "test:tester".to_owned(),
                secret_key: "testing".to_owned(),
                region: "us-east-1".to_owned(),
                host: "127.0.0.1:8080".to_owned(),
            }),
        };
        let ticket = target.ticket(Method::PUT, "bench/4/0", "partNumber=1", "00").unwrap();
        let request = ticket.request(Content::empty());
        assert_eq!(request.uri(), "/b/bench/4/0?partNumber=1");
        assert_eq!(request.headers()["host"], "127.0.0.1:8080");
        assert_eq!(request.headers()["x-amz-content-sha256"], "00");
        let authorization = request.headers()["authorization"].to_str().unwrap();
        assert!(authorization.contains("Credential=test:tester/"));
        assert!(!ticket.is_stale());
    }
}
