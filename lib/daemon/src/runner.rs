//! The runner of a daemon's pass: repeats it at an interval.
//!
//! The runner catches panics (the next sweep starts from the beginning), spreads the starts of
//! sweeps, logs their reports and writes them to the recon cache.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use tracing::Instrument;

use crate::pass::{Pass, PassContext, Span, Stopped, pass_span};
use crate::random;
use crate::recon::ReconCache;
use crate::task::spawn_blocking;

/// Why a sweep is not complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PassError {
    /// The process must stop.
    #[error("{0}: stopped")]
    Stopped(&'static str),
    /// The pass panicked; the panic was logged.
    #[error("{0}: panicked")]
    Panicked(&'static str),
}

/// A daemon's pass, ready to be run once or repeatedly.
pub struct PassRunner {
    name: &'static str,
    interval: Duration,
    sweep: Box<dyn Sweep>,
}

impl std::fmt::Debug for PassRunner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PassRunner").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A pass without the type of its report.
#[async_trait]
trait Sweep: Send + Sync {
    async fn sweep(&mut self, cx: &PassContext, recon: &ReconCache) -> Result<(), Stopped>;
}

#[async_trait]
impl<P: Pass> Sweep for P {
    async fn sweep(&mut self, cx: &PassContext, recon: &ReconCache) -> Result<(), Stopped> {
        let name = self.name();
        let began = cx.clock.now();
        let report = self.pass(cx).await?;
        let span = Span { began, ended: cx.clock.now() };
        let duration_ms = span.ended.saturating_sub(span.began).as_millis();
        tracing::info!(duration_ms, ?report, "Finished a pass");
        let entries = self.recon(&report, span);
        let last = crate::metrics::last_pass(name, &report, span);
        let server = name.split('-').next().unwrap_or(name);
        let (recon, file) = (recon.clone(), format!("{server}.recon"));
        // Nothing waits for a recon file, so the shared threads may write it.
        let merged = spawn_blocking(move || {
            recon.merge(crate::metrics::PASSES, last)?;
            if entries.is_empty() { Ok(()) } else { recon.merge(&file, entries) }
        });
        let merged = merged.await;
        if let Ok(Err(error)) = merged {
            tracing::warn!(%error, "Failed to write the recon cache");
        }
        Ok(())
    }
}

impl PassRunner {
    /// Runs `pass` every `interval`, counted from the end of a sweep to the start of the next.
    pub fn new<P: Pass>(pass: P, interval: Duration) -> Self {
        Self { name: pass.name(), interval, sweep: Box::new(pass) }
    }

    /// The daemon's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Runs one sweep.
    ///
    /// # Errors
    /// Why the sweep is not complete.
    pub async fn once(&mut self, cx: &PassContext, recon: &ReconCache) -> Result<(), PassError> {
        let span = pass_span(self.name);
        let sweep = AssertUnwindSafe(self.sweep.sweep(cx, recon)).catch_unwind();
        match sweep.instrument(span).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(Stopped)) => Err(PassError::Stopped(self.name)),
            Err(_) => Err(PassError::Panicked(self.name)),
        }
    }

    /// Runs sweep after sweep until a stop is requested.
    pub async fn run(mut self, cx: PassContext, recon: ReconCache) {
        let mut wait = self.interval.min(FIRST_WAIT_MAX).mul_f64(random::share());
        while cx.unless_stopped(tokio::time::sleep(wait)).await.is_ok() {
            if let Err(error) = self.once(&cx, &recon).await
                && !cx.drain.has_begun()
            {
                tracing::error!(daemon = self.name, %error, "A pass of the daemon failed");
            }
            // So that the sweeps of many nodes spread over time.
            wait = self.interval.mul_f64(0.9 + 0.2 * random::share());
        }
    }
}

/// The first sweep begins within this time.
const FIRST_WAIT_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::SystemClock;
    use crate::drain::Drain;
    use crate::pass::Scope;

    struct Counting {
        sweeps: u64,
        drain: Drain,
    }

    #[async_trait]
    impl Pass for Counting {
        type Report = u64;

        fn name(&self) -> &'static str {
            "object-counter"
        }

        async fn pass(&mut self, cx: &PassContext) -> Result<u64, Stopped> {
            cx.safe_point().await?;
            self.sweeps += 1;
            assert!(self.sweeps != 2, "planned");
            if self.sweeps == 4 {
                self.drain.begin();
            }
            Ok(self.sweeps)
        }

        fn recon(&self, report: &u64, _span: Span) -> serde_json::Map<String, serde_json::Value> {
            serde_json::Map::from_iter([("counted".to_owned(), (*report).into())])
        }
    }

    #[tokio::test(start_paused = true)]
    async fn sweeps_continue_after_a_panic_and_are_reported_until_the_stop() {
        let directory = std::env::temp_dir().join(format!("apus-unit-{}", std::process::id()));
        let recon = ReconCache::new(&directory);
        let drain = Drain::default();
        let cx = PassContext {
            scope: Scope::default(),
            clock: Arc::new(SystemClock),
            drain: drain.clone(),
            once: false,
        };
        let unit = PassRunner::new(Counting { sweeps: 0, drain }, Duration::from_secs(60));
        unit.run(cx, recon.clone()).await;
        assert_eq!(recon.read("object.recon").get("counted").unwrap(), 4);
        assert_eq!(recon.read("apus-passes.recon")["object-counter"]["report"], 4);
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
