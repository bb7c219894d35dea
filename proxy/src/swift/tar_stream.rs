//! Reads a tar archive from a stream: one entry after another, with bounded memory.
//!
//! Headers of POSIX, ustar, GNU and pax archives. Nothing is unpacked to a file system.

use std::collections::BTreeMap;
use std::io::ErrorKind;

use bytes::Bytes;
use tar::{EntryType, Header};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;

use apus_daemon::http::BodyError;

/// Length of a block in bytes.
const BLOCK: usize = 512;
/// Longest extended header, or long name, in bytes.
const EXTENDED_BYTES_MAX: u64 = 256 * 1024;
/// Length of the pieces in which data is read, in bytes.
const PIECE_BYTES: usize = 64 * 1024;

/// The reason why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum TarError {
    /// It is not an archive, or it is damaged.
    #[error("{0}")]
    Invalid(&'static str),
    /// It ends within an entry, the client disconnected, or the compressed data is damaged.
    #[error("{0}")]
    Read(#[from] std::io::Error),
}

/// An entry of an archive.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TarEntry {
    /// Its name, as the archive has it.
    pub(super) name: Vec<u8>,
    /// Length of its data in bytes.
    pub(super) size: u64,
    /// Its kind.
    pub(super) kind: TarEntryKind,
    /// Its extended attributes and other items of its pax header.
    pub(super) attributes: BTreeMap<String, Vec<u8>>,
}

/// The kind of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TarEntryKind {
    /// A file.
    File,
    /// A file with holes, whose data is a map and what is between them.
    Sparse,
    /// A directory, link or device.
    Other,
}

/// What extended headers say of the next entry.
#[derive(Debug, Default)]
struct Extended {
    name: Option<Vec<u8>>,
    items: BTreeMap<String, Vec<u8>>,
}

/// The entries of an archive.
pub(super) struct TarStream<R> {
    reader: R,
    /// Bytes before the next header: data of the last entry that was not read, and its padding.
    left: u64,
    /// The part of them that is data.
    data: u64,
    /// Items of global pax headers, for all further entries.
    global: BTreeMap<String, Vec<u8>>,
    is_first: bool,
}

/// The length of data with its padding.
fn padded(size: u64) -> Result<u64, TarError> {
    let blocks = size.div_ceil(BLOCK as u64);
    blocks.checked_mul(BLOCK as u64).ok_or(TarError::Invalid("an entry is too long"))
}

/// Whether the sum of a header's bytes is the one that it has; old archives add signed bytes.
fn is_intact(block: &[u8], expected: u32) -> bool {
    let of = |value: &dyn Fn(u8) -> i64| {
        let bytes = block.iter().enumerate();
        let sum: i64 = bytes
            .map(|(at, byte)| value(if (148..156).contains(&at) { b' ' } else { *byte }))
            .sum();
        sum
    };
    let expected = i64::from(expected);
    of(&|byte| i64::from(byte)) == expected || of(&|byte| i64::from(byte.cast_signed())) == expected
}

/// The first item of a pax header, `<length> <key>=<value>` with a line break, and the rest. Values may
/// have line breaks of their own, which the parser of the crate `tar` refuses.
fn pax_item(data: &[u8]) -> Option<(String, &[u8], &[u8])> {
    let blank = data.iter().position(|byte| *byte == b' ')?;
    let length: usize = std::str::from_utf8(data.get(..blank)?).ok()?.parse().ok()?;
    let (item, rest) = data.split_at_checked(length)?;
    let item = item.get(blank + 1..)?.strip_suffix(b"\n")?;
    let equals = item.iter().position(|byte| *byte == b'=')?;
    let key = std::str::from_utf8(item.get(..equals)?).ok()?;
    Some((key.to_owned(), item.get(equals + 1..)?, rest))
}

