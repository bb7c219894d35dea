//! The account, container and object that a request's path names.

use apus_cluster::constraints::Constraints;
use apus_cluster::name::NameError;
use apus_cluster::{AccountName, ClientName, ContainerName, ContainerPath, ObjectName, ObjectPath};
use apus_store::Error;
use http::StatusCode;

use super::error::{Result, SwiftError};

/// The resource that a path names.
#[derive(Debug, Clone)]
pub(super) enum Path {
    Account(AccountName),
    Container(ContainerPath),
    Object(ObjectPath),
}

/// Version, account, container and object of a decoded path, without empty segments at its end.
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

/// The names in a raw path. As in Swift the path is decoded before it is split: an encoded slash is a
/// slash.
pub(super) fn parse(raw: &str, constraints: &Constraints) -> Result<Path> {
    match ClientName::decode(raw) {
        Ok(path) => names_of(&path, constraints),
        Err(_) => Err(bad_text()),
    }
}

pub(super) fn bad_text() -> SwiftError {
    SwiftError::refused_as_html(StatusCode::PRECONDITION_FAILED, "Invalid UTF8 or contains NULL")
}

/// The names in a decoded path.
pub(super) fn names_of(path: &ClientName, constraints: &Constraints) -> Result<Path> {
    let Some([version, account, container, object]) = split_path(path.as_str()) else {
        return Err(SwiftError::refused_as_html(StatusCode::NOT_FOUND, ""));
    };
    let bad_url = || SwiftError::refused_as_html(StatusCode::PRECONDITION_FAILED, "Bad URL");
    let account = account.ok_or_else(bad_url)?;
    if !constraints.valid_api_versions.iter().any(|valid| Some(valid.as_str()) == version) {
        return Err(SwiftError::refused_as_html(StatusCode::NOT_FOUND, ""));
    }
    let invalid = |what: &str, name: &str, max: usize, error: NameError| match error {
        NameError::TooLong { length, .. } => {
            SwiftError::refused_as_html(StatusCode::BAD_REQUEST, too_long(what, length, max))
        }
        other => {
            SwiftError::refused(StatusCode::BAD_REQUEST, format!("{what} name {name:?}: {other}"))
        }
    };
    let account = AccountName::parse(account)
        .map_err(|error| invalid("Account", account, constraints.max_account_name_length, error))?;
    let Some(container) = container else { return Ok(Path::Account(account)) };
    let container = ContainerName::parse(container).map_err(|error| {
        invalid("Container", container, constraints.max_container_name_length, error)
    })?;
    let container = ContainerPath::new(account, container);
    let Some(object) = object else { return Ok(Path::Container(container)) };
    let object = ObjectName::parse(object)
        .map_err(|error| invalid("Object", object, constraints.max_object_name_length, error))?;
    Ok(Path::Object(container.object(object)))
}

/// Swift's text for a name of `length` bytes where `max` are allowed.
pub(super) fn too_long(what: &str, length: usize, max: usize) -> String {
    format!("{what} name length of {length} longer than {max}")
}

/// Checks a new name against the limit for clients, which is below the servers'.
pub(super) fn check_length(what: &str, name: &str, max: usize) -> apus_store::Result<()> {
    match name.len() {
        length if length > max => Err(Error::invalid(too_long(what, length, max))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_decoded_and_then_split() {
        let shown = |path: &str| match parse(path, &Constraints::default()) {
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
}
