//! One operation on one object: preparation, request, and check of the response.

use http::header::{CONTENT_LENGTH, ETAG};
use http::{Method, Response, StatusCode};
use hyper::body::Incoming;
use sha2::{Digest as _, Sha256};

use super::connection::{Connection, piece, whole};
use super::options::{Dialect, Operation, Options, Payload};
use super::pattern::{Content, Pool};
use super::sign::UNSIGNED;
use super::target::{Target, Ticket};

/// Above this size a PUT's MD5 is not computed ahead, and its ETag not checked.
const MD5_SIZE_MAX: u64 = 64 << 20;
/// How much of an error's text is read, and how much of it is shown.
const ERROR_TEXT_MAX: usize = 64 * 1024;
const ERROR_TEXT_SHOWN: usize = 300;
/// A page of 10,000 rows is well below this.
const LISTING_BYTES_MAX: usize = 64 << 20;

/// Why a request failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Answered with something else than 2xx, and this text.
    Status(StatusCode, String),
    /// Answered with success and wrong data.
    Corrupt(String),
    /// No response, or an invalid one.
    Transport(String),
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self::Transport(text)
    }
}

/// Hashes of a body or of one part.
#[derive(Debug, Clone)]
pub(super) struct Digest {
    pub(super) payload_hash: String,
    pub(super) md5: Option<[u8; 16]>,
}

/// What a request needs that costs time to compute.
#[derive(Debug, Clone)]
pub(super) struct Prepared {
    pub(super) ticket: Ticket,
    /// One per body that is sent.
    pub(super) digests: Vec<Digest>,
}

/// What every request of a phase has in common.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) target: std::sync::Arc<Target>,
    pub(super) bucket: String,
    pub(super) operation: Operation,
    pub(super) dialect: Dialect,
    pub(super) size: u64,
    pub(super) part_bytes: Option<u64>,
    pub(super) verify: bool,
    hashes_payload: bool,
    list_rows: u64,
    /// Rows that a page must have at least.
    pub(super) list_rows_least: u64,
    pool: Pool,
}

impl Work {
    pub(super) fn new(
        options: &Options,
        operation: Operation,
        target: std::sync::Arc<Target>,
        pool: Pool,
    ) -> Self {
        Self {
            target,
            bucket: options.bucket.clone(),
            operation,
            dialect: options.dialect,
            size: options.size,
            part_bytes: options.multipart.filter(|_| operation == Operation::Put),
            verify: options.verifies(),
            hashes_payload: options.dialect == Dialect::S3 && options.payload == Payload::Signed,
            list_rows: options.list_rows(),
            list_rows_least: 0,
            pool,
        }
    }

    fn prefix(&self) -> String {
        format!("bench/{}/", self.size)
    }

    /// Name of an object, which says its size too.
    pub(super) fn key(&self, index: u64) -> String {
        format!("{}{index:08}", self.prefix())
    }

    pub(super) fn content(&self, index: u64) -> Content {
        self.pool.content(index, self.size)
    }

    /// Parts of an object; one when it is not a multipart upload.
    pub(super) fn parts(&self, index: u64) -> impl Iterator<Item = Content> {
        let content = self.content(index);
        let part_bytes = self.part_bytes.unwrap_or(self.size);
        let count = self.size.checked_div(part_bytes).unwrap_or(1);
        let count = count + u64::from(count * part_bytes < self.size);
        (0..count).map(move |part| content.part(part * part_bytes, part_bytes))
    }

    fn digest(&self, content: Content) -> Digest {
        let mut md5 = (self.verify && content.left() <= MD5_SIZE_MAX).then(md5::Context::new);
        let mut sha256 = self.hashes_payload.then(Sha256::new);
        if md5.is_some() || sha256.is_some() {
            content.each(|piece| {
                if let Some(md5) = &mut md5 {
                    md5.consume(piece);
                }
                if let Some(sha256) = &mut sha256 {
                    sha256.update(piece);
                }
            });
        }
        Digest {
            payload_hash: sha256
                .map_or_else(|| UNSIGNED.to_owned(), |hash| hex::encode(hash.finalize())),
            md5: md5.map(|md5| md5.finalize().0),
        }
    }

    fn sign(&self, index: u64, digests: &[Digest]) -> Result<Ticket, String> {
        let nothing = self.digest(Content::empty()).payload_hash;
        let single = digests.first().map_or(nothing.as_str(), |digest| &digest.payload_hash);
        let key = self.key(index);
        let target = &self.target;
        match self.operation {
            Operation::Put if self.part_bytes.is_some() => {
                target.ticket(Method::POST, &key, "uploads=", &nothing)
            }
            Operation::Put => target.ticket(Method::PUT, &key, "", single),
            Operation::Get => target.ticket(Method::GET, &key, "", &nothing),
            Operation::Head => target.ticket(Method::HEAD, &key, "", &nothing),
            Operation::Delete => target.ticket(Method::DELETE, &key, "", &nothing),
            Operation::List => {
                let (rows, prefix) = (self.list_rows, self.prefix().replace('/', "%2F"));
                let query = match self.dialect {
                    Dialect::S3 => format!("list-type=2&max-keys={rows}&prefix={prefix}"),
                    Dialect::Swift => format!("format=json&limit={rows}&prefix={prefix}"),
                };
                target.ticket(Method::GET, "", &query, &nothing)
            }
        }
    }

