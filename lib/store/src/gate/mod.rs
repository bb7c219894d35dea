//! The innermost stage: authorizes each operation and lets the quorum perform it.

mod permit;
mod settings;

use std::sync::Arc;

use apus_cluster::{AccountName, ContainerPath, PolicyIndex};
use async_trait::async_trait;

pub use self::permit::Permit;
use crate::access::{Action, Authorizer, Decision, Lists, Target};
use crate::context::{Authority, Context};
use crate::info::InfoCache;
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
    info: InfoCache,
}

impl Gate {
    /// Creates a gate over a quorum and the only authorizer.
    pub fn new(quorum: Quorum, authorizer: Arc<dyn Authorizer>) -> Self {
        Self { quorum, authorizer, info: InfoCache::default() }
    }

    /// The refusal: 401 without a user, 403 with one.
    fn denied(cx: &Context) -> Error {
        let kind = if cx.identity.user.is_none() { Kind::Unauthorized } else { Kind::Forbidden };
        Error::new(kind, Subject::Request)
    }

    /// Asks the authorizer; with the permit comes whether the caller owns the account.
    fn decide(
        &self,
        cx: &Context,
        action: Action,
        target: &Target,
        lists: &Lists,
    ) -> Result<(Permit, bool)> {
        if let Authority::System(_) = cx.authority {
            return Ok((Permit::new(), true));
        }
        match self.authorizer.decide(&cx.identity, action, target, lists) {
            Decision::Allow { owner } => Ok((Permit::new(), owner)),
            Decision::Deny => Err(Self::denied(cx)),
        }
    }

    /// Permits an operation on an account. The account's own access list is read only when the
    /// caller has no other right, since it costs a request.
    async fn permit_account(
        &self,
        cx: &Context,
        action: Action,
        account: &AccountName,
    ) -> Result<(Permit, bool)> {
        let target = Target { account: account.clone(), container: None };
        match self.decide(cx, action, &target, &Lists::default()) {
            Err(_) if cx.identity.user.is_some() => {
                let lists = self.account_lists(cx, account).await;
                self.decide(cx, action, &target, &lists)
            }
            decided => decided,
        }
    }

    async fn account_lists(&self, cx: &Context, account: &AccountName) -> Lists {
        let system = cx.as_system("authorize");
        let read = self.quorum.read_account(&system, Permit::new(), account, None).await;
        let acl = read.ok().and_then(|account| {
            account.head.headers.get("X-Account-Sysmeta-Core-Access-Control").cloned()
        });
        Lists { account: acl.unwrap_or_default(), ..Lists::default() }
    }

    async fn facts(&self, cx: &Context, container: &ContainerPath) -> Result<Arc<ContainerHead>> {
        let now = self.quorum.clock().now_seconds();
        if let Some(known) = self.info.get(container, now) {
            return Ok(known);
        }
        let head = Arc::new(self.quorum.container_for_gate(cx, container).await?);
        self.info.put(container, head.clone(), now);
        Ok(head)
    }

    fn lists(head: &ContainerHead) -> Lists {
        let list = |name: &str| head.headers.get(name).cloned().unwrap_or_default();
        Lists {
            read: list("X-Container-Read"),
            write: list("X-Container-Write"),
            account: String::new(),
        }
    }

    /// Permits an operation on a container or on objects in it. That a container does not exist is
    /// reported only to callers who may access it.
    async fn permit_in(
        &self,
        cx: &Context,
        action: Action,
        container: &ContainerPath,
    ) -> Result<(Permit, bool, Result<Arc<ContainerHead>>)> {
        let facts = self.facts(cx, container).await;
        let mut lists = facts.as_ref().map(|head| Self::lists(head)).unwrap_or_default();
        let account = &container.account;
        let target =
            Target { account: account.clone(), container: Some(container.container.clone()) };
        let decided = match self.decide(cx, action, &target, &lists) {
            Err(_) if cx.identity.user.is_some() => {
                lists.account = self.account_lists(cx, account).await.account;
                self.decide(cx, action, &target, &lists)
            }
            decided => decided,
        };
        let (permit, owner) = decided?;
        Ok((permit, owner, facts))
    }

    async fn permit_object(
        &self,
        cx: &Context,
        action: Action,
        container: &ContainerPath,
    ) -> Result<ObjectPermit> {
        // Only our own daemons name the policy, for containers with objects in two policies.
        if let (Authority::System(_), Some(policy)) = (cx.authority, cx.policy) {
            return Ok(ObjectPermit { permit: Permit::new(), policy, facts: None });
        }
        let (permit, _, facts) = self.permit_in(cx, action, container).await?;
        let facts = facts?;
        Ok(ObjectPermit { permit, policy: facts.policy, facts: Some(facts) })
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
        let (_, _, facts) = self.permit_in(cx, op.action, &op.container).await?;
        facts.map(|_| ())
    }

    async fn container_info(&self, cx: &Context, op: HeadContainer) -> Result<Arc<ContainerHead>> {
        self.facts(cx, &op.container).await
    }

    async fn head_account(&self, cx: &Context, op: HeadAccount) -> Result<AccountHead> {
        let (permit, owner) = self.permit_account(cx, Action::ReadAccount, &op.account).await?;
        let list = self.quorum.read_account(cx, permit, &op.account, None).await?;
        Ok(AccountHead { owner, ..list.head })
    }

    async fn list_containers(&self, cx: &Context, op: ListContainers) -> Result<ContainerList> {
        let (permit, owner) = self.permit_account(cx, Action::ReadAccount, &op.account).await?;
        let mut list = self.quorum.read_account(cx, permit, &op.account, Some(&op.query)).await?;
        list.head.owner = owner;
        Ok(list)
    }

