//! The daemons `account-auditor` and `container-auditor`: audit every database again and again.
//!
//! A damaged database is quarantined by the node's own server, which may have it open: this daemon
//! only asks for that. A good one gets the digests that it lacks.
//!
//! Swift's auditors only open each database (`swift/common/db_auditor.py`).

use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;

use apus_cluster::HashConf;
use apus_daemon::{Pace, Pass, PassContext, Span, Stopped};
use apus_wire::NodeError;
use apus_wire::message::database::DatabaseCall;
use async_trait::async_trait;
use http::StatusCode;
use serde_json::{Map, Value};
use tokio::sync::mpsc;

use crate::audit::{self, AuditedRow, Verdict};
use crate::error::DbError;
use crate::handles::Broker;
use crate::kind::DatabaseKind;
use crate::local_client::{Holders, LocalClient, NoHolders};
use crate::path::{Databases, Devices, Located};
use crate::quarantine;
use crate::schema::Schema;

/// What an auditor works with.
#[derive(Debug)]
pub struct AuditorDeps {
    /// The devices.
    pub devices: Devices,
    /// The open databases of this process.
    pub broker: Arc<Broker>,
    /// The cluster's hash prefix and suffix.
    pub hash: HashConf,
    /// The client of this node's server.
    pub local: LocalClient,
    /// Databases per second; zero is unlimited.
    pub per_second: f64,
}

/// The auditor of one kind of database.
#[derive(Debug)]
pub struct Auditor<K> {
    deps: AuditorDeps,
    kind: PhantomData<fn() -> K>,
}

/// Counts of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Audited {
    /// Databases in which nothing is wrong.
    pub passed: u64,
    /// Databases that are damaged or could not be read.
    pub failed: u64,
    /// Of these, quarantined.
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

impl<K: DatabaseKind> Auditor<K> {
    /// An auditor over its dependencies.
    #[must_use]
    pub fn new(deps: AuditorDeps) -> Self {
        Self { deps, kind: PhantomData }
    }

    async fn audit(&self, path: &Path, partition: u32, done: &mut Audited) {
        match self.deps.broker.audit::<K>(path, &self.deps.hash).await {
            Err(DbError::Missing) => {}
            Ok(Verdict::Good { is_covered }) => {
                done.passed += 1;
                if !is_covered {
                    match self.cover(path).await {
                        Ok(()) => done.covered += 1,
                        Err(error) => {
                            let database = path.display();
                            tracing::warn!(%database, %error, "Failed to add digests to a database");
                        }
                    }
                }
            }
            Ok(Verdict::Damaged(reason)) => {
                done.failed += 1;
                tracing::error!(database = %path.display(), reason, "A database is damaged");
                self.damaged(path, partition, done).await;
            }
            Err(error) => {
                done.failed += 1;
                tracing::warn!(database = %path.display(), %error, "Failed to audit a database");
            }
        }
    }

    async fn damaged(&self, path: &Path, partition: u32, done: &mut Audited) {
        if quarantine::are_too_many(done.quarantined, done.passed + done.failed) {
            if done.left_damaged == 0 {
                tracing::error!("ALARM: too many databases look damaged; the others stay");
            }
            done.left_damaged += 1;
            return;
        }
        match self.quarantine(path, partition).await {
            Ok(()) => done.quarantined += 1,
            Err(error) => {
                let database = path.display();
                tracing::error!(%database, %error, "Failed to quarantine a damaged database");
            }
        }
    }

    /// Adds the digests that are missing, some rows per transaction.
    async fn cover(&self, path: &Path) -> Result<(), DbError> {
        let opened = self.deps.broker.open(path, K::merge_pending).await?;
        let database = opened.ok_or(DbError::Missing)?;
        let mut after = Some(0);
        while let Some(from) = after {
            after = database
                .write(move |connection| audit::cover(connection, K::schema(), from))
                .await?;
            apus_fault::point("audit.database.covered");
        }
        Ok(())
    }

