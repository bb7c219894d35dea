//! From an HTTP request to names, identity and parameters. Names come from the raw path.

use std::sync::Arc;

use apus_cluster::constraints::Constraints;
use apus_cluster::listing::reserved_parameter;
use apus_cluster::metadata::{Resource, check_user_metadata, has_prefix, title_case};
use apus_cluster::name::NameError;
use apus_cluster::{
    AccountName, ClientName, ContainerName, ContainerPath, Metadata, ObjectName, ObjectPath,
    percent,
};
use apus_daemon::Body;
use apus_daemon::http::header;
use apus_store::access::Identity;
use apus_store::{Authority, Consistency, Context, Error, Kind, Subject};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};

use super::error::{Reply, plain_error};
use crate::edge::Parts;

/// What the path names.
#[derive(Debug, Clone)]
pub(super) enum Path {
    Account(AccountName),
    Container(ContainerPath),
    Object(ObjectPath),
}

/// A parsed request.
pub(super) struct SwiftRequest {
    pub(super) head: http::request::Parts,
    pub(super) body: Body,
    pub(super) path: Path,
    pub(super) cx: Context,
    pub(super) query: Vec<(String, String)>,
    pub(super) constraints: Arc<Constraints>,
}

type Refusal = Box<Reply>;

fn refuse(status: StatusCode, text: &str) -> Refusal {
    let mut response = plain_error(status, text);
    apus_daemon::http::set(response.headers_mut(), "content-type", "text/html; charset=UTF-8");
    Box::new(response)
}

/// 400 with a text that may repeat what the client sent, and so is no HTML.
fn plain(text: &str) -> Refusal {
    Box::new(plain_error(StatusCode::BAD_REQUEST, text))
}

/// Splits a query string; keys and values decoded, `+` as a space.
///
/// # Errors
/// The key whose value is not UTF-8.
pub(super) fn parse_query(query: &str) -> Result<Vec<(String, String)>, String> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decode = |text: &str| percent::decode_utf8(&text.replace('+', " "));
            let bad = || key.to_owned();
            Ok((decode(key).ok_or_else(bad)?, decode(value).ok_or_else(bad)?))
        })
        .collect()
}

/// Version, account, container and object of a decoded path. Empty words at its end are left out.
///
/// Source: `split_path` in `swift/common/utils/base.py`.
fn split_path(path: &str) -> Option<[Option<&str>; 4]> {
    let words: Vec<&str> = path.strip_prefix('/')?.splitn(4, '/').collect();
    let (_, before) = words.split_last()?;
    if words.first().is_some_and(|version| version.is_empty()) || before.contains(&"") {
        return None;
    }
    let word = |index: usize| words.get(index).copied().filter(|word| !word.is_empty());
    Some([word(0), word(1), word(2), word(3)])
}

/// The names of a raw path below `/v1/`. It is decoded as a whole before it is split, as in Swift:
/// an encoded slash is a slash.
pub(super) fn parse_path(raw: &str, constraints: &Constraints) -> Result<Path, Refusal> {
    match ClientName::decode(raw) {
        Ok(path) => names_of(&path, constraints),
        Err(_) => Err(bad_text()),
    }
}

fn bad_text() -> Refusal {
    refuse(StatusCode::PRECONDITION_FAILED, "Invalid UTF8 or contains NULL")
}

/// The names in a decoded path.
pub(super) fn names_of(path: &ClientName, constraints: &Constraints) -> Result<Path, Refusal> {
    let Some([version, account, container, object]) = split_path(path.as_str()) else {
        return Err(refuse(StatusCode::NOT_FOUND, ""));
    };
    let bad_url = || refuse(StatusCode::PRECONDITION_FAILED, "Bad URL");
    let account = account.ok_or_else(bad_url)?;
    if !constraints.valid_api_versions.iter().any(|valid| Some(valid.as_str()) == version) {
        return Err(refuse(StatusCode::NOT_FOUND, ""));
    }
    let unfit = |what: &str, name: &str, max: usize, error: NameError| match error {
        NameError::TooLong { length, .. } => {
            refuse(StatusCode::BAD_REQUEST, &too_long(what, length, max))
        }
        other => plain(&format!("{what} name {name:?}: {other}")),
    };
    let account = AccountName::parse(account)
        .map_err(|error| unfit("Account", account, constraints.max_account_name_length, error))?;
    let Some(container) = container else { return Ok(Path::Account(account)) };
    let container = ContainerName::parse(container).map_err(|error| {
        unfit("Container", container, constraints.max_container_name_length, error)
    })?;
    let container = ContainerPath::new(account, container);
    let Some(object) = object else { return Ok(Path::Container(container)) };
    let object = ObjectName::parse(object)
        .map_err(|error| unfit("Object", object, constraints.max_object_name_length, error))?;
    Ok(Path::Object(container.object(object)))
}

