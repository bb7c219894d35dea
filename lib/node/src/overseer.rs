//! The overseer of a server: starts, replaces and ends its workers.
//!
//! It serves no request itself. It keeps the process number and the listening sockets while workers
//! (`worker.rs`) come and go, as the parent of Swift's workers does. USR1 starts a new worker with
//! the current configuration and executable. The old worker stops accepting only when the new one is
//! ready, and the sockets stay open all the time. A worker that cannot start changes nothing. A
//! worker that ends unexpectedly is replaced.
//!
//! The overseer must stay small, since nothing restarts it.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use apus_daemon::drain::{Asked, Signals};
use apus_daemon::handover::{Channel, Word};
use apus_daemon::systemd::{self, State, notify};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::Instant;

use super::{Task, start, worker};

/// How long a worker may take until it can serve.
const START_MAX: Duration = Duration::from_secs(60);
/// How long a worker may take to make way for the next.
const HANDOVER_MAX: Duration = Duration::from_secs(15);
/// What is waited before a worker that ended is replaced: at first, and at most.
const AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// A worker that is ready.
struct Worker {
    child: Child,
    channel: Channel,
    /// What it listens on.
    sockets: Vec<OwnedFd>,
}

impl Worker {
    /// Asks it to release its devices. A worker that does not is killed, which is always safe.
    async fn make_way(&mut self) {
        let sealed = self.ask(Word::Seal, Word::Sealed).await;
        if !sealed {
            tracing::error!("the worker does not release its devices and is killed");
            send(&self.child, Signal::KILL);
            let _ = self.child.wait().await;
        }
    }

    /// Sends a message and waits for the reply, or for the end of the worker.
    async fn ask(&self, word: Word, answer: Word) -> bool {
        let answered = async {
            if self.channel.say(word, "", &[]).await.is_err() {
                return true;
            }
            loop {
                match self.channel.hear().await {
                    Ok(Some(message)) if message.word == answer => return true,
                    Ok(Some(_)) => {}
                    Ok(None) => return true,
                    Err(_) => return false,
                }
            }
        };
        tokio::time::timeout(HANDOVER_MAX, answered).await.unwrap_or(false)
    }
}

fn send(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    // A process that has ended needs no signal.
    let _ = pid.map(|pid| kill_process(pid, signal));
}

/// Sends sockets to a new worker; returns those that it will listen on.
async fn ready(channel: &Channel, sockets: &[OwnedFd]) -> Result<Vec<OwnedFd>, String> {
    let borrowed: Vec<BorrowedFd<'_>> = sockets.iter().map(AsFd::as_fd).collect();
    let said = channel.say(Word::Sockets, "", &borrowed).await;
    said.map_err(|error| error.to_string())?;
    match channel.hear().await.map_err(|error| error.to_string())? {
        Some(message) if message.word == Word::Ready => Ok(message.sockets),
        Some(message) => Err(message.text),
        None => Err("the worker ended before it was ready".to_owned()),
    }
}

/// The next signal, or the reload that is still to be done.
async fn next(signals: &mut Signals, again: bool) -> Asked {
    match again {
        true => Asked::Reload,
        false => signals.next().await,
    }
}

/// Waits until one of the children has ended, and removes it; forever without children.
async fn ended_of(children: &mut Vec<Child>) {
    let waits = children.iter_mut().map(|child| Box::pin(child.wait()));
    let waits: Vec<_> = waits.collect();
    if waits.is_empty() {
        return std::future::pending().await;
    }
    let (_, which, rest) = futures_util::future::select_all(waits).await;
    drop(rest);
    drop(children.swap_remove(which));
}

struct Overseer {
    program: PathBuf,
    words: Vec<OsString>,
    signals: Signals,
    /// Workers that finish open requests.
    old: Vec<Child>,
    /// A reload was asked for while a worker read its configuration, which may have changed since.
    again: bool,
}

/// Runs workers until a signal to stop.
///
/// # Errors
/// Why the first worker could not start.
pub(super) async fn run(task: &Task<'_>) -> Result<(), String> {
    let program = std::env::current_exe().map_err(|error| format!("own path: {error}"))?;
    let signals = Signals::catch().map_err(|error| format!("signals: {error}"))?;
    let words = std::env::args_os().collect();
    let mut overseer = Overseer { program, words, signals, old: Vec::new(), again: false };
    let Some(first) = overseer.start(&[]).await? else { return Ok(()) };
    overseer.go(&first).await;
    if task.options.detached {
        start::detach()?;
    }
    overseer.oversee(first, task.options.detached).await;
    Ok(())
}

