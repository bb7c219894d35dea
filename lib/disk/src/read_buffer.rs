//! Buffers for reads of files that are used again.
//!
//! Safe code can read only into bytes that have a value, and to clear a new buffer costs about as much
//! as to copy its contents from the page cache. A large buffer therefore returns to a list when the last
//! [`Bytes`] that refers to it is dropped.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Shorter buffers are allocated for each read: a small object must not occupy a large buffer while
/// it waits for its client.
const POOLED_BYTES_MIN: usize = 64 * 1024;
/// Longer buffers are not kept.
const POOLED_BYTES_MAX: usize = 512 * 1024;
/// Maximum number of buffers that are kept while nothing uses them.
const FREE_MAX: usize = 32;

/// Buffers that are not in use.
#[derive(Debug, Default)]
pub struct ReadBuffers {
    free: Mutex<Vec<Vec<u8>>>,
}

impl ReadBuffers {
    /// A buffer of `length` bytes. Its contents are unspecified: those of an earlier read.
    pub fn take(self: &Arc<Self>, length: usize) -> ReadBuffer {
        if !(POOLED_BYTES_MIN..=POOLED_BYTES_MAX).contains(&length) {
            return ReadBuffer { bytes: vec![0; length], length, pool: None };
        }
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut bytes = free.unwrap_or_default();
        if bytes.len() < length {
            bytes.resize(length, 0);
        }
        ReadBuffer { bytes, length, pool: Some(self.clone()) }
    }

    fn put_back(&self, bytes: Vec<u8>) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < FREE_MAX {
            free.push(bytes);
        }
    }
}

/// A buffer in use.
#[derive(Debug)]
pub struct ReadBuffer {
    /// At least `length` bytes.
    bytes: Vec<u8>,
    length: usize,
    pool: Option<Arc<ReadBuffers>>,
}

impl ReadBuffer {
    /// Shortens the buffer to what was read.
    pub fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }

    /// The contents, which must all have been read.
    pub fn freeze(mut self) -> Bytes {
        match self.pool {
            Some(_) => Bytes::from_owner(self),
            None => {
                let mut bytes = std::mem::take(&mut self.bytes);
                bytes.truncate(self.length);
                bytes.into()
            }
        }
    }
}

impl AsRef<[u8]> for ReadBuffer {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl AsMut<[u8]> for ReadBuffer {
    fn as_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(..self.length).unwrap_or_default()
    }
}

impl Drop for ReadBuffer {
    fn drop(&mut self) {
        if let Some(pool) = &self.pool {
            pool.put_back(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(buffers: &ReadBuffers) -> usize {
        buffers.free.lock().unwrap().len()
    }

    fn read(buffers: &Arc<ReadBuffers>, length: usize, contents: &[u8]) -> Bytes {
        let mut buffer = buffers.take(length);
        assert_eq!(buffer.as_mut().len(), length);
        buffer.as_mut()[..contents.len()].copy_from_slice(contents);
        buffer.truncate(contents.len());
        buffer.freeze()
    }

    #[test]
    fn a_buffer_shows_what_was_read_and_is_used_again_when_nothing_refers_to_it() {
        let buffers = Arc::new(ReadBuffers::default());
        let first = read(&buffers, POOLED_BYTES_MIN, b"a long first piece");
        let part = first.slice(2..6);
        drop(first);
        assert_eq!((kept(&buffers), &part[..]), (0, &b"long"[..]));
        drop(part);
        assert_eq!(kept(&buffers), 1);
        let second = read(&buffers, POOLED_BYTES_MAX, b"second");
        assert_eq!((kept(&buffers), &second[..]), (0, &b"second"[..]));
        drop(second);
        assert_eq!(&read(&buffers, POOLED_BYTES_MIN, b"3")[..], b"3");
        assert_eq!(kept(&buffers), 1);
    }

    #[test]
    fn small_and_very_large_buffers_and_more_than_the_limit_are_not_kept() {
        let buffers = Arc::new(ReadBuffers::default());
        for length in [0, 1, POOLED_BYTES_MIN - 1, POOLED_BYTES_MAX + 1] {
            let contents = vec![7; length];
            assert_eq!(read(&buffers, length, &contents), contents);
        }
        assert_eq!(kept(&buffers), 0);
        let many: Vec<_> =
            (0..FREE_MAX + 5).map(|_| read(&buffers, POOLED_BYTES_MIN, b"x")).collect();
        drop(many);
        assert_eq!(kept(&buffers), FREE_MAX);
    }
}
