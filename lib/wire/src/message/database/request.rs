//! `REPLICATE /device/partition/hash`: the head of a call or of a whole database, and of its reply.

use apus_daemon::http::{header, set};
use http::HeaderMap;
use http::request::Parts;

use super::super::{InvalidRequest, Received, fields};
use super::ReplicaAddress;
use crate::NodeRequest;

/// In a request: the id of the database that is the body. In a reply: this server takes such
/// bodies. Ours.
const DATABASE: &str = "x-backend-apus-database";
/// The mark of the database's files. Ours.
const FILE_MARK: &str = "x-backend-apus-file-mark";
/// How many of the rows of a call were new. Ours.
const NEW_ROWS: &str = "x-backend-apus-new-rows";
/// The path of a database with salvaged rows. Ours.
const SALVAGED: &str = "x-backend-apus-salvaged";

/// A whole database that is the body of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseUpload {
    /// The id of the replica that it is a copy of, which is its name until it is installed.
    pub id: String,
    /// Its length in bytes.
    pub length: u64,
    /// Its MD5, 32 hex digits.
    pub md5: String,
}

/// The head of a `REPLICATE` about a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicateDatabaseRequest {
    /// The database.
    pub address: ReplicaAddress,
    /// Set if the body is a whole database. Otherwise it is a call.
    pub upload: Option<DatabaseUpload>,
}

impl ReplicateDatabaseRequest {
    /// The head of a call.
    pub fn call(address: ReplicaAddress) -> Self {
        Self { address, upload: None }
    }

    /// As a request to the server of a device.
    pub fn encode(&self) -> NodeRequest {
        let mut request = self.address.encode();
        let head = &mut request.headers;
        match &self.upload {
            None => set(head, "content-type", "application/json"),
            Some(upload) => {
                set(head, DATABASE, &upload.id);
                set(head, "etag", &upload.md5);
                set(head, "content-length", &upload.length.to_string());
            }
        }
        request
    }

    /// Reads a request.
    ///
    /// # Errors
    /// When the path names no hash, or id, length or MD5 of a database are missing or malformed.
    pub fn decode(parts: &Parts) -> Result<Received<Self>, InvalidRequest> {
        let address = ReplicaAddress::decode(parts)?;
        let head = &parts.headers;
        let upload = match header(head, DATABASE) {
            None => None,
            Some(id) => {
                let id = Some(id).filter(|id| is_file_name(id)).ok_or_else(|| {
                    let name = "X-Backend-Apus-Database";
                    InvalidRequest::header(name, Some(id), "the id of a database")
                })?;
                let length = fields::number(head, "content-length").ok_or_else(|| {
                    let found = header(head, "content-length");
                    InvalidRequest::header("Content-Length", found, "the length of a database")
                })?;
                let md5 = header(head, "etag").filter(|md5| md5.len() == 32).ok_or_else(|| {
                    InvalidRequest::header("ETag", header(head, "etag"), "the MD5 of a database")
                })?;
                Some(DatabaseUpload { id: id.to_owned(), length, md5: md5.to_owned() })
            }
        };
        Ok(address.map(|address| Self { address, upload }))
    }
}

/// Whether a text is the name of a file in a directory, and not a path.
pub(super) fn is_file_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 255 && !name.starts_with('.') && !name.contains(['/', '\0'])
}

/// The headers of a reply. Swift's servers send none of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplicateDatabaseReply {
    /// Whether the server takes whole databases as bodies.
    pub takes_databases: bool,
    /// To `sync`: the mark of the database's files, taken before it was read.
    pub mark: Option<String>,
    /// To `merge_items`: how many of the rows were new.
    pub new_rows: Option<u64>,
    /// To a quarantine: a database with the rows that were salvaged and are not in a new database.
    pub salvaged: Option<String>,
}

impl ReplicateDatabaseReply {
    /// Adds the headers to a reply.
    pub fn encode(&self, head: &mut HeaderMap) {
        if self.takes_databases {
            set(head, DATABASE, "1");
        }
        fields::set_some(head, FILE_MARK, self.mark.as_deref());
        fields::set_display(head, NEW_ROWS, self.new_rows);
        fields::set_some(head, SALVAGED, self.salvaged.as_deref());
    }

    /// Reads the headers of a reply.
    pub fn decode(head: &HeaderMap) -> Self {
        Self {
            takes_databases: head.contains_key(DATABASE),
            mark: fields::text(head, FILE_MARK),
            new_rows: fields::number(head, NEW_ROWS),
            salvaged: fields::text(head, SALVAGED),
        }
    }
}
