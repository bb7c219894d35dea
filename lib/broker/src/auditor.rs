//! The daemons `account-auditor` and `container-auditor`: look at every database again and again.
//! A damaged one is set aside by the node's own server, which may have it open; this daemon only
//! asks for that. What is good gets the digests that it lacks.
//!
//! Swift's auditors only open each database (`swift/common/db_auditor.py`).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use apus_cluster::HashConf;
use apus_daemon::http::header;
use apus_daemon::{Pace, Pass, PassContext, Span, Stopped};
use apus_wire::NodeError;
use async_trait::async_trait;
use http::StatusCode;
use serde_json::{Map, Value};
use tokio::sync::mpsc;

use crate::audit::{self, Found, Tables, Verdict};
use crate::error::DbError;
use crate::handles::Broker;
use crate::open::AfterOpen;
use crate::own_server::{Holders, NoHolders, OwnServer};
use crate::place::{Databases, Devices, Located};
use crate::set_aside;

/// How long the server may take to set a database aside: it looks at all of it once more.
const SET_ASIDE_WAIT: Duration = Duration::from_secs(600);

/// What the daemon needs.
#[derive(Debug)]
pub struct Parts {
    /// `account` or `container`.
    pub server: &'static str,
    /// The daemon's name.
    pub name: &'static str,
    /// What such a database holds.
    pub tables: &'static Tables,
    /// The devices.
    pub devices: Devices,
    /// The open databases of this process.
    pub broker: Arc<Broker>,
    /// Takes in `.pending` records.
    pub after_open: AfterOpen,
    /// The cluster's hash prefix and suffix.
    pub hash: HashConf,
    /// The server of this node.
    pub own_server: OwnServer,
    /// Databases a second; zero is as fast as it goes.
    pub per_second: f64,
}

/// The daemon.
#[derive(Debug)]
pub struct Auditor(Parts);

/// What a pass did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Audited {
    /// Databases in which nothing is wrong.
    pub passed: u64,
    /// Databases that are damaged, or could not be looked at.
    pub failed: u64,
    /// Of these, set aside.
    pub quarantined: u64,
    /// Of these, damaged and left, since too many were: an alarm.
    pub left_damaged: u64,
    /// Good ones that got digests.
    pub covered: u64,
}

/// Reasons why the server did not quarantine a damaged database.
#[derive(Debug, thiserror::Error)]
enum NotQuarantined {
    #[error(transparent)]
    Holders(#[from] NoHolders),
    #[error("the server returned {0}")]
    Status(StatusCode),
    #[error("the request failed: {0}")]
    Request(NodeError),
}

impl Auditor {
    /// A daemon with its parts.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self(parts)
    }

    async fn one(&self, path: &Path, partition: u32, done: &mut Audited) {
        let parts = &self.0;
        let looked = parts.broker.audit(path, parts.tables, &parts.hash).await;
        match looked {
            Err(DbError::Missing) => {}
            Ok(Verdict::Good { is_covered }) => {
                done.passed += 1;
                if !is_covered {
                    match self.cover(path).await {
                        Ok(()) => done.covered += 1,
                        Err(error) => {
                            tracing::warn!(database = %path.display(), %error, "no digests");
                        }
                    }
                }
            }
            Ok(Verdict::Damaged(reason)) => {
                done.failed += 1;
                tracing::error!(database = %path.display(), reason, "damaged");
                if set_aside::are_too_many(done.quarantined, done.passed + done.failed) {
                    if done.left_damaged == 0 {
                        tracing::error!("ALARM: too many databases look damaged; the others stay");
                    }
                    done.left_damaged += 1;
                    return;
                }
                match self.ask(path, partition).await {
                    Ok(()) => done.quarantined += 1,
                    Err(error) => {
                        tracing::error!(database = %path.display(), %error, "it stays");
                    }
                }
            }
            Err(error) => {
                done.failed += 1;
                tracing::warn!(database = %path.display(), %error, "not audited");
            }
        }
    }

    /// Adds the digests that are missing, some rows a transaction.
    async fn cover(&self, path: &Path) -> Result<(), DbError> {
        let parts = &self.0;
        let database = parts.broker.open(path, parts.after_open).await?.ok_or(DbError::Missing)?;
        let tables = parts.tables;
        let mut after = Some(0);
        while let Some(from) = after {
            after =
                database.write(move |connection| audit::cover(connection, tables, from)).await?;
            apus_fault::point("audit.database.covered");
        }
        Ok(())
    }

