//! Swift's MIME PUT: the object, then late metadata, then (for two phases) a commit.
//!
//! Both sides of one grammar. Source: `swift/proxy/controllers/obj.py` (MIMEPutter) and
//! `swift/obj/server.py`. The data part is passed on as the slices that arrived; when the sender
//! knows the object's length, bytes are counted; otherwise the boundary is searched for.

use apus_cluster::Metadata;
use apus_daemon::Body;
use apus_daemon::http::BodyError;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;

/// Longest head of a MIME part, and longest footer document, in bytes.
const PART_BYTES_MAX: usize = 256 * 1024;
/// What may follow the last part: its end and a line break.
const END_BYTES_MAX: usize = 1024;
/// Body of the commit part.
pub const COMMIT_CONFIRMATION: &str = "put_commit_confirmation";

/// Writes the framing around an object.
#[derive(Debug, Clone)]
pub struct PutEncoder {
    boundary: String,
}

impl PutEncoder {
    /// With a boundary that must not occur in the body: 128 random bits do.
    pub fn new(boundary: String) -> Self {
        Self { boundary }
    }

    /// The boundary, for the request header.
    pub fn boundary(&self) -> &str {
        &self.boundary
    }

    /// What comes before the object.
    pub fn head(&self) -> Bytes {
        format!("--{}\r\nX-Document: object body\r\n\r\n", self.boundary).into()
    }

    /// What comes after the object: the footer document, and the end unless a commit follows.
    pub fn footers(&self, footers: &Metadata, commit_follows: bool) -> Bytes {
        let document = serde_json::to_string(footers).unwrap_or_else(|_| "{}".to_owned());
        let end = if commit_follows { "" } else { "--" };
        format!(
            "\r\n--{0}\r\nX-Document: object metadata\r\nContent-MD5: {1:x}\r\n\r\n{document}\r\n--{0}{end}\r\n",
            self.boundary,
            md5::compute(&document),
        )
        .into()
    }

    /// The commit, after [`PutEncoder::footers`] with `commit_follows`.
    pub fn commit(&self) -> Bytes {
        format!("X-Document: put commit\r\n\r\n{COMMIT_CONFIRMATION}\r\n--{}--\r\n", self.boundary)
            .into()
    }
}

/// Why a MIME PUT could not be read.
#[derive(Debug)]
pub enum PutStreamError {
    /// The sender went away or the connection broke.
    Broken(BodyError),
    /// The stream does not follow the grammar.
    Malformed(&'static str),
    /// The footer document does not match its MD5.
    FooterDigest,
}

impl std::fmt::Display for PutStreamError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Broken(error) => write!(f, "body broke off: {error}"),
            Self::Malformed(what) => write!(f, "MIME document: {what}"),
            Self::FooterDigest => f.write_str("footer document does not match its Content-MD5"),
        }
    }
}

impl std::error::Error for PutStreamError {}

/// Reads a MIME PUT part by part.
pub struct PutDecoder {
    body: Body,
    pending: Bytes,
    delimiter: Vec<u8>,
    /// Bytes of the object still to come, when its length is known.
    remaining: Option<u64>,
    data_done: bool,
}

impl std::fmt::Debug for PutDecoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PutDecoder").field("remaining", &self.remaining).finish_non_exhaustive()
    }
}

impl PutDecoder {
    /// Reads the head of the first part, which must be the object.
    ///
    /// # Errors
    /// See [`PutStreamError`].
    pub async fn open(
        body: Body,
        boundary: &str,
        length: Option<u64>,
    ) -> Result<Self, PutStreamError> {
        let mut decoder = Self {
            body,
            pending: Bytes::new(),
            delimiter: format!("\r\n--{boundary}").into_bytes(),
            remaining: length,
            data_done: false,
        };
        let head = decoder.until(b"\r\n\r\n").await?;
        let opening = decoder.delimiter.get(2..).unwrap_or_default();
        if !head.starts_with(opening) || memchr::memmem::find(&head, b"object body").is_none() {
            return Err(PutStreamError::Malformed("expected the part `object body` first"));
        }
        Ok(decoder)
    }

