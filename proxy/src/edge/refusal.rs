//! Refusals of invalid HTTP, in the format of the client's dialect.

use apus_daemon::http::{set, text};
use apus_daemon::serve::Peer;
use apus_daemon::{Body, Malformed};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Version};

use crate::deps::ProxyDeps;
use crate::s3::S3;

/// A refusal, with its texts in both dialects.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: &'static str,
    /// The text for Swift's clients.
    plain: &'static str,
}

const TARGET_TOO_LONG: Refusal = Refusal {
    status: StatusCode::URI_TOO_LONG,
    code: "InvalidURI",
    message: "The request URI is too long.",
    plain: "Request-URI Too Long",
};

const HEADER_TOO_LONG: Refusal = Refusal {
    status: StatusCode::BAD_REQUEST,
    code: "RequestHeaderSectionTooLarge",
    message: "Your request header and metadata sections exceed the maximum allowed size.",
    plain: "Header Line Too Long",
};

const NO_SINGLE_HOST: Refusal = Refusal {
    status: StatusCode::BAD_REQUEST,
    code: "InvalidRequest",
    message: "A request of HTTP/1.1 must have exactly one Host header.",
    plain: "A request of HTTP/1.1 must have exactly one Host header.",
};

/// The refusal of a request that is invalid in any dialect.
pub(super) fn of(request: &Request<Body>, deps: &ProxyDeps) -> Option<Refusal> {
    let constraints = &deps.constraints;
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    // Method, target and `HTTP/1.1`, with separators and line break.
    let first = request.method().as_str().len() + target + 12;
    if first >= constraints.max_request_line {
        return Some(TARGET_TOO_LONG);
    }
    // Name and value, with `: ` and line break.
    let line = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 4;
    if request.headers().iter().map(line).max().unwrap_or(0) >= constraints.max_header_size {
        return Some(HEADER_TOO_LONG);
    }
    // RFC 9112, 3.2. A call within the process has no connection and needs no `Host`.
    let came_over_a_socket = request.extensions().get::<Peer>().is_some();
    let mut hosts = request.headers().get_all(http::header::HOST).iter();
    let has_one = hosts.next().is_some() && hosts.next().is_none();
    if came_over_a_socket && request.version() == Version::HTTP_11 && !has_one {
        return Some(NO_SINGLE_HOST);
    }
    None
}

impl Refusal {
    /// The response, which closes the connection.
    pub(super) fn render(self, is_s3: bool, trans_id: &str) -> Response<Body> {
        let mut response = match is_s3 {
            true => {
                let document = document(self.code, self.message, Some(trans_id));
                let mut response = text(self.status, &document);
                set(response.headers_mut(), "content-type", "application/xml");
                set(response.headers_mut(), "x-amz-request-id", trans_id);
                response
            }
            false => text(self.status, self.plain),
        };
        set(response.headers_mut(), "connection", "close");
        response
    }
}

/// Content type and text of the refusal of bytes that are not a request.
pub(super) fn malformed(
    refusal: Malformed,
    head: &str,
    versions: &[String],
) -> (&'static str, String) {
    if !looks_like_s3(head, versions) {
        return ("text/plain; charset=utf-8", refusal.message().to_owned());
    }
    let code = match refusal {
        Malformed::NotHttp => "BadRequest",
        Malformed::TargetTooLong => "InvalidURI",
        Malformed::HeadTooLong => "RequestHeaderSectionTooLarge",
        Malformed::TwoLengths => "InvalidRequest",
        Malformed::UnknownCoding => "NotImplemented",
    };
    ("application/xml", document(code, refusal.message(), None))
}

/// `S3::speaks` for a head that could not be parsed.
fn looks_like_s3(head: &str, versions: &[String]) -> bool {
    let mut lines = head.lines();
    let target = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
    for line in lines {
        let line = line.to_ascii_lowercase();
        if line.starts_with("authorization: aws") {
            return true;
        }
        if line.starts_with("x-auth-token:") {
            return false;
        }
    }
    let path = target.split('?').next().unwrap_or_default();
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    let is_version = versions.iter().any(|version| version == first);
    !is_version && !path.starts_with("//") && !matches!(first, "auth" | "info" | "healthcheck" | "")
}

/// An S3 error document. The texts contain nothing that XML would escape.
pub(super) fn document(code: &str, message: &str, trans_id: Option<&str>) -> String {
    let request = trans_id.map_or_else(String::new, |trans_id| {
        format!("<RequestId>{trans_id}</RequestId><HostId>{trans_id}</HostId>")
    });
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code>\
         <Message>{message}</Message>{request}</Error>"
    )
}

/// Whether a refused request was an S3 request.
pub(super) fn is_s3(request: &Request<Body>, deps: &ProxyDeps) -> bool {
    let is_fixed = matches!(request.uri().path(), "/info" | "/healthcheck");
    !is_fixed && S3::speaks(request, deps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dialect_of_a_broken_head_is_found() {
        let versions = ["v1".to_owned(), "v1.0".to_owned()];
        for (head, is_s3) in [
            ("GET /bucket/a`b HTTP/1.1\r\n", true),
            ("GET /v1/AUTH_a/c/a<b HTTP/1.1\r\n", false),
            ("GET /v1/a HTTP/1.1\r\nAuthorization: AWS4-HMAC-SHA256 x\r\n", true),
            ("GET /bucket HTTP/1.1\r\nX-Auth-Token: t\r\n", false),
            ("GET /auth/v1.0 HTTP/1.1\r\n", false),
            ("garbage", false),
            ("", false),
        ] {
            assert_eq!(looks_like_s3(head, &versions), is_s3, "{head}");
            for refusal in [Malformed::NotHttp, Malformed::HeadTooLong, Malformed::TwoLengths] {
                let (kind, text) = malformed(refusal, head, &versions);
                assert_eq!((kind == "application/xml", text.starts_with("<?xml")), (is_s3, is_s3));
            }
        }
    }

    #[test]
    fn texts_need_no_escaping() {
        for refusal in [TARGET_TOO_LONG, HEADER_TOO_LONG, NO_SINGLE_HOST] {
            assert!(!refusal.message.contains(['<', '&']), "{refusal:?}");
            assert!(!refusal.plain.is_empty());
        }
        for refusal in [
            Malformed::NotHttp,
            Malformed::TargetTooLong,
            Malformed::HeadTooLong,
            Malformed::TwoLengths,
            Malformed::UnknownCoding,
        ] {
            assert!(!refusal.message().contains(['<', '&']), "{refusal:?}");
        }
    }
}
