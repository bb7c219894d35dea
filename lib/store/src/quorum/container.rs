//! Containers: reading, creating, changing, deleting.

use apus_cluster::{ContainerPath, Metadata, PolicyIndex, Timestamp};
use apus_daemon::http::{header, set};
use apus_wire::headers;
use http::{HeaderMap, Method, StatusCode};

use super::Quorum;
use super::account::resource_headers;
use super::database::{DatabaseAnswers, DatabaseCall};
use super::object_rows::RowTargets;
use super::send::NodeAnswer;
use crate::context::Context;
use crate::gate::Permit;
use crate::operation::{ContainerHead, DeleteContainer, PostContainer, PutContainer};
use crate::{Error, Kind, Result, Subject};

/// The container that an answer describes.
pub(super) fn container_head(answer: &NodeAnswer) -> ContainerHead {
    let policy = header(&answer.headers, headers::POLICY_INDEX)
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    let created = header(&answer.headers, "x-timestamp").and_then(Timestamp::parse);
    ContainerHead {
        headers: resource_headers(&answer.headers),
        created: created.unwrap_or(Timestamp::ZERO),
        policy: PolicyIndex(policy),
        owner: false,
    }
}

/// Adds to a request the account databases to which it sends the container's row.
fn set_account_targets(
    request: &mut HeaderMap,
    accounts: &RowTargets,
    requests: usize,
    index: usize,
) {
    if let Some((hosts, devices)) = accounts.share(accounts.replicas(), requests, index) {
        set(request, headers::ACCOUNT_HOST, &hosts);
        set(request, headers::ACCOUNT_DEVICE, &devices);
        set(request, headers::ACCOUNT_PARTITION, &accounts.partition.to_string());
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
        let answer = call.read(&call.request(Method::HEAD)).await?;
        match answer.status {
            status if status.is_success() => Ok(container_head(&answer)),
            StatusCode::NOT_FOUND => Err(Error::new(Kind::NotFound, Subject::Container)),
            status => {
                Err(Error::unavailable(format!("container servers answered {status} to a HEAD")))
            }
        }
    }

    async fn write_container(
        &self,
        cx: &Context,
        method: Method,
        container: &ContainerPath,
        extra: &HeaderMap,
    ) -> DatabaseAnswers {
        let call = DatabaseCall::container(self, cx, container);
        let mut request = call.request(method);
        set(&mut request.headers, headers::TIMESTAMP, &self.clock.stamp().to_string());
        request.headers.extend(extra.clone());
        let account = [container.account.as_str()];
        let accounts = RowTargets::of(self, &self.rings.account, &account);
        let requests = call.nodes.primaries.len();
        let build = |index| {
            let mut request = request.clone();
            set_account_targets(&mut request.headers, &accounts, requests, index);
            request
        };
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
        op: &PutContainer,
    ) -> Result<bool> {
        let mut extra = HeaderMap::new();
        match op.policy {
            Some(policy) => set(&mut extra, headers::POLICY_INDEX, &policy.to_string()),
            None => {
                let default = self.policies.default_policy().index;
                set(&mut extra, headers::POLICY_DEFAULT, &default.to_string());
            }
        }
        extra.extend(metadata_headers(&op.metadata));
        let put = || self.write_container(cx, Method::PUT, &op.container, &extra);
        let first = put().await;
        let status = match first.agreed() {
            Ok(status) if status != StatusCode::NOT_FOUND => status,
            // The first round created the databases; without an account no client could see the
            // container. Even if few servers report that the account is missing, it must exist when
            // the others are back.
            _ if first.any(StatusCode::NOT_FOUND) => {
                self.make_account(cx, &op.container.account, &Metadata::new()).await?;
                match put().await.agreed()? {
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
        op: &PostContainer,
    ) -> Result<()> {
        let extra = metadata_headers(&op.metadata);
        let answers = self.write_container(cx, Method::POST, &op.container, &extra).await;
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
        let none = HeaderMap::new();
        let answers = self.write_container(cx, Method::DELETE, &op.container, &none).await;
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

fn metadata_headers(metadata: &Metadata) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in metadata {
        set(&mut headers, name, value);
    }
    headers
}
