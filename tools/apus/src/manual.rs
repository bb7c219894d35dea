//! `apus completions` and `apus man-pages`: what a package installs next to the executable, made from
//! the commands' own definitions.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use clap::Command;
use clap_complete::Shell;

/// Prints the completion script of a shell.
pub(crate) fn completions(shell: Shell, mut command: Command) -> Result<(), String> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "apus", &mut script);
    match io::stdout().lock().write_all(&script) {
        // A pipe that is closed early is not an error.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(format!("stdout: {error}")),
        _ => Ok(()),
    }
}

/// Writes `apus.1` and a page for each command and its commands: `apus-key-create.1`.
pub(crate) fn write_pages(directory: &Path, command: Command) -> Result<(), String> {
    let failed = |error: io::Error| format!("{}: {error}", directory.display());
    fs::create_dir_all(directory).map_err(failed)?;
    // The command `help` would have a page for each other command.
    clap_mangen::generate_to(command.disable_help_subcommand(true), directory).map_err(failed)
}
