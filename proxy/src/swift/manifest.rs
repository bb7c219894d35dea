//! The query-string views of static large objects: `multipart-manifest=put|get|delete`.

use apus_cluster::ObjectPath;
use apus_cluster::constraints::{SLO_MAX_MANIFEST_SIZE, SLO_MAX_SEGMENTS};
use apus_daemon::Body;
use apus_daemon::http::{full, set, status};
use apus_store::body::collect;
use apus_store::operation::{Deleted, FailedDeletion, ObjectRead, Segment};
use apus_store::{Error, Kind, Result, Subject};
use http::StatusCode;
use serde_json::Value;

use super::bulk_delete::note;
use super::error::{Reply, status_of};
use super::listing::Format;
use super::object_read::describe;
use super::report::{Report, content_type};

/// Reads the list of segments that a client sends.
pub(super) async fn parse(body: Body, object: &ObjectPath) -> Result<Vec<Segment>> {
    let json = collect(body, SLO_MAX_MANIFEST_SIZE).await.map_err(|error| match error.kind {
        Kind::TooLarge => Error::new(Kind::TooLarge, Subject::Request)
            .text(format!("Manifest File > {SLO_MAX_MANIFEST_SIZE} bytes")),
        _ => error,
    })?;
    let list: Vec<Value> = serde_json::from_slice(&json)
        .map_err(|_| Error::invalid("Manifest must be valid JSON.\n"))?;
    if list.is_empty() {
        return Err(Error::invalid("Manifest must contain at least one segment"));
    }
    if list.len() > SLO_MAX_SEGMENTS {
        return Err(Error::new(Kind::TooLarge, Subject::Request)
            .text(format!("Number of segments must be <= {SLO_MAX_SEGMENTS}")));
    }
    let mut problems = Vec::new();
    let own = format!("/{}/{}", object.container.container, object.object);
    let mut segments = Vec::with_capacity(list.len());
    for (index, entry) in list.iter().enumerate() {
        match segment(entry) {
            Ok(segment) if segment.data.is_none() && segment.path == own => problems
                .push(format!("Index {index}: manifest must not include itself as a segment")),
            Ok(segment) => segments.push(segment),
            Err(problem) => problems.push(format!("Index {index}: {problem}")),
        }
    }
    if segments.iter().all(|segment| segment.data.is_some()) && problems.is_empty() {
        problems
            .push("Inline data segments require at least one object-backed segment.".to_owned());
    }
    if problems.is_empty() {
        Ok(segments)
    } else {
        Err(Error::invalid(format!("{}\n", problems.join("\n"))))
    }
}

fn segment(entry: &Value) -> std::result::Result<Segment, String> {
    let object = entry.as_object().ok_or("not a JSON object")?;
    if let Some(unknown) = object
        .keys()
        .find(|key| !matches!(key.as_str(), "path" | "etag" | "size_bytes" | "range" | "data"))
    {
        return Err(format!("extraneous keys \"{unknown}\""));
    }
    let text = |key: &str| match object.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(format!("{key} must be a string")),
    };
    if let Some(data) = text("data")? {
        use base64::Engine;
        let decoded = base64::engine::general_purpose::STANDARD
            .decode(&data)
            .map_err(|_| "data must be valid base64")?;
        if decoded.is_empty() {
            return Err("too small; each segment must be at least 1 byte".to_owned());
        }
        return Ok(Segment { data: Some(data), ..Segment::default() });
    }
    let path = text("path")?.ok_or("expected keys to include one of \"path\" or \"data\"")?;
    let names = path.trim_start_matches('/');
    if names.split_once('/').is_none_or(|(c, o)| c.is_empty() || o.is_empty()) {
        return Err(
            "path does not refer to an object. Path must be of the form /container/object."
                .to_owned(),
        );
    }
    let size = match object.get("size_bytes") {
        None | Some(Value::Null) => None,
        Some(Value::Number(number)) => Some(number.as_u64().ok_or("invalid size_bytes")?),
        Some(Value::String(text)) => Some(text.parse().map_err(|_| "invalid size_bytes")?),
        Some(_) => return Err("invalid size_bytes".to_owned()),
    };
    if size == Some(0) {
        return Err("too small; each segment must be at least 1 byte.".to_owned());
    }
    let range = text("range")?;
    if let Some(range) = &range {
        if range.contains(',') {
            return Err("multiple ranges (only one allowed)".to_owned());
        }
        apus_cluster::byte_range::ByteRanges::parse(&format!("bytes={range}"))
            .ok_or("invalid range")?;
    }
    Ok(Segment { path: format!("/{names}"), etag: text("etag")?, size, range, data: None })
}

