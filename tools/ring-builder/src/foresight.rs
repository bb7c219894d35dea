//! `--dry-run`: what a change would move, told instead of done.

use std::time::Duration;

use apus_ring::builder::RingBuilder;
use apus_ring::builder::place;
use apus_ring::format::UncheckedRing;
use apus_ring::moves::{Amounts, Same, compare};

use super::commands::Effect;
use super::moves::show_moves;
use super::output::{Output, Problem};
use super::progress::Progress;
use super::quantity::bytes;
use super::session::Session;
use super::weigh::used_bytes;

/// What comes with `--dry-run`.
#[derive(Debug, Clone, Default)]
pub(super) struct Foresight {
    pub(super) dry_run: bool,
    pub(super) amounts: Amounts,
    verbose: bool,
    /// The servers are asked for the bytes that are used.
    ask: bool,
}

/// How long a server may take to tell its disks' use.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

impl Foresight {
    /// Takes the options out of a command's arguments.
    pub(super) fn take(arguments: &[String]) -> Result<(Self, Vec<String>), Problem> {
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

    /// Tells what a command, done in memory only, would come to.
    pub(super) fn tell(
        &self,
        session: &mut Session,
        before: &RingBuilder,
        effect: Effect,
    ) -> Result<(), Problem> {
        nothing_written(&mut session.out);
        let mut after = session.builder.clone();
        if effect == Effect::Moves {
            session.out.show("The next rebalance would do this:");
            if let Err(error) = placed(&mut after, session) {
                session.out.show(format!("It would fail: {error}"));
                session.out.set("rebalance_error", error);
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
        self.tell_moves(&mut session.out, old, [&before.ring_data(), &after.ring_data()], Same::Id)
    }

    /// Tells what moves from one ring to another. Servers of the builders are those that
    /// `--used recon` asks.
    pub(super) fn tell_moves(
        &self,
        out: &mut Output,
        builders: &[RingBuilder],
        [old, new]: [&UncheckedRing; 2],
        same: Same,
    ) -> Result<(), Problem> {
        let mut amounts = self.amounts;
        if self.ask {
            let used = builders.iter().map(|builder| used_bytes(builder, ASK_TIMEOUT));
            amounts.used = Some(used.sum::<Result<f64, String>>()?);
        }
        let progress = Progress::spinner(out, "comparing");
        let moves = compare(old, new, same);
        progress.end();
        show_moves(&moves?, out, amounts, self.verbose);
        Ok(())
    }
}

/// Says that this was a dry run.
pub(super) fn nothing_written(out: &mut Output) {
    out.set("dry_run", true);
    out.show("Dry run: nothing was written.");
}

fn placed(builder: &mut RingBuilder, session: &Session) -> Result<(), String> {
    let progress = Progress::spinner(&session.out, "placing partitions");
    let done = place(builder, session.now_seconds, 0);
    progress.end();
    done.map(|_| ())
}
