//! Selects the operation of a request by method, resource and sub-resource.
//!
//! A combination that is not in the tables of `catalogue` and `unset` is refused, and never taken for
//! another operation.

use http::{HeaderMap, Method};

use super::catalogue::{self, FOREIGN, NOT_IMPLEMENTED, ROUTES, Route};
use super::error::{Code, Result, S3Error};
use super::operation::Operation;
use super::request_headers::{self, not_implemented};
use super::resource::Resource;
use super::unset;

/// Headers that are conditions, and the operations that check each.
const CONDITIONS: [(&str, &[Operation]); 8] = {
    use Operation::*;
    const READS: [Operation; 2] = [GetObject, HeadObject];
    [
        (
            "if-match",
            &[GetObject, HeadObject, PutObject, CopyObject, CompleteMultipartUpload, DeleteObject],
        ),
        ("if-none-match", &[GetObject, HeadObject, PutObject, CopyObject, CompleteMultipartUpload]),
        ("if-modified-since", &READS),
        ("if-unmodified-since", &READS),
        ("x-amz-if-match-last-modified-time", &[DeleteObject]),
        ("x-amz-if-match-size", &[DeleteObject]),
        ("x-amz-if-match-initiated-time", &[]),
        ("x-amz-object-if-match", &[]),
    ]
};

/// Refuses a condition that a write would not enforce. Reads may ignore it.
fn check_conditions(method: &Method, operation: Operation, headers: &HeaderMap) -> Result<()> {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    let ignored = |(name, known): &&(&str, &[Operation])| {
        headers.contains_key(*name) && !known.contains(&operation)
    };
    match CONDITIONS.iter().find(ignored) {
        Some((name, _)) if !reads => Err(not_implemented(name)),
        _ => Ok(()),
    }
}

fn argument(name: &str, value: &str, text: String) -> S3Error {
    S3Error::new(Code::InvalidArgument)
        .text(text)
        .with("ArgumentName", name)
        .with("ArgumentValue", value)
}

/// The sub-resource in a query; empty when there is none.
fn sub_resource(query: &[(String, String)]) -> Result<&'static str> {
    let mut found = "";
    for (name, value) in query {
        let Some(known) = catalogue::sub_resource(name) else { continue };
        // The two parameters always occur together.
        let name = if known.name == "select-type" { "select" } else { known.name };
        if !found.is_empty() && (found != name || name == "uploadId") {
            let text = format!("Conflicting query string parameters: {found}, {name}");
            return Err(argument(name, value, text));
        }
        found = name;
    }
    Ok(found)
}

fn refused(method: &Method, resource: Resource) -> S3Error {
    S3Error::new(Code::MethodNotAllowed)
        .with("Method", method.as_str())
        .with("ResourceType", resource.name())
}

/// The refusal of a request that has no operation.
fn refusal(method: &Method, resource: Resource, sub: &str) -> S3Error {
    let is_row =
        |row: &(&str, Resource, &str)| row.0 == *method && row.1 == resource && row.2 == sub;
    if FOREIGN.contains(&sub) || (!sub.is_empty() && NOT_IMPLEMENTED.iter().any(is_row)) {
        return S3Error::new(Code::NotImplemented)
            .text("The requested resource is not implemented")
            .with("SubResource", sub);
    }
    let Some(known) = catalogue::sub_resource(sub) else {
        return refused(method, resource);
    };
    let text = match resource {
        Resource::Bucket if !known.of_bucket => {
            format!("A key must be specified: buckets have no ?{sub}")
        }
        Resource::Key if !known.of_key => {
            format!("There is no such thing as the ?{sub} sub-resource for a key")
        }
        _ => return refused(method, resource),
    };
    S3Error::new(Code::InvalidRequest).text(text).with("SubResource", sub)
}

fn find(method: &Method, resource: Resource, sub: &str) -> Option<&'static Route> {
    ROUTES
        .iter()
        .find(|route| route.resource == resource && route.sub == sub && route.method == *method)
}

/// Refuses a part number or version that the operation would ignore.
fn check_operands(resource: Resource, allowed: &[&str], query: &[(String, String)]) -> Result<()> {
    for name in ["partNumber", "versionId"] {
        let mut given = query.iter().filter(|(key, _)| key == name);
        let Some((_, value)) = given.next() else { continue };
        let text = match (resource, allowed.contains(&name)) {
            (Resource::Key, true) if given.next().is_none() => continue,
            (_, true) => format!("{name} is given more than once"),
            (Resource::Key, false) if name == "partNumber" => {
                "partNumber has no meaning here: of writes only UploadPart has one, with an uploadId"
                    .to_owned()
            }
            (Resource::Key, false) => "This operation does not accept a version-id.".to_owned(),
            (_, false) => format!("A key must be specified: buckets have no {name}"),
        };
        return Err(argument(name, value, text));
    }
    Ok(())
}

/// The version of a listing that `list-type` selects.
fn check_list_type(query: &[(String, String)]) -> Result<Operation> {
    let value = query.iter().find(|(key, _)| key == "list-type");
    match value.map_or("", |(_, value)| value) {
        "2" => Ok(Operation::ListObjectsV2),
        "1" | "" => Ok(Operation::ListObjects),
        other => {
            Err(argument("list-type", other, "Invalid List Type specified in Request".to_owned()))
        }
    }
}

/// Makes an upload a copy if it has a source, and refuses a source in other operations.
fn as_copy(operation: Operation, method: &Method, headers: &HeaderMap) -> Result<Operation> {
    const SOURCE: &str = "x-amz-copy-source";
    if matches!(*method, Method::GET | Method::HEAD | Method::DELETE) {
        return Ok(operation);
    }
    let is_copy = headers.contains_key(SOURCE);
    let copy = match operation {
        Operation::PutObject if is_copy => Operation::CopyObject,
        Operation::UploadPart if is_copy => Operation::UploadPartCopy,
        _ => operation,
    };
    let refuse = |name: &str, text: &str| {
        Err(S3Error::new(Code::InvalidArgument).text(text).with("ArgumentName", name))
    };
    let mut names = headers.keys().map(|name| name.as_str());
    match names.find(|name| name.starts_with(SOURCE)) {
        Some(name) if copy == operation => {
            refuse(name, "You can only specify a copy source header for copy requests.")
        }
        _ if copy == Operation::CopyObject && headers.contains_key("x-amz-copy-source-range") => {
            refuse("x-amz-copy-source-range", "Only parts of uploads are copied by ranges.")
        }
        _ => Ok(copy),
    }
}

/// The operation of a request.
pub(super) fn operation(
    method: &Method,
    resource: Resource,
    query: &[(String, String)],
    headers: &HeaderMap,
) -> Result<Operation> {
    let sub = sub_resource(query)?;
    let (operation, operands): (_, &[&str]) = match find(method, resource, sub) {
        Some(route) => (route.operation, route.operands),
        None => match unset::find(method.as_str(), resource, sub) {
            Some(unset) if *method == Method::GET => (Operation::GetUnset(unset), &["versionId"]),
            Some(unset) => (Operation::DeleteUnset(unset), &["versionId"]),
            None => return Err(refusal(method, resource, sub)),
        },
    };
    let allowed = if resource == Resource::Key { operands } else { &[] };
    check_operands(resource, allowed, query)?;
    let operation = match operation {
        Operation::ListObjectsV2 => check_list_type(query)?,
        other => as_copy(other, method, headers)?,
    };
    request_headers::check(method, headers)?;
    check_conditions(method, operation, headers)?;
    Ok(operation)
}

#[cfg(test)]
mod tests;
