//! Digests of a body in transit: MD5 for the etag, CRC for the nodes.

use std::sync::Arc;

use apus_wire::Client;

/// Running digests of a body, each byte digested once.
pub(super) struct Digests {
    client: Arc<Client>,
    md5: md5::Context,
    crc: crc_fast::Digest,
    /// Bytes so far.
    pub(super) length: u64,
}

impl Digests {
    /// Of an empty body; the bytes are counted with the client's traffic.
    pub(super) fn new(client: &Arc<Client>) -> Self {
        Self {
            client: client.clone(),
            md5: md5::Context::new(),
            crc: crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme),
            length: 0,
        }
    }

    /// Adds the next bytes.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.client.counters().digested(bytes.len());
        self.md5.consume(bytes);
        self.crc.update(bytes);
        self.length += bytes.len() as u64;
    }

    /// MD5 and CRC-64/NVME in hex.
    pub(super) fn finish(self) -> (String, String) {
        (format!("{:x}", self.md5.finalize()), format!("{:016x}", self.crc.finalize()))
    }
}
