//! Questions to the authorizer: what is read before it can decide.

use std::sync::Arc;

use apus_cluster::{AccountName, ContainerPath, ObjectPath, PolicyIndex};
use apus_policy::Permission;

use super::{Gate, ObjectPermit, Permit};
use crate::access::{AccessRequest, BucketAccess, Decision, Lists, ObjectFacts, Target, noted};
use crate::context::{Authority, Context};
use crate::info::KnownContainer;
use crate::operation::*;
use crate::stage::symlink::Link;
use crate::{Error, Kind, Result, Subject};

/// The permission for an operation in a container, and what was read for it.
pub(super) struct ContainerPermit {
    pub(super) permit: Permit,
    /// Whether the caller owns the account.
    pub(super) owner: bool,
    /// The container. That it does not exist is reported only to callers who may access it.
    pub(super) known: Result<Arc<KnownContainer>>,
}

/// A question whose answer may depend on more than was read yet.
struct Question<'a> {
    cx: &'a Context,
    permission: Permission,
    target: Target,
    lists: Lists,
    bucket: Option<&'a BucketAccess>,
}

impl Question<'_> {
    fn request<'a>(&'a self, object: ObjectFacts<'a>) -> AccessRequest<'a> {
        AccessRequest {
            identity: &self.cx.identity,
            permission: self.permission,
            target: &self.target,
            lists: &self.lists,
            bucket: self.bucket,
            object,
            facts: self.cx.facts.as_deref(),
        }
    }
}

/// The refusal: 401 without a user, 403 with one.
fn denied(cx: &Context) -> Error {
    let kind = if cx.identity.user.is_none() { Kind::Unauthorized } else { Kind::Forbidden };
    Error::new(kind, Subject::Request)
}

fn lists_of(head: &ContainerHead) -> Lists {
    let list = |name: &str| head.headers.get(name).cloned().unwrap_or_default();
    Lists {
        read: list("X-Container-Read"),
        write: list("X-Container-Write"),
        account: String::new(),
    }
}

/// Where the version to which a current version's link leads is stored.
fn linked_version(object: &ObjectPath, head: &ObjectHead) -> Result<Option<ObjectPath>> {
    let Some(Link { target, .. }) = Link::of(head)? else { return Ok(None) };
    let account = target.account.unwrap_or_else(|| object.account().clone());
    let is_version = target.container.is_reserved() && account == *object.account();
    let container = ContainerPath::new(account, target.container);
    Ok(is_version.then(|| container.object(target.object)))
}

impl Gate {
    /// Asks the authorizer about an account. The account's own access list is read only when the
    /// caller has no other right, since it costs a request.
    pub(super) async fn permit_account(
        &self,
        cx: &Context,
        permission: Permission,
        account: &AccountName,
    ) -> Result<(Permit, bool)> {
        let question = Question {
            cx,
            permission: cx.needs(permission),
            target: Target::account(account.clone()),
            lists: Lists::default(),
            bucket: None,
        };
        self.decide(question, None).await
    }

    /// Asks about an operation on a container.
    pub(super) async fn permit_container(
        &self,
        cx: &Context,
        permission: Permission,
        container: &ContainerPath,
    ) -> Result<ContainerPermit> {
        self.permit(cx, Authorize::container(cx.needs(permission), container.clone())).await
    }

    /// Asks about an operation on an object, and finds its policy.
    pub(super) async fn permit_object(
        &self,
        cx: &Context,
        permission: Permission,
        object: &ObjectPath,
        version: Option<VersionId>,
    ) -> Result<ObjectPermit> {
        // Only our own daemons name the policy, for containers with objects in two policies.
        if let (Authority::System(_), Some(policy)) = (cx.authority, cx.policy) {
            return Ok(ObjectPermit { permit: Permit::new(), policy, facts: None });
        }
        let asked = Authorize::object(cx.needs(permission), object).version(version);
        let ContainerPermit { permit, known, .. } = self.permit(cx, asked).await?;
        let facts = known?.head.clone();
        Ok(ObjectPermit { permit, policy: facts.policy, facts: Some(facts) })
    }

