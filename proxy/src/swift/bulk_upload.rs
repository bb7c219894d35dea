//! `PUT` with `?extract-archive`: stores the files of a tar archive as objects.
//!
//! The first part of a file's name is its container, unless the path of the request names one. The
//! archive is read as it arrives, and one file is stored after another.
//!
//! Source: `swift/common/middleware/bulk.py`.

use std::collections::BTreeSet;

use apus_cluster::metadata::has_prefix;
use apus_cluster::{ClientName, Metadata, percent};
use apus_daemon::Body;
use apus_daemon::http::{set, status, stream};
use apus_store::operation::{HeadContainer, PutContainer};
use apus_store::{Error, Kind, Subject};
use async_compression::tokio::bufread::{BzDecoder, GzipDecoder};
use futures_util::TryStreamExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::BodyExt;
use tokio::io::{AsyncBufReadExt, AsyncRead};
use tokio::sync::mpsc;
use tokio_util::io::StreamReader;

use super::error::{Result, SwiftError};
use super::format::Format;
use super::path::{Path, names_of};
use super::report::{ReportDocument, ReportField, status_line};
use super::request::SwiftRequest;
use super::tar_stream::{TarEntry, TarEntryKind, TarError, TarStream};
use super::{heartbeat, object};
use crate::deps::ProxyDeps;
use crate::reply::Reply;

/// Most containers that one archive creates (`max_containers_per_extraction`).
pub(crate) const CONTAINERS_MAX: usize = 10_000;
/// Most failures; further files are not tried (`max_failed_extractions`).
pub(crate) const FAILURES_MAX: usize = 1000;
/// Longest name of a file in the report, in bytes: a container and an object.
const NAME_BYTES_MAX: usize = 256 + 1024 + 2;

/// The compression of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compression {
    None,
    Gzip,
    Bzip2,
}

impl Compression {
    fn parse(kind: &str) -> Option<Self> {
        match kind.to_ascii_lowercase().trim_matches('.') {
            "tar" => Some(Self::None),
            "tar.gz" => Some(Self::Gzip),
            "tar.bz2" => Some(Self::Bzip2),
            _ => None,
        }
    }

    /// The archive in a body. Damaged data is an error of the reader.
    ///
    /// # Errors
    /// When the client disconnects before it sends anything.
    async fn open(self, body: Body) -> Result<Box<dyn AsyncRead + Send + Unpin>> {
        let data = body.into_data_stream().map_err(std::io::Error::other);
        let mut reader = StreamReader::new(data);
        // A client that expects `100 Continue` gets it before the head of the response.
        let begun = reader.fill_buf().await.map(drop);
        begun.map_err(|error| Error::new(Kind::ClientGone, Subject::Request).because(error))?;
        Ok(match self {
            Self::None => Box::new(reader),
            Self::Gzip => Box::new(GzipDecoder::new(reader)),
            Self::Bzip2 => Box::new(BzDecoder::new(reader)),
        })
    }
}

/// Whether a request is the upload of an archive.
pub(super) fn is_requested(request: &SwiftRequest) -> bool {
    request.param("extract-archive").is_some() && request.head.method == Method::PUT
}

pub(super) async fn extract(deps: &ProxyDeps, request: &SwiftRequest, body: Body) -> Result<Reply> {
    let kind = request.param("extract-archive").and_then(Compression::parse);
    let Some(compression) = kind else {
        return Err(SwiftError::refused(StatusCode::BAD_REQUEST, "Unsupported archive format"));
    };
    let format = request.format()?;
    let extraction = Extraction::new(deps.clone(), request);
    let reader = compression.open(body).await?;
    let work = async move { extraction.run(TarStream::new(reader)).await.render(format) };
    let mut response = status(StatusCode::OK);
    set(response.headers_mut(), "content-type", format.media_type());
    *response.body_mut() = heartbeat::body(heartbeat::first_blank(format), work);
    Ok(response)
}

