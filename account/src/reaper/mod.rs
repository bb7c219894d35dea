//! The account reaper: removes the containers and objects of deleted accounts.
//!
//! It changes only accounts whose status is DELETED, after `delay_reaping`. The
//! replicas of an account share its containers by name, so that each is removed by one node. The
//! account's database itself stays until it is reclaimed. Source: `swift/account/reaper.py`.

mod locks;
mod remove;
mod report;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use apus_broker::path::{Databases, Located};
use apus_broker::{Database, DbError, FileMark, Visits};
use apus_cluster::listing::{ContainerEntry, ListQuery};
use apus_cluster::{AccountName, HashConf};
use apus_daemon::{Pass, PassContext, Stopped};
use apus_ring::Device;
use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use self::remove::{ReapedAccount, Remover};
pub(crate) use self::report::Reaped;
use crate::backend::{self, DeletedAccount};
use crate::schema::SCHEMA;
use crate::server::Server;
use crate::units::{DaemonParts, ReaperOptions};

/// Rows of a listing that are held at a time.
const PAGE: usize = 1000;

/// The daemon `account-reaper`.
#[derive(Debug)]
pub(crate) struct Reaper {
    server: Arc<Server>,
    parts: DaemonParts,
    options: ReaperOptions,
    /// Accounts that were not deleted.
    visits: Visits<FileMark>,
}

/// The index of a database among the primaries of its partition.
struct Share {
    partition: u32,
    primaries: Vec<Device>,
    index: usize,
}

impl Share {
    /// Whether this replica is to remove a container.
    fn has(&self, container: &str) -> bool {
        let replicas = self.primaries.len() as u64;
        HashConf::default().hash_joined(container).modulo(replicas) == self.index as u64
    }
}

impl Reaper {
    /// Reaps the accounts on the devices of `server`.
    pub(crate) fn new(server: Arc<Server>, parts: DaemonParts, options: ReaperOptions) -> Self {
        Self { server, parts, options, visits: Visits::default() }
    }

    /// Our share, if this node holds a primary replica of the partition on this device.
    fn share(&self, device: &str, partition: u32) -> Option<Share> {
        let ring = self.parts.accounts.get();
        let primaries: Vec<Device> = ring.primaries(partition).into_iter().cloned().collect();
        let ours = |node: &Device| node.device == device && self.parts.local.owns(node);
        let index = primaries.iter().position(ours)?;
        Some(Share { partition, primaries, index })
    }

    /// Removes our share of the containers of an account, if it was deleted. Returns whether it was.
    async fn account(
        &self,
        cx: &PassContext,
        database: PathBuf,
        share: Share,
        reaped: &mut Reaped,
    ) -> Result<bool, DbError> {
        let opened =
            self.server.databases.deps.broker.open(&database, backend::merge_pending).await?;
        let opened = opened.ok_or(DbError::Missing)?;
        let Some(deleted) = opened.read(backend::deleted_account).await? else { return Ok(false) };
        let age = age(&deleted, cx.clock.now());
        if age <= Duration::from_secs(self.options.delay_reaping) {
            return Ok(true);
        }
        let began = cx.clock.now();
        let name = deleted.account.clone();
        tracing::info!(account = name, "Begin to reap a deleted account");
        let mut of_account = Reaped { accounts: 1, ..Reaped::default() };
        let result = self.containers(&opened, &deleted, share, &mut of_account).await;
        let seconds = cx.clock.now().saturating_sub(began).as_secs_f64();
        tracing::info!(account = name, seconds, report = ?of_account, "Reaped a deleted account");
        let late = Duration::from_secs(
            self.options.delay_reaping.saturating_add(self.options.reap_warn_after),
        );
        if of_account.containers_remaining > 0 && age >= late {
            let since = deleted.deleted.iso();
            tracing::warn!(account = name, since, "A deleted account has not been reaped");
        }
        reaped.add(&of_account);
        result.map(|()| true)
    }

