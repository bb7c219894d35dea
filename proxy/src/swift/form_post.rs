//! Uploads by HTML forms that the owner of a key signed.
//!
//! Each file is the PUT of an object below the path of the form, with the rights of the key. Files are
//! stored as they arrive; the first that fails ends the form.
//!
//! Source: `swift/common/middleware/formpost.py`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use apus_cluster::{ClientName, ContainerPath, percent};
use apus_daemon::Body;
use apus_daemon::http::{BodyError, full, set, text};
use apus_store::access::{Identity, TemporaryGrant};
use apus_store::body::limited;
use apus_store::{Context, Error, Kind, Subject};
use futures_util::StreamExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use multer::{Field, Multipart};

use super::error::{Result, SwiftError};
use super::page::reason;
use super::path::{Path, names_of};
use super::request::SwiftRequest;
use super::static_web_page::escaped;
use super::{error_response, object, temp_url};
use crate::auth::form_signature::{FormPostConfig, SignedFields};
use crate::deps::ProxyDeps;
use crate::form_stream::{FieldBudget, FormStream};
use crate::reply::Reply;

/// Most bytes of the fields before a file, with their headers and boundaries.
const FIELDS_BYTES_MAX: usize = 64 * 1024;
/// Longest value of a field in bytes; the rest is dropped, as in Swift (`MAX_VALUE_LENGTH`).
const VALUE_BYTES_MAX: usize = 4096;

/// The boundary of a request that is a form.
fn boundary(request: &SwiftRequest) -> Option<String> {
    let kind = request.header("content-type").unwrap_or_default();
    let is_form = request.head.method == Method::POST
        && kind
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .eq_ignore_ascii_case("multipart/form-data");
    if is_form { multer::parse_boundary(kind).ok() } else { None }
}

/// Whether a request is an upload by a form.
pub(super) fn is_requested(request: &SwiftRequest) -> bool {
    boundary(request).is_some()
}

fn refused(status: StatusCode, reason: &str) -> SwiftError {
    SwiftError::refused(status, format!("FormPost: {reason}"))
}

fn invalid(reason: &str) -> SwiftError {
    refused(StatusCode::BAD_REQUEST, reason)
}

fn unauthorized(reason: &str) -> SwiftError {
    SwiftError::refused_as_html(StatusCode::UNAUTHORIZED, format!("FormPost: {reason}"))
}

/// The error of a form's parser: that of the client's body, or that it is not a form.
fn body_error(error: multer::Error) -> BodyError {
    match error {
        multer::Error::StreamReadFailed(error) => error,
        error => Error::invalid(format!("FormPost: {error}")).because(error).into(),
    }
}

fn form_error(error: multer::Error) -> SwiftError {
    let error = body_error(error);
    match error.downcast::<Error>() {
        Ok(error) => (*error).into(),
        Err(error) if error.is::<crate::form_stream::FieldsTooLong>() => {
            invalid("the fields before a file are too long")
        }
        Err(error) => Error::new(Kind::ClientGone, Subject::Request).because(error).into(),
    }
}

/// The value of a field, up to [`VALUE_BYTES_MAX`].
async fn value(field: &mut Field<'static>) -> Result<String> {
    let mut bytes = Vec::new();
    while let Some(piece) = field.chunk().await.map_err(form_error)? {
        let room = VALUE_BYTES_MAX.saturating_sub(bytes.len());
        bytes.extend_from_slice(piece.get(..room).unwrap_or(&piece));
    }
    String::from_utf8(bytes).map_err(|_| invalid("a field is not UTF-8"))
}

/// The outcome of a form, for its page.
struct Outcome {
    /// The response of the last file, or the page of an error.
    reply: Reply,
    /// The reason, where no file was tried.
    message: &'static str,
}

/// A form whose files are being stored.
struct Upload<'a> {
    deps: &'a ProxyDeps,
    request: &'a SwiftRequest,
    config: &'a FormPostConfig,
    /// The container, unless the path names an account.
    container: Option<ContainerPath>,
    keys: Vec<String>,
    fields: SignedFields,
}

