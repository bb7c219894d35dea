//! Verifies the body of an object against its stored digests.

use std::io;
use std::sync::Arc;

use apus_daemon::Pace;
use apus_disk::Priority;

use crate::engine::blocks::{BlockDigest, Blocks, DecodedBlocks};
use crate::engine::object::Object;
use crate::store::ObjectStore;

/// Bytes of a body that are read at a time.
const READ_BYTES: usize = 256 * 1024;

/// Digests of a body.
struct BodyDigests {
    md5: md5::Context,
    crc: crc_fast::Digest,
    blocks: BlockDigest,
    length: u64,
}

impl BodyDigests {
    fn new(length: u64) -> Self {
        Self {
            md5: md5::Context::new(),
            crc: crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme),
            blocks: BlockDigest::new(Some(length)),
            length: 0,
        }
    }

    /// Bytes of the next piece to read.
    fn next_piece(&self, object: &Object) -> usize {
        usize::try_from(object.length - self.length).unwrap_or(READ_BYTES).min(READ_BYTES)
    }

    /// Reads up to `wanted` bytes more; returns how many there were. Blocks.
    fn read(&mut self, object: &Object, wanted: usize) -> io::Result<usize> {
        let mut buffer = vec![0; wanted];
        let read = object.body.read_at(&mut buffer, self.length)?;
        let bytes = buffer.get(..read).unwrap_or_default();
        self.md5.consume(bytes);
        self.crc.update(bytes);
        self.blocks.update(bytes);
        self.length += read as u64;
        Ok(read)
    }
}

/// Result of verifying a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BodyVerdict {
    /// As it was written.
    Good {
        /// Whether checksums were added to it.
        added: bool,
    },
    /// The reason why it is not what was written.
    Damaged(String),
}

/// Verifies a body against every stored digest, at most at `pace`. A good one without checksums of
/// its own (Swift wrote it) gets them, so that ranges of it can be verified.
pub(super) async fn verify(
    store: &ObjectStore,
    device: &str,
    object: &Arc<Object>,
    pace: &mut Pace,
    add_checksums: bool,
) -> io::Result<BodyVerdict> {
    let mut sums = BodyDigests::new(object.length);
    while sums.length < object.length {
        let wanted = sums.next_piece(object);
        pace.take(wanted as f64).await;
        let object = object.clone();
        let work = move || {
            let read = sums.read(&object, wanted)?;
            Ok::<_, io::Error>((sums, read))
        };
        let done = store.devices.run(device, Priority::Background, work).await??;
        sums = done.0;
        if done.1 == 0 {
            return Ok(truncated());
        }
    }
    let object = object.clone();
    let work = move || compare(&object, sums, add_checksums);
    Ok(store.devices.run(device, Priority::Background, work).await?)
}

/// As [`verify`], for a body that is read in one piece. Blocks.
pub(super) fn verify_small(object: &Object, add_checksums: bool) -> io::Result<BodyVerdict> {
    let mut sums = BodyDigests::new(object.length);
    while sums.length < object.length {
        let wanted = sums.next_piece(object);
        if sums.read(object, wanted)? == 0 {
            return Ok(truncated());
        }
    }
    Ok(compare(object, sums, add_checksums))
}

fn truncated() -> BodyVerdict {
    BodyVerdict::Damaged("shorter than the metadata says".to_owned())
}

fn compare(object: &Object, sums: BodyDigests, add_checksums: bool) -> BodyVerdict {
    let md5 = format!("{:x}", sums.md5.finalize());
    if apus_fault::planted("bug.audit-no-bodies") {
        return BodyVerdict::Good { added: false };
    }
    if md5 != object.etag() {
        return BodyVerdict::Damaged(format!("MD5 {md5} is not the ETag {}", object.etag()));
    }
    let crc = sums.crc.finalize();
    let known_crc = object.body.crc();
    if known_crc.is_some_and(|known| known != crc) {
        return BodyVerdict::Damaged("CRC is not the stored one".to_owned());
    }
    let mut blocks = sums.blocks.finish();
    match (object.blocks(), &mut blocks) {
        (Some(DecodedBlocks::Valid(known)), Some(computed)) => {
            while computed.size < known.size && computed.double() {}
            if known != *computed {
                return BodyVerdict::Damaged(
                    "checksums of the blocks are not the stored ones".to_owned(),
                );
            }
            blocks = None;
        }
        (Some(DecodedBlocks::Damaged), _) => {
            return BodyVerdict::Damaged("checksums of the blocks are damaged".to_owned());
        }
        (Some(DecodedBlocks::Unknown), _) => blocks = None,
        _ => {}
    }
    // An empty body needs none; an unreadable one is replaced.
    let needs_crc = known_crc.is_none() && (object.length > 0 || object.body.has_crc());
    let crc = needs_crc.then_some(crc);
    let added = add_checksums && add(object, crc, blocks);
    BodyVerdict::Good { added }
}

/// Adds missing checksums, durably, if the file has room for them.
fn add(object: &Object, crc: Option<u64>, blocks: Option<Blocks>) -> bool {
    if crc.is_none() && blocks.is_none() {
        return false;
    }
    match object.body.add_checksums(crc, blocks) {
        Ok(added) => added,
        Err(error) => {
            tracing::debug!(%error, "Failed to add checksums to a body");
            false
        }
    }
}