/// Swift's text for a name of `length` bytes where `max` are allowed.
fn too_long(what: &str, length: usize, max: usize) -> String {
    format!("{what} name length of {length} longer than {max}")
}

/// Checks a name that a client sets against the client's limit, which is tighter than the backends'.
pub(super) fn check_length(what: &str, name: &str, max: usize) -> Result<(), Error> {
    match name.len() {
        length if length > max => Err(Error::invalid(too_long(what, length, max))),
        _ => Ok(()),
    }
}

/// Why the name in a header is refused.
fn header_error(error: &NameError, what: &str, max: usize, header: &str) -> Error {
    let text = match error {
        NameError::TooLong { length, .. } => return Error::invalid(too_long(what, *length, max)),
        NameError::Text => "Invalid UTF8 or contains NULL".to_owned(),
        NameError::Empty => format!("{what} name cannot be empty"),
        NameError::Slash => format!("{what} name cannot contain slashes"),
        NameError::NoObject => {
            format!("{header} header must be of the form <container name>/<object name>")
        }
    };
    Error::new(Kind::PreconditionFailed, Subject::Request).text(text)
}

/// Makes one value of the lines of each header, separated by commas, as Swift's server does.
fn join_lines(headers: &mut HeaderMap) {
    if headers.len() == headers.keys_len() {
        return;
    }
    let names: Vec<HeaderName> = headers.keys().cloned().collect();
    for name in names {
        let lines: Vec<&[u8]> = headers.get_all(&name).iter().map(HeaderValue::as_bytes).collect();
        if lines.len() < 2 {
            continue;
        }
        if let Ok(joined) = HeaderValue::from_bytes(&lines.join(&b","[..])) {
            headers.insert(name, joined);
        }
    }
}

/// Headers besides `X-…` whose text decides what is done or kept.
const TEXTS: [&str; 10] = [
    "content-type",
    "content-disposition",
    "content-encoding",
    "content-language",
    "cache-control",
    "expires",
    "etag",
    "range",
    "destination",
    "destination-account",
];

/// Refuses a header that has a meaning here and is not UTF-8: to leave it out would do something
/// else than what was asked for. Metadata is judged where it is read.
fn refuse_bad_headers(headers: &HeaderMap) -> Result<(), Refusal> {
    for (name, value) in headers {
        if value.as_bytes().is_ascii() || std::str::from_utf8(value.as_bytes()).is_ok() {
            continue;
        }
        let name = name.as_str();
        let names_object = matches!(
            name,
            "destination"
                | "destination-account"
                | "x-copy-from"
                | "x-copy-from-account"
                | "x-symlink-target"
                | "x-symlink-target-account"
        );
        if names_object {
            return Err(bad_text());
        }
        if name == "content-type" {
            return Err(plain("Invalid Content-Type"));
        }
        let ours =
            name.starts_with("x-") && !name.starts_with("x-forwarded-") && !name.contains("-meta-");
        if ours || TEXTS.contains(&name) || name.starts_with("if-") {
            return Err(plain(&format!("{}: expected UTF-8", title_case(name))));
        }
    }
    Ok(())
}