pub(super) async fn post(deps: &ProxyDeps, request: &SwiftRequest, body: Body) -> Result<Reply> {
    let (Some(config), Some(boundary)) = (&deps.config.form_post, boundary(request)) else {
        return Err(invalid("invalid starting boundary"));
    };
    let container = match &request.path {
        Path::Account(_) => None,
        Path::Container(container) => Some(container.clone()),
        Path::Object(object) => Some(object.container.clone()),
    };
    let keys = match &container {
        Some(container) => temp_url::keys_of(deps, &request.cx, container).await.concat(),
        None => Vec::new(),
    };
    let fields = SignedFields::default();
    let mut upload = Upload { deps, request, config, container, keys, fields };
    let outcome = upload.run(body, boundary).await?;
    Ok(upload.render(outcome).await)
}

impl Upload<'_> {
    /// Reads the form and stores its files.
    async fn run(&mut self, body: Body, boundary: String) -> Result<Outcome> {
        let budget = FieldBudget::new(FIELDS_BYTES_MAX);
        let mut form = Multipart::new(FormStream::new(body, budget.clone()), boundary);
        let bad_request = |message| Outcome { reply: text(StatusCode::BAD_REQUEST, ""), message };
        let mut last = bad_request("no files to process");
        let mut files = 0;
        while let Some(mut part) = form.next_field().await.map_err(form_error)? {
            let filename = part.file_name().filter(|name| !name.is_empty()).map(str::to_owned);
            let Some(filename) = filename else {
                let name = part.name().map(str::to_owned);
                let value = value(&mut part).await?;
                if let Some(name) = name {
                    self.fields.set(&name, value);
                }
                continue;
            };
            files += 1;
            let max = self.fields.number("max_file_count");
            if files > max.map_err(|error| invalid(&error.to_string()))? {
                return Ok(bad_request("max file count exceeded"));
            }
            budget.lift();
            let reply = self.store(part, &filename).await?;
            budget.renew(FIELDS_BYTES_MAX);
            let is_success = reply.status().is_success();
            last = Outcome { reply, message: "" };
            if !is_success {
                break;
            }
        }
        Ok(last)
    }

    /// The path of the form, which is signed.
    fn path(&self) -> String {
        percent::decode_utf8(self.request.head.uri.path()).unwrap_or_default()
    }

    /// The PUT of a file: checks the form, and gives the request the rights of the key.
    fn put(&self, part: &Field<'static>, filename: &str) -> Result<SwiftRequest> {
        let fields = &self.fields;
        let not_integer = |text: &str| invalid(text);
        let Some(container) = self.container.as_ref().filter(|_| !self.keys.is_empty()) else {
            return Err(unauthorized("Invalid Signature"));
        };
        let mut path = self.path();
        let is_container = matches!(self.request.path, Path::Container(_));
        let mut headers = HeaderMap::new();
        for (field, header, text) in [
            ("x_delete_at", "x-delete-at", "x_delete_at not an integer: Unix timestamp required."),
            (
                "x_delete_after",
                "x-delete-after",
                "x_delete_after not an integer: Number of seconds required.",
            ),
        ] {
            let Some(value) = fields.get(field) else { continue };
            let number: i64 = value.trim().parse().map_err(|_| not_integer(text))?;
            set(&mut headers, header, &number.to_string());
        }
        let expires = fields.number("expires").map_err(|_| invalid("expired not an integer"))?;
        if expires < self.deps.clock.now().as_secs() {
            return Err(unauthorized("Form Expired"));
        }
        if !fields.is_signed(&path, &self.keys, self.config) {
            return Err(unauthorized("Invalid Signature"));
        }
        for name in ["content-type", "content-encoding"] {
            let given = match fields.get(name) {
                Some(value) => HeaderValue::from_str(value).ok(),
                None => part.headers().get(name).cloned(),
            };
            if let Some(value) = given.filter(|value| !value.is_empty()) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        set(&mut headers, "transfer-encoding", "chunked");
        if is_container && !path.ends_with('/') {
            path.push('/');
        }
        path.push_str(filename);
        let name = ClientName::plain(&path).map_err(|_| super::path::bad_text())?;
        let mut put = self.request.at(names_of(&name, &self.deps.constraints)?);
        put.head.method = Method::PUT;
        put.head.headers = headers;
        put.query = Vec::new();
        let grant = TemporaryGrant {
            account: container.account.clone(),
            container: Some(container.container.clone()),
        };
        let identity = Identity { grant: Some(grant), ..Identity::default() };
        put.cx = Context { identity: Arc::new(identity), is_form: true, ..put.cx };
        Ok(put)
    }

    /// Stores a file, while it arrives.
    async fn store(&self, part: Field<'static>, filename: &str) -> Result<Reply> {
        let max = self.fields.number("max_file_size");
        let max = max.map_err(|error| invalid(&error.to_string()))?;
        let put = self.put(&part, filename)?;
        let frames = part.map(|piece| piece.map(Frame::data).map_err(body_error));
        let is_longer = Arc::new(AtomicBool::new(false));
        let noted = is_longer.clone();
        let body = limited(StreamBody::new(frames).boxed_unsync(), max, move || {
            noted.store(true, Ordering::Relaxed);
            Error::new(Kind::TooLarge, Subject::Object)
        });
        let stored = object::put(self.deps, &put, body).await;
        if is_longer.load(Ordering::Relaxed) {
            return Err(invalid("max_file_size exceeded"));
        }
        Ok(stored.unwrap_or_else(|error| error_response::render(&error)))
    }

    /// The page of a form: a redirect where the form has one, else a line.
    async fn render(&self, outcome: Outcome) -> Reply {
        let Outcome { reply, message } = outcome;
        let status = reply.status();
        // Only the owner of a key may send browsers elsewhere.
        let is_signed = self.fields.is_signed(&self.path(), &self.keys, self.config);
        if let Some(redirect) = self.fields.given("redirect").filter(|_| is_signed) {
            return redirected(redirect, status, message);
        }
        let line = format!("{} {}", status.as_u16(), reason(status));
        if !status.is_success() && message.is_empty() {
            let mut reply = reply;
            set(reply.headers_mut(), "content-type", "text/plain");
            return reply;
        }
        let line = match message {
            "" => line,
            message => format!("{line}\r\nFormPost: {}", title(message)),
        };
        let mut page = text(status, &line);
        *page.body_mut() = full(line);
        set(page.headers_mut(), "content-type", "text/plain");
        page
    }
}