/// The header that an extended attribute of a file sets.
fn header_of(attribute: &str) -> Option<String> {
    let rest = ["SCHILY.xattr.user.", "LIBARCHIVE.xattr.user."]
        .iter()
        .find_map(|start| attribute.strip_prefix(start))?;
    match rest.strip_prefix("meta.") {
        Some(name) => Some(format!("x-object-meta-{name}")),
        None => (rest == "mime_type").then(|| "content-type".to_owned()),
    }
}

/// The reason why an extraction ends before the archive does.
#[derive(Debug)]
struct Abort {
    status: StatusCode,
    text: String,
}

impl From<TarError> for Abort {
    fn from(error: TarError) -> Self {
        Self { status: StatusCode::BAD_REQUEST, text: format!("Invalid Tar File: {error}") }
    }
}

/// An extraction below one path.
struct Extraction {
    deps: ProxyDeps,
    /// The request of a file, without its path.
    request: SwiftRequest,
    /// The path below the account, without slashes at its ends; empty for the account.
    base: String,
    /// Containers that exist, or were tried to create.
    containers: BTreeSet<String>,
    containers_created: usize,
    report: ExtractionReport,
}

/// The outcome of an extraction.
#[derive(Debug, Default)]
struct ExtractionReport {
    created: u64,
    has_server_error: bool,
    abort: Option<Abort>,
    /// Name, percent-encoded, and status line of each failure.
    errors: Vec<(String, String)>,
}

impl ExtractionReport {
    fn fail(&mut self, name: &str, status: StatusCode) {
        let ends = 0..=name.len().min(NAME_BYTES_MAX);
        let end = ends.rev().find(|at| name.is_char_boundary(*at)).unwrap_or(0);
        let name = percent::encode_path(name.get(..end).unwrap_or(name));
        self.has_server_error |= status.is_server_error();
        self.errors.push((name, status_line(status)));
    }

    fn render(&self, format: Format) -> Vec<u8> {
        let (status, body) = match &self.abort {
            Some(Abort { status, text }) => (*status, text.as_str()),
            None if self.has_server_error => (StatusCode::BAD_GATEWAY, ""),
            None if !self.errors.is_empty() => (StatusCode::BAD_REQUEST, ""),
            None if self.created == 0 => {
                (StatusCode::BAD_REQUEST, "Invalid Tar File: No Valid Files")
            }
            None => (StatusCode::CREATED, ""),
        };
        let fields = vec![
            ("Number Files Created", ReportField::Number(self.created)),
            ("Response Body", ReportField::Text(body.to_owned())),
            ("Response Status", ReportField::Text(status_line(status))),
        ];
        ReportDocument { root: "extract", fields, errors: &self.errors }.render(format)
    }
}

impl Extraction {
    fn new(deps: ProxyDeps, request: &SwiftRequest) -> Self {
        let base = match &request.path {
            Path::Account(_) => String::new(),
            Path::Container(container) => container.container.to_string(),
            Path::Object(object) => format!("{}/{}", object.container.container, object.object),
        };
        let base = base.trim_end_matches('/').to_owned();
        let mut each = request.at(request.path.clone());
        each.query = Vec::new();
        each.head.headers = of_all_files(&request.head.headers);
        Self {
            deps,
            request: each,
            base,
            containers: BTreeSet::new(),
            containers_created: 0,
            report: ExtractionReport::default(),
        }
    }

    async fn run(
        mut self,
        mut tar: TarStream<Box<dyn AsyncRead + Send + Unpin>>,
    ) -> ExtractionReport {
        if let Err(abort) = self.extract_all(&mut tar).await {
            self.report.abort = Some(abort);
        }
        self.report
    }