/// Adds the items of a pax header, which replace others with their keys.
fn add_pax_items(items: &mut BTreeMap<String, Vec<u8>>, mut data: &[u8]) -> Result<(), TarError> {
    while !data.is_empty() {
        let (key, value, rest) = pax_item(data).ok_or(TarError::Invalid("invalid pax header"))?;
        items.insert(key, value.to_vec());
        data = rest;
    }
    let bytes: usize = items.iter().map(|(key, value)| key.len() + value.len()).sum();
    match bytes as u64 > EXTENDED_BYTES_MAX {
        true => Err(TarError::Invalid("an extended header is too long")),
        false => Ok(()),
    }
}

/// A name up to its NUL.
fn until_nul(mut name: Vec<u8>) -> Vec<u8> {
    if let Some(end) = name.iter().position(|byte| *byte == 0) {
        name.truncate(end);
    }
    name
}

impl<R: AsyncRead + Unpin> TarStream<R> {
    /// The archive in a stream.
    pub(super) fn new(reader: R) -> Self {
        Self { reader, left: 0, data: 0, global: BTreeMap::new(), is_first: true }
    }

    /// The next entry; `None` at the end. Data of the last entry that was not read is passed over.
    ///
    /// # Errors
    /// When the archive is damaged, or the stream fails.
    pub(super) async fn next(&mut self) -> Result<Option<TarEntry>, TarError> {
        let mut extended = Extended::default();
        loop {
            self.skip().await?;
            let Some(header) = self.header().await? else {
                // The checksum of compressed data is at its end.
                tokio::io::copy(&mut self.reader, &mut tokio::io::sink()).await?;
                return Ok(None);
            };
            let size = header.entry_size().map_err(|_| TarError::Invalid("invalid size"))?;
            match header.entry_type() {
                EntryType::XHeader => {
                    add_pax_items(&mut extended.items, &self.document(size).await?)?;
                }
                EntryType::XGlobalHeader => {
                    let document = self.document(size).await?;
                    add_pax_items(&mut self.global, &document)?;
                }
                EntryType::GNULongName => {
                    extended.name = Some(until_nul(self.document(size).await?));
                }
                EntryType::GNULongLink => drop(self.document(size).await?),
                kind => {
                    self.skip_map(&header).await?;
                    return self.entry(&header, kind, size, extended).map(Some);
                }
            }
        }
    }

    fn entry(
        &mut self,
        header: &Header,
        kind: EntryType,
        size: u64,
        extended: Extended,
    ) -> Result<TarEntry, TarError> {
        let mut attributes = self.global.clone();
        attributes.extend(extended.items);
        let size = match attributes.get("size").map(|text| std::str::from_utf8(text)) {
            None => size,
            Some(text) => {
                let number = text.ok().and_then(|text| text.parse().ok());
                number.ok_or(TarError::Invalid("invalid size"))?
            }
        };
        let name = attributes.get("path").cloned().or(extended.name);
        let name = name.unwrap_or_else(|| header.path_bytes().into_owned());
        let is_sparse =
            kind.is_gnu_sparse() || attributes.keys().any(|key| key.starts_with("GNU.sparse."));
        let kind = match kind {
            _ if is_sparse => TarEntryKind::Sparse,
            // Before POSIX a slash at the end of the name made a directory.
            EntryType::Regular if name.ends_with(b"/") && header.as_old().linkflag == [0] => {
                TarEntryKind::Other
            }
            EntryType::Regular | EntryType::Continuous => TarEntryKind::File,
            _ => TarEntryKind::Other,
        };
        // Links, devices and directories have no data, whatever size they state.
        let size = match header.entry_type() {
            EntryType::Link
            | EntryType::Symlink
            | EntryType::Char
            | EntryType::Block
            | EntryType::Directory
            | EntryType::Fifo => 0,
            _ => size,
        };
        self.data = size;
        self.left = padded(size)?;
        Ok(TarEntry { name, size, kind, attributes })
    }

