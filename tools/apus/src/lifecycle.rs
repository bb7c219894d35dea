//! `apus lifecycle`: applies the lifecycle rules of one bucket now, or lists what they demand.

use apus_cluster::{AccountName, ContainerName, ContainerPath};
use apus_container::{DueEntry, WalkOptions, WalkReport};
use apus_daemon::runtime;
use apus_node::{OperatorStore, operator_store};

use crate::swift_dir::SwiftDirOptions;

/// Options of `apus lifecycle`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The bucket, with its account
    #[arg(value_name = "/ACCOUNT/BUCKET")]
    bucket: String,
    /// List what would be done, and change nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Length of a day of the rules in seconds, as in `[container-lifecycle]`
    #[arg(long, default_value_t = 86_400, value_name = "SECONDS")]
    seconds_per_day: u64,
    /// Deletions at the same time
    #[arg(long, default_value_t = 4, value_name = "NUMBER")]
    concurrency: usize,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    swift_dir: SwiftDirOptions,
}

fn container_path(text: &str) -> Result<ContainerPath, String> {
    let refused = || format!("bucket {text:?}: expected /account/bucket");
    let (account, container) =
        text.strip_prefix('/').and_then(|text| text.split_once('/')).ok_or_else(refused)?;
    let account = AccountName::parse(account).map_err(|_| refused())?;
    let container = ContainerName::parse(container).map_err(|_| refused())?;
    Ok(ContainerPath::new(account, container))
}

/// One line for an entry.
fn line(due: &DueEntry, json: bool) -> String {
    let DueEntry { action, name, id, size, modified, rule } = due;
    let (action, modified) = (action.word(), modified.iso());
    if json {
        let entry = serde_json::json!({
            "action": action,
            "key": name,
            "id": id,
            "size": size,
            "last_modified": modified,
            "rule": rule,
        });
        return entry.to_string();
    }
    let id = id.as_ref().map(|id| format!(" id={id}")).unwrap_or_default();
    // A key may have control characters, which a terminal would obey.
    format!("{action} {name:?}{id} size={size} last-modified={modified} rule={rule:?}")
}

fn summary(report: &WalkReport, dry_run: bool) -> String {
    let WalkReport { rows, changed, locked, errors, .. } = report;
    let done = report.done();
    let verb = if dry_run { "due" } else { "done" };
    format!(
        "{rows} entries, {done} {verb}, {changed} changed meanwhile, {locked} locked, {errors} failed"
    )
}

/// Applies or lists the rules; the entries go to stdout, the sum to stderr.
pub(crate) fn main(options: &Options) -> Result<(), String> {
    apus_daemon::log::start("warn");
    let container = container_path(&options.bucket)?;
    let walk =
        WalkOptions::of_operator(options.seconds_per_day, options.concurrency, options.dry_run);
    let runtime = runtime::multi_thread().map_err(|error| error.to_string())?;
    let report = runtime.block_on(async {
        let OperatorStore { store, clock } = operator_store(&options.swift_dir.directory())?;
        let mut show = |due: &DueEntry| println!("{}", line(due, options.json));
        let applied = apus_container::apply_rules(store, clock, container, &walk, &mut show);
        applied.await.map_err(|error| error.to_string())
    })?;
    let report = report.ok_or_else(|| format!("{}: no lifecycle rules", options.bucket))?;
    eprintln!("{}", summary(&report, options.dry_run));
    match report.errors {
        0 => Ok(()),
        errors => Err(format!("{errors} entries failed; the log above has the reasons")),
    }
}

#[cfg(test)]
mod tests {
    use apus_cluster::Timestamp;
    use apus_container::LifecycleAction;

    use super::*;

    #[test]
    fn a_bucket_is_named_with_its_account() {
        assert_eq!(container_path("/AUTH_a/b").unwrap().to_string(), "/AUTH_a/b");
        for text in ["b", "AUTH_a/b", "/AUTH_a", "/AUTH_a/b/o", "//b", ""] {
            assert!(container_path(text).unwrap_err().contains("expected /account/bucket"));
        }
    }

    #[test]
    fn a_line_names_key_action_and_rule() {
        let due = DueEntry {
            action: LifecycleAction::AbortUpload,
            name: "a\nb".to_owned(),
            id: Some("x".to_owned()),
            size: 0,
            modified: Timestamp::from_seconds(1_700_000_000),
            rule: "r 1".to_owned(),
        };
        assert_eq!(
            line(&due, false),
            "abort-upload \"a\\nb\" id=x size=0 last-modified=2023-11-14T22:13:20.000000 rule=\"r 1\""
        );
        let json: serde_json::Value = serde_json::from_str(&line(&due, true)).unwrap();
        assert_eq!((&json["key"], &json["rule"]), (&"a\nb".into(), &"r 1".into()));
    }
}
