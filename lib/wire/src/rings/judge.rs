//! Whether a ring may take the place of another. The rules in one place, for the node that is asked
//! and for the one that wants to know beforehand.

use apus_ring::Ring;

use super::manifest::Facts;
use super::{Entry, Rank, Refusal, RingName, Statement};

/// What is to be done with a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Put it in force.
    Install,
    /// It is there; keep what is said of it.
    Sign,
    /// It is there.
    Nothing,
}

/// What is to be done with the ring that a believed statement speaks of, by what is there.
/// `is_current` decides whether a statement was made with the current signing key.
///
/// # Errors
/// [`Refusal::NotNewer`].
pub fn judge(
    held: Option<&Entry>,
    offered: &Statement,
    is_current: impl Fn(&Statement) -> bool,
) -> Result<Step, Refusal> {
    let Some(held) = held else { return Ok(Step::Install) };
    let Some(rank) = held.rank() else { return Ok(Step::Install) };
    let refused = || {
        let (name, offered) = (offered.name.clone(), offered.rank());
        Err(Refusal::NotNewer { name, offered, held: rank })
    };
    if held.sha256 == offered.sha256 {
        return match held.signed() {
            Some(known) if offered.series > known.series => Ok(Step::Sign),
            Some(known) if offered.series == known.series => {
                let renews = is_current(offered) && !is_current(known);
                Ok(if renews { Step::Sign } else { Step::Nothing })
            }
            Some(_) => Ok(Step::Nothing),
            None if offered.series >= rank.series => Ok(Step::Sign),
            None => refused(),
        };
    }
    // A damaged file is mended by the ring that it was.
    let mends = held.ring.is_none()
        && held.statement.as_ref().is_some_and(|said| said.sha256 == offered.sha256);
    if mends || offered.rank() > rank { Ok(Step::Install) } else { refused() }
}

/// Whether a ring can be used at all.
///
/// # Errors
/// [`Refusal::Unusable`].
pub fn check_usable(name: &RingName, ring: &Ring) -> Result<(), Refusal> {
    let unusable = |what: String| Err(Refusal::Unusable(format!("{name}: {what}")));
    if ring.replica_count() < 1.0 {
        return unusable(format!("{} replicas: expected at least 1", ring.replica_count()));
    }
    let nobodys = (0..ring.partitions()).find(|part| ring.primary_ids(*part).next().is_none());
    if let Some(part) = nobodys {
        return unusable(format!("partition {part} is on no device"));
    }
    Ok(())
}

/// Whether the part power of a ring may follow that of the one before. What is on the disks stands
/// in the directories of the old one; only Swift's increase, step by step, moves it.
///
/// # Errors
/// [`Refusal::Step`].
pub fn check_step(name: &RingName, before: &Facts, after: &Facts) -> Result<(), Refusal> {
    let (from, to) = (before.part_power, after.part_power);
    let refused =
        |what: &str| Err(Refusal::Step(format!("{name}: part power {to} after {from}: {what}")));
    if to != from && matches!(name.kind(), "account" | "container") {
        // Nothing moves databases to other partitions.
        return refused("expected the same: only rings of objects can be doubled");
    }
    if to != from && before.next_part_power != Some(to) {
        return refused("expected the same, or the one that an increase was prepared for");
    }
    match after.next_part_power {
        None => Ok(()),
        Some(next) if next == to || Some(next) == to.checked_add(1) => Ok(()),
        Some(next) => refused(&format!("no increase leads on to {next}")),
    }
}

impl Entry {
    /// What a series must be for a ring of this version to be newer than the file.
    pub(super) fn series_to_beat(&self, version: u64) -> u64 {
        let Some(rank) = self.rank() else { return 0 };
        let same = Rank { version, ..rank };
        if same > rank { rank.series } else { rank.series.saturating_add(1) }
    }
}
