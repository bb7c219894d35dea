//! One S3 object as a multipart upload with sequential parts.
//!
//! Bodies are hashed before the clock starts; the heads of parts are signed on the way, since they
//! name the upload.

use std::fmt::Write as _;

use bytes::Bytes;
use http::Method;
use sha2::{Digest as _, Sha256};

use super::connection::{Connection, whole};
use super::pattern::Content;
use super::work::{Failure, Prepared, Work, answer, put};

/// Documents of 10,000 parts are below this.
const DOCUMENT_BYTES_MAX: usize = 4 << 20;

/// The text of the first element with this name.
fn element<'a>(document: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = document.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text)
}

async fn document(
    connection: &mut Connection,
    ticket: &super::target::Ticket,
    body: Content,
) -> Result<String, Failure> {
    let response = answer(connection, ticket, body).await?;
    let text = whole(response.into_body(), DOCUMENT_BYTES_MAX).await?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The ETag of a multipart upload: the MD5 of its parts' MD5s, and their number.
fn etag_of(prepared: &Prepared) -> Option<String> {
    let parts: Option<Vec<[u8; 16]>> = prepared.digests.iter().map(|part| part.md5).collect();
    let parts = parts?;
    Some(format!("{:x}-{}", md5::compute(parts.concat()), parts.len()))
}

/// Uploads an object; gives its size.
pub(super) async fn upload(
    work: &Work,
    connection: &mut Connection,
    index: u64,
    prepared: &Prepared,
) -> Result<u64, Failure> {
    let key = work.key(index);
    let created = document(connection, &prepared.ticket, Content::empty()).await?;
    let upload = element(&created, "UploadId")
        .ok_or_else(|| Failure::Transport(format!("{key}: no UploadId in {created:?}")))?;
    let mut encoded = String::new();
    apus_cluster::percent::encode_into(&mut encoded, upload.as_bytes(), b"");
    let mut list = String::from("<CompleteMultipartUpload>");
    for (part, (content, digest)) in (1..).zip(work.parts(index).zip(&prepared.digests)) {
        let query = format!("partNumber={part}&uploadId={encoded}");
        let ticket = work.target.ticket(Method::PUT, &key, &query, &digest.payload_hash)?;
        let etag = put(connection, &ticket, content, Some(digest)).await?;
        let _ = write!(
            list,
            "<Part><PartNumber>{part}</PartNumber><ETag>&quot;{etag}&quot;</ETag></Part>"
        );
    }
    list.push_str("</CompleteMultipartUpload>");
    let hash = hex::encode(Sha256::digest(list.as_bytes()));
    let query = format!("uploadId={encoded}");
    let ticket = work.target.ticket(Method::POST, &key, &query, &hash)?;
    let done = document(connection, &ticket, Content::document(Bytes::from(list))).await?;
    let etag = element(&done, "ETag").map(|etag| etag.replace("&quot;", "").replace('"', ""));
    // An error may come after the head with status 200 was sent, as a document without an ETag.
    match (etag, etag_of(prepared)) {
        (None, _) => Err(Failure::Transport(format!("{key}: no ETag in {done:?}"))),
        (Some(etag), Some(expected)) if etag != expected => {
            Err(Failure::Corrupt(format!("{key}: ETag {etag:?}, expected {expected:?}")))
        }
        (Some(_), _) => Ok(work.size),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_an_element_is_found() {
        let document = "<a><UploadId>x-1</UploadId><b></b></a>";
        assert_eq!(element(document, "UploadId"), Some("x-1"));
        assert_eq!(element(document, "b"), Some(""));
        assert_eq!(element(document, "ETag"), None);
    }
}