    /// Asks about an operation on a container or on an object in it.
    pub(super) async fn permit(&self, cx: &Context, asked: Authorize) -> Result<ContainerPermit> {
        let Authorize { permission, container, object, version, stored_at } = asked;
        let known = self.known(cx, &container).await;
        if let Authority::System(_) = cx.authority {
            return Ok(ContainerPermit { permit: Permit::new(), owner: true, known });
        }
        let found = known.as_ref().ok();
        let stored_at = stored_at.or_else(|| object.clone().map(|name| container.object(name)));
        let question = Question {
            cx,
            permission: if version.is_some() { permission.on_version() } else { permission },
            target: Target {
                account: container.account,
                container: Some(container.container),
                object,
                version,
            },
            lists: found.map(|known| lists_of(&known.head)).unwrap_or_default(),
            bucket: found.map(|known| known.access()),
        };
        let stored = stored_at.zip(found.map(|known| known.head.policy));
        let (permit, owner) = self.decide(question, stored).await?;
        Ok(ContainerPermit { permit, owner, known })
    }

    /// Asks the authorizer; with the permit comes whether the caller owns the account. `stored` is
    /// where an object is that the answer may depend on.
    async fn decide(
        &self,
        mut question: Question<'_>,
        stored: Option<(ObjectPath, PolicyIndex)>,
    ) -> Result<(Permit, bool)> {
        let cx = question.cx;
        if let Authority::System(_) = cx.authority {
            return Ok((Permit::new(), true));
        }
        let decision = self.decide_with_object(&question, stored.clone()).await?;
        if let Decision::Allow { owner } = decision {
            return Ok((Permit::new(), owner));
        }
        if cx.identity.user.is_some() {
            question.lists.account = self.account_list(cx, &question.target.account).await;
            if !question.lists.account.is_empty()
                && let Decision::Allow { owner } =
                    self.decide_with_object(&question, stored).await?
            {
                return Ok((Permit::new(), owner));
            }
        }
        Err(denied(cx))
    }

    /// The decision, for which the object is read when it is needed. [`Decision::NeedsObject`] is no
    /// answer to a question with an object, and denies.
    async fn decide_with_object(
        &self,
        question: &Question<'_>,
        stored: Option<(ObjectPath, PolicyIndex)>,
    ) -> Result<Decision> {
        let decision = self.authorizer.decide(&question.request(ObjectFacts::Unread));
        if decision != Decision::NeedsObject {
            return Ok(decision);
        }
        let head = match stored {
            Some((object, policy)) => self.object_facts(question.cx, object, policy).await?,
            None => None,
        };
        let facts =
            head.as_ref().map_or(ObjectFacts::Absent, |h| ObjectFacts::Present(&h.metadata));
        Ok(self.authorizer.decide(&question.request(facts)))
    }

    /// Metadata of an object for the authorizer: of the version, where a link leads to one.
    async fn object_facts(
        &self,
        cx: &Context,
        object: ObjectPath,
        policy: PolicyIndex,
    ) -> Result<Option<ObjectHead>> {
        let system = cx.as_system("authorize");
        let Some(head) = self.stored_head(&system, object.clone(), policy).await? else {
            return Ok(None);
        };
        match linked_version(&object, &head)? {
            Some(version) => self.stored_head(&system, version, policy).await,
            None => Ok(Some(head)),
        }
    }

    async fn stored_head(
        &self,
        system: &Context,
        object: ObjectPath,
        policy: PolicyIndex,
    ) -> Result<Option<ObjectHead>> {
        let op = HeadObject { newest: !system.is_strong(), ..HeadObject::new(object) };
        match self.quorum.head_object(system, Permit::new(), &op, policy).await {
            Ok(head) => Ok(Some(head)),
            Err(error) if error.kind == Kind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn account_list(&self, cx: &Context, account: &AccountName) -> String {
        let system = cx.as_system("authorize");
        let read = self.quorum.read_account(&system, Permit::new(), account, None).await;
        let acl = read.ok().and_then(|account| {
            account.head.headers.get("X-Account-Sysmeta-Core-Access-Control").cloned()
        });
        acl.unwrap_or_default()
    }

    /// The container, from the cache when it has it.
    pub(super) async fn known(
        &self,
        cx: &Context,
        container: &ContainerPath,
    ) -> Result<Arc<KnownContainer>> {
        let now = self.quorum.clock().now_seconds();
        if let Some(known) = self.info.get(container, now) {
            noted::container(container, &known.head);
            return Ok(known);
        }
        let head = Arc::new(self.quorum.container_for_gate(cx, container).await?);
        noted::container(container, &head);
        let known = Arc::new(KnownContainer::new(head));
        self.info.put(container, known.clone(), now);
        Ok(known)
    }
}
