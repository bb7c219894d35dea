//! `apus bench`: a load generator for both dialects, against any server that speaks one of them.
//!
//! Each operation is a phase: connections are opened and requests signed, then the clock runs, then
//! one line shows the result. Exit codes: 0 all requests succeeded, 1 some failed or returned wrong
//! data, 2 the options or the server do not allow a phase to run.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

mod connection;
mod latency;
mod multipart;
mod options;
mod pace;
mod pattern;
mod phase;
mod process;
mod quantity;
mod report;
mod setup;
mod sign;
mod target;
mod work;

use std::process::ExitCode;
use std::sync::Arc;

use serde_json::Value;

pub use options::Options;

use options::Operation;
use pattern::Pool;
use phase::Outcome;
use work::Work;

fn print(options: &Options, work_parameters: serde_json::Map<String, Value>, outcome: &Outcome) {
    if options.json {
        let mut line = work_parameters;
        line.extend(report::figures(outcome));
        println!("{}", Value::Object(line));
        return;
    }
    let operation = work_parameters.get("op").and_then(Value::as_str).unwrap_or_default();
    println!("{}", report::row(operation, outcome));
    let tally = &outcome.tally;
    if let Some(error) = &tally.first_error {
        eprintln!(
            "apus: {operation}: {} of {} failed; one: {error}",
            tally.errors(),
            outcome.started
        );
    }
    if outcome.unsent > 0 {
        eprintln!("apus: {operation}: {} were due and not sent in time", outcome.unsent);
    }
}

/// Runs all phases; says whether every request succeeded.
async fn phases(options: &Options) -> Result<bool, String> {
    let target = Arc::new(setup::target(options).await?);
    let pool = Pool::new(options.seed);
    let mut clean = true;
    // Objects that there are; and how many of them this run has written.
    let (mut objects, mut written) = (options.count, 0);
    for (phase, operation) in options.op.iter().enumerate() {
        let mut work = Work::new(options, *operation, target.clone(), pool.clone());
        match operation {
            Operation::Put => objects = options.count,
            Operation::Get | Operation::Head | Operation::Delete => {
                setup::expect_objects(&work, objects).await?;
            }
            Operation::List => {
                let rows = setup::count_rows(&work).await?;
                work.list_rows_least = rows.max(written).min(options.list_rows());
            }
        }
        let parameters = report::parameters(options, &work);
        let outcome = phase::run(work, options, objects).await?;
        match operation {
            Operation::Put => {
                objects = objects.min(outcome.started).max(1);
                written = objects.min(outcome.tally.latencies.total());
            }
            Operation::Delete => written = 0,
            Operation::Get | Operation::Head | Operation::List => {}
        }
        if phase == 0 && !options.json {
            println!("{}", report::heading(!options.server_pid.is_empty()));
        }
        clean &= outcome.tally.errors() == 0;
        print(options, parameters, &outcome);
    }
    Ok(clean)
}

/// Runs `apus bench`.
pub fn main(options: &Options) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(usize::from(options.threads))
        .enable_all()
        .build();
    let result = options
        .check()
        .and_then(|()| runtime.map_err(|error| format!("runtime: {error}")))
        .and_then(|runtime| runtime.block_on(phases(options)));
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("apus: {error}");
            ExitCode::from(2)
        }
    }
}
