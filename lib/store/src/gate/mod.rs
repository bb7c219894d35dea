//! The innermost stage: authorizes each operation and lets the quorum perform it.

mod decide;
mod permit;
mod settings;

use std::sync::Arc;

use apus_bucket::quota;
use apus_cluster::metadata::has_prefix;
use apus_cluster::{AccountName, ContainerPath, PolicyIndex};
use apus_policy::Permission;
use async_trait::async_trait;

use self::decide::ContainerPermit;
pub use self::permit::Permit;
use crate::access::Authorizer;
use crate::context::{Authority, Context};
use crate::info::{InfoCache, KnownContainer};
use crate::operation::*;
use crate::quorum::Quorum;
use crate::{Error, Kind, Primitive, Result, Subject};

/// The permission for an operation on an object.
struct ObjectPermit {
    permit: Permit,
    policy: PolicyIndex,
    /// The container, unless one of our daemons named the policy.
    facts: Option<Arc<ContainerHead>>,
}

/// Authorizes operations, and passes granted ones to the quorum.
#[derive(Debug)]
pub struct Gate {
    quorum: Quorum,
    authorizer: Arc<dyn Authorizer>,
    info: InfoCache<ContainerPath, KnownContainer>,
    accounts: InfoCache<AccountName, AccountHead>,
}

impl Gate {
    /// Creates a gate over a quorum and the only authorizer.
    pub fn new(quorum: Quorum, authorizer: Arc<dyn Authorizer>) -> Self {
        Self { quorum, authorizer, info: InfoCache::default(), accounts: InfoCache::default() }
    }
}

/// Removes headers that only the owner may set (access lists, sync keys, URL keys) when another
/// caller sends them, as Swift does.
fn keep_owners_headers(owner: bool, metadata: &mut apus_cluster::Metadata) {
    const OWNERS: [&str; 4] =
        ["X-Container-Read", "X-Container-Write", "X-Container-Sync-Key", "X-Container-Sync-To"];
    if !owner {
        metadata.retain(|name, _| {
            !OWNERS.contains(&name.as_str()) && !name.starts_with("X-Container-Meta-Temp-Url-Key")
        });
    }
}

#[async_trait]
impl Primitive for Gate {
    async fn authorize(&self, cx: &Context, op: Authorize) -> Result<()> {
        self.permit(cx, op).await?.known.map(|_| ())
    }

    async fn container_info(&self, cx: &Context, op: HeadContainer) -> Result<Arc<ContainerHead>> {
        Ok(self.known(cx, &op.container).await?.head.clone())
    }

    async fn account_info(&self, cx: &Context, op: HeadAccount) -> Result<Arc<AccountHead>> {
        let now = self.quorum.clock().now_seconds();
        if let Some(known) = self.accounts.get(&op.account, now) {
            return Ok(known);
        }
        let system = cx.as_system("info");
        let read = self.quorum.read_account(&system, Permit::new(), &op.account, None).await?;
        let head = Arc::new(read.head);
        self.accounts.put(&op.account, head.clone(), now);
        Ok(head)
    }

    async fn head_account(&self, cx: &Context, op: HeadAccount) -> Result<AccountHead> {
        let (permit, owner) =
            self.permit_account(cx, Permission::ListAllMyBuckets, &op.account).await?;
        let list = self.quorum.read_account(cx, permit, &op.account, None).await?;
        Ok(AccountHead { owner, ..list.head })
    }

    async fn list_containers(&self, cx: &Context, op: ListContainers) -> Result<ContainerList> {
        let (permit, owner) =
            self.permit_account(cx, Permission::ListAllMyBuckets, &op.account).await?;
        let mut list = self.quorum.read_account(cx, permit, &op.account, Some(&op.query)).await?;
        list.head.owner = owner;
        Ok(list)
    }

    async fn post_account(&self, cx: &Context, op: PostAccount) -> Result<()> {
        let (permit, owner) =
            self.permit_account(cx, Permission::PutAccountMetadata, &op.account).await?;
        let touches_list = op
            .metadata
            .keys()
            .any(|name| name.eq_ignore_ascii_case("X-Account-Sysmeta-Core-Access-Control"));
        let touches_quota = op.metadata.keys().any(|name| has_prefix(name, quota::ACCOUNT_PREFIX));
        let may_set_quota = cx.authority != Authority::Caller || cx.identity.is_reseller_admin();
        if (touches_list && !owner) || (touches_quota && !may_set_quota) {
            return Err(Error::new(Kind::Forbidden, Subject::Account));
        }
        let done = self.quorum.post_account(cx, permit, &op.account, op.metadata).await;
        self.accounts.forget(&op.account);
        done
    }

    async fn put_account(&self, cx: &Context, mut op: PutAccount) -> Result<bool> {
        let (permit, _) = self.permit_account(cx, Permission::ManageAccount, &op.account).await?;
        op.metadata.retain(|_, value| !value.is_empty());
        let account = op.account.clone();
        let done = self.quorum.put_account(cx, permit, op).await;
        self.accounts.forget(&account);
        done
    }

    async fn delete_account(&self, cx: &Context, op: DeleteAccount) -> Result<()> {
        let (permit, _) = self.permit_account(cx, Permission::ManageAccount, &op.account).await?;
        let done = self.quorum.delete_account(cx, permit, &op).await;
        self.accounts.forget(&op.account);
        done
    }

