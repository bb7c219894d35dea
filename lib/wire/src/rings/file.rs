//! A ring file that was read whole and loads.

use std::path::Path;

use apus_ring::Ring;
use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{FILE_BYTES_MAX, RingName};

/// A ring file's bytes, with what is known of them.
#[derive(Debug, Clone)]
pub struct RingFile {
    name: RingName,
    bytes: Bytes,
    sha256: String,
    md5: String,
    ring: Ring,
}

impl RingFile {
    /// Takes the bytes of a file apart. Costs what loading a ring costs; not for async threads.
    ///
    /// # Errors
    /// Why the bytes are not a ring.
    pub fn new(name: RingName, bytes: Bytes) -> Result<Self, String> {
        let digests = digests(&bytes);
        Self::with_digests(name, bytes, digests)
    }

    /// As [`RingFile::new`], with what [`digests`] gave for the bytes.
    pub(super) fn with_digests(
        name: RingName,
        bytes: Bytes,
        (sha256, md5): (String, String),
    ) -> Result<Self, String> {
        let ring = Ring::decode(&bytes).map_err(|error| format!("{name}: {error}"))?;
        Ok(Self { name, bytes, sha256, md5, ring })
    }

    /// Reads a file under its own name. Waits for the disk.
    ///
    /// # Errors
    /// Text that names the file and what is wrong with it.
    pub fn read(path: &Path) -> Result<Self, String> {
        let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let name = RingName::try_from(name.to_owned()).map_err(|error| failed(&error))?;
        let length = std::fs::metadata(path).map_err(|error| failed(&error))?.len();
        if length > FILE_BYTES_MAX {
            return Err(failed(&format!("{length} bytes: expected at most {FILE_BYTES_MAX}")));
        }
        let bytes = std::fs::read(path).map_err(|error| failed(&error))?;
        Self::new(name, bytes.into()).map_err(|error| failed(&error))
    }

    /// Its name.
    pub fn name(&self) -> &RingName {
        &self.name
    }

    /// Its bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// How many bytes.
    pub fn length(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// SHA-256, in lower-case hexadecimal digits.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// MD5 likewise.
    pub fn md5(&self) -> &str {
        &self.md5
    }

    /// The ring in it.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }
}

/// SHA-256 and MD5.
pub(super) fn digests(bytes: &[u8]) -> (String, String) {
    (hex::encode(Sha256::digest(bytes)), format!("{:x}", md5::compute(bytes)))
}

#[cfg(test)]
pub(super) mod tests {
    use apus_ring::builder::{NewDevice, RingBuilder};
    use apus_ring::format::{self, UncheckedRing};

    use super::*;

    /// A ring of 16 partitions on three devices.
    pub(in crate::rings) fn raw(version: u64) -> UncheckedRing {
        let mut builder = RingBuilder::new(4, 3.0, 1).unwrap();
        for number in 1..=3 {
            builder.add(NewDevice {
                region: 1,
                zone: number,
                ip: format!("127.0.0.{number}"),
                port: 6200,
                replication_ip: None,
                replication_port: None,
                device: "sd1".to_owned(),
                weight: 1.0,
                meta: String::new(),
            });
        }
        builder.rebalance(0, 1).unwrap();
        UncheckedRing { version, ..builder.ring_data() }
    }

    pub(in crate::rings) fn file_of(kind: &str, raw: &UncheckedRing) -> RingFile {
        let name = RingName::parse(&format!("{kind}.ring.gz")).unwrap();
        RingFile::new(name, format::encode(raw, 1).unwrap().into()).unwrap()
    }

    pub(in crate::rings) fn ring_file(kind: &str, version: u64) -> RingFile {
        file_of(kind, &raw(version))
    }

    #[test]
    fn what_is_no_ring_file_is_refused_by_name() {
        let name = RingName::parse("object.ring.gz").unwrap();
        let error = RingFile::new(name, Bytes::from_static(b"not a ring")).unwrap_err();
        assert!(error.starts_with("object.ring.gz: not a gzip file"), "{error}");
        let error = RingFile::read(Path::new("/etc/passwd")).unwrap_err();
        assert!(error.contains("expected account.ring.gz"), "{error}");
    }
}