/// A text with words in capitals, as Python's `title`.
fn title(text: &str) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        let first = letters.next().map(|letter| letter.to_ascii_uppercase());
        first.into_iter().chain(letters).collect::<String>()
    };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// A redirect to the page that the form names, with the outcome as parameters.
fn redirected(redirect: &str, status: StatusCode, message: &str) -> Reply {
    let separator = if redirect.contains('?') { '&' } else { '?' };
    let message = percent::encode_path(message);
    let location = format!("{redirect}{separator}status={}&message={message}", status.as_u16());
    if HeaderValue::from_str(&location).is_err() {
        return error_response::render(&invalid("redirect: expected a URL"));
    }
    let link = escaped(&location);
    let page =
        format!("<html><body><p><a href=\"{link}\">Click to continue...</a></p></body></html>");
    let mut response = text(StatusCode::SEE_OTHER, "");
    *response.body_mut() = full(page);
    set(response.headers_mut(), "location", &location);
    set(response.headers_mut(), "content-type", "text/html; charset=UTF-8");
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_post_with_a_boundary_is_a_form() {
        for (method, kind, expected) in [
            ("POST", "multipart/form-data; boundary=x", Some("x")),
            ("POST", "Multipart/Form-Data; boundary=\"y z\"", Some("y z")),
            ("POST", "multipart/form-data", None),
            ("POST", "multipart/mixed; boundary=x", None),
            ("PUT", "multipart/form-data; boundary=x", None),
        ] {
            let request = SwiftRequest::example(method, "/v1/a/c", &[("content-type", kind)]);
            assert_eq!(boundary(&request).as_deref(), expected, "{method} {kind}");
        }
    }

    #[test]
    fn a_redirect_has_the_outcome() {
        for (redirect, location) in [
            ("https://h/p", "https://h/p?status=400&message=max%20file%20count%20exceeded"),
            ("/p?a=b", "/p?a=b&status=400&message=max%20file%20count%20exceeded"),
        ] {
            let reply = redirected(redirect, StatusCode::BAD_REQUEST, "max file count exceeded");
            assert_eq!(reply.status(), StatusCode::SEE_OTHER);
            assert_eq!(reply.headers()["location"], location);
        }
        let bad = redirected("https://h/\r\nx: y", StatusCode::CREATED, "");
        assert_eq!(bad.status(), StatusCode::BAD_REQUEST);
        assert_eq!(title("max file count exceeded"), "Max File Count Exceeded");
    }
}