    async fn post_account(&self, cx: &Context, op: PostAccount) -> Result<()> {
        let (permit, owner) = self.permit_account(cx, Action::WriteAccount, &op.account).await?;
        let touches_list = op
            .metadata
            .keys()
            .any(|name| name.eq_ignore_ascii_case("X-Account-Sysmeta-Core-Access-Control"));
        if touches_list && !owner {
            return Err(Error::new(Kind::Forbidden, Subject::Account));
        }
        self.quorum.post_account(cx, permit, &op.account, op.metadata).await
    }

    async fn put_account(&self, cx: &Context, mut op: PutAccount) -> Result<bool> {
        let (permit, _) = self.permit_account(cx, Action::ManageAccount, &op.account).await?;
        op.metadata.retain(|_, value| !value.is_empty());
        self.quorum.put_account(cx, permit, op).await
    }

    async fn delete_account(&self, cx: &Context, op: DeleteAccount) -> Result<()> {
        let (permit, _) = self.permit_account(cx, Action::ManageAccount, &op.account).await?;
        self.quorum.delete_account(cx, permit, &op).await
    }

    async fn head_container(&self, cx: &Context, op: HeadContainer) -> Result<ContainerHead> {
        let (permit, owner, _) = self.permit_in(cx, Action::ReadContainer, &op.container).await?;
        let head = self.quorum.head_container(cx, permit, &op.container).await?;
        let now = self.quorum.clock().now_seconds();
        self.info.put(&op.container, Arc::new(head.clone()), now);
        Ok(ContainerHead { owner, ..head })
    }

    async fn list_objects(&self, cx: &Context, op: ListObjects) -> Result<ObjectList> {
        let (permit, owner, _) = self.permit_in(cx, Action::ReadContainer, &op.container).await?;
        let mut list = self.quorum.list_objects(cx, permit, &op.container, &op.query).await?;
        list.head.owner = owner;
        Ok(list)
    }

    async fn put_container(&self, cx: &Context, mut op: PutContainer) -> Result<bool> {
        let (permit, owner, _) = self.permit_in(cx, Action::WriteContainer, &op.container).await?;
        keep_owners_headers(owner, &mut op.metadata);
        let container = op.container.clone();
        let done = self.quorum.put_container(cx, permit, op).await;
        self.info.forget(&container);
        done
    }

    async fn post_container(&self, cx: &Context, mut op: PostContainer) -> Result<()> {
        let (permit, owner, _) = self.permit_in(cx, Action::WriteContainer, &op.container).await?;
        keep_owners_headers(owner, &mut op.metadata);
        let container = op.container.clone();
        let done = self.quorum.post_container(cx, permit, op).await;
        self.info.forget(&container);
        done
    }

    async fn delete_container(&self, cx: &Context, op: DeleteContainer) -> Result<()> {
        let (permit, _, _) = self.permit_in(cx, Action::WriteContainer, &op.container).await?;
        let done = self.quorum.delete_container(cx, permit, &op).await;
        self.info.forget(&op.container);
        done
    }

    async fn head_object(&self, cx: &Context, op: HeadObject) -> Result<ObjectHead> {
        let ObjectPermit { permit, policy, .. } =
            self.permit_object(cx, Action::ReadObject, &op.object.container).await?;
        self.quorum.head_object(cx, permit, &op, policy).await
    }

    async fn get_object(&self, cx: &Context, op: GetObject) -> Result<ObjectRead> {
        let ObjectPermit { permit, policy, .. } =
            self.permit_object(cx, Action::ReadObject, &op.head.object.container).await?;
        self.quorum.get_object(cx, permit, &op, policy).await
    }

    async fn put_object(&self, cx: &Context, op: PutObject) -> Result<ObjectWritten> {
        let granted = self.permit_object(cx, Action::WriteObject, &op.object.container).await?;
        if settings::has_settings(&op.metadata) {
            self.mark_settings(cx, &op.object.container, &granted).await?;
        }
        let cx = settings::context_of_put(cx, &granted, op.timestamp);
        self.quorum.put_object(&cx, granted.permit, op, granted.policy).await
    }

    async fn post_object(&self, cx: &Context, op: PostObject) -> Result<ObjectHead> {
        let granted = self.permit_object(cx, Action::WriteObject, &op.object.container).await?;
        let ObjectPermit { permit, policy, .. } = granted;
        match granted.facts.is_some_and(|facts| settings::is_marked(&facts)) {
            true => self.quorum.post_keeping_settings(cx, permit, op, policy).await,
            false => self.quorum.post_object(cx, permit, op, policy).await,
        }
    }

    async fn update_object(&self, cx: &Context, op: UpdateObject) -> Result<ObjectHead> {
        let granted = self.permit_object(cx, Action::WriteObject, &op.object.container).await?;
        self.mark_settings(cx, &op.object.container, &granted).await?;
        self.quorum.update_object(cx, granted.permit, &op, granted.policy).await
    }

    async fn delete_object(&self, cx: &Context, mut op: DeleteObject) -> Result<Deleted> {
        let granted = self.permit_object(cx, Action::WriteObject, &op.object.container).await?;
        if let Some(check) = self.lock_check_of_expirer(cx, &granted, &op) {
            op.conditions.unlocked = Some(check);
        }
        self.quorum.delete_object(cx, granted.permit, &op, granted.policy).await?;
        Ok(Deleted { deleted: 1, ..Deleted::default() })
    }

    async fn queue_deletions(&self, cx: &Context, op: QueueDeletions) -> Result<()> {
        // A container that does not exist has no objects to delete.
        let (permit, _, _) = self.permit_in(cx, Action::WriteObject, &op.container).await?;
        self.quorum.queue_deletions(cx, permit, &op).await
    }
}