    /// Asks the server of this node to quarantine a database. Rows that were salvaged and are not
    /// in a new database are sent to the other replicas, which may lack them.
    async fn quarantine(&self, path: &Path, partition: u32) -> Result<(), NotQuarantined> {
        let holders = self.deps.local.holders(path, partition)?;
        match holders.quarantine().await {
            Ok(reply) if reply.status.is_success() => {
                if let Some(salvaged) = reply.salvaged {
                    self.push(&salvaged, &holders).await;
                }
                Ok(())
            }
            // Another process was faster.
            Ok(reply) if reply.status == StatusCode::NOT_FOUND => Ok(()),
            Ok(reply) => Err(NotQuarantined::Status(reply.status)),
            Err(error) => Err(NotQuarantined::Request(error)),
        }
    }

    /// Sends the rows of a database to other replicas, as replication does.
    async fn push(&self, salvaged: &Path, holders: &Holders) {
        let (sender, mut pages) = mpsc::channel::<Vec<Value>>(1);
        let file = salvaged.to_owned();
        let read = apus_daemon::task::spawn_blocking(move || pages_of(&file, K::schema(), &sender));
        let mut accepted: Vec<bool> = vec![true; holders.others.len()];
        // No replica knows this id, so sync points under it mean nothing.
        let id = apus_daemon::random::uuid();
        let wait = self.deps.local.client.deadlines().answer;
        while let Some(rows) = pages.recv().await {
            let source = Some(id.clone());
            let call = DatabaseCall::MergeItems { rows, source, reclaimed: None };
            let live = holders.others.iter().zip(&mut accepted).filter(|(_, accepts)| **accepts);
            for (node, accepts) in live {
                let status = holders.call(node, &call, wait).await;
                *accepts = status.is_ok_and(|status| status.is_success());
            }
        }
        let is_whole = matches!(read.await, Ok(Ok(())));
        let replicas = accepted.iter().filter(|accepts| **accepts).count();
        let salvaged = salvaged.display();
        if is_whole && replicas > 0 {
            tracing::info!(%salvaged, replicas, "Sent salvaged rows to other replicas");
        } else {
            tracing::error!(%salvaged, "Salvaged rows stay in their file: no replica accepted all");
        }
    }
}

/// Reads a database page by page, as replicas send rows. Blocks.
fn pages_of(
    path: &Path,
    schema: &Schema,
    sender: &mpsc::Sender<Vec<Value>>,
) -> Result<(), DbError> {
    const PAGE: usize = 1000;
    let mut connection = audit::open_to_read(path)?;
    let mut page = Vec::new();
    let mut is_wanted = true;
    connection.query(schema.rows, &[], |row| {
        let row = AuditedRow::read(row, schema);
        let mut fields = Map::from_iter([("ROWID".to_owned(), row.id.into())]);
        for (column, text) in schema.tables.row.iter().zip(row.columns) {
            let number = column.is_number.then(|| text.parse::<i64>().ok()).flatten();
            fields.insert(column.name.to_owned(), number.map_or(Value::String(text), Value::from));
        }
        page.push(Value::Object(fields));
        if page.len() >= PAGE {
            is_wanted = sender.blocking_send(std::mem::take(&mut page)).is_ok();
        }
        is_wanted
    })?;
    if !page.is_empty() {
        // A receiver that is gone was stopped.
        let _ = sender.blocking_send(page);
    }
    connection.close()
}

#[async_trait]
impl<K: DatabaseKind> Pass for Auditor<K> {
    type Report = Audited;

    fn name(&self) -> &'static str {
        K::schema().auditor
    }

    async fn pass(&mut self, cx: &PassContext) -> Result<Audited, Stopped> {
        let schema = K::schema();
        let mut found = Databases::find(&self.deps.devices, schema.directory, cx, schema.auditor);
        let mut pace = Pace::per_second(self.deps.per_second);
        let mut done = Audited::default();
        while let Some(Located { path, partition, .. }) = found.next().await {
            cx.unless_stopped(pace.take(1.0)).await?;
            cx.unless_stopped(self.audit(&path, partition, &mut done)).await?;
        }
        Ok(done)
    }

    fn recon(&self, report: &Audited, span: Span) -> Map<String, Value> {
        let server = K::schema().tables.server;
        Map::from_iter([
            (format!("{server}_audits_since"), span.began.as_secs_f64().into()),
            (format!("{server}_audits_passed"), report.passed.into()),
            (format!("{server}_audits_failed"), report.failed.into()),
            (format!("{server}_auditor_pass_completed"), span.seconds().into()),
        ])
    }
}
