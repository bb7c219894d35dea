//! Containers: reading, creating, changing, deleting.

use apus_cluster::{AccountName, ContainerPath, Metadata, PolicyIndex, Timestamp};
use apus_wire::NodeRequest;
use apus_wire::message::RowTargets;
use apus_wire::message::container::{
    ContainerDescription, ContainerPolicy, ContainerTimes, DeleteContainerRequest,
    PostContainerRequest, PutContainerRequest, ReadContainerRequest,
};
use http::StatusCode;

use super::Quorum;
use super::database::{DatabaseAnswers, DatabaseCall};
use super::object_rows::account_rows;
use super::send::NodeAnswer;
use crate::context::Context;
use crate::gate::Permit;
use crate::operation::{ContainerHead, DeleteContainer, PostContainer, PutContainer};
use crate::{Error, Kind, Result, Subject};

/// The container that an answer describes.
pub(super) fn container_head(answer: &NodeAnswer) -> ContainerHead {
    let times = ContainerTimes::decode(&answer.head.headers);
    ContainerHead {
        headers: ContainerDescription::shown_headers(&answer.head.headers),
        created: times.created.unwrap_or(Timestamp::ZERO),
        policy: times.policy.unwrap_or(PolicyIndex(0)),
        owner: false,
    }
}

impl Quorum {
    /// Reads a container's metadata.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn head_container(
        &self,
        cx: &Context,
        _permit: Permit,
        container: &ContainerPath,
    ) -> Result<ContainerHead> {
        self.container_for_gate(cx, container).await
    }

    /// As [`Quorum::head_container`], for the gate itself, which needs a container's access lists
    /// before it can permit anything.
    pub(crate) async fn container_for_gate(
        &self,
        cx: &Context,
        container: &ContainerPath,
    ) -> Result<ContainerHead> {
        let call = DatabaseCall::container(self, cx, container);
        let request = ReadContainerRequest::head(call.container_address(container));
        let answer = call.read(&request.encode()).await?;
        match answer.status() {
            status if status.is_success() => Ok(container_head(&answer)),
            StatusCode::NOT_FOUND => Err(Error::new(Kind::NotFound, Subject::Container)),
            status => {
                Err(Error::unavailable(format!("container servers answered {status} to a HEAD")))
            }
        }
    }

    /// Sends a change to every replica, each with the account databases to which it sends the row.
    async fn write_container(
        &self,
        call: &DatabaseCall<'_>,
        account: &AccountName,
        request: NodeRequest,
    ) -> DatabaseAnswers {
        let rows = account_rows(self, account.as_str(), call.nodes.primaries.len());
        let none = RowTargets::default();
        let build = |index| request.clone().with_account_rows(rows.get(index).unwrap_or(&none));
        call.write(build).await
    }

    /// Creates a container, and its account if necessary; `true` when it is new.
    ///
    /// # Errors
    /// `Conflict` when it exists with another policy, `Invalid`, `Unavailable`.
    pub async fn put_container(
        &self,
        cx: &Context,
        _permit: Permit,
        op: PutContainer,
    ) -> Result<bool> {
        let call = DatabaseCall::container(self, cx, &op.container);
        let account = &op.container.account;
        let default = ContainerPolicy::Default(self.policies.default_policy().index);
        let mut request = PutContainerRequest {
            address: call.container_address(&op.container),
            timestamp: self.clock.stamp(),
            policy: op.policy.map_or(default, ContainerPolicy::Explicit),
            metadata: op.metadata,
            account_rows: RowTargets::default(),
        };
        let first = self.write_container(&call, account, request.encode()).await;
        let status = match first.agreed() {
            Ok(status) if status != StatusCode::NOT_FOUND => status,
            // The first round created the databases; without an account no client could see the
            // container. Even if few servers report that the account is missing, it must exist when
            // the others are back.
            _ if first.any(StatusCode::NOT_FOUND) => {
                self.make_account(cx, account, Metadata::new()).await?;
                request.timestamp = self.clock.stamp();
                match self.write_container(&call, account, request.encode()).await.agreed()? {
                    StatusCode::ACCEPTED => StatusCode::CREATED,
                    other => other,
                }
            }
            other => other?,
        };
        match status {
            StatusCode::CREATED => Ok(true),
            StatusCode::ACCEPTED => Ok(false),
            StatusCode::CONFLICT => Err(Error::new(Kind::Conflict, Subject::Container)),
            status => {
                Err(Error::unavailable(format!("container servers answered {status} to a PUT")))
            }
        }
    }

    /// Changes a container's metadata.
    ///
    /// # Errors
    /// `NotFound`, `Invalid`, `Unavailable`.
    pub async fn post_container(
        &self,
        cx: &Context,
        _permit: Permit,
        op: PostContainer,
    ) -> Result<()> {
        let call = DatabaseCall::container(self, cx, &op.container);
        let request = PostContainerRequest {
            address: call.container_address(&op.container),
            timestamp: self.clock.stamp(),
            metadata: op.metadata,
            keeps_timestamp: false,
            account_rows: RowTargets::default(),
        };
        let account = &op.container.account;
        let answers = self.write_container(&call, account, request.encode()).await;
        match answers.agreed()? {
            StatusCode::NOT_FOUND => Err(Error::new(Kind::NotFound, Subject::Container)),
            status if status.is_success() => Ok(()),
            status => {
                Err(Error::unavailable(format!("container servers answered {status} to a POST")))
            }
        }
    }

    /// Deletes an empty container.
    ///
    /// # Errors
    /// `NotEmpty`, `NotFound`, `Unavailable`.
    pub async fn delete_container(
        &self,
        cx: &Context,
        _permit: Permit,
        op: &DeleteContainer,
    ) -> Result<()> {
        let call = DatabaseCall::container(self, cx, &op.container);
        let request = DeleteContainerRequest {
            address: call.container_address(&op.container),
            timestamp: self.clock.stamp(),
            account_rows: RowTargets::default(),
        };
        let account = &op.container.account;
        let answers = self.write_container(&call, account, request.encode()).await;
        // One replica with an object is enough to refuse: it may be the only one that has the row.
        if answers.any(StatusCode::CONFLICT) {
            return Err(Error::new(Kind::NotEmpty, Subject::Container));
        }
        match answers.agreed()? {
            StatusCode::NOT_FOUND => Err(Error::new(Kind::NotFound, Subject::Container)),
            status if status.is_success() => Ok(()),
            status => {
                Err(Error::unavailable(format!("container servers answered {status} to a DELETE")))
            }
        }
    }
}
