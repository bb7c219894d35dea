//! `validate`, and `dispersion`: how replicas share failure domains.

use apus_ring::builder::TierReport;
use clap::Parser;
use regex::Regex;
use serde_json::{Value, json};

use super::devices::not_rebalanced;
use super::options::parse;
use super::output::{CommandError, Output};
use super::session::Session;
use super::{CommandResult, Exit};

pub(super) fn validate(session: &mut Session) -> CommandResult {
    session.builder.validate().map_err(CommandError::uncaught)?;
    Ok(Exit::Success)
}

#[derive(Debug, Parser)]
#[command(no_binary_name = true, infer_long_args = true, args_override_self = true)]
struct Options {
    /// Count the dispersion again and save it
    #[arg(long)]
    recalculate: bool,
    /// Show each failure domain
    #[arg(short, long)]
    verbose: bool,
    /// Only domains whose name starts with this (a regular expression)
    filter: Option<String>,
}

pub(super) fn dispersion(session: &mut Session, arguments: &[String]) -> CommandResult {
    not_rebalanced(session)?;
    let options: Options = parse(arguments)?;
    let filter = options.filter.as_deref().map(|filter| {
        Regex::new(&format!("^(?:{filter})"))
            .map_err(|error| CommandError::Uncaught(format!("<search_filter> {filter:?}: {error}")))
    });
    let filter = filter.transpose()?;
    if options.recalculate || session.builder.dispersion_graph.is_empty() {
        session.builder.note_dispersion();
        session.builder.touch();
        session.save()?;
    }
    let mut report = session.builder.dispersion_report();
    report.retain(|tier| filter.as_ref().is_none_or(|filter| filter.is_match(&tier.name)));
    let builder = &session.builder;
    let required = builder.required_overload().map_err(CommandError::uncaught)?;
    let (dispersion, balance, overload) =
        (builder.dispersion, builder.balance().percent, builder.overload);
    let (replicas, parts) = (builder.replicas.ceil() as usize, builder.partitions());
    // Of equal tiers the first one counts.
    let worst = report
        .iter()
        .filter(|tier| tier.dispersion > 0.0)
        .reduce(|worst, tier| if tier.dispersion > worst.dispersion { tier } else { worst });
    let out = &mut session.out;
    out.set("dispersion", dispersion);
    out.set("balance", balance);
    out.set("overload", overload);
    out.set("required_overload", required);
    out.show(format!(
        "Dispersion is {dispersion:.6}, Balance is {balance:.6}, Overload is {:.2}%",
        overload * 100.0
    ));
    out.show(format!("Required overload is {:.6}%", required * 100.0));
    let mut exit = Exit::Success;
    if let Some(worst) = worst {
        exit = Exit::Warning;
        out.show(format!("Worst tier is {:.6} ({})", worst.dispersion, worst.name));
        out.set("worst_tier", json!({ "name": worst.name, "dispersion": worst.dispersion }));
    }
    if options.verbose && !report.is_empty() {
        show_tiers(out, &report, parts, replicas);
    }
    if options.verbose {
        let tier = |tier: &TierReport| {
            json!({
                "name": tier.name,
                "parts": tier.placed,
                "dispersion": tier.dispersion,
                "max_replicas": tier.replicas_max,
                "replicas": tier.replicas,
            })
        };
        out.set("tiers", report.iter().map(tier).collect::<Value>());
    }
    Ok(exit)
}

/// Shows the table of failure domains.
fn show_tiers(out: &mut Output, report: &[TierReport], parts: usize, replicas: usize) {
    let width = parts.to_string().len().max(5);
    let columns = |numbers: &mut dyn Iterator<Item = u64>| {
        numbers.map(|number| format!("{number:>width$}")).collect::<Vec<_>>().join(" ")
    };
    let names = report.iter().map(|tier| tier.name.len()).max().unwrap_or(0).max(30);
    let head = format!(
        "{:<names$} {:>width$} {:>6} {:>6} {}",
        "Tier",
        "Parts",
        "%",
        "Max",
        columns(&mut (0..=replicas as u64))
    );
    let rule = "-".repeat(head.len());
    out.show(format!("{rule}\n{head}\n{rule}"));
    for tier in report {
        out.show(format!(
            "{:<names$} {:>width$} {:6.2} {:>6} {}",
            tier.name,
            tier.placed,
            tier.dispersion,
            tier.replicas_max,
            columns(&mut tier.replicas.iter().copied())
        ));
    }
}