    async fn head_container(&self, cx: &Context, op: HeadContainer) -> Result<ContainerHead> {
        let ContainerPermit { permit, owner, .. } =
            self.permit_container(cx, Permission::ListBucket, &op.container).await?;
        let head = self.quorum.head_container(cx, permit, &op.container).await?;
        let now = self.quorum.clock().now_seconds();
        let known = KnownContainer::new(Arc::new(head.clone()));
        self.info.put(&op.container, Arc::new(known), now);
        Ok(ContainerHead { owner, ..head })
    }

    async fn list_objects(&self, cx: &Context, op: ListObjects) -> Result<ObjectList> {
        let ContainerPermit { permit, owner, .. } =
            self.permit_container(cx, Permission::ListBucket, &op.container).await?;
        let mut list = self.quorum.list_objects(cx, permit, &op.container, &op.query).await?;
        list.head.owner = owner;
        Ok(list)
    }

    async fn put_container(&self, cx: &Context, mut op: PutContainer) -> Result<bool> {
        let ContainerPermit { permit, owner, .. } =
            self.permit_container(cx, Permission::CreateBucket, &op.container).await?;
        keep_owners_headers(owner, &mut op.metadata);
        let container = op.container.clone();
        let done = self.quorum.put_container(cx, permit, op).await;
        self.info.forget(&container);
        done
    }

    async fn post_container(&self, cx: &Context, mut op: PostContainer) -> Result<()> {
        let ContainerPermit { permit, owner, .. } =
            self.permit_container(cx, Permission::PutBucketMetadata, &op.container).await?;
        keep_owners_headers(owner, &mut op.metadata);
        let container = op.container.clone();
        let done = self.quorum.post_container(cx, permit, op).await;
        self.info.forget(&container);
        done
    }

    async fn delete_container(&self, cx: &Context, op: DeleteContainer) -> Result<()> {
        let ContainerPermit { permit, .. } =
            self.permit_container(cx, Permission::DeleteBucket, &op.container).await?;
        let done = self.quorum.delete_container(cx, permit, &op).await;
        self.info.forget(&op.container);
        done
    }

    async fn head_object(&self, cx: &Context, op: HeadObject) -> Result<ObjectHead> {
        let ObjectPermit { permit, policy, .. } =
            self.permit_object(cx, Permission::GetObject, &op.object, op.version).await?;
        self.quorum.head_object(cx, permit, &op, policy).await
    }

    async fn get_object(&self, cx: &Context, op: GetObject) -> Result<ObjectRead> {
        let ObjectPermit { permit, policy, .. } =
            self.permit_object(cx, Permission::GetObject, &op.head.object, op.head.version).await?;
        self.quorum.get_object(cx, permit, &op, policy).await
    }

    async fn put_object(&self, cx: &Context, op: PutObject) -> Result<ObjectWritten> {
        let granted = self.permit_object(cx, Permission::PutObject, &op.object, None).await?;
        if settings::has_settings(&op.metadata) {
            self.mark_settings(cx, &op.object.container, &granted).await?;
        }
        let cx = settings::context_of_put(cx, &granted, op.timestamp);
        self.quorum.put_object(&cx, granted.permit, op, granted.policy).await
    }

    async fn post_object(&self, cx: &Context, op: PostObject) -> Result<ObjectHead> {
        let granted = self.permit_object(cx, Permission::PutObject, &op.object, None).await?;
        let ObjectPermit { permit, policy, .. } = granted;
        match granted.facts.is_some_and(|facts| settings::is_marked(&facts)) {
            true => self.quorum.post_keeping_settings(cx, permit, op, policy).await,
            false => self.quorum.post_object(cx, permit, op, policy).await,
        }
    }

    async fn update_object(&self, cx: &Context, op: UpdateObject) -> Result<ObjectHead> {
        let granted = self.permit_object(cx, Permission::PutObject, &op.object, None).await?;
        self.mark_settings(cx, &op.object.container, &granted).await?;
        self.quorum.update_object(cx, granted.permit, &op, granted.policy).await
    }

    async fn delete_object(&self, cx: &Context, mut op: DeleteObject) -> Result<Deleted> {
        let granted =
            self.permit_object(cx, Permission::DeleteObject, &op.object, op.version).await?;
        if let Some(check) = self.lock_check_of_expirer(cx, &granted, &op) {
            op.conditions.unlocked = Some(check);
        }
        let timestamp = self.quorum.delete_object(cx, granted.permit, &op, granted.policy).await?;
        Ok(Deleted { deleted: 1, timestamp, ..Deleted::default() })
    }

    async fn queue_deletions(&self, cx: &Context, op: QueueDeletions) -> Result<()> {
        // A container that does not exist has no objects to delete.
        let ContainerPermit { permit, .. } =
            self.permit_container(cx, Permission::DeleteObject, &op.container).await?;
        self.quorum.queue_deletions(cx, permit, &op).await
    }

    async fn update_queue(&self, cx: &Context, op: UpdateQueue) -> Result<()> {
        match cx.authority {
            Authority::System(_) => self.quorum.update_queue(cx, Permit::new(), &op).await,
            Authority::Caller => Err(Error::new(Kind::Forbidden, Subject::Request)),
        }
    }
}