impl SwiftRequest {
    pub(super) fn parse(
        parts: &Parts,
        request: Request<Body>,
        trans_id: Arc<str>,
    ) -> Result<Self, Refusal> {
        let (mut head, body) = request.into_parts();
        let path = parse_path(head.uri.path(), &parts.constraints)?;
        let query = parse_query(head.uri.query().unwrap_or_default())
            .map_err(|key| plain(&format!("\"{key}\" parameter not valid UTF-8")))?;
        join_lines(&mut head.headers);
        refuse_bad_headers(&head.headers)?;
        let token = header(&head.headers, "x-auth-token")
            .or_else(|| header(&head.headers, "x-storage-token"));
        let mut identity = match token {
            None | Some("") => Identity::default(),
            Some(token) => match parts.auth.token(token, parts.clock.now().as_secs()) {
                Some(identity) => identity,
                None => {
                    let mut response = plain_error(StatusCode::UNAUTHORIZED, "");
                    let realm = "Swift realm=\"unknown\"";
                    apus_daemon::http::set(response.headers_mut(), "www-authenticate", realm);
                    return Err(Box::new(response));
                }
            },
        };
        identity.referrer = header(&head.headers, "referer").map(str::to_owned);
        let asks =
            header(&head.headers, "x-open-expired").and_then(apus_daemon::config::value::flag);
        let cx = Context {
            trans_id,
            identity: Arc::new(identity),
            authority: Authority::Caller,
            consistency: Consistency::Eventual,
            policy: None,
            open_expired: parts.allow_open_expired && asks.unwrap_or(false),
        };
        Ok(Self { head, body, path, cx, query, constraints: parts.constraints.clone() })
    }

    /// A query parameter; of several of one name the last counts, as in Swift.
    pub(super) fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().rfind(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A header.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        header(&self.head.headers, name)
    }

    /// A header that is not empty.
    pub(super) fn given(&self, name: &str) -> Option<&str> {
        self.header(name).filter(|value| !value.is_empty())
    }

    /// The content type that the client sets, if it sets one.
    ///
    /// # Errors
    /// `Invalid` for parameters that only the cluster sets, which would change what listings show.
    pub(super) fn content_type(&self) -> Result<Option<&str>, Error> {
        let given = self.given("content-type");
        match given.and_then(reserved_parameter) {
            None => Ok(given),
            Some(_) => {
                Err(Error::invalid("Invalid Content-Type, swift_* is not a valid parameter name."))
            }
        }
    }

    /// The account that a header names, percent-encoded.
    ///
    /// # Errors
    /// With Swift's texts.
    pub(super) fn account_in(&self, name: &str) -> Result<Option<AccountName>, Error> {
        let Some(value) = self.header(name) else { return Ok(None) };
        let account = ClientName::decode(value).and_then(|name| name.account());
        let max = self.constraints.max_account_name_length;
        account.map(Some).map_err(|error| header_error(&error, "Account", max, ""))
    }

    /// The object that a header names, percent-encoded.
    ///
    /// # Errors
    /// With Swift's texts; `header` is the header's name as they spell it.
    pub(super) fn object_in(
        &self,
        header: &str,
        value: &str,
    ) -> Result<(ContainerName, ObjectName), Error> {
        let names = ClientName::decode(value).and_then(|name| name.container_and_object());
        let max = self.constraints.max_object_name_length;
        let (container, object) =
            names.map_err(|error| header_error(&error, "Name", max, header))?;
        check_length("Object", object.as_str(), max)?;
        Ok((container, object))
    }

    /// A boolean parameter in Swift's spellings.
    pub(super) fn param_flag(&self, name: &str) -> bool {
        self.param(name).and_then(apus_daemon::config::value::flag).unwrap_or(false)
    }

