//! Logging to standard error or to syslog; `RUST_LOG` filters as usual.

use std::path::Path;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use crate::config::Section;
use crate::syslog::Syslog;

/// Starts logging to standard error at `level` (`info`, `warn`, …) unless `RUST_LOG` says
/// otherwise.
pub fn start(level: &str) {
    start_with(level, BoxMakeWriter::new(std::io::stderr));
}

/// Starts logging to the end of a file at `level`.
///
/// # Errors
/// When the file cannot be opened.
pub fn start_file(level: &str, path: &Path) -> Result<(), String> {
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    let file = file.map_err(|error| format!("{}: {error}", path.display()))?;
    start_with(level, BoxMakeWriter::new(file));
    Ok(())
}

/// Starts logging to syslog at `level`.
pub fn start_syslog(level: &str, syslog: Syslog) {
    start_with(level, BoxMakeWriter::new(syslog));
}

fn start_with(level: &str, writer: BoxMakeWriter) {
    let filter = EnvFilter::try_from_default_env()
        .or_else(|_| EnvFilter::try_new(level))
        .unwrap_or_else(|_| EnvFilter::new("info"));
    // A second call (tests in one process) keeps the first.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(false)
        .with_target(true)
        .try_init();
}

/// `log_level`, in Swift's words, as ours.
///
/// # Errors
/// When it is none of them.
pub fn level(section: &Section<'_>) -> Result<&'static str, String> {
    let text = section.get("log_level").unwrap_or("INFO");
    match text.to_ascii_uppercase().as_str() {
        "DEBUG" => Ok("debug"),
        "INFO" | "NOTICE" => Ok("info"),
        "WARN" | "WARNING" => Ok("warn"),
        "ERROR" | "CRITICAL" => Ok("error"),
        _ => Err(section.refuse(
            "log_level",
            text,
            "DEBUG, INFO, NOTICE, WARNING, ERROR or CRITICAL",
        )),
    }
}
