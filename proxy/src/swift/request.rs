//! A Swift request: its names, identity, headers and parameters.

use std::sync::Arc;

use apus_cluster::constraints::Constraints;
use apus_cluster::listing::reserved_parameter;
use apus_cluster::metadata::{Resource, check_user_metadata, has_prefix, title_case};
use apus_cluster::name::NameError;
use apus_cluster::{
    AccountName, ClientName, ContainerName, ContainerPath, Metadata, ObjectName, ObjectPath,
};
use apus_daemon::Body;
use apus_daemon::config::value::flag;
use apus_daemon::http::header;
use apus_store::access::Identity;
use apus_store::{Context, Error, Kind, Subject, VersionRules};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};

use super::error::{Result, SwiftError};
use super::path::{self, Path, bad_text, check_length, too_long};
use crate::auth::temp_url;
use crate::auth::tokens;
use crate::deps::ProxyDeps;
use crate::facts::ClientFacts;
use crate::query::{self, InvalidParameter};

/// A parsed request with the identity of its sender, without its body.
pub(super) struct SwiftRequest {
    pub(super) head: http::request::Parts,
    pub(super) path: Path,
    pub(super) cx: Context,
    pub(super) query: Vec<(String, String)>,
    pub(super) constraints: Arc<Constraints>,
}

/// The error for a header that does not hold a valid name.
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

/// Joins the lines of each header by commas, as Swift's server does.
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

/// Headers other than `X-…` whose text has a meaning for a request.
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

/// Refuses a header that has a meaning here and is not UTF-8: ignoring it would perform another
/// request than the client sent. Metadata is checked where it is read.
fn refuse_bad_headers(headers: &HeaderMap) -> Result<()> {
    let refused = |text: String| SwiftError::refused(StatusCode::BAD_REQUEST, text);
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
            return Err(refused("Invalid Content-Type".to_owned()));
        }
        let ours =
            name.starts_with("x-") && !name.starts_with("x-forwarded-") && !name.contains("-meta-");
        if ours || TEXTS.contains(&name) || name.starts_with("if-") {
            return Err(refused(format!("{}: expected UTF-8", title_case(name))));
        }
    }
    Ok(())
}

/// The identity that a request's token proves; anonymous without a token.
async fn identity(deps: &ProxyDeps, headers: &HeaderMap) -> Result<Identity> {
    let token = header(headers, "x-auth-token").or_else(|| header(headers, "x-storage-token"));
    let mut identity = match token.filter(|token| !token.is_empty()) {
        None => Identity::default(),
        Some(token) => tokens::identity(deps, token, deps.clock.now())
            .await?
            .ok_or_else(|| SwiftError::refused(StatusCode::UNAUTHORIZED, ""))?,
    };
    identity.referrer = header(headers, "referer").map(str::to_owned);
    Ok(identity)
}

fn is_temp_url(deps: &ProxyDeps, method: &Method, query: &[(String, String)]) -> bool {
    deps.config.temp_url.is_some() && *method != Method::OPTIONS && temp_url::is_claimed(query)
}

impl SwiftRequest {
    /// Parses everything but the body.
    pub(super) async fn parse(
        deps: &ProxyDeps,
        request: Request<Body>,
        trans_id: Arc<str>,
    ) -> Result<(Self, Body)> {
        let (mut head, body) = request.into_parts();
        let path = path::parse(head.uri.path(), &deps.constraints)?;
        let query = query::parse(head.uri.query().unwrap_or_default());
        let query = query.map_err(|InvalidParameter(name)| {
            let text = format!("\"{name}\" parameter not valid UTF-8");
            SwiftError::refused(StatusCode::BAD_REQUEST, text)
        })?;
        join_lines(&mut head.headers);
        refuse_bad_headers(&head.headers)?;
        // The signature of a temporary URL counts, and not a token.
        let identity = match is_temp_url(deps, &head.method, &query) {
            true => Identity::default(),
            false => identity(deps, &head.headers).await?,
        };
        let open_expired = header(&head.headers, "x-open-expired").and_then(flag) == Some(true);
        let cx = Context {
            version_rules: VersionRules::Swift,
            open_expired: deps.config.allow_open_expired && open_expired,
            facts: Some(Arc::new(ClientFacts::of(deps, &head))),
            ..Context::client(identity, trans_id)
        };
        let constraints = deps.constraints.clone();
        Ok((Self { head, path, cx, query, constraints }, body))
    }

    /// The same request for another path.
    pub(super) fn at(&self, path: Path) -> Self {
        Self {
            head: self.head.clone(),
            path,
            cx: self.cx.clone(),
            query: self.query.clone(),
            constraints: self.constraints.clone(),
        }
    }

    /// Whether it is one with a temporary URL, valid or not.
    pub(super) fn has_temp_url(&self, deps: &ProxyDeps) -> bool {
        is_temp_url(deps, &self.head.method, &self.query)
    }

