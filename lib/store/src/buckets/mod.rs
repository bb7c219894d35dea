//! The registry of bucket names: it maps the name of each bucket of the cluster to its account.
//!
//! A creation has three writes. It claims the name by a conditional write of the row, creates the
//! container, and marks the row as made by another conditional write. Each write of a row names the
//! version that it replaces, so of all creators only the one whose mark succeeds has the bucket,
//! however long others stalled in between. A claim that is older than [`CLAIM_SECONDS`], and a row
//! that is made, without a container are what a crash or a deletion in Swift's dialect left behind:
//! the next creation takes the name over. The time only protects a creator from being overtaken;
//! nothing else depends on clocks.
//!
//! A deletion reads the row, deletes the container, and removes the row if it is still the one that
//! was read. A container that no row names is one of Swift's dialect. Its account finds it first.

mod cache;
mod create;
mod row;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use apus_bucket::name::is_bucket_name;
use apus_cluster::{AccountName, ContainerName, ContainerPath};

use self::cache::NameCache;
use crate::clock::HybridClock;
use crate::context::Context;
use crate::operation::{ContainerHead, DeleteContainer, FindBucket, HeadContainer};
use crate::{Kind, Primitive, Result};

/// Seconds for which a claim without a container excludes other accounts.
const CLAIM_SECONDS: u64 = 30;

/// Where names of buckets are unique.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BucketNamespace {
    /// In each account: Swift's s3api.
    #[default]
    Account,
    /// In the cluster: AWS's.
    Cluster,
}

impl BucketNamespace {
    /// The namespace of this name, as in the configuration; any other name is that of an account.
    pub fn named(name: &str) -> Self {
        if name == "cluster" { Self::Cluster } else { Self::Account }
    }
}

/// The registry. Operations on containers are those of the stage's caller; rows are read and written
/// in the system's name.
pub struct Registry {
    /// Where rows are.
    rows: Arc<dyn Primitive>,
    clock: Arc<HybridClock>,
    cache: NameCache,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("cache", &self.cache).finish_non_exhaustive()
    }
}

/// The context of requests in the system's name.
fn system(cx: &Context) -> Context {
    cx.as_system("buckets").strong()
}

/// The container as a majority of its servers has it.
async fn container(
    cx: &Context,
    containers: &dyn Primitive,
    container: &ContainerPath,
) -> Result<Option<ContainerHead>> {
    let op = HeadContainer { container: container.clone() };
    match containers.head_container(&system(cx), op).await {
        Ok(head) => Ok(Some(head)),
        Err(error) if error.kind == Kind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the container exists, as the gate knows it.
async fn is_known(
    cx: &Context,
    containers: &dyn Primitive,
    container: &ContainerPath,
) -> Result<bool> {
    let op = HeadContainer { container: container.clone() };
    match containers.container_info(cx, op).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind == Kind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

impl Registry {
    /// Creates a registry whose rows are in this store.
    pub fn new(rows: Arc<dyn Primitive>, clock: Arc<HybridClock>) -> Self {
        Self { rows, clock, cache: NameCache::default() }
    }

    /// The account of a bucket: the caller's own, if it has a container of this name, or else that
    /// of the row. The container that is found first costs no request, since the operation that
    /// follows needs it as well.
    ///
    /// # Errors
    /// `Unavailable`.
    pub(crate) async fn find(
        &self,
        cx: &Context,
        containers: &dyn Primitive,
        op: FindBucket,
    ) -> Result<Option<AccountName>> {
        let FindBucket { name, own } = op;
        let now = self.clock.now_seconds();
        let own = own.map(|account| ContainerPath::new(account, name.clone()));
        if let Some(own) = &own
            && !self.cache.is_absent(own, now)
            && is_known(cx, containers, own).await?
        {
            return Ok(Some(own.account.clone()));
        }
        if !is_bucket_name(name.as_str()) {
            return Ok(None);
        }
        let found = self.registered(cx, containers, &name).await?;
        if let (Some(account), Some(own)) = (&found, own)
            && *account != own.account
        {
            self.cache.put_absent(own, now);
        }
        Ok(found)
    }

    /// The account of a row whose container exists. A cached one is read again when it does not.
    async fn registered(
        &self,
        cx: &Context,
        containers: &dyn Primitive,
        name: &ContainerName,
    ) -> Result<Option<AccountName>> {
        let now = self.clock.now_seconds();
        if let Some(account) = self.cache.account(name, now) {
            let path = ContainerPath::new(account, name.clone());
            if is_known(cx, containers, &path).await? {
                return Ok(Some(path.account));
            }
            self.cache.forget(name);
        }
        let Some(row) = self.read(cx, name).await? else { return Ok(None) };
        let path = ContainerPath::new(row.account, name.clone());
        if !is_known(cx, containers, &path).await? {
            return Ok(None);
        }
        self.cache.put(name.clone(), path.account.clone(), now);
        Ok(Some(path.account))
    }

    /// Records that an account made a container.
    pub(crate) fn note_container(&self, container: &ContainerPath) {
        self.cache.forget_absent(container);
    }

    /// Deletes a container, and its row if it has one.
    ///
    /// # Errors
    /// Those of the deletion. A row that stays is repaired by the next creation.
    pub(crate) async fn delete(
        &self,
        cx: &Context,
        containers: &dyn Primitive,
        op: DeleteContainer,
    ) -> Result<()> {
        let ContainerPath { account, container: name } = op.container.clone();
        if !is_bucket_name(name.as_str()) {
            return containers.delete_container(cx, op).await;
        }
        // Before the container: a creation after its deletion writes another row, which stays.
        let row = self.read(cx, &name).await;
        containers.delete_container(cx, op).await?;
        apus_fault::point("bucket.container.deleted");
        self.cache.forget(&name);
        let removed = match row {
            Ok(Some(row)) if row.account == account => self.remove(cx, &name, &row).await,
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = removed {
            tracing::warn!(bucket = %name, %error, "the row of a deleted bucket stays until the name is used again");
        }
        Ok(())
    }
}