impl Overseer {
    /// Starts a worker and waits until it is ready; `None` when a signal to stop comes meanwhile.
    async fn start(&mut self, sockets: &[OwnedFd]) -> Result<Option<Worker>, String> {
        let (channel, theirs) = Channel::pair().map_err(|error| format!("socketpair: {error}"))?;
        let mut command = Command::new(&self.program);
        let mut words = self.words.iter();
        if let Some(name) = words.next() {
            command.arg0(name);
        }
        command.args(words).env(worker::OVERSEER, std::process::id().to_string());
        command.env_remove(systemd::SOCKET).stdin(Stdio::from(theirs));
        let spawned = command.spawn();
        // It keeps the worker's end of the pair.
        drop(command);
        let mut child = spawned.map_err(|error| format!("{}: {error}", self.program.display()))?;
        let until = Instant::now() + START_MAX;
        let ready = {
            let ready = ready(&channel, sockets);
            tokio::pin!(ready);
            loop {
                tokio::select! {
                    ready = &mut ready => break ready,
                    asked = self.signals.next() => match asked {
                        Asked::Reload => self.again = true,
                        Asked::Stop | Asked::Finish => {
                            send(&child, Signal::TERM);
                            let _ = child.wait().await;
                            return Ok(None);
                        }
                    },
                    () = tokio::time::sleep_until(until) => {
                        break Err(format!("the worker was not ready within {} s", START_MAX.as_secs()));
                    }
                }
            }
        };
        match ready {
            Ok(sockets) => Ok(Some(Worker { child, channel, sockets })),
            Err(error) => {
                send(&child, Signal::KILL);
                let _ = child.wait().await;
                Err(error)
            }
        }
    }

    async fn go(&self, worker: &Worker) {
        // If it ended meanwhile, that is noticed soon.
        let _ = worker.channel.say(Word::Go, "", &[]).await;
        notify(State::Ready);
    }

    async fn oversee(&mut self, first: Worker, leaves_at_once: bool) {
        let mut current = first;
        loop {
            let asked = tokio::select! {
                asked = next(&mut self.signals, self.again) => asked,
                () = ended_of(&mut self.old) => continue,
                ended = current.child.wait() => match self.replace_ended(current, ended).await {
                    Some(next) => {
                        current = next;
                        continue;
                    }
                    None => return self.stop().await,
                },
            };
            if asked == Asked::Reload {
                self.again = false;
            }
            match asked {
                Asked::Reload => match self.reload(current).await {
                    Some(next) => current = next,
                    None => return self.stop().await,
                },
                Asked::Stop => {
                    send(&current.child, Signal::TERM);
                    self.old.push(current.child);
                    return self.stop().await;
                }
                Asked::Finish => {
                    notify(State::Stopping);
                    current.make_way().await;
                    current.ask(Word::Finish, Word::Deaf).await;
                    self.old.push(current.child);
                    // Swift's manager starts the next one as soon as this process is gone.
                    if !leaves_at_once {
                        self.wait_for_old().await;
                    }
                    return;
                }
            }
        }
    }

    /// Replaces the worker by a new one; `None` when a signal to stop comes meanwhile.
    async fn reload(&mut self, mut current: Worker) -> Option<Worker> {
        tracing::info!("reload");
        notify(State::Reloading);
        match self.start(&current.sockets).await {
            Ok(Some(next)) => {
                current.make_way().await;
                self.go(&next).await;
                let _ = current.channel.say(Word::Finish, "", &[]).await;
                self.old.push(current.child);
                Some(next)
            }
            Ok(None) => {
                send(&current.child, Signal::TERM);
                self.old.push(current.child);
                None
            }
            Err(error) => {
                tracing::error!(
                    error,
                    "the reload failed; the worker with the old configuration continues"
                );
                notify(State::Ready);
                Some(current)
            }
        }
    }

    /// Replaces a worker that ended unexpectedly; `None` when a signal to stop comes meanwhile.
    async fn replace_ended(
        &mut self,
        ended: Worker,
        status: std::io::Result<ExitStatus>,
    ) -> Option<Worker> {
        let mut wait = AGAIN.0;
        let mut error = match status {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        loop {
            tracing::error!(error, "the worker ended unexpectedly and is restarted");
            let until = Instant::now() + wait;
            loop {
                tokio::select! {
                                    () = tokio::time::sleep_until(until) => break,
                                    asked = self.signals.next() => match asked {
                                        Asked::Stop | Asked::Finish => return None,
                // A new worker reads the configuration anyway.
                                        Asked::Reload => {}
                                    },
                                }
            }
            match self.start(&ended.sockets).await {
                Ok(Some(next)) => {
                    self.go(&next).await;
                    return Some(next);
                }
                Ok(None) => return None,
                Err(failed) => error = failed,
            }
            wait = AGAIN.1.min(wait * 2);
        }
    }

    /// Ends all workers that are still there.
    async fn stop(&mut self) {
        notify(State::Stopping);
        self.old.iter().for_each(|child| send(child, Signal::TERM));
        self.wait_for_old().await;
    }

    /// Waits for workers that are ending; a signal to stop is passed on to them.
    async fn wait_for_old(&mut self) {
        let mut old = std::mem::take(&mut self.old);
        while !old.is_empty() {
            tokio::select! {
                () = ended_of(&mut old) => {}
                asked = self.signals.next() => if asked == Asked::Stop {
                    old.iter().for_each(|child| send(child, Signal::TERM));
                },
            }
        }
    }
}
