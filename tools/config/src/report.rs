//! The result of a check as lines.

use std::fmt::Display;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Severity {
    Error,
    Warning,
    Note,
    Passed,
}

/// Lines of a check.
#[derive(Debug, Default)]
pub(crate) struct Report {
    lines: Vec<(Severity, String)>,
}

impl Report {
    /// Something that must be changed.
    pub(crate) fn error(&mut self, text: impl Display) {
        self.lines.push((Severity::Error, text.to_string()));
    }

    /// Something that probably is not as intended.
    pub(crate) fn warning(&mut self, text: impl Display) {
        self.lines.push((Severity::Warning, text.to_string()));
    }

    /// A fact without a judgement.
    pub(crate) fn note(&mut self, text: impl Display) {
        self.lines.push((Severity::Note, text.to_string()));
    }

    /// Something that is as it should be.
    pub(crate) fn passed(&mut self, text: impl Display) {
        self.lines.push((Severity::Passed, text.to_string()));
    }

    fn count(&self, severity: Severity) -> usize {
        self.lines.iter().filter(|(known, _)| *known == severity).count()
    }

    /// Prints the lines and their number; returns whether there are errors.
    pub(crate) fn print(&self) -> bool {
        for (severity, text) in &self.lines {
            let word = match severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
                Severity::Note => "note",
                Severity::Passed => "ok",
            };
            println!("{word}: {text}");
        }
        let (errors, warnings) = (self.count(Severity::Error), self.count(Severity::Warning));
        println!("{errors} errors, {warnings} warnings");
        errors > 0
    }
}