/// Shows a manifest: as stored, or with `format=raw` as a client would send it.
pub(super) async fn show(read: ObjectRead, as_sent: bool) -> Result<Reply> {
    let mut response = status(StatusCode::OK);
    describe(&read.head, response.headers_mut());
    set(response.headers_mut(), "etag", &read.head.etag);
    if !as_sent {
        set(response.headers_mut(), "content-type", "application/json; charset=utf-8");
        *response.body_mut() = read.body;
        return Ok(response);
    }
    let stored = collect(read.body, SLO_MAX_MANIFEST_SIZE).await?;
    let entries: Vec<Value> = serde_json::from_slice(&stored)
        .map_err(|error| Error::unavailable(format!("stored manifest: {error}")))?;
    let sent: Vec<Value> = entries
        .iter()
        .map(|entry| {
            let mut out = serde_json::Map::new();
            for (from, to) in [
                ("name", "path"),
                ("hash", "etag"),
                ("bytes", "size_bytes"),
                ("range", "range"),
                ("data", "data"),
            ] {
                if let Some(value) = entry.get(from)
                    && !(entry.get("data").is_some() && from != "data")
                {
                    out.insert(to.to_owned(), value.clone());
                }
            }
            Value::Object(out)
        })
        .collect();
    let body = Value::Array(sent).to_string();
    set(response.headers_mut(), "etag", &format!("{:x}", md5::compute(&body)));
    set(response.headers_mut(), "content-length", &body.len().to_string());
    *response.body_mut() = full(body);
    Ok(response)
}

/// The report of a deletion with segments.
pub(super) fn report(result: Result<Deleted>, format: Format) -> Result<Reply> {
    let report = match result {
        Ok(deletion) => report_of(deletion),
        Err(error) if error.kind == Kind::NotFound => {
            Report { missing: 1, status: StatusCode::NOT_FOUND, ..Report::default() }
        }
        Err(error) => return Err(error),
    };
    let mut response = status(StatusCode::OK);
    set(response.headers_mut(), "content-type", content_type(format));
    *response.body_mut() = full(report.render(format));
    Ok(response)
}

fn report_of(deletion: Deleted) -> Report {
    let Deleted { deleted, missing, failed, cut_short } = deletion;
    let mut report = Report { deleted, missing, ..Report::default() };
    for FailedDeletion { object, error } in failed {
        // As the manifest names it: below the account.
        let name = format!("/{}/{}", object.container.container, object.object);
        note(&mut report, &name, Err(status_of(&error)));
    }
    if cut_short {
        if report.status == StatusCode::OK {
            report.status = StatusCode::BAD_REQUEST;
        }
        report.body = "Too many buffered slo segments to delete.";
    }
    report
}

#[cfg(test)]
mod tests {
    use apus_cluster::{AccountName, ContainerName, ContainerPath, ObjectName};

    use super::*;

    #[test]
    fn a_report_names_what_stays_and_says_that_there_is_more() {
        let container = ContainerName::parse("c").unwrap();
        let container = ContainerPath::new(AccountName::parse("a").unwrap(), container);
        let object = container.object(ObjectName::parse("o p").unwrap());
        let error = Error::new(Kind::Forbidden, Subject::Request);
        let failed = vec![FailedDeletion { object, error }];
        let deletion = Deleted { deleted: 3, missing: 2, failed, cut_short: true };
        let text = report_of(deletion).render(Format::Plain);
        assert_eq!(
            text,
            "Number Deleted: 3\nNumber Not Found: 2\n\
             Response Body: Too many buffered slo segments to delete.\n\
             Response Status: 400 Bad Request\nErrors:\n/c/o%20p, 403 Forbidden"
        );
        let whole = Deleted { deleted: 3, ..Deleted::default() };
        assert_eq!(report_of(whole).status, StatusCode::OK);
    }
}
