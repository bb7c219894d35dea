//! The work of the auditor on one device, in jobs of its threads.
//!
//! Most suffixes have one object and most objects are small. A job and a wake-up for each step would
//! cost more than the step, so one job does all steps for several suffixes.

use std::io;

use super::body::{self, BodyVerdict};
use super::options::SweepKind;
use crate::engine::Engine;
use crate::engine::audit::{AuditEntry, Examined};
use crate::engine::place::Partition;
use crate::engine::suffix_hashes::KnownHashes;

/// Objects that are examined in one job at most; those of a larger suffix are examined one by one, so
/// that no job holds a thread for long and few files are open.
const OBJECTS_AT_ONCE: usize = 16;
/// Bodies up to this size in bytes are verified in the job that examines their objects.
const SMALL_BODY_BYTES: u64 = 64 * 1024;
/// Bytes of bodies after which a job ends.
const BODY_BYTES_AT_ONCE: u64 = 256 * 1024;

/// What a job found before the suffixes of a partition are visited.
pub(super) struct AuditedPartition {
    /// Whether damaged suffix hashes were removed; `None` in a sweep that does not look at them.
    pub(super) removed_hashes: Option<io::Result<bool>>,
    pub(super) suffixes: io::Result<Vec<String>>,
    pub(super) known: io::Result<KnownHashes>,
}

impl AuditedPartition {
    pub(super) fn read(engine: &dyn Engine, partition: &Partition, kind: SweepKind) -> Self {
        let removed_hashes =
            (kind == SweepKind::All).then(|| engine.remove_damaged_hashes(partition));
        let suffixes = engine.audit_suffixes(partition);
        let known = match &suffixes {
            Ok(suffixes) if !suffixes.is_empty() => engine.known_hashes(partition),
            _ => Ok(KnownHashes::default()),
        };
        Self { removed_hashes, suffixes, known }
    }
}

/// What a job found of one object.
pub(super) struct Finding {
    pub(super) examined: Examined,
    /// The verdict on its body, if that was small.
    pub(super) body: Option<io::Result<BodyVerdict>>,
}

impl Finding {
    fn of(examined: Examined, options: BatchOptions) -> Self {
        let body = match &examined {
            Examined::Object(_, object)
                if options.kind == SweepKind::All && object.length <= SMALL_BODY_BYTES =>
            {
                Some(body::verify_small(object, options.add_checksums))
            }
            _ => None,
        };
        Self { examined, body }
    }

    fn body_bytes(&self) -> u64 {
        match (&self.body, &self.examined) {
            (Some(_), Examined::Object(_, object)) => object.length,
            _ => 0,
        }
    }
}

/// How a job audits.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchOptions {
    pub(super) kind: SweepKind,
    /// Whether bodies without checksums get them.
    pub(super) add_checksums: bool,
}

/// What a job found in a suffix.
pub(super) struct AuditedSuffix {
    /// The entries, and the findings, if the entries are few.
    pub(super) entries: Vec<(AuditEntry, Option<io::Result<Finding>>)>,
    /// Whether the stored hash was wrong and has been invalidated.
    pub(super) was_stale: bool,
}

impl AuditedSuffix {
    fn read(
        engine: &dyn Engine,
        (partition, suffix): (&Partition, &str),
        known: &KnownHashes,
        options: BatchOptions,
    ) -> io::Result<Self> {
        let entries = engine.audit_entries(partition, suffix)?;
        let few = entries.len() <= OBJECTS_AT_ONCE;
        let find = |entry: &AuditEntry| match entry {
            AuditEntry::Object(hash) if few => {
                let examined = engine.examine(&partition.place(*hash));
                Some(examined.map(|examined| Finding::of(examined, options)))
            }
            AuditEntry::Object(_) | AuditEntry::Misnamed(_) => None,
        };
        let entries = entries.into_iter().map(|entry| {
            let finding = find(&entry);
            (entry, finding)
        });
        let entries = entries.collect();
        let was_stale = engine.invalidate_if_stale(partition, suffix, known)?;
        Ok(Self { entries, was_stale })
    }

    fn body_bytes(&self) -> u64 {
        let findings =
            self.entries.iter().filter_map(|(_, finding)| finding.as_ref()?.as_ref().ok());
        findings.map(Finding::body_bytes).sum()
    }
}

/// Audits the first of some suffixes, as many as fit into one job; there is a result for each.
pub(super) fn audit_suffixes(
    engine: &dyn Engine,
    (partition, suffixes): (&Partition, &[String]),
    known: &KnownHashes,
    options: BatchOptions,
) -> Vec<io::Result<AuditedSuffix>> {
    let (mut audited, mut objects, mut bytes) = (Vec::new(), 0, 0);
    for suffix in suffixes {
        if objects >= OBJECTS_AT_ONCE || bytes >= BODY_BYTES_AT_ONCE {
            break;
        }
        let found = AuditedSuffix::read(engine, (partition, suffix), known, options);
        if let Ok(found) = &found {
            objects += found.entries.len();
            bytes += found.body_bytes();
        }
        audited.push(found);
    }
    audited
}