    async fn more(&mut self) -> Result<Option<Bytes>, PutStreamError> {
        loop {
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(PutStreamError::Broken(error)),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data()
                        && !data.is_empty()
                    {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    async fn more_needed(&mut self) -> Result<Bytes, PutStreamError> {
        self.more().await?.ok_or_else(|| PutStreamError::Broken("ended too early".into()))
    }

    async fn grow(&mut self) -> Result<(), PutStreamError> {
        let more = self.more_needed().await?;
        if self.pending.is_empty() {
            self.pending = more;
            return Ok(());
        }
        // What was joined before is ours and has room: many small frames are not copied each time.
        let mut joined = std::mem::take(&mut self.pending)
            .try_into_mut()
            .unwrap_or_else(|shared| BytesMut::from(shared.as_ref()));
        joined.extend_from_slice(&more);
        self.pending = joined.freeze();
        Ok(())
    }

    /// Takes everything up to and including `end`.
    async fn until(&mut self, end: &[u8]) -> Result<Bytes, PutStreamError> {
        let mut searched = 0;
        loop {
            let unseen = self.pending.get(searched..).unwrap_or_default();
            if let Some(at) = memchr::memmem::find(unseen, end) {
                return Ok(self.pending.split_to(searched + at + end.len()));
            }
            searched = self.pending.len().saturating_sub(end.len());
            if self.pending.len() > PART_BYTES_MAX {
                return Err(PutStreamError::Malformed("part too long"));
            }
            self.grow().await?;
        }
    }

    /// The next piece of the object; `None` at its end.
    ///
    /// # Errors
    /// See [`PutStreamError`].
    pub async fn data(&mut self) -> Result<Option<Bytes>, PutStreamError> {
        if self.data_done {
            return Ok(None);
        }
        if let Some(remaining) = self.remaining {
            if remaining == 0 {
                self.data_done = true;
                return Ok(None);
            }
            if self.pending.is_empty() {
                self.pending = self.more_needed().await?;
            }
            let take = usize::try_from(remaining).unwrap_or(usize::MAX).min(self.pending.len());
            self.remaining = Some(remaining - take as u64);
            return Ok(Some(self.pending.split_to(take)));
        }
        loop {
            if let Some(at) = memchr::memmem::find(&self.pending, &self.delimiter) {
                self.data_done = true;
                let data = self.pending.split_to(at);
                return Ok((!data.is_empty()).then_some(data));
            }
            let safe = self.pending.len().saturating_sub(self.delimiter.len());
            if safe > 0 {
                return Ok(Some(self.pending.split_to(safe)));
            }
            self.grow().await?;
        }
    }

    /// The footers, after the data. Empty when the sender ended without any.
    ///
    /// # Errors
    /// See [`PutStreamError`].
    pub async fn footers(&mut self) -> Result<Metadata, PutStreamError> {
        let delimiter = self.delimiter.clone();
        let before = self.until(&delimiter).await?;
        if before.len() != delimiter.len() {
            return Err(PutStreamError::Malformed("object is longer than announced"));
        }
        let line = self.until(b"\r\n").await?;
        if line.starts_with(b"--") {
            return Ok(Metadata::new());
        }
        let head = self.until(b"\r\n\r\n").await?;
        let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
        if !head.contains("object metadata") {
            return Err(PutStreamError::Malformed("expected the part `object metadata`"));
        }
        let mut document = self.until(&delimiter).await?;
        document.truncate(document.len() - delimiter.len());
        let digest = head
            .lines()
            .find_map(|line| line.strip_prefix("content-md5:"))
            .map(str::trim)
            .ok_or(PutStreamError::Malformed("footers without Content-MD5"))?;
        if digest != format!("{:x}", md5::compute(&document)) {
            return Err(PutStreamError::FooterDigest);
        }
        let object: std::collections::BTreeMap<String, serde_json::Value> =
            serde_json::from_slice(&document)
                .map_err(|_| PutStreamError::Malformed("footers are no JSON object"))?;
        Ok(object
            .into_iter()
            .filter_map(|(name, value)| match value {
                serde_json::Value::String(text) => Some((name, text)),
                serde_json::Value::Number(number) => Some((name, number.to_string())),
                serde_json::Value::Null => None,
                other => Some((name, other.to_string())),
            })
            .collect())
    }

    /// Waits for the commit after the footers.
    ///
    /// # Errors
    /// [`PutStreamError::Broken`] when the sender ends without one: nothing may be published.
    pub async fn commit(&mut self) -> Result<(), PutStreamError> {
        let part = self.until(COMMIT_CONFIRMATION.as_bytes()).await?;
        if memchr::memmem::find(&part, b"put commit").is_none() {
            return Err(PutStreamError::Malformed("expected the part `put commit`"));
        }
        Ok(())
    }

    /// Reads what is left of the document, so that its connection can carry another request.
    ///
    /// # Errors
    /// [`PutStreamError::Malformed`] when more than an end is left.
    pub async fn finish(&mut self) -> Result<(), PutStreamError> {
        let mut left = self.pending.len();
        while let Some(more) = self.more().await? {
            left += more.len();
            if left > END_BYTES_MAX {
                return Err(PutStreamError::Malformed("goes on after its end"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use apus_daemon::http::{full, stream};

    use super::*;

    fn document(object: &[u8], commit: bool) -> Vec<u8> {
        let encoder = PutEncoder::new("boundary".to_owned());
        let footers = Metadata::from([("Etag".to_owned(), "x".to_owned())]);
        let mut bytes = encoder.head().to_vec();
        bytes.extend(object);
        bytes.extend(encoder.footers(&footers, commit));
        if commit {
            bytes.extend(encoder.commit());
        }
        bytes
    }

    async fn read(body: Body, length: Option<u64>) -> Result<(Vec<u8>, Metadata), PutStreamError> {
        let mut decoder = PutDecoder::open(body, "boundary", length).await?;
        let mut object = Vec::new();
        while let Some(data) = decoder.data().await? {
            object.extend_from_slice(&data);
        }
        let footers = decoder.footers().await?;
        decoder.commit().await?;
        Ok((object, footers))
    }

    #[tokio::test]
    async fn any_cut_of_the_stream_gives_the_same_object_and_footers() {
        let object = b"some\r\n--bound data\r\n--".to_vec();
        let bytes = document(&object, true);
        for length in [None, Some(object.len() as u64)] {
            for cut in 1..bytes.len() {
                let (sender, receiver) = tokio::sync::mpsc::channel(4);
                sender.send(Ok(Bytes::copy_from_slice(&bytes[..cut]))).await.unwrap();
                sender.send(Ok(Bytes::copy_from_slice(&bytes[cut..]))).await.unwrap();
                drop(sender);
                let (got, footers) = read(stream(receiver), length).await.unwrap();
                assert_eq!(got, object, "cut at {cut}");
                assert_eq!(footers["Etag"], "x");
            }
        }
    }

    #[tokio::test]
    async fn the_object_is_passed_on_and_not_copied() {
        let object = Bytes::from(vec![b'x'; 100_000]);
        let encoder = PutEncoder::new("boundary".to_owned());
        let (sender, receiver) = tokio::sync::mpsc::channel(4);
        sender.send(Ok(encoder.head())).await.unwrap();
        sender.send(Ok(object.clone())).await.unwrap();
        sender.send(Ok(encoder.footers(&Metadata::new(), false))).await.unwrap();
        drop(sender);
        let mut decoder =
            PutDecoder::open(stream(receiver), "boundary", Some(100_000)).await.unwrap();
        let data = decoder.data().await.unwrap().unwrap();
        assert_eq!((data.as_ptr(), data.len()), (object.as_ptr(), object.len()));
        assert!(decoder.data().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_stream_without_commit_or_with_a_changed_footer_is_refused() {
        let bytes = document(b"abc", false);
        assert!(matches!(read(full(bytes), None).await, Err(PutStreamError::Broken(_))));
        let mut bytes = document(b"abc", true);
        let at = memchr::memmem::find(&bytes, b"\"x\"").unwrap();
        bytes[at + 1] = b'y';
        assert!(matches!(read(full(bytes), None).await, Err(PutStreamError::FooterDigest)));
    }
}
