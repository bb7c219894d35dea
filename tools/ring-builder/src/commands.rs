//! Table of the commands on one builder file, and what each may change.
//!
//! A new command is one line here and its text in `usage.txt`.

use super::CommandResult;
use super::output::Output;
use super::session::{Names, Session};
use super::{devices, dispersion, plot, rebalance, settings, show, weigh, write};

/// Changes that a command may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing.
    Reads,
    /// Builder or ring: it takes the folder's lock, and `--dry-run`.
    Writes,
    /// The same, and the next rebalance may move partitions for it.
    Moves,
}

/// Input and function of a command.
#[derive(Clone, Copy)]
pub(super) enum Run {
    /// The builder, read from its file.
    Builder(fn(&mut Session, &[String]) -> CommandResult),
    /// The arguments: the command creates the builder.
    Create,
    /// The names of the files; the builder may be missing.
    Ring(fn(&RingFileContext<'_>, &mut Output) -> CommandResult),
}

/// Context of a command on a ring file, whose builder may be missing.
pub(super) struct RingFileContext<'a> {
    pub(super) names: &'a Names,
    pub(super) arguments: &'a [String],
    /// Seconds since 1970.
    pub(super) now_seconds: u64,
    pub(super) dry_run: bool,
}

/// A command on a builder file.
pub(super) struct Command {
    pub(super) name: &'static str,
    pub(super) effect: Effect,
    pub(super) run: Run,
}

const fn command(name: &'static str, effect: Effect, run: Run) -> Command {
    Command { name, effect, run }
}

/// The command that runs without a name.
const SHOW: &str = "default";

use Effect::{Moves, Reads, Writes};
use Run::{Builder, Create, Ring};

const COMMANDS: &[Command] = &[
    command(SHOW, Reads, Builder(|session, _| show::default(session))),
    command("create", Writes, Create),
    command("add", Moves, Builder(devices::add)),
    command("set_weight", Moves, Builder(devices::set_weight)),
    command("set_region", Moves, Builder(devices::set_region)),
    command("set_zone", Moves, Builder(devices::set_zone)),
    command("set_info", Writes, Builder(devices::set_info)),
    command("remove", Moves, Builder(devices::remove)),
    command("search", Reads, Builder(devices::search)),
    command("list_parts", Reads, Builder(devices::list_parts)),
    // A dry run has moved the partitions in memory already.
    command("rebalance", Writes, Builder(rebalance::rebalance)),
    // It saves the figures that it counted.
    command("dispersion", Writes, Builder(dispersion::dispersion)),
    command("validate", Reads, Builder(|session, _| dispersion::validate(session))),
    command("write_ring", Writes, Builder(write::write_ring)),
    command("write_builder", Writes, Ring(write::write_builder)),
    command("version", Reads, Ring(show::version)),
    command(
        "pretend_min_part_hours_passed",
        Moves,
        Builder(|session, _| settings::pretend_min_part_hours_passed(session)),
    ),
    command("set_min_part_hours", Moves, Builder(settings::set_min_part_hours)),
    command("set_replicas", Moves, Builder(settings::set_replicas)),
    command("set_overload", Moves, Builder(settings::set_overload)),
    command(
        "prepare_increase_partition_power",
        Writes,
        Builder(|session, _| settings::prepare_increase_partition_power(session)),
    ),
    command(
        "increase_partition_power",
        Writes,
        Builder(|session, _| settings::increase_partition_power(session)),
    ),
    command(
        "cancel_increase_partition_power",
        Writes,
        Builder(|session, _| settings::cancel_increase_partition_power(session)),
    ),
    command(
        "finish_increase_partition_power",
        Writes,
        Builder(|session, _| settings::finish_increase_partition_power(session)),
    ),
    command("weigh", Moves, Builder(weigh::weigh)),
    command("plot", Reads, Builder(plot::plot)),
];

/// The command of this name; without a name, the one that shows the builder.
pub(super) fn find(name: Option<&str>) -> Option<&'static Command> {
    let name = name.unwrap_or(SHOW);
    COMMANDS.iter().find(|command| command.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::USAGE;

    #[test]
    fn usage_lists_every_command_once() {
        let lines = USAGE.lines().filter_map(|line| line.strip_prefix("  <"));
        let lines: Vec<&str> = lines.filter(|line| line.contains("_file> ")).collect();
        assert_eq!(lines.iter().collect::<BTreeSet<_>>().len(), lines.len());
        let listed: BTreeSet<&str> =
            lines.iter().filter_map(|line| line.split_once("> ")?.1.split(' ').next()).collect();
        let known = COMMANDS.iter().map(|command| command.name).filter(|name| *name != SHOW);
        assert_eq!(listed, known.collect());
    }

    #[test]
    fn no_two_commands_have_one_name() {
        let names: BTreeSet<&str> = COMMANDS.iter().map(|command| command.name).collect();
        assert_eq!(names.len(), COMMANDS.len());
        assert!(find(Some("no_such_command")).is_none());
        assert_eq!(find(None).map(|command| command.name), Some(SHOW));
    }
}