    async fn extract_all(
        &mut self,
        tar: &mut TarStream<Box<dyn AsyncRead + Send + Unpin>>,
    ) -> std::result::Result<(), Abort> {
        while let Some(entry) = tar.next().await? {
            if self.report.errors.len() >= FAILURES_MAX {
                return Ok(());
            }
            if entry.kind == TarEntryKind::Other {
                continue;
            }
            let Ok(name) = std::str::from_utf8(&entry.name) else {
                let shown = String::from_utf8_lossy(&entry.name).into_owned();
                self.report.fail(&shown, StatusCode::PRECONDITION_FAILED);
                continue;
            };
            let Some(name) = self.below_account(name) else { continue };
            if entry.size > self.deps.constraints.max_file_size {
                self.report.fail(&name, StatusCode::PAYLOAD_TOO_LARGE);
                continue;
            }
            let put = match self.put(&name, &entry) {
                Ok(put) if entry.kind == TarEntryKind::File => put,
                Ok(_) => {
                    // The holes of a sparse file are not in its data.
                    self.report.fail(&name, StatusCode::UNPROCESSABLE_ENTITY);
                    continue;
                }
                Err(refusal) => {
                    self.report.fail(&name, refusal.status());
                    continue;
                }
            };
            let container_failure = self.create_container(&put).await?;
            self.store(tar, &name, put, container_failure).await?;
        }
        Ok(())
    }

    /// The name of an entry below the account; `None` for a file that is in no container.
    fn below_account(&self, name: &str) -> Option<String> {
        let name = name.strip_prefix("./").unwrap_or(name).trim_start_matches('/');
        let name = match self.base.as_str() {
            "" => name.to_owned(),
            base => format!("{base}/{name}"),
        };
        name.contains('/').then_some(name)
    }

    /// The request of a file.
    fn put(&self, name: &str, entry: &TarEntry) -> Result<SwiftRequest> {
        let path = format!("/v1/{}/{name}", self.request.account());
        let path = ClientName::plain(&path).map_err(|_| super::path::bad_text())?;
        let path = names_of(&path, &self.deps.constraints)?;
        let Path::Object(object) = &path else {
            return Err(SwiftError::refused(StatusCode::BAD_REQUEST, ""));
        };
        self.request.at(Path::Container(object.container.clone())).check_name_lengths()?;
        let mut put = self.request.at(path);
        set(&mut put.head.headers, "content-length", &entry.size.to_string());
        for (attribute, value) in &entry.attributes {
            let Some(header) = header_of(attribute) else { continue };
            let name = HeaderName::try_from(header.to_ascii_lowercase());
            let value = HeaderValue::from_bytes(value);
            let (Ok(name), Ok(value)) = (name, value) else {
                return Err(SwiftError::refused(StatusCode::BAD_REQUEST, ""));
            };
            put.head.headers.insert(name, value);
        }
        Ok(put)
    }

    /// Creates the container of a file, if it does not exist. A failure counts only if the file
    /// cannot be stored either: the caller may have the right to write objects alone.
    async fn create_container(
        &mut self,
        put: &SwiftRequest,
    ) -> std::result::Result<Option<(String, StatusCode)>, Abort> {
        let Ok(object) = put.object() else { return Ok(None) };
        let container = object.container.clone();
        if !self.containers.insert(container.container.to_string()) {
            return Ok(None);
        }
        let store = &self.deps.store;
        let head = HeadContainer { container: container.clone() };
        if store.container_info(&put.cx.as_system("bulk"), head).await.is_ok() {
            return Ok(None);
        }
        let op = PutContainer {
            container: container.clone(),
            metadata: Metadata::new(),
            policy: None,
            versioning: None,
        };
        match store.put_container(&put.cx, op).await {
            Ok(_) => {
                self.containers_created += 1;
                if self.containers_created > CONTAINERS_MAX {
                    return Err(Abort {
                        status: StatusCode::BAD_REQUEST,
                        text: format!("More than {CONTAINERS_MAX} containers to create from tar."),
                    });
                }
                Ok(None)
            }
            Err(error) => match SwiftError::from(error).status() {
                StatusCode::UNAUTHORIZED => Err(unauthorized()),
                status => Ok(Some((format!("/v1{container}"), status))),
            },
        }
    }

