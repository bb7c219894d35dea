//! From an HTTP request to names, identity and parameters. Names come from the raw path.

use std::sync::Arc;

use apus_cluster::constraints::Constraints;
use apus_cluster::metadata::{Resource, check_user_metadata, has_prefix, title_case};
use apus_cluster::{
    AccountName, ContainerName, ContainerPath, Metadata, ObjectName, ObjectPath, percent,
};
use apus_daemon::Body;
use apus_daemon::http::header;
use apus_store::access::Identity;
use apus_store::{Authority, Consistency, Context, Error};
use http::{Request, StatusCode};

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

/// Splits a query string; keys and values decoded, `+` as a space.
pub(super) fn parse_query(query: &str) -> Option<Vec<(String, String)>> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decode = |text: &str| percent::decode_utf8(&text.replace('+', " "));
            Some((decode(key)?, decode(value)?))
        })
        .collect()
}

/// The names of a path below `/v1/`.
pub(super) fn parse_path(raw: &str, constraints: &Constraints) -> Result<Path, Refusal> {
    let not_found = || refuse(StatusCode::NOT_FOUND, "");
    let mut parts = raw.strip_prefix('/').ok_or_else(not_found)?.splitn(4, '/');
    let version = parts.next().unwrap_or_default();
    let bad_url = || refuse(StatusCode::PRECONDITION_FAILED, "Bad URL");
    if version.is_empty() {
        return Err(not_found());
    }
    let mut names = Vec::new();
    for part in parts {
        let name =
            percent::decode_utf8(part).filter(|name| !name.contains('\0')).ok_or_else(|| {
                refuse(StatusCode::PRECONDITION_FAILED, "Invalid UTF8 or contains NULL")
            })?;
        names.push(name);
    }
    if !constraints.valid_api_versions.iter().any(|valid| valid == version) {
        return Err(if names.is_empty() { bad_url() } else { not_found() });
    }
    // A trailing slash names what is before it.
    if names.len() < 3 && names.last().is_some_and(String::is_empty) {
        names.pop();
    }
    if names.len() == 3 && names.last().is_some_and(String::is_empty) {
        names.pop();
    }
    let before_last = names.split_last().map_or(&[][..], |(_, before)| before);
    if before_last.iter().take(2).any(String::is_empty) {
        return Err(not_found());
    }
    let mut names = names.into_iter();
    let Some(account) = names.next() else { return Err(bad_url()) };
    let account = AccountName::parse(&account).map_err(|_| bad_url())?;
    let Some(container) = names.next() else { return Ok(Path::Account(account)) };
    if container.is_empty() {
        return Err(bad_url());
    }
    let container = ContainerName::parse(&container).map_err(|_| {
        let length = container.len();
        let max = constraints.max_container_name_length;
        refuse(
            StatusCode::BAD_REQUEST,
            &format!("Container name length of {length} longer than {max}"),
        )
    })?;
    let container = ContainerPath::new(account, container);
    let Some(object) = names.next() else { return Ok(Path::Container(container)) };
    let object = ObjectName::parse(&object).map_err(|_| long_object(object.len(), constraints))?;
    Ok(Path::Object(container.object(object)))
}

fn long_object(length: usize, constraints: &Constraints) -> Refusal {
    let max = constraints.max_object_name_length;
    refuse(StatusCode::BAD_REQUEST, &format!("Object name length of {length} longer than {max}"))
}

impl SwiftRequest {
    pub(super) fn parse(
        parts: &Parts,
        request: Request<Body>,
        trans_id: Arc<str>,
    ) -> Result<Self, Refusal> {
        let (head, body) = request.into_parts();
        let path = parse_path(head.uri.path(), &parts.constraints)?;
        let query = parse_query(head.uri.query().unwrap_or_default()).ok_or_else(|| {
            refuse(StatusCode::PRECONDITION_FAILED, "Invalid UTF8 or contains NULL")
        })?;
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

    /// A query parameter.
    pub(super) fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A header.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        header(&self.head.headers, name)
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
        if let Path::Object(object) = &self.path {
            let (length, max) =
                (object.object.as_str().len(), self.constraints.max_object_name_length);
            if length > max {
                return Err(Error::invalid(format!(
                    "Object name length of {length} longer than {max}"
                )));
            }
        }
        if let Path::Container(container) = &self.path {
            let (length, max) =
                (container.container.as_str().len(), self.constraints.max_container_name_length);
            if length > max {
                return Err(Error::invalid(format!(
                    "Container name length of {length} longer than {max}"
                )));
            }
        }
        Ok(())
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
        check_user_metadata(user, prefix, &self.constraints).map_err(Error::invalid)?;
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
