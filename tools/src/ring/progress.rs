//! A sign of life during long work, on terminals only.

use std::time::Duration;

use indicatif::ProgressBar;

use super::output::Output;

/// How often a terminal is told.
const TICK: Duration = Duration::from_millis(200);

/// A bar or spinner on standard error; nothing when that is no terminal, or JSON is asked for.
#[derive(Debug)]
pub(super) struct Progress(Option<ProgressBar>);

impl Progress {
    fn on_terminal(out: &Output) -> bool {
        !out.is_json() && std::io::IsTerminal::is_terminal(&std::io::stderr())
    }

    /// For work of unknown length.
    pub(super) fn spinner(out: &Output, what: &str) -> Self {
        if !Self::on_terminal(out) {
            return Self(None);
        }
        let bar = ProgressBar::new_spinner().with_message(what.to_owned());
        // At once: the first tick of its thread may come late.
        bar.tick();
        bar.enable_steady_tick(TICK);
        Self(Some(bar))
    }

    /// The work is done; the terminal is as it was.
    pub(super) fn end(self) {
        if let Some(bar) = self.0 {
            bar.finish_and_clear();
        }
    }
}
