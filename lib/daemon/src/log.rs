//! Logging to standard error, a file or syslog; `RUST_LOG` filters as usual.
//!
//! `docs/logging.md` says how messages are written, which field names exist and what the levels
//! mean. A line ends with the fields of the spans around it, so that each line of a request has its
//! transaction id.

use std::fmt;
use std::path::Path;

use apus_options::{options, text};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use crate::config::{ConfigError, Section};
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
pub fn start_file(level: &str, path: &Path) -> Result<(), ConfigError> {
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    let target = path.display().to_string();
    let file = file.map_err(|source| ConfigError::Log { target, source })?;
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
    let started = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(false)
        .event_format(LineFormat)
        .try_init();
    // A second call (tests in one process) keeps the first.
    if started.is_ok() {
        log_panics();
    }
}

/// Logs each panic within the spans of its thread, before the usual report on standard error.
fn log_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let location = panic.location().map(tracing::field::display);
        let error = panic.payload_as_str().unwrap_or("unknown");
        tracing::error!(error, location, "A thread panicked");
        usual(panic);
    }));
}

/// The format of a line: time, level, module, message, its fields, the fields of its spans.
///
/// Of several spans with one name only the innermost is shown: a server that is called within the
/// proxy's process has the same transaction id. A line that names its request itself, such as an
/// access line, is not repeated either.
struct LineFormat;

/// The field that a request's span and a line of its own share.
const TRANS_ID: &str = "trans_id";

impl<S, N> FormatEvent<S, N> for LineFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        SystemTime.format_time(&mut writer)?;
        let metadata = event.metadata();
        write!(writer, " {:>5} {}: ", metadata.level(), metadata.target())?;
        context.format_fields(writer.by_ref(), event)?;
        let mut shown = Vec::new();
        for span in context.event_scope().into_iter().flatten() {
            if shown.contains(&span.name()) {
                continue;
            }
            shown.push(span.name());
            let is_named = |metadata: &Metadata<'_>| metadata.fields().field(TRANS_ID).is_some();
            if is_named(metadata) && is_named(span.metadata()) {
                continue;
            }
            let extensions = span.extensions();
            if let Some(fields) = extensions.get::<FormattedFields<N>>()
                && !fields.is_empty()
            {
                write!(writer, " {fields}")?;
            }
        }
        writer.write_char('\n')
    }
}

options! {
    /// What is logged.
    #[derive(Debug)]
    pub struct LogOptions {
        /// The least level that is logged.
        pub log_level: String =
            text("INFO", "DEBUG, INFO, NOTICE, WARNING, ERROR or CRITICAL").checked(is_level),
    }
}

/// Swift's word for a level as a level of `tracing`.
fn level_of(text: &str) -> Option<&'static str> {
    match text.to_ascii_uppercase().as_str() {
        "DEBUG" => Some("debug"),
        "INFO" | "NOTICE" => Some("info"),
        "WARN" | "WARNING" => Some("warn"),
        "ERROR" | "CRITICAL" => Some("error"),
        _ => None,
    }
}

fn is_level(text: &str) -> bool {
    level_of(text).is_some()
}

/// `log_level` as a level of `tracing`.
///
/// # Errors
/// When it is not one of Swift's words.
pub fn level(section: &Section<'_>) -> Result<&'static str, ConfigError> {
    let options = LogOptions::read(section)?;
    Ok(level_of(&options.log_level).unwrap_or("info"))
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use async_trait::async_trait;
    use http::{Request, Response, StatusCode};
    use tracing_subscriber::fmt::MakeWriter;

    use super::*;
    use crate::http::{Body, Handler, empty, record_trans_id, status};
    use crate::metrics::Counted;
    use crate::task::{self, TaskKind, spawn};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Lines {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    impl Lines {
        /// The lines without times, levels and modules.
        fn messages(&self) -> Vec<String> {
            let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
            let message = |line: &str| line.split_once(": ").unwrap().1.to_owned();
            text.lines().map(message).collect()
        }
    }

    /// Logs a line in the handler, one in a task and one in a thread, and fails.
    struct Storage;

    #[async_trait]
    impl Handler for Storage {
        async fn call(&self, _: Request<Body>) -> Response<Body> {
            tracing::error!(device = "sd1", "Failed to write the file");
            spawn(TaskKind::Request, async { tracing::warn!("Failed to send the row") })
                .await
                .unwrap();
            spawn(TaskKind::Background, async { tracing::warn!("Closed an idle connection") })
                .await
                .unwrap();
            // Threads of the runtime have another subscriber than this test.
            let own = tracing::dispatcher::get_default(Clone::clone);
            let read = move || {
                tracing::dispatcher::with_default(&own, || tracing::warn!("Failed to read"));
            };
            task::spawn_blocking(read).await.unwrap();
            status(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }

    /// A proxy with a storage server in its process.
    struct Proxy(Counted);

    #[async_trait]
    impl Handler for Proxy {
        async fn call(&self, _: Request<Body>) -> Response<Body> {
            record_trans_id("tx1");
            let request = Request::put("/sd1/5/a/c/o").header("x-trans-id", "tx1");
            let answer = self.0.call(request.body(empty()).unwrap()).await;
            tracing::info!(status = answer.status().as_u16(), "Answered the client");
            tracing::info!(trans_id = %"tx1", "Wrote the access line");
            answer
        }
    }

    #[tokio::test]
    async fn lines_of_a_request_have_its_id_once_and_that_of_the_innermost_server() {
        let lines = Lines::default();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new("warn,apus_daemon=info"))
            .with_writer(lines.clone())
            .with_ansi(false)
            .event_format(LineFormat)
            .finish();
        let _default = tracing::subscriber::set_default(subscriber);
        let storage = Counted::new(Arc::new(Storage), "object", Arc::default());
        let proxy = Counted::new(Arc::new(Proxy(storage)), "proxy", Arc::default());
        let request = Request::put("/v1/a/c/o?signature=secret").header("x-trans-id", "forged");
        proxy.call(request.body(empty()).unwrap()).await;
        let storage = "server=object trans_id=tx1 method=PUT path=/sd1/5/a/c/o";
        let messages = lines.messages();
        let failed = messages.iter().position(|line| line.starts_with("Request failed")).unwrap();
        let expected = [
            format!("Failed to write the file device=\"sd1\" {storage}"),
            format!("Failed to send the row {storage}"),
            "Closed an idle connection".to_owned(),
            format!("Failed to read {storage}"),
        ];
        assert_eq!(messages[..failed], expected);
        assert!(messages[failed].starts_with("Request failed status=500 duration_ms="));
        assert!(messages[failed].ends_with(storage), "{}", messages[failed]);
        let proxy = "server=proxy method=PUT path=/v1/a/c/o trans_id=tx1";
        let expected = [
            format!("Answered the client status=500 {proxy}"),
            "Wrote the access line trans_id=tx1".to_owned(),
        ];
        assert_eq!(messages[failed + 1..], expected);
    }
}
