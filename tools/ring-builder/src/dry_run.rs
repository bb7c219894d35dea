//! `--dry-run`: shows what a change would move, and writes nothing.

use std::time::Duration;

use apus_ring::builder::RingBuilder;
use apus_ring::builder::place;
use apus_ring::format::UncheckedRing;
use apus_ring::moves::{Amounts, MatchBy, compare};

use super::commands::Effect;
use super::moves::show_moves;
use super::output::{CommandError, Output};
use super::progress::Progress;
use super::quantity::bytes;
use super::session::Session;
use super::weigh::used_bytes;

/// `--dry-run` and the options that come with it.
#[derive(Debug, Clone, Default)]
pub(super) struct DryRun {
    pub(super) dry_run: bool,
    pub(super) amounts: Amounts,
    verbose: bool,
    /// Ask the servers for the bytes in use.
    ask: bool,
}

/// How long a server may take to report the usage of its disks.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

impl DryRun {
    /// Takes the options out of a command's arguments.
    pub(super) fn take(arguments: &[String]) -> Result<(Self, Vec<String>), CommandError> {
        let mut found = Self::default();
        if !arguments.iter().any(|word| word == "--dry-run") {
            return Ok((found, arguments.to_vec()));
        }
        let mut rest = Vec::new();
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (word.as_str(), None),
            };
            match name {
                "--dry-run" => found.dry_run = true,
                "--moves" => found.verbose = true,
                "--used" | "--rate" => {
                    let value = value.or_else(|| words.next().cloned());
                    let value = value.ok_or_else(|| format!("{name} needs a value"))?;
                    if name == "--used" && value == "recon" {
                        found.ask = true;
                        continue;
                    }
                    let amount = bytes(&value).map_err(|error| format!("{name} {error}"))?;
                    match name {
                        "--used" => found.amounts.used = Some(amount),
                        _ => found.amounts.rate = Some(amount),
                    }
                }
                _ => rest.push(word.clone()),
            }
        }
        Ok((found, rest))
    }

    /// Shows the effect of a command that was applied in memory only.
    pub(super) fn show(
        &self,
        session: &mut Session,
        before: &RingBuilder,
        effect: Effect,
    ) -> Result<(), CommandError> {
        nothing_written(&mut session.out);
        let mut after = session.builder.clone();
        if effect == Effect::Moves {
            session.out.show("The next rebalance would do this:");
            if let Err(error) = placed(&mut after, session) {
                session.out.show(format!("It would fail: {error}"));
                session.out.set("rebalance_error", error.to_string());
                return Ok(());
            }
            let (balance, dispersion) = (after.balance().percent, after.dispersion);
            session.out.show(format!(
                "Balance would be {balance:.2}, dispersion {dispersion:.2} (now {:.2} and {:.2}).",
                before.balance().percent,
                before.dispersion
            ));
            session.out.set("balance_after", balance);
            session.out.set("dispersion_after", dispersion);
        }
        let old = std::slice::from_ref(before);
        self.show_moves(
            &mut session.out,
            old,
            [&before.ring_data(), &after.ring_data()],
            MatchBy::Id,
        )
    }

    /// Shows what moves from one ring to another. The servers of the builders are those that
    /// `--used recon` asks.
    pub(super) fn show_moves(
        &self,
        out: &mut Output,
        builders: &[RingBuilder],
        [old, new]: [&UncheckedRing; 2],
        same: MatchBy,
    ) -> Result<(), CommandError> {
        let mut amounts = self.amounts;
        if self.ask {
            let used = builders.iter().map(|builder| used_bytes(builder, ASK_TIMEOUT));
            amounts.used = Some(used.sum::<Result<f64, CommandError>>()?);
        }
        let progress = Progress::spinner(out, "comparing");
        let moves = compare(old, new, same);
        progress.end();
        show_moves(&moves?, out, amounts, self.verbose);
        Ok(())
    }
}

/// Notes that this was a dry run.
pub(super) fn nothing_written(out: &mut Output) {
    out.set("dry_run", true);
    out.show("Dry run: nothing was written.");
}

fn placed(builder: &mut RingBuilder, session: &Session) -> Result<(), CommandError> {
    let progress = Progress::spinner(&session.out, "placing partitions");
    let done = place(builder, session.now_seconds, 0);
    progress.end();
    done?;
    Ok(())
}