    /// A query parameter; the last of several with one name, as in Swift.
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
    /// `Invalid` for `swift_…` parameters, which only the cluster sets.
    pub(super) fn content_type(&self) -> apus_store::Result<Option<&str>> {
        let given = self.given("content-type");
        match given.and_then(reserved_parameter) {
            None => Ok(given),
            Some(_) => {
                Err(Error::invalid("Invalid Content-Type, swift_* is not a valid parameter name."))
            }
        }
    }

    /// The content type that the client sets, or else the one that the object's name suggests.
    ///
    /// # Errors
    /// As [`Self::content_type`].
    pub(super) fn content_type_or_guess(&self, object: &ObjectPath) -> apus_store::Result<String> {
        let given = self.content_type()?.filter(|_| !self.flag("x-detect-content-type"));
        let name = object.object.as_str();
        Ok(match given {
            Some(kind) => kind.to_owned(),
            // The standard's name is audio/wav; Swift sends the one in Python's table.
            None if name.ends_with(".wav") => "audio/x-wav".to_owned(),
            None => mime_guess::from_path(name)
                .first_raw()
                .unwrap_or("application/octet-stream")
                .to_owned(),
        })
    }

    /// The account that a header names, percent-encoded.
    ///
    /// # Errors
    /// With Swift's texts.
    pub(super) fn account_in(&self, name: &str) -> apus_store::Result<Option<AccountName>> {
        let Some(value) = self.header(name) else { return Ok(None) };
        let account = ClientName::decode(value).and_then(|name| name.account());
        let max = self.constraints.max_account_name_length;
        account.map(Some).map_err(|error| header_error(&error, "Account", max, ""))
    }

    /// The object that a header names, percent-encoded.
    ///
    /// # Errors
    /// With Swift's texts; `header` is the header's name as the texts spell it.
    pub(super) fn object_in(
        &self,
        header: &str,
        value: &str,
    ) -> apus_store::Result<(ContainerName, ObjectName)> {
        let names = ClientName::decode(value).and_then(|name| name.container_and_object());
        let max = self.constraints.max_object_name_length;
        let (container, object) =
            names.map_err(|error| header_error(&error, "Name", max, header))?;
        check_length("Object", object.as_str(), max)?;
        Ok((container, object))
    }

    /// A boolean parameter in Swift's spellings.
    pub(super) fn param_flag(&self, name: &str) -> bool {
        self.param(name).and_then(flag).unwrap_or(false)
    }

    /// A boolean header in Swift's spellings.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.header(name).and_then(flag).unwrap_or(false)
    }

    /// The container that the path names.
    ///
    /// # Errors
    /// `Invalid` for the path of an account or object.
    pub(super) fn container(&self) -> apus_store::Result<&ContainerPath> {
        match &self.path {
            Path::Container(container) => Ok(container),
            Path::Account(_) | Path::Object(_) => Err(Error::invalid("expected a container")),
        }
    }

    /// The object that the path names.
    ///
    /// # Errors
    /// `Invalid` for the path of an account or container.
    pub(super) fn object(&self) -> apus_store::Result<&ObjectPath> {
        match &self.path {
            Path::Object(object) => Ok(object),
            Path::Account(_) | Path::Container(_) => Err(Error::invalid("expected an object")),
        }
    }

    /// The path's account.
    pub(super) fn account(&self) -> &AccountName {
        match &self.path {
            Path::Account(account) => account,
            Path::Container(container) => &container.account,
            Path::Object(object) => object.account(),
        }
    }

    /// Checks the path's last name against the limit for clients, which is below the servers'.
    pub(super) fn check_name_lengths(&self) -> apus_store::Result<()> {
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

    /// The metadata in a request's headers: user metadata of `resource`, checked, and the headers
    /// in `others`. `X-Remove-…` sets an empty value.
    pub(super) fn metadata(
        &self,
        resource: Resource,
        others: &[&str],
    ) -> apus_store::Result<Metadata> {
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

impl SwiftRequest {
    /// An anonymous request with the default constraints, for tests and fuzzing.
    pub(super) fn anonymous(head: http::request::Parts) -> Result<Self> {
        let invalid = |_| SwiftError::refused(StatusCode::BAD_REQUEST, "");
        let constraints = Arc::new(Constraints::default());
        let cx = Context {
            version_rules: VersionRules::Swift,
            ..Context::client(Identity::default(), "tx")
        };
        let query = query::parse(head.uri.query().unwrap_or_default()).map_err(invalid)?;
        let path = path::parse(head.uri.path(), &constraints)?;
        Ok(Self { head, path, cx, query, constraints })
    }
}

#[cfg(test)]
impl SwiftRequest {
    /// An anonymous request.
    pub(super) fn example(method: &str, uri: &str, headers: &[(&str, &str)]) -> Self {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        Self::anonymous(head).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_header_are_joined() {
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
    fn headers_that_are_not_utf_8_are_refused_where_they_have_a_meaning() {
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