    /// Hashes and signs what the request for this object needs.
    pub(super) fn prepare(&self, index: u64) -> Result<Prepared, String> {
        let digests: Vec<_> = match self.operation {
            Operation::Put => self.parts(index).map(|part| self.digest(part)).collect(),
            Operation::Get | Operation::Head | Operation::Delete | Operation::List => Vec::new(),
        };
        Ok(Prepared { ticket: self.sign(index, &digests)?, digests })
    }

    /// The same with a new signature.
    pub(super) fn renew(&self, index: u64, old: &Prepared) -> Result<Prepared, String> {
        Ok(Prepared { ticket: self.sign(index, &old.digests)?, digests: old.digests.clone() })
    }

    /// Performs the operation and gives the payload bytes that went over the wire.
    pub(super) async fn perform(
        &self,
        connection: &mut Connection,
        index: u64,
        prepared: &Prepared,
    ) -> Result<u64, Failure> {
        match self.operation {
            Operation::Put if self.part_bytes.is_some() => {
                super::multipart::upload(self, connection, index, prepared).await
            }
            Operation::Put => {
                let digest = prepared.digests.first();
                let content = self.content(index);
                put(connection, &prepared.ticket, content, digest).await?;
                Ok(self.size)
            }
            Operation::Get => self.get(connection, index, &prepared.ticket).await,
            Operation::Head => self.head(connection, index, &prepared.ticket).await,
            Operation::Delete => {
                let response = answer(connection, &prepared.ticket, Content::empty()).await?;
                whole(response.into_body(), ERROR_TEXT_MAX).await?;
                Ok(0)
            }
            Operation::List => {
                let (rows, bytes) = self.list_page(connection, prepared).await?;
                if self.verify && !(self.list_rows_least..=self.list_rows).contains(&rows) {
                    return Err(Failure::Corrupt(format!(
                        "a page of the listing has {rows} rows, expected {} to {}",
                        self.list_rows_least, self.list_rows
                    )));
                }
                Ok(bytes)
            }
        }
    }

    async fn get(
        &self,
        connection: &mut Connection,
        index: u64,
        ticket: &Ticket,
    ) -> Result<u64, Failure> {
        let mut body = answer(connection, ticket, Content::empty()).await?.into_body();
        let mut expected = self.content(index);
        let mut bytes = 0;
        while let Some(data) = piece(&mut body).await? {
            bytes += data.len() as u64;
            if self.verify && !expected.matches(&data) {
                return Err(Failure::Corrupt(format!(
                    "{}: wrong bytes before offset {bytes}",
                    self.key(index)
                )));
            }
        }
        if self.verify && expected.left() > 0 {
            return Err(Failure::Corrupt(format!(
                "{}: {bytes} bytes, expected {}",
                self.key(index),
                self.size
            )));
        }
        Ok(bytes)
    }

    async fn head(
        &self,
        connection: &mut Connection,
        index: u64,
        ticket: &Ticket,
    ) -> Result<u64, Failure> {
        let response = answer(connection, ticket, Content::empty()).await?;
        let length = response.headers().get(CONTENT_LENGTH).and_then(|text| text.to_str().ok());
        if self.verify && length.and_then(|text| text.parse().ok()) != Some(self.size) {
            return Err(Failure::Corrupt(format!(
                "{}: Content-Length {length:?}, expected {}",
                self.key(index),
                self.size
            )));
        }
        Ok(0)
    }

    /// Rows and bytes of the first page of the listing.
    pub(super) async fn list_page(
        &self,
        connection: &mut Connection,
        prepared: &Prepared,
    ) -> Result<(u64, u64), Failure> {
        let response = answer(connection, &prepared.ticket, Content::empty()).await?;
        let page = whole(response.into_body(), LISTING_BYTES_MAX).await?;
        let mark: &[u8] = match self.dialect {
            Dialect::S3 => b"<Key>",
            Dialect::Swift => b"\"name\":",
        };
        let rows = memchr::memmem::find_iter(&page, mark).count();
        Ok((rows as u64, page.len() as u64))
    }
}

/// Sends a request; an answer other than 2xx is a failure with its text.
pub(super) async fn answer(
    connection: &mut Connection,
    ticket: &Ticket,
    body: Content,
) -> Result<Response<Incoming>, Failure> {
    let response = connection.send(ticket.request(body)).await?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let text = whole(response.into_body(), ERROR_TEXT_MAX).await.unwrap_or_else(|error| {
        connection.close();
        error.into_bytes()
    });
    let text = String::from_utf8_lossy(&text);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = text.chars().take(ERROR_TEXT_SHOWN).collect();
    Err(Failure::Status(status, text))
}

/// Sends a body and compares the ETag of the answer with its MD5.
pub(super) async fn put(
    connection: &mut Connection,
    ticket: &Ticket,
    body: Content,
    digest: Option<&Digest>,
) -> Result<String, Failure> {
    let response = answer(connection, ticket, body).await?;
    let etag = response.headers().get(ETAG).and_then(|etag| etag.to_str().ok());
    let etag = etag.unwrap_or_default().trim_matches('"').to_owned();
    whole(response.into_body(), ERROR_TEXT_MAX).await?;
    match digest.and_then(|digest| digest.md5) {
        Some(md5) if hex::encode(md5) != etag => Err(Failure::Corrupt(format!(
            "{}: ETag {etag:?}, expected {:?}",
            ticket.name(),
            hex::encode(md5)
        ))),
        _ => Ok(etag),
    }
}