    /// Has the server of this node set a database aside; rows that were saved and have no place
    /// there go to the other replicas, which may lack them.
    async fn ask(&self, path: &Path, partition: u32) -> Result<(), NotQuarantined> {
        let holders = self.0.own_server.holders(path, partition)?;
        let call = (set_aside::OPERATION, holders.others.is_empty());
        match holders.call(&holders.own, &call, SET_ASIDE_WAIT).await {
            Ok(answer) if answer.status().is_success() => {
                if let Some(saved) = header(answer.headers(), set_aside::SAVED) {
                    self.push(Path::new(saved), &holders).await;
                }
                Ok(())
            }
            // Somebody was faster.
            Ok(answer) if answer.status() == StatusCode::NOT_FOUND => Ok(()),
            Ok(answer) => Err(NotQuarantined::Status(answer.status())),
            Err(error) => Err(NotQuarantined::Request(error)),
        }
    }

    /// Sends the rows of a database to other replicas, as replication does.
    async fn push(&self, saved: &Path, holders: &Holders) {
        let (sender, mut pages) = mpsc::channel::<Vec<Value>>(1);
        let file = saved.to_owned();
        let tables = self.0.tables;
        let read = tokio::task::spawn_blocking(move || pages_of(&file, tables, &sender));
        let mut taken: Vec<bool> = vec![true; holders.others.len()];
        // Nobody knows this id: no sync point means anything.
        let id = apus_daemon::seed::uuid();
        let wait = self.0.own_server.client.deadlines().answer;
        while let Some(rows) = pages.recv().await {
            let call = ("merge_items", rows, &id);
            for (node, taken) in holders.others.iter().zip(&mut taken).filter(|(_, taken)| **taken)
            {
                let answer = holders.call(node, &call, wait).await;
                *taken = answer.is_ok_and(|answer| answer.status().is_success());
            }
        }
        let whole = matches!(read.await, Ok(Ok(())));
        let count = taken.iter().filter(|taken| **taken).count();
        if whole && count > 0 {
            tracing::info!(saved = %saved.display(), replicas = count, "saved rows were sent");
        } else {
            tracing::error!(saved = %saved.display(), "saved rows stay there: no replica took all");
        }
    }
}

/// Reads a database page by page, as replicas send rows. Blocks.
fn pages_of(
    path: &Path,
    tables: &Tables,
    sender: &mpsc::Sender<Vec<Value>>,
) -> Result<(), DbError> {
    const PAGE: usize = 1000;
    let mut connection = audit::open_to_read(path)?;
    let mut page = Vec::new();
    let mut is_wanted = true;
    connection.query(tables.rows, &[], |row| {
        let found = Found::read(row, tables);
        let mut fields = Map::from_iter([("ROWID".to_owned(), found.id.into())]);
        for ((name, is_number), text) in tables.fields.iter().zip(found.columns) {
            let number = is_number.then(|| text.parse::<i64>().ok()).flatten();
            fields.insert((*name).to_owned(), number.map_or(Value::String(text), Value::from));
        }
        page.push(Value::Object(fields));
        if page.len() >= PAGE {
            is_wanted = sender.blocking_send(std::mem::take(&mut page)).is_ok();
        }
        is_wanted
    })?;
    if !page.is_empty() {
        // Who does not listen any more has stopped.
        let _ = sender.blocking_send(page);
    }
    connection.close()
}

#[async_trait]
impl Pass for Auditor {
    type Report = Audited;

    fn name(&self) -> &'static str {
        self.0.name
    }

    async fn pass(&mut self, cx: &PassContext) -> Result<Audited, Stopped> {
        let (kind, name) = (self.0.tables.kind, self.0.name);
        let mut found = Databases::find(&self.0.devices, kind, cx, name);
        let mut pace = Pace::per_second(self.0.per_second);
        let mut done = Audited::default();
        while let Some(Located { path, partition, .. }) = found.next().await {
            cx.unless_stopped(pace.take(1.0)).await?;
            cx.unless_stopped(self.one(&path, partition, &mut done)).await?;
        }
        Ok(done)
    }

    fn recon(&self, report: &Audited, span: Span) -> Map<String, Value> {
        let server = self.0.server;
        Map::from_iter([
            (format!("{server}_audits_since"), span.began.as_secs_f64().into()),
            (format!("{server}_audits_passed"), report.passed.into()),
            (format!("{server}_audits_failed"), report.failed.into()),
            (format!("{server}_auditor_pass_completed"), span.seconds().into()),
        ])
    }
}