    /// Stores a file, while it is read.
    async fn store(
        &mut self,
        tar: &mut TarStream<Box<dyn AsyncRead + Send + Unpin>>,
        name: &str,
        put: SwiftRequest,
        container_failure: Option<(String, StatusCode)>,
    ) -> std::result::Result<(), Abort> {
        let (sender, receiver) = mpsc::channel(1);
        let stored = object::put(&self.deps, &put, stream(receiver));
        let (stored, sent) = tokio::join!(stored, tar.send(sender));
        sent?;
        let status = stored.map_or_else(|error| error.status(), |reply| reply.status());
        if status.is_success() {
            self.report.created += 1;
            return Ok(());
        }
        if let Some((container, status)) = container_failure {
            self.report.fail(&container, status);
        }
        self.report.fail(name, status);
        match status {
            StatusCode::UNAUTHORIZED => Err(unauthorized()),
            _ => Ok(()),
        }
    }
}

fn unauthorized() -> Abort {
    Abort { status: StatusCode::UNAUTHORIZED, text: String::new() }
}

/// The headers of a request that describe all files of its archive.
fn of_all_files(headers: &HeaderMap) -> HeaderMap {
    let is_kept = |name: &HeaderName| {
        matches!(name.as_str(), "x-delete-at" | "x-delete-after")
            || has_prefix(name.as_str(), "X-Object-Meta-")
    };
    let kept = headers.iter().filter(|(name, _)| is_kept(name));
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_are_named_by_their_ending() {
        for (kind, expected) in [
            ("tar", Some(Compression::None)),
            (".tar.gz", Some(Compression::Gzip)),
            ("TAR.BZ2", Some(Compression::Bzip2)),
            ("zip", None),
            ("", None),
        ] {
            assert_eq!(Compression::parse(kind), expected, "{kind}");
        }
    }

    #[test]
    fn extended_attributes_become_headers() {
        for (attribute, header) in [
            ("SCHILY.xattr.user.mime_type", Some("content-type")),
            ("LIBARCHIVE.xattr.user.mime_type", Some("content-type")),
            ("SCHILY.xattr.user.meta.Lunch", Some("x-object-meta-Lunch")),
            ("SCHILY.xattr.user.other", None),
            ("SCHILY.xattr.security.selinux", None),
            ("path", None),
        ] {
            assert_eq!(header_of(attribute).as_deref(), header, "{attribute}");
        }
    }

    #[test]
    fn the_status_of_a_report_is_that_of_its_worst_failure() {
        let text =
            |report: &ExtractionReport| String::from_utf8(report.render(Format::Plain)).unwrap();
        let mut report = ExtractionReport::default();
        assert!(text(&report).contains("Invalid Tar File: No Valid Files\nResponse Status: 400 "));
        report.created = 2;
        assert_eq!(
            text(&report),
            "Number Files Created: 2\nResponse Body: \nResponse Status: 201 Created\nErrors:\n"
        );
        report.fail("c/a b", StatusCode::CONFLICT);
        assert!(text(&report).ends_with("400 Bad Request\nErrors:\nc/a%20b, 409 Conflict\n"));
        report.fail("c/b", StatusCode::SERVICE_UNAVAILABLE);
        assert!(text(&report).contains("Response Status: 502 Bad Gateway"));
        report.fail(&"ü".repeat(2000), StatusCode::BAD_REQUEST);
        assert!(report.errors[2].0.len() <= 3 * NAME_BYTES_MAX);
        report.abort = Some(TarError::Invalid("bad checksum").into());
        assert!(text(&report).contains("Response Body: Invalid Tar File: bad checksum"));
    }
}
