//! Containers that keep versions: turning it on and off, and deletion.

use apus_cluster::{ContainerPath, Metadata, percent};
use apus_policy::Permission;

use super::super::existing_container;
use super::names::{VersionedContainer, hidden};
use super::{Keeping, Versions, system};
use crate::context::{Authority, Context};
use crate::operation::*;
use crate::{Error, Kind, Result, Subject};

/// Headers of features with which versioning does not work, in Swift either.
const EXCLUDED: [(&str, &str); 3] = [
    ("X-Container-Sysmeta-Versions-Location", "legacy versioned writes"),
    ("X-Versions-Location", "legacy versioned writes"),
    ("X-Container-Sync-To", "container sync"),
];

/// Response header with the bytes of a container's objects.
const BYTES_USED: &str = "X-Container-Bytes-Used";

/// Refuses versioning in a container with these headers.
fn check_other_features(headers: &Metadata) -> Result<()> {
    let has = |name: &str| headers.get(name).is_some_and(|value| !value.is_empty());
    match EXCLUDED.iter().find(|(name, _)| has(name)) {
        Some((name, feature)) => Err(Error::new(Kind::Invalid, Subject::Container).text(format!(
            "Cannot enable object versioning on a container that uses {feature} ({name})"
        ))),
        None => Ok(()),
    }
}

/// The system metadata of a container that keeps versions in `hidden`, as Swift's.
fn metadata(versioning: Versioning, hidden: &ContainerPath) -> Metadata {
    let enabled = if versioning == Versioning::Enabled { "True" } else { "False" };
    Metadata::from([
        (VERSIONS_ENABLED.to_owned(), enabled.to_owned()),
        (VERSIONS_CONTAINER.to_owned(), percent::encode_path(hidden.container.as_str())),
    ])
}

impl Versions {
    pub(super) async fn create(&self, cx: &Context, mut op: PutContainer) -> Result<bool> {
        self.check_archive(cx, &op.container, &op.metadata).await?;
        let Some(versioning) = op.versioning.take() else {
            return self.next.put_container(cx, op).await;
        };
        match self.authorize_container(cx, Permission::CreateBucket, &op.container).await {
            Err(error) if error.kind != Kind::NotFound => return Err(error),
            _ => {}
        }
        check_other_features(&op.metadata)?;
        let mut policy = op.policy;
        if let Some(known) = existing_container(&*self.next, cx, &op.container).await? {
            check_other_features(&known.headers)?;
            policy = Some(known.policy);
        }
        let hidden = self.make_hidden(cx, &op.container, policy).await?;
        op.metadata.extend(metadata(versioning, &hidden));
        self.next.put_container(cx, op).await
    }

    pub(super) async fn change(&self, cx: &Context, mut op: PostContainer) -> Result<()> {
        self.check_archive(cx, &op.container, &op.metadata).await?;
        let Some(versioning) = op.versioning.take() else {
            return self.next.post_container(cx, op).await;
        };
        self.authorize_container(cx, Permission::PutBucketMetadata, &op.container).await?;
        let head = HeadContainer { container: op.container.clone() };
        let head = self.next.head_container(&system(cx), head).await?;
        check_other_features(&head.headers)?;
        check_other_features(&op.metadata)?;
        // Swift's own name for the hidden container is kept.
        let hidden = match VersionedContainer::of(&op.container, &head.headers) {
            Some(versioned) => versioned.hidden,
            None => self.make_hidden(cx, &op.container, Some(head.policy)).await?,
        };
        op.metadata.extend(metadata(versioning, &hidden));
        self.next.post_container(cx, op).await
    }

    /// Refuses copies to an archive in a container that keeps versions.
    async fn check_archive(
        &self,
        cx: &Context,
        container: &ContainerPath,
        metadata: &Metadata,
    ) -> Result<()> {
        if metadata.get(ARCHIVE_CONTAINER).is_none_or(String::is_empty) {
            return Ok(());
        }
        match self.keeping(cx, container).await? {
            Keeping::Versions(_) => Err(Error::new(Kind::Invalid, Subject::Container)
                .text("Cannot enable legacy versioned writes on a container that keeps versions")),
            Keeping::Nothing | Keeping::Copies(_) => Ok(()),
        }
    }