    /// Removes the containers of our share, page by page.
    async fn containers(
        &self,
        database: &Arc<Database>,
        deleted: &DeletedAccount,
        share: Share,
        reaped: &mut Reaped,
    ) -> Result<(), DbError> {
        let at_once = self.options.concurrency.isqrt().max(1);
        let name = AccountName::parse(&deleted.account);
        let account = ReapedAccount {
            name: name.map_err(|error| DbError::Corrupt(error.to_string()))?,
            partition: share.partition,
            nodes: share.primaries.clone(),
        };
        let remover = Remover { server: &self.server, parts: &self.parts, at_once };
        let mut query = ListQuery { limit: PAGE, reserved: true, ..ListQuery::default() };
        loop {
            let page = query.clone();
            let rows = database.read(move |connection| backend::page(connection, &page)).await?;
            let mut running = FuturesUnordered::new();
            let mut last = None;
            for row in rows {
                let ContainerEntry::Container(row) = row else { continue };
                last = Some(row.name.clone());
                if !share.has(&row.name) {
                    continue;
                }
                if running.len() >= at_once
                    && let Some(one) = running.next().await
                {
                    reaped.add(&one);
                }
                running.push(remover.container(&account, row.name));
            }
            while let Some(one) = running.next().await {
                reaped.add(&one);
            }
            match last {
                Some(last) => query.marker = last,
                None => return Ok(()),
            }
        }
    }
}

/// How long ago an account was deleted.
fn age(deleted: &DeletedAccount, now: Duration) -> Duration {
    now.saturating_sub(Duration::from_micros(deleted.deleted.steps().saturating_mul(10)))
}

#[async_trait]
impl Pass for Reaper {
    type Report = Reaped;

    fn name(&self) -> &'static str {
        "account-reaper"
    }

    async fn pass(&mut self, cx: &PassContext) -> Result<Reaped, Stopped> {
        let devices = &self.server.databases.deps.devices;
        let mut found = Databases::find(devices, SCHEMA.directory, cx, self.name());
        let mut reaped = Reaped::default();
        while let Some(Located { device, path, partition, mark }) = found.next().await {
            let Some(share) = self.share(&device, partition) else { continue };
            if mark.is_some() && self.visits.get(&path) == mark {
                continue;
            }
            let database = path.clone();
            // Containers that a stop leaves are still in the account's listing.
            let account = self.account(cx, database, share, &mut reaped);
            match cx.unless_stopped(account).await? {
                Ok(true) | Err(DbError::Missing) => {}
                Ok(false) => {
                    if let Some(mark) = mark {
                        self.visits.insert(&path, mark);
                    }
                }
                Err(error) => {
                    tracing::error!(%error, database = %path.display(), "Failed to reap an account");
                    reaped.errors += 1;
                }
            }
        }
        if cx.scope.devices.is_empty() && cx.scope.partitions.is_empty() {
            self.visits.end_pass();
        }
        Ok(reaped)
    }
}

#[cfg(test)]
mod tests {
    use apus_cluster::Timestamp;

    use super::*;

    fn share(index: usize) -> Share {
        let node = |name: &str| Device::at("127.0.0.1:6202", name).unwrap();
        Share { partition: 0, primaries: ["a", "b", "c"].map(node).to_vec(), index }
    }

    #[test]
    fn each_container_is_one_replicas() {
        // int(md5(name).hexdigest(), 16) % 3
        for (name, owner) in [("c1", 1), ("c2", 2), ("ü", 1)] {
            let owners: Vec<usize> = (0..3).filter(|index| share(*index).has(name)).collect();
            assert_eq!(owners, [owner], "{name}");
        }
    }

    #[test]
    fn age_counts_from_the_deletion() {
        let deleted =
            DeletedAccount { account: "a".to_owned(), deleted: Timestamp::from_seconds(100) };
        assert_eq!(age(&deleted, Duration::from_secs(130)), Duration::from_secs(30));
        assert_eq!(age(&deleted, Duration::from_secs(90)), Duration::ZERO);
    }
}