    /// A boolean header in Swift's spellings.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.header(name).and_then(apus_daemon::config::value::flag).unwrap_or(false)
    }

    /// The path's account.
    pub(super) fn account(&self) -> &AccountName {
        match &self.path {
            Path::Account(account) => account,
            Path::Container(container) => &container.account,
            Path::Object(object) => object.account(),
        }
    }

    /// Client's limits on new names, which are tighter than what backends take.
    pub(super) fn check_name_lengths(&self) -> Result<(), Error> {
        let limits = &self.constraints;
        match &self.path {
            Path::Account(account) => {
                check_length("Account", account.as_str(), limits.max_account_name_length)
            }
            Path::Container(container) => check_length(
                "Container",
                container.container.as_str(),
                limits.max_container_name_length,
            ),
            Path::Object(object) => {
                check_length("Object", object.object.as_str(), limits.max_object_name_length)
            }
        }
    }

    /// The metadata of a request for `resource`: user metadata, checked, and `others`, kept as
    /// they are. `X-Remove-…` empties.
    pub(super) fn metadata(&self, resource: Resource, others: &[&str]) -> Result<Metadata, Error> {
        let prefix = resource.user_prefix();
        let word = resource.word();
        let mut metadata = Metadata::new();
        for (name, value) in &self.head.headers {
            let name = name.as_str();
            if value.len() > self.constraints.max_header_size {
                return Err(Error::invalid(format!("Header value too long: {name}")));
            }
            let is_user = name.len() >= prefix.len()
                && name.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix));
            if !is_user && !others.iter().any(|other| other.eq_ignore_ascii_case(name)) {
                continue;
            }
            let value = std::str::from_utf8(value.as_bytes())
                .map_err(|_| Error::invalid("Metadata must be valid UTF-8"))?;
            metadata.insert(title_case(name), value.to_owned());
        }
        let user = metadata.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        check_user_metadata(user, prefix, &self.constraints)
            .map_err(|error| Error::invalid(error.to_string()))?;
        let removal = format!("x-remove-{}-", word.to_ascii_lowercase());
        for name in self.head.headers.keys() {
            if has_prefix(name.as_str(), &removal) {
                let rest = name.as_str().get(removal.len()..).unwrap_or_default();
                let kept = title_case(&format!("X-{word}-{rest}"));
                let known = has_prefix(&kept, prefix)
                    || others.iter().any(|other| other.eq_ignore_ascii_case(&kept));
                if known && !metadata.contains_key(&kept) {
                    metadata.insert(kept, String::new());
                }
            }
        }
        Ok(metadata)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_decoded_and_then_split() {
        let shown = |path: &str| match parse_path(path, &Constraints::default()) {
            Ok(Path::Account(account)) => Ok(format!("/{account}")),
            Ok(Path::Container(container)) => Ok(container.to_string()),
            Ok(Path::Object(object)) => Ok(object.to_string()),
            Err(refusal) => Err(refusal.status().as_u16()),
        };
        let long = |length: usize| "n".repeat(length);
        for (path, expected) in [
            ("/v1/a", Ok("/a")),
            ("/v1/a/", Ok("/a")),
            ("/v1/a/c", Ok("/a/c")),
            ("/v1/a/c/", Ok("/a/c")),
            ("/v1/a/c/o", Ok("/a/c/o")),
            ("/v1/a/c/o/", Ok("/a/c/o/")),
            ("/v1/a/c//o", Ok("/a/c//o")),
            ("/v1/a/c%2Fo", Ok("/a/c/o")),
            ("/v1/a%2Fc%2F%2Fo", Ok("/a/c//o")),
            ("/v1/a/c/%252F%3F+", Ok("/a/c/%2F?+")),
            ("/v1", Err(412)),
            ("/v1/", Err(412)),
            ("/v1//", Err(404)),
            ("/v1//c", Err(404)),
            ("/v1/a//", Err(404)),
            ("/v1/a//o", Err(404)),
            ("/v1/a/%2Fo", Err(404)),
            ("//a/c", Err(404)),
            ("/v9/a/c", Err(404)),
            ("/v1/a/c/%00", Err(412)),
            ("/v1/a/%00c", Err(412)),
            ("/v1/%00a", Err(412)),
            ("/v1/a/c/%ff", Err(412)),
            (&format!("/v1/{}", long(513)), Err(400)),
            (&format!("/v1/a/{}", long(513)), Err(400)),
            (&format!("/v1/a/c/{}", long(2049)), Err(400)),
        ] {
            assert_eq!(shown(path), expected.map(str::to_owned), "{path}");
        }
    }

    #[test]
    fn lines_of_a_header_become_one() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("x-a", &b"1"[..]), ("x-b", b"2"), ("x-a", b"\xfc"), ("x-a", b"")] {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        join_lines(&mut headers);
        assert_eq!(headers.len(), 2);
        assert_eq!(headers["x-a"].as_bytes(), b"1,\xfc,");
        assert_eq!(headers["x-b"], "2");
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_where_they_would_be_left_out() {
        for (name, status) in [
            ("x-copy-from", Some(412)),
            ("x-symlink-target", Some(412)),
            ("destination", Some(412)),
            ("content-type", Some(400)),
            ("x-container-read", Some(400)),
            ("x-account-access-control", Some(400)),
            ("if-none-match", Some(400)),
            ("user-agent", None),
            ("referer", None),
            ("x-forwarded-for", None),
            ("x-object-meta-a", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_bytes(b"\xff").unwrap());
            let refused = refuse_bad_headers(&headers).err();
            assert_eq!(refused.map(|refusal| refusal.status().as_u16()), status, "{name}");
        }
    }
}