    /// Reads a container. Swift counts the bytes of all versions.
    pub(super) async fn container_head(
        &self,
        cx: &Context,
        op: HeadContainer,
    ) -> Result<ContainerHead> {
        let head = self.next.head_container(cx, op.clone()).await?;
        Ok(self.with_version_bytes(cx, &op.container, head).await)
    }

    /// Lists a container. Swift counts the bytes of all versions.
    pub(super) async fn objects(&self, cx: &Context, op: ListObjects) -> Result<ObjectList> {
        let container = op.container.clone();
        let list = self.next.list_objects(cx, op).await?;
        let head = self.with_version_bytes(cx, &container, list.head).await;
        Ok(ObjectList { head, ..list })
    }

    async fn with_version_bytes(
        &self,
        cx: &Context,
        container: &ContainerPath,
        mut head: ContainerHead,
    ) -> ContainerHead {
        if !cx.has_swift_versions() || cx.authority != Authority::Caller {
            return head;
        }
        let Some(versioned) = VersionedContainer::of(container, &head.headers) else { return head };
        let op = HeadContainer { container: versioned.hidden };
        let bytes = |head: &ContainerHead| {
            head.headers.get(BYTES_USED).and_then(|text| text.parse::<u64>().ok())
        };
        // As in Swift, the container's own bytes are shown when the others cannot be read.
        if let Ok(hidden) = self.next.head_container(&system(cx), op).await
            && let Some((visible, versions)) = bytes(&head).zip(bytes(&hidden))
        {
            let sum = visible.saturating_add(versions);
            head.headers.insert(BYTES_USED.to_owned(), sum.to_string());
        }
        head
    }

    /// Creates the hidden container of a container, in the policy of that.
    async fn make_hidden(
        &self,
        cx: &Context,
        container: &ContainerPath,
        policy: Option<apus_cluster::PolicyIndex>,
    ) -> Result<ContainerPath> {
        let hidden = hidden(container)?;
        let op = PutContainer {
            container: hidden.clone(),
            metadata: Metadata::new(),
            policy,
            versioning: None,
        };
        match self.next.put_container(&system(cx), op).await {
            // It exists in another policy, from a container of the same name before.
            Err(error) if error.kind == Kind::Conflict => Ok(hidden),
            made => made.map(|_| hidden),
        }
    }

    /// Deletes a container that has neither objects nor versions, and its hidden container.
    pub(super) async fn remove_container(&self, cx: &Context, op: DeleteContainer) -> Result<()> {
        // What another proxy changed in the last seconds counts as well.
        let head = HeadContainer { container: op.container.clone() };
        let head = self.next.head_container(&system(cx), head).await;
        let versioned = head
            .as_ref()
            .ok()
            .and_then(|head| VersionedContainer::of(&op.container, &head.headers));
        let (Some(versioned), Ok(head)) = (versioned, head) else {
            return self.next.delete_container(cx, op).await;
        };
        self.authorize_container(cx, Permission::DeleteBucket, &op.container).await?;
        let not_empty = || Error::new(Kind::NotEmpty, Subject::Container);
        if head.object_count() > 0 {
            return Err(not_empty());
        }
        let hidden = DeleteContainer { container: versioned.hidden.clone() };
        match self.next.delete_container(&system(cx), hidden).await {
            Err(error) if error.kind != Kind::NotFound => return Err(error),
            _ => {}
        }
        let deleted = self.next.delete_container(cx, op.clone()).await;
        if deleted.as_ref().is_err_and(|error| error.kind == Kind::NotEmpty) {
            // An object came in between: its container still keeps versions.
            self.make_hidden(cx, &op.container, Some(head.policy)).await?;
        }
        deleted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versioning_excludes_features_that_swift_excludes() {
        let with = |name: &str, value: &str| {
            check_other_features(&Metadata::from([(name.to_owned(), value.to_owned())])).is_ok()
        };
        assert!(with("X-Container-Meta-Color", "blue") && with("X-Container-Sync-To", ""));
        assert!(!with("X-Container-Sync-To", "//realm/cluster/a/c"));
        assert!(!with("X-Container-Sysmeta-Versions-Location", "old"));
    }
}