    /// The next header; `None` at the end of the archive.
    async fn header(&mut self) -> Result<Option<Header>, TarError> {
        let mut header = Header::new_old();
        let block: &mut [u8] = header.as_mut_bytes();
        match self.reader.read(block).await? {
            0 if self.is_first => return Err(TarError::Invalid("empty file")),
            // An archive may end without its blocks of zeros.
            0 => return Ok(None),
            read => {
                let rest = block.get_mut(read..).unwrap_or_default();
                self.reader.read_exact(rest).await?;
            }
        }
        self.is_first = false;
        if header.as_bytes().iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let sum = header.cksum().map_err(|_| TarError::Invalid("invalid header"))?;
        if !is_intact(header.as_bytes(), sum) {
            return Err(TarError::Invalid("bad checksum"));
        }
        Ok(Some(header))
    }

    /// Passes over the blocks with the rest of the map of GNU's sparse file.
    async fn skip_map(&mut self, header: &Header) -> Result<(), TarError> {
        let is_extended = |block: &[u8], at: usize| block.get(at) == Some(&1);
        let mut goes_on =
            header.entry_type().is_gnu_sparse() && is_extended(header.as_bytes(), 482);
        let mut block = [0; BLOCK];
        while goes_on {
            self.reader.read_exact(&mut block).await?;
            goes_on = is_extended(&block, 504);
        }
        Ok(())
    }

    /// The data of an extended header.
    async fn document(&mut self, size: u64) -> Result<Vec<u8>, TarError> {
        if size > EXTENDED_BYTES_MAX {
            return Err(TarError::Invalid("an extended header is too long"));
        }
        let mut data = Vec::new();
        (&mut self.reader).take(size).read_to_end(&mut data).await?;
        if data.len() as u64 != size {
            return Err(std::io::Error::from(ErrorKind::UnexpectedEof).into());
        }
        (self.data, self.left) = (0, padded(size)? - size);
        Ok(data)
    }

    /// Passes over what is left of an entry.
    async fn skip(&mut self) -> Result<(), TarError> {
        self.data = 0;
        let mut rest = (&mut self.reader).take(self.left);
        let passed = tokio::io::copy(&mut rest, &mut tokio::io::sink()).await?;
        if passed != self.left {
            return Err(std::io::Error::from(ErrorKind::UnexpectedEof).into());
        }
        self.left = 0;
        Ok(())
    }

