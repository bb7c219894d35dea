//! Preparation of a run: token, bucket, and a check of the objects.

use http::header::{HOST, HeaderName};
use http::{Method, Response, StatusCode};
use hyper::body::Incoming;

use super::connection::{Connection, Endpoint, whole};
use super::options::{Dialect, Options};
use super::pattern::Content;
use super::sign::{Signer, UNSIGNED};
use super::target::{Access, Target, Ticket, value};
use super::work::{Failure, Work};

/// How much of an error's text is shown.
const ERROR_TEXT_MAX: usize = 64 * 1024;

async fn send(
    connection: &mut Connection,
    ticket: &Ticket,
) -> Result<(StatusCode, http::HeaderMap, String), String> {
    let response: Response<Incoming> = connection.send(ticket.request(Content::empty())).await?;
    let (head, body) = response.into_parts();
    let text = whole(body, ERROR_TEXT_MAX).await?;
    Ok((head.status, head.headers, String::from_utf8_lossy(&text).into_owned()))
}

/// A token and the storage URL of Swift's version 1 authentication.
async fn swift_access(options: &Options) -> Result<Target, String> {
    let (user, key) = options.credentials()?;
    let mut connection = Connection::open(&options.endpoint).await?;
    let headers = Box::new([
        (HOST, value(&options.endpoint.authority)?),
        (HeaderName::from_static("x-auth-user"), value(&user)?),
        (HeaderName::from_static("x-auth-key"), value(&key).map_err(|_| "--key: expected text")?),
    ]);
    let ticket = Ticket::plain(Method::GET, "/auth/v1.0", headers)?;
    let (status, headers, _) = send(&mut connection, &ticket).await?;
    if !status.is_success() {
        return Err(format!("--user {user}: GET /auth/v1.0 answered {status}"));
    }
    let header = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .ok_or_else(|| format!("GET /auth/v1.0 answered without {name}"))
    };
    let url = header("x-storage-url")?;
    let (endpoint, path) =
        Endpoint::with_path(url).map_err(|error| format!("X-Storage-Url {url}: {error}"))?;
    let root = format!("{path}/{}", apus_cluster::percent::encode_path(&options.bucket));
    Ok(Target { endpoint, root, access: Access::Swift(value(header("x-auth-token")?)?) })
}

fn s3_access(options: &Options) -> Result<Target, String> {
    let (access_key, secret_key) = options.credentials()?;
    let signer = Signer {
        access_key,
        secret_key,
        region: options.region.clone(),
        host: options.endpoint.authority.clone(),
    };
    let root = format!("/{}", options.bucket);
    Ok(Target { endpoint: options.endpoint.clone(), root, access: Access::S3(signer) })
}

/// Access to the bucket, which exists afterwards.
pub(super) async fn target(options: &Options) -> Result<Target, String> {
    let target = match options.dialect {
        Dialect::S3 => s3_access(options)?,
        Dialect::Swift => swift_access(options).await?,
    };
    let mut connection = Connection::open(&target.endpoint).await?;
    for method in [Method::HEAD, Method::PUT] {
        let ticket = target.ticket(method.clone(), "", "", UNSIGNED)?;
        let (status, _, text) = send(&mut connection, &ticket).await?;
        let missing = method == Method::HEAD && status == StatusCode::NOT_FOUND;
        if status.is_success() {
            return Ok(target);
        } else if !missing {
            let error = format!("{} answered {status} {text}", ticket.name());
            return Err(format!("--bucket {}: {}", options.bucket, error.trim_end()));
        }
    }
    Ok(target)
}

/// Refuses to go on when the first or the last of the objects is not there.
pub(super) async fn expect_objects(work: &Work, objects: u64) -> Result<(), String> {
    let mut connection = Connection::open(&work.target.endpoint).await?;
    for index in [0, objects.saturating_sub(1)] {
        let key = work.key(index);
        let ticket = work.target.ticket(Method::HEAD, &key, "", UNSIGNED)?;
        let (status, ..) = send(&mut connection, &ticket).await?;
        if status == StatusCode::NOT_FOUND {
            return Err(format!(
                "--op {}: {key} is not in bucket {}; run --op put first, with --size {} and --count {objects}",
                work.operation.name(),
                work.bucket,
                work.size
            ));
        } else if !status.is_success() {
            return Err(format!("{} answered {status}", ticket.name()));
        }
    }
    Ok(())
}

/// Rows that a page of the listing has now.
pub(super) async fn count_rows(work: &Work) -> Result<u64, String> {
    let mut connection = Connection::open(&work.target.endpoint).await?;
    let prepared = work.prepare(0)?;
    match work.list_page(&mut connection, &prepared).await {
        Ok((rows, _)) => Ok(rows),
        Err(Failure::Status(status, text)) => {
            Err(format!("{} answered {status} {text}", prepared.ticket.name()))
        }
        Err(Failure::Corrupt(text) | Failure::Transport(text)) => Err(text),
    }
}
