//! The file of the audit log: a thread writes what requests record, so that none waits for the disk.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use apus_daemon::metrics::Metrics;
use apus_disk::RotatedFile;
use apus_options::{options, path, whole};
use apus_proxy::AuditSink;

/// Most lines that wait to be written. A line has at most about 16 KiB, usually half of one.
const QUEUE_LINES: usize = 2048;
/// Most bytes that are written at once.
const BATCH_BYTES: usize = 256 * 1024;

options! {
    /// Options of `[audit]`.
    #[derive(Debug)]
    pub struct AuditOptions {
        /// File of the audit log: a line of JSON for each request that changes something or is refused.
        log: Option<PathBuf> = path("", "a file").unset("none").example("/var/log/apus/audit.log"),
        /// Size at which the file is renamed and a new one begun.
        rotate_bytes: u64 = whole(64 * 1024 * 1024).unit("bytes").from(4096),
        /// Older files that are kept.
        rotate_count: u32 = whole(10).to(1000),
    }
}

#[derive(Debug, Default)]
struct AuditCounts {
    written: AtomicU64,
    lost: AtomicU64,
}

/// The audit log of a process.
#[derive(Debug)]
pub(super) struct AuditFile {
    lines: SyncSender<String>,
    counts: Arc<AuditCounts>,
}

impl AuditFile {
    /// Starts the thread that writes, if a file is configured.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub(super) fn start(
        options: AuditOptions,
        metrics: &Metrics,
    ) -> Result<Option<Arc<dyn AuditSink>>, String> {
        let Some(path) = options.log else { return Ok(None) };
        let file = RotatedFile::new(path, options.rotate_bytes, options.rotate_count);
        let counts = Arc::new(AuditCounts::default());
        let (lines, queue) = sync_channel(QUEUE_LINES);
        let of_thread = counts.clone();
        std::thread::Builder::new()
            .name("audit".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || write_all(&file, &queue, &of_thread))
            .map_err(|error| format!("the thread of the audit log: {error}"))?;
        let of_metrics = counts.clone();
        metrics.add_totals(move || {
            let count = |number: &AtomicU64| number.load(Ordering::Relaxed);
            vec![
                ("audit_lines", count(&of_metrics.written)),
                ("audit_lines_lost", count(&of_metrics.lost)),
            ]
        });
        Ok(Some(Arc::new(Self { lines, counts })))
    }
}

impl AuditSink for AuditFile {
    fn record(&self, line: String) {
        if self.lines.try_send(line).is_err() {
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Writes until all senders are gone. What cannot be written is counted, and logged once until the disk
/// works again.
fn write_all(file: &RotatedFile, queue: &Receiver<String>, counts: &AuditCounts) {
    let mut fails = false;
    while let Ok(first) = queue.recv() {
        let (mut batch, mut count) = (String::new(), 0);
        let mut next = Some(first);
        while let Some(line) = next {
            batch.push_str(&line);
            batch.push('\n');
            count += 1;
            next = if batch.len() < BATCH_BYTES { queue.try_recv().ok() } else { None };
        }
        let path = file.path().display();
        match file.append(batch.as_bytes()) {
            Ok(()) => {
                counts.written.fetch_add(count, Ordering::Relaxed);
                if fails {
                    tracing::info!(%path, "The audit log is written again");
                }
                fails = false;
            }
            Err(error) => {
                counts.lost.fetch_add(count, Ordering::Relaxed);
                if !fails {
                    tracing::error!(%path, %error, "Failed to write the audit log; its lines are lost until this is repaired");
                }
                fails = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    struct Folder(std::path::PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("apus-audit-{name}-{}", std::process::id()));
            let counters = apus_disk::Counters::default();
            apus_disk::make_directories(&std::env::temp_dir(), &path, &counters).unwrap();
            Self(path)
        }

        fn path(&self) -> &std::path::Path {
            &self.0
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn options(path: &std::path::Path) -> AuditOptions {
        let log = Some(path.to_owned());
        AuditOptions { log, rotate_bytes: 1 << 20, rotate_count: 1 }
    }

    fn until(mut done: impl FnMut() -> bool) {
        for _ in 0..1000 {
            if done() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("not within ten seconds");
    }

    #[test]
    fn lines_are_written_and_counted() {
        let folder = Folder::new("lines");
        let path = folder.path().join("audit.log");
        let metrics = Metrics::default();
        let sink = AuditFile::start(options(&path), &metrics).unwrap().unwrap();
        for number in 0..100 {
            sink.record(format!("{{\"n\":{number}}}"));
        }
        let read = || std::fs::read_to_string(&path).unwrap_or_default();
        until(|| read().lines().count() == 100);
        assert!(read().starts_with("{\"n\":0}\n{\"n\":1}\n"));
    }

    #[test]
    fn no_request_waits_for_a_disk_that_fails() {
        let folder = Folder::new("fails");
        let (lines, queue) = sync_channel(2);
        let counts = Arc::new(AuditCounts::default());
        let sink = AuditFile { lines, counts: counts.clone() };
        for _ in 0..5 {
            sink.record("x".to_owned());
        }
        assert_eq!(counts.lost.load(Ordering::Relaxed), 3);
        drop(sink);
        let file = RotatedFile::new(folder.path().join("missing/audit.log"), 1000, 1);
        write_all(&file, &queue, &counts);
        assert_eq!(counts.lost.load(Ordering::Relaxed), 5);
        assert_eq!(counts.written.load(Ordering::Relaxed), 0);
    }
}
