//! First steps of a process: user, log, and detaching from the terminal.
//!
//! As Swift's programs do them (`run_wsgi`, `run_daemon`), so that its manager can start ours, and
//! that files belong to the same user whichever wrote them.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use apus_daemon::config::Section;
use apus_daemon::log;
use apus_daemon::syslog::Syslog;
use apus_options::{OptionValue, options, path, text, whole};

use super::Task;
use super::conf::{Place, section_of};

/// Default user of Swift's programs.
const SWIFTS_USER: &str = "swift";

options! {
    /// How a process starts.
    #[derive(Debug)]
    pub struct ProcessOptions {
        /// User that the process becomes when root starts it.
        pub user: Option<String> =
            text("", "a user of /etc/passwd").unset("`swift` under the names of Swift's programs, else none").example("swift"),
        /// Whether a worker process serves, which a reload replaces without a lost request: a number other than 0, or auto.
        workers: Option<String> =
            whole(0).to(u32::MAX as u64).or_word("auto").unset("`auto` under the names of Swift's programs, else 0").example("auto"),
        /// How long the requests of a worker may take after another one took over.
        stale_worker_timeout: u64 = whole(86_400).unit("seconds"),
        /// Directory of `swift.conf` and rings, when the configuration of a role is a single file.
        pub swift_dir: Option<PathBuf> =
            path("", "a directory").unset("that of the file, else `/etc/swift`").example("/etc/swift"),
    }
}

/// How a process runs its roles.
#[derive(Debug, Clone, Copy)]
pub struct RunOptions {
    /// Each daemon's pass one time, then the end.
    pub once: bool,
    /// Only see that the configuration is good.
    pub test: bool,
    /// As a daemon of Swift's: logs go to syslog, and standard input and output are closed once
    /// all is ready, which is what `swift-init` waits for.
    pub detached: bool,
}

/// Whether workers that can be replaced serve for this process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Oversight {
    /// Whether there are workers.
    pub(super) workers: bool,
    /// How long the requests of a worker may take after another took over.
    pub(super) patience: Duration,
}

impl Oversight {
    fn read(section: &Section<'_>, task: &Task<'_>) -> Result<Self, String> {
        let options = ProcessOptions::read(section)?;
        let workers = match options.workers.as_deref() {
            // Swift's default, under the names of Swift's programs.
            None => task.options.detached,
            // `auto` is not a number.
            Some(number) => u32::from_text(number) != Some(0),
        };
        let serves = !task.roles.servers.is_empty() && !task.options.once && !task.options.test;
        let patience = Duration::from_secs(options.stale_worker_timeout);
        Ok(Self { workers: workers && serves, patience })
    }
}

/// Becomes the `user` of the configuration and starts the log where its options have it.
pub(super) fn begin(task: &Task<'_>) -> Result<Oversight, String> {
    let place = Place::find(task.path, task.roles)?;
    let server = task.roles.first().ok_or_else(|| format!("{}: nothing to do", task.name))?;
    let conf = place.server_conf(server)?;
    let section = section_of(&conf, task.name, server);
    become_user(&section, task.options.detached)?;
    let level = log::level(&section)?;
    if task.options.detached {
        lead();
        log::start_syslog(level, Syslog::from_options(&section, task.name)?);
    } else {
        log::start(level);
    }
    Oversight::read(&section, task)
}

/// Makes this process the leader of its group, which Swift's manager signals as a whole after its
/// timeout. Workers stay in the group of their overseer.
fn lead() {
    if !super::worker::is_one() {
        // Fails for a process that leads a group already.
        let _ = rustix::process::setsid();
    }
}

/// Detaches from the terminal or pipe that this process was started from.
pub(super) fn detach() -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| format!("/dev/null: {error}");
    let nothing = std::fs::File::options().read(true).write(true).open("/dev/null");
    let nothing = nothing.map_err(|error| failed(&error))?;
    for replace in
        [rustix::stdio::dup2_stdin, rustix::stdio::dup2_stdout, rustix::stdio::dup2_stderr]
    {
        replace(&nothing).map_err(|error| failed(&error))?;
    }
    Ok(())
}

/// User and group number of a name in a file of the form of `/etc/passwd`.
fn numbers(passwd: &str, user: &str) -> Option<(u32, u32)> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(user)).then_some(())?;
        Some((fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?))
    })
}

/// Gives up root's rights for those of `user`, by running this program again. Under the names of
/// Swift's programs the default is `swift`; otherwise there is no default.
fn become_user(section: &Section<'_>, as_swift: bool) -> Result<(), String> {
    match ProcessOptions::read(section)?.user {
        Some(user) => {
            let unknown = section.refuse("user", &user, "a user of /etc/passwd");
            become_named(&user, || Err(unknown.into()))
        }
        // A machine without this user has no files of Swift.
        None if as_swift => become_named(SWIFTS_USER, || Ok(())),
        None => Ok(()),
    }
}

/// Gives up root's rights for those of `user`; `unknown` handles a user that does not exist.
///
/// # Errors
/// The user is unknown, or the program cannot be run again.
pub fn become_named(
    user: &str,
    unknown: impl FnOnce() -> Result<(), String>,
) -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let Some((uid, gid)) = numbers(&passwd, user) else {
        return unknown();
    };
    if uid == 0 {
        return Ok(());
    }
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_else(|| OsString::from("apus"));
    let program = std::env::current_exe().map_err(|error| format!("user = {user}: {error}"))?;
    let error = Command::new(program).arg0(name).args(words).uid(uid).gid(gid).exec();
    Err(format!("cannot become {user}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_the_numbers_of_its_line() {
        let passwd =
            "root:x:0:0:root:/root:/bin/sh\nswift:x:160:161::/var/lib/swift:/bin/false\nbad\n";
        assert_eq!(numbers(passwd, "swift"), Some((160, 161)));
        assert_eq!(numbers(passwd, "root"), Some((0, 0)));
        assert_eq!(numbers(passwd, "bad"), None);
        assert_eq!(numbers(passwd, "swif"), None);
    }
}
