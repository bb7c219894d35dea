//! Progress bars and spinners on terminals.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::output::Output;

/// How often a terminal is updated.
const TICK: Duration = Duration::from_millis(200);
const BAR: &str = "{spinner} [{bar:24}] {pos}/{len} {msg}";

/// A bar or spinner on standard error; nothing without a terminal, or when the output is JSON.
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
        // Immediately: the first tick of its thread may come late.
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
        // An invalid template leaves the default bar.
        if let Ok(style) = ProgressStyle::with_template(BAR) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.tick();
        bar.enable_steady_tick(TICK);
        Self(Some(bar))
    }

    /// Shows the part in progress; `done` parts are complete.
    pub fn at(&self, done: usize, what: &str) {
        if let Some(bar) = &self.0 {
            bar.set_position(done as u64);
            bar.set_message(what.to_owned());
        }
    }

    /// Prints something else without disturbing the bar.
    pub(super) fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.0 {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// Ends the work and restores the terminal.
    pub fn end(self) {}
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = self.0.take() {
            bar.finish_and_clear();
        }
    }
}
