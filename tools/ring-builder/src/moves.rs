//! The report of what moves between two rings.

use apus_ring::moves::{Amounts, Moves};
use apus_ring::python;

use super::output::Output;
use super::quantity::show_bytes;
use super::table::aligned;

/// Shows all that moves; devices and nodes only when `verbose`.
pub(super) fn show_moves(moves: &Moves, out: &mut Output, amounts: Amounts, verbose: bool) {
    let each = moves.replica_bytes(amounts);
    let bytes = |replicas: u64| each.map(|each| each * replicas as f64);
    let amount = |replicas: u64| match bytes(replicas) {
        Some(bytes) => format!("{replicas} ({})", show_bytes(bytes)),
        None => replicas.to_string(),
    };
    out.show(format!(
        "{} partition replicas of {} partitions move.",
        amount(moves.replicas),
        moves.partitions
    ));
    if moves.risky > 0 {
        out.show(format!("Of {} partitions more than one replica moves.", moves.risky));
    }
    if let Some(seconds) = moves.seconds(amounts) {
        let time = python::duration(seconds.ceil() as u64);
        out.show(format!("The device with the most to move needs {time} at the given rate."));
    }
    let rows: Vec<_> = moves
        .tiers()
        .filter(|(tier, _, change)| {
            let is_shown = verbose || tier.level() < 2;
            is_shown && (change.into, change.out) != (0, 0)
        })
        .map(|(_, name, change)| {
            let cell = |replicas: u64| amount(replicas);
            [
                name.to_owned(),
                change.before.to_string(),
                change.after.to_string(),
                cell(change.into),
                cell(change.out),
            ]
        })
        .collect();
    if !rows.is_empty() {
        let head = ["Tier", "before", "after", "in", "out"].map(str::to_owned);
        for line in aligned(std::iter::once(&head).chain(&rows)) {
            out.show(line);
        }
    }
    out.set("moves", moves.json(amounts));
}