    /// Sends the data of the entry, until it ends or the receiver does. A failure is sent as well.
    ///
    /// # Errors
    /// When the stream ends or fails.
    pub(super) async fn send(
        &mut self,
        sender: mpsc::Sender<Result<Bytes, BodyError>>,
    ) -> Result<(), TarError> {
        while self.data > 0 {
            let length = usize::try_from(self.data).unwrap_or(usize::MAX).min(PIECE_BYTES);
            let mut piece = vec![0; length];
            let read = match self.reader.read(&mut piece).await {
                Ok(0) => Err(std::io::Error::from(ErrorKind::UnexpectedEof)),
                read => read,
            };
            let read = match read {
                Ok(read) => read,
                Err(error) => {
                    let sent = std::io::Error::new(error.kind(), error.to_string());
                    // A receiver that has ended needs no error.
                    let _ = sender.send(Err(sent.into())).await;
                    return Err(error.into());
                }
            };
            piece.truncate(read);
            self.data = self.data.saturating_sub(read as u64);
            self.left = self.left.saturating_sub(read as u64);
            if sender.send(Ok(piece.into())).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(name: &str, kind: EntryType, data: &[u8]) -> Vec<u8> {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_path(name).unwrap();
        header.set_size(data.len() as u64);
        header.set_cksum();
        let mut out = header.as_bytes().to_vec();
        out.extend_from_slice(data);
        out.resize(out.len().next_multiple_of(BLOCK), 0);
        out
    }

    fn pax(items: &[(&str, &str)]) -> Vec<u8> {
        let line = |(key, value): &(&str, &str)| {
            let rest = format!(" {key}={value}\n");
            let length = (1..).find(|n| n.to_string().len() + rest.len() == *n).unwrap();
            format!("{length}{rest}")
        };
        items.iter().map(line).collect::<String>().into_bytes()
    }

    async fn names(archive: &[u8]) -> Result<Vec<(String, TarEntryKind, Vec<u8>)>, TarError> {
        let mut tar = TarStream::new(archive);
        let mut found = Vec::new();
        while let Some(entry) = tar.next().await? {
            let (sender, mut receiver) = mpsc::channel(1000);
            if entry.kind == TarEntryKind::File {
                tar.send(sender).await?;
            } else {
                drop(sender);
            }
            let mut data = Vec::new();
            while let Some(piece) = receiver.recv().await {
                data.extend_from_slice(&piece.unwrap());
            }
            found.push((String::from_utf8(entry.name).unwrap(), entry.kind, data));
        }
        Ok(found)
    }

    #[tokio::test]
    async fn entries_are_read_one_after_another() {
        let long = "d/".repeat(200) + "file";
        let archive = [
            block("a", EntryType::Regular, b"one"),
            block("d/", EntryType::Directory, b""),
            block("link", EntryType::Symlink, b""),
            block("n", EntryType::GNULongName, format!("{long}\0").as_bytes()),
            block("short", EntryType::Regular, &[7; 1000]),
            block(
                "x",
                EntryType::XHeader,
                &pax(&[("path", "ü"), ("size", "3"), ("SCHILY.xattr.a", "\n\n")]),
            ),
            block("y", EntryType::Regular, b"two"),
            vec![0; 1024],
            b"ignored".to_vec(),
        ]
        .concat();
        let file = |name: &str, data: &[u8]| (name.to_owned(), TarEntryKind::File, data.to_vec());
        let other = |name: &str| (name.to_owned(), TarEntryKind::Other, Vec::new());
        let expected = [
            file("a", b"one"),
            other("d/"),
            other("link"),
            file(&long, &[7; 1000]),
            file("ü", b"two"),
        ];
        assert_eq!(names(&archive).await.unwrap(), expected);
    }

    #[tokio::test]
    async fn items_of_extended_headers_are_the_next_entrys() {
        let archive = [
            block("g", EntryType::XGlobalHeader, &pax(&[("SCHILY.xattr.user.meta.all", "1")])),
            block("x", EntryType::XHeader, &pax(&[("SCHILY.xattr.user.mime_type", "a/b")])),
            block("one", EntryType::Regular, b""),
            block("two", EntryType::Regular, b""),
            block("x", EntryType::XHeader, &pax(&[("GNU.sparse.major", "1")])),
            block("holes", EntryType::Regular, b""),
        ]
        .concat();
        let mut tar = TarStream::new(&archive[..]);
        let one = tar.next().await.unwrap().unwrap();
        assert_eq!(one.attributes.len(), 2);
        assert_eq!(one.attributes["SCHILY.xattr.user.mime_type"], b"a/b");
        assert_eq!(tar.next().await.unwrap().unwrap().attributes.len(), 1);
        assert_eq!(tar.next().await.unwrap().unwrap().kind, TarEntryKind::Sparse);
        assert!(tar.next().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn damaged_archives_are_refused() {
        let whole = block("a", EntryType::Regular, &[1; 600]);
        let mut damaged = whole.clone();
        damaged[0] ^= 1;
        let long = vec![b'x'; 300 * 1024];
        for (archive, text) in [
            (Vec::new(), "empty file"),
            (b"no archive".to_vec(), "early eof"),
            (vec![b'x'; 512], "invalid header"),
            (damaged, "bad checksum"),
            (whole[..700].to_vec(), "unexpected end of file"),
            (whole[..600].to_vec(), "unexpected end of file"),
            (block("x", EntryType::XHeader, b"nonsense"), "invalid pax header"),
            (block("x", EntryType::XHeader, &long), "an extended header is too long"),
            (block("n", EntryType::GNULongName, &long), "an extended header is too long"),
        ] {
            let error = names(&archive).await.unwrap_err().to_string();
            assert!(error.contains(text), "{error}: expected {text}");
        }
        let huge = [
            block("x", EntryType::XHeader, &pax(&[("size", "18446744073709551615")])),
            block("a", EntryType::Regular, b""),
        ];
        let error = names(&huge.concat()).await.unwrap_err().to_string();
        assert_eq!(error, "an entry is too long");
    }
}
