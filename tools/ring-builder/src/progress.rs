//! A sign of life during long work, on terminals only.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::output::Output;

/// How often a terminal is told.
const TICK: Duration = Duration::from_millis(200);
const BAR: &str = "{spinner} [{bar:24}] {pos}/{len} {msg}";

/// A bar or spinner on standard error; nothing when that is no terminal, or JSON is asked for.
#[derive(Debug)]
pub struct Progress(Option<ProgressBar>);

impl Progress {
    fn is_shown(is_json: bool) -> bool {
        !is_json && std::io::IsTerminal::is_terminal(&std::io::stderr())
    }

    /// For work of unknown length.
    pub(super) fn spinner(out: &Output, what: &str) -> Self {
        if !Self::is_shown(out.is_json()) {
            return Self(None);
        }
        let bar = ProgressBar::new_spinner().with_message(what.to_owned());
        // At once: the first tick of its thread may come late.
        bar.tick();
        bar.enable_steady_tick(TICK);
        Self(Some(bar))
    }

    /// For work of so many parts.
    pub fn bar(is_json: bool, parts: usize) -> Self {
        if !Self::is_shown(is_json) {
            return Self(None);
        }
        let bar = ProgressBar::new(parts as u64);
        // A template of ours that does not parse leaves the usual bar.
        if let Ok(style) = ProgressStyle::with_template(BAR) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.tick();
        bar.enable_steady_tick(TICK);
        Self(Some(bar))
    }

    /// Says which part is being done; those before it are.
    pub fn at(&self, done: usize, what: &str) {
        if let Some(bar) = &self.0 {
            bar.set_position(done as u64);
            bar.set_message(what.to_owned());
        }
    }

    /// Lets something else be printed meanwhile.
    pub(super) fn beside<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.0 {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// The work is done; the terminal is as it was.
    pub fn end(self) {}
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = self.0.take() {
            bar.finish_and_clear();
        }
    }
}
