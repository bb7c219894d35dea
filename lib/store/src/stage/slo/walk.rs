//! The pieces of a static large object, found while its body streams.
//!
//! A nested manifest is opened when its first wanted byte comes next, and not at all when it is
//! outside the wanted ranges. Before the first byte at most ten manifests are read, as many as may
//! be nested; each of them must have the byte for which it was opened.

use std::sync::Arc;

use apus_cluster::ObjectPath;
use apus_cluster::byte_range::Resolved;
use async_trait::async_trait;

use super::budget::{MANIFEST_BYTES_MAX, ManifestBudget};
use super::manifest::{StoredManifest, open};
use crate::context::Context;
use crate::stage::segments::{Piece, PieceSource, Source};
use crate::{Error, Kind, Primitive, Result, Subject};

/// A manifest that is being walked.
struct OpenManifest {
    path: ObjectPath,
    manifest: StoredManifest,
    /// Index of the next entry.
    next: usize,
    /// Its first byte that is still wanted.
    from: u64,
    /// End of the wanted bytes.
    to: u64,
}

/// The next entry of a manifest.
enum NextEntry {
    Piece(Piece),
    /// Bytes from `from` to `to` of another manifest.
    Manifest {
        path: ObjectPath,
        from: u64,
        to: u64,
    },
}

impl OpenManifest {
    /// Starts to walk the bytes from `from` to `to`.
    fn enter(&mut self, from: u64, to: u64) -> Result<()> {
        if to > self.manifest.total() {
            return Err(conflict(format!(
                "manifest {} has {} bytes, expected {to}",
                self.path,
                self.manifest.total()
            )));
        }
        (self.next, self.from, self.to) = (self.manifest.entry_at(from), from, to);
        Ok(())
    }

    fn step(&mut self) -> Result<Option<NextEntry>> {
        while self.from < self.to {
            let Some((entry, begin, end)) = self.manifest.entry(self.next) else { break };
            self.next += 1;
            let (from, to) = (self.from, self.to.min(end));
            if from >= to {
                continue;
            }
            self.from = to;
            let (skip, length) = (from - begin, to - from);
            if let Some(data) = entry.inline()? {
                let whole = Piece { length: data.len() as u64, source: Source::Inline(data) };
                return Ok(Some(NextEntry::Piece(whole.part(skip, length))));
            }
            let path = entry.path(&self.path.container.account)?;
            let start = entry.span()?.0 + skip;
            if entry.sub_slo {
                return Ok(Some(NextEntry::Manifest { path, from: start, to: start + length }));
            }
            let (etag, size) = (entry.hash.clone(), Some(entry.bytes));
            let source = Source::Object { path, etag, size, start };
            return Ok(Some(NextEntry::Piece(Piece { source, length })));
        }
        Ok(None)
    }
}

fn conflict(cause: String) -> Error {
    Error::new(Kind::Conflict, Subject::Object).because(cause)
}

/// The pieces of some ranges of a static large object.
pub(super) struct ManifestWalk {
    store: Arc<dyn Primitive>,
    cx: Context,
    budget: ManifestBudget,
    /// The open manifests, the outermost first. Those after `depth` were just left and may be entered
    /// again.
    levels: Vec<OpenManifest>,
    depth: usize,
    ranges: std::vec::IntoIter<Resolved>,
    /// Number of bytes left.
    left: u64,
}

impl ManifestWalk {
    /// Walks ranges of `object`, whose manifest is given.
    pub(super) fn new(
        store: Arc<dyn Primitive>,
        cx: Context,
        object: ObjectPath,
        manifest: StoredManifest,
        ranges: Vec<Resolved>,
    ) -> Self {
        let left = ranges.iter().fold(0_u64, |sum, range| sum.saturating_add(range.length));
        let outermost = OpenManifest { path: object, manifest, next: 0, from: 0, to: 0 };
        Self {
            store,
            cx,
            budget: ManifestBudget::of_read(),
            levels: vec![outermost],
            depth: 0,
            ranges: ranges.into_iter(),
            left,
        }
    }

    /// Enters a manifest that is named by an entry of the innermost open one.
    async fn descend(&mut self, path: ObjectPath, from: u64, to: u64) -> Result<()> {
        let known = self.levels.get(self.depth).is_some_and(|level| level.path == path);
        if !known {
            self.levels.truncate(self.depth);
            self.budget.open(self.depth + 1)?;
            let used = self.levels.iter().map(|level| level.manifest.stored_bytes).sum();
            let room = MANIFEST_BYTES_MAX.saturating_sub(used);
            let manifest =
                self.read(&path, room).await.map_err(|error| match error.is_temporary() {
                    // Its nodes are unreachable, but it may exist.
                    true => error,
                    false => conflict(format!("manifest {path}: {error}")),
                })?;
            self.levels.push(OpenManifest { path, manifest, next: 0, from: 0, to: 0 });
        }
        if let Some(level) = self.levels.get_mut(self.depth) {
            level.enter(from, to)?;
            self.depth += 1;
        }
        Ok(())
    }

    async fn read(&self, path: &ObjectPath, bytes_max: u64) -> Result<StoredManifest> {
        StoredManifest::collect(open(&*self.store, &self.cx, path, None).await?, bytes_max).await
    }
}

#[async_trait]
impl PieceSource for ManifestWalk {
    async fn next(&mut self) -> Result<Option<Piece>> {
        loop {
            let innermost = self.depth.checked_sub(1).and_then(|at| self.levels.get_mut(at));
            let Some(level) = innermost else {
                let Some(range) = self.ranges.next() else { return Ok(None) };
                if let Some(outermost) = self.levels.first_mut() {
                    outermost.enter(range.start, range.start.saturating_add(range.length))?;
                }
                self.depth = 1;
                continue;
            };
            match level.step()? {
                None => self.depth -= 1,
                Some(NextEntry::Manifest { path, from, to }) => {
                    self.descend(path, from, to).await?;
                }
                Some(NextEntry::Piece(piece)) => {
                    self.budget.serve(piece.length)?;
                    self.left = self.left.saturating_sub(piece.length);
                    return Ok(Some(piece));
                }
            }
        }
    }

    fn is_at_end(&self) -> bool {
        self.left == 0
    }
}
