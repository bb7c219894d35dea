//! Actions of the points in an executable under test.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

/// The file with the actions, if any.
static FILE: LazyLock<Option<PathBuf>> =
    LazyLock::new(|| std::env::var_os("APUS_FAULTS").map(PathBuf::from));

/// Lines that a test of this process set instead of the file.
static LINES: Mutex<Option<[String; 2]>> = Mutex::new(None);

/// How often each armed point was passed.
static PASSES: LazyLock<Mutex<HashMap<String, u64>>> = LazyLock::new(Mutex::default);

/// Records a passed point in the file of `trace`, once per process.
fn trace(name: &str) {
    let Some(path) = armed("trace") else { return };
    let mut passes = PASSES.lock().unwrap_or_else(PoisonError::into_inner);
    let count = passes.entry(format!("{name} trace")).or_default();
    *count += 1;
    if *count == 1
        && let Ok(mut file) = std::fs::OpenOptions::new().append(true).create(true).open(path)
    {
        // The test that reads an incomplete trace fails.
        let _ = file.write_all(format!("{name}\n").as_bytes());
    }
}

pub(crate) fn arm(lines: &str) {
    let both = Some([lines.to_owned(), String::new()]);
    *LINES.lock().unwrap_or_else(PoisonError::into_inner) = both;
}

pub(crate) fn arm_additionally(lines: &str) {
    // Points that are armed again are counted from 1 again.
    PASSES.lock().unwrap_or_else(PoisonError::into_inner).clear();
    let mut set = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    let [first, _] = set.take().unwrap_or_default();
    *set = Some([first, lines.to_owned()]);
}

/// The action of a name, read from the file each time.
fn armed(name: &str) -> Option<String> {
    let set = LINES.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let text = match set {
        Some(lines) => lines.join("\n"),
        None => std::fs::read_to_string(FILE.as_ref()?).ok()?,
    };
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    Some(line.trim().to_owned())
}

/// Whether an action such as `kill@3` is due now.
fn is_due(name: &str, action: &str, wanted: &str) -> bool {
    let (action, at) = action.split_once('@').unwrap_or((action, ""));
    if action != wanted {
        return false;
    }
    let mut passes = PASSES.lock().unwrap_or_else(PoisonError::into_inner);
    let count = passes.entry(format!("{name} {wanted}")).or_default();
    *count += 1;
    at.is_empty() || at.parse() == Ok(*count)
}

pub(crate) fn point(name: &str) {
    trace(name);
    let Some(action) = armed(name) else { return };
    if let Some(pause) = action.strip_prefix("pause:").and_then(|ms| ms.parse().ok()) {
        std::thread::sleep(Duration::from_millis(pause));
    }
    if is_due(name, &action, "kill") {
        // The process ends here, as by a kill from outside.
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

pub(crate) fn fallible(name: &str) -> io::Result<()> {
    point(name);
    match armed(name) {
        Some(action) if is_due(name, &action, "error") => {
            Err(io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error()))
        }
        _ => Ok(()),
    }
}

pub(crate) fn planted(name: &str) -> bool {
    armed(name).as_deref() == Some("on")
}

pub(crate) fn clock_offset() -> f64 {
    armed("clock").and_then(|seconds| seconds.parse().ok()).unwrap_or(0.0)
}
