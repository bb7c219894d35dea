//! Containers: reading, making, changing, deleting.

use apus_cluster::policy::{majority, write_quorum};
use apus_cluster::{ContainerPath, Metadata, PolicyIndex, Timestamp};
use apus_daemon::http::{empty, header, set};
use apus_ring::Device;
use apus_wire::{NodeRequest, headers};
use http::{HeaderMap, Method, StatusCode};

use super::Quorum;
use super::account::resource_headers;
use super::nodes::{Enough, Nodes};
use super::send::{Answer, Replayable, agreed_status, bad_request, broadcast};
use crate::body::{LISTING_BYTES_MAX, collect_answer};
use crate::context::Context;
use crate::gate::Permit;
use crate::operation::{ContainerHead, DeleteContainer, PostContainer, PutContainer};
use crate::{Error, Kind, Result, Subject};

/// What object operations need to know of their container.
#[derive(Debug, Clone)]
pub struct ContainerFacts {
    /// Its policy.
    pub policy: PolicyIndex,
    /// Everything it says, title-cased.
    pub headers: Metadata,
}

/// Comma lists of hosts and devices, dealt over the requests of a write, so that together they
/// name every replica of the database.
pub(crate) fn deal(
    target: &mut HeaderMap,
    index: usize,
    requests: usize,
    nodes: &[Device],
    names: [&'static str; 3],
    partition: u32,
) {
    let [host, part, device] = names;
    let mine: Vec<&Device> = nodes
        .iter()
        .enumerate()
        .filter(|(at, _)| at % requests.max(1) == index)
        .map(|(_, n)| n)
        .collect();
    if mine.is_empty() {
        return;
    }
    let join = |each: &dyn Fn(&Device) -> String| {
        mine.iter().map(|node| each(node)).collect::<Vec<_>>().join(",")
    };
    set(target, host, &join(&|node| node.address()));
    set(target, device, &join(&|node| node.device.clone()));
    set(target, part, &partition.to_string());
}

/// When a database came to be as it is, or went.
pub(super) fn newest(answer: &Answer) -> Option<Timestamp> {
    let time = |name| header(&answer.headers, name).and_then(Timestamp::parse);
    time("x-backend-status-changed-at").or_else(|| time("x-backend-put-timestamp"))
}

impl Quorum {
    pub(crate) fn container_nodes(&self, container: &ContainerPath) -> Nodes {
        let names = [container.account.as_str(), container.container.as_str()];
        Nodes::of(&self.rings.container, &self.hash, &names)
    }

    pub(crate) fn container_request(
        &self,
        cx: &Context,
        method: Method,
        container: &ContainerPath,
        nodes: &Nodes,
    ) -> NodeRequest {
        let mut request_headers = HeaderMap::new();
        set(&mut request_headers, headers::TRANS_ID, &cx.trans_id);
        NodeRequest {
            method,
            partition: nodes.partition,
            names: vec![container.account.to_string(), container.container.to_string()],
            query: String::new(),
            headers: request_headers,
        }
    }

    /// Reads an account or container database: any good answer, or for strong reads the newest
    /// of a majority. Others ask handoffs as well before they say that there is none: what was
    /// acknowledged while primaries were away lies there.
    pub(crate) async fn read_database(
        &self,
        cx: &Context,
        nodes: &Nodes,
        request: &NodeRequest,
    ) -> Result<Answer> {
        let needed = if cx.is_strong() { majority(nodes.primaries.len()) } else { 1 };
        let turn = self.clock.stamp().steps();
        let (free, mut avoided) = nodes.shuffled_primaries(&self.client, turn);
        let mut answers: Vec<Answer> = Vec::new();
        let mut waiting = free;
        if cx.is_strong() {
            waiting.extend(nodes.former.iter().cloned());
            waiting.append(&mut avoided);
        }
        waiting.extend(nodes.fallbacks(cx.is_strong()));
        let mut waiting = waiting.into_iter();
        loop {
            let primaries = answers.iter().filter(|answer| answer.primary).count();
            let found = answers.iter().any(|answer| answer.status.is_success());
            let is_enough = match cx.is_strong() {
                true => Self::are_majority(nodes, &answers),
                false => primaries >= needed && found,
            };
            if is_enough {
                break;
            }
            let missing = match primaries >= nodes.primaries.len() {
                true => nodes.handoffs.len().max(1),
                false => needed.saturating_sub(primaries).max(1),
            };
            let mut batch: Vec<_> = waiting.by_ref().take(missing).collect();
            if batch.is_empty() && !found && primaries < majority(nodes.primaries.len()) {
                batch.append(&mut avoided);
            }
            if batch.is_empty() {
                break;
            }
            let asked = batch.into_iter().map(|node| self.ask(nodes, node, request));
            answers.extend(futures_util::future::join_all(asked).await.into_iter().flatten());
        }
        // A client error such as a bad parameter is everybody's answer.
        let primaries = answers.iter().filter(|answer| answer.primary).count();
        if cx.is_strong() && !Self::are_majority(nodes, &answers) {
            return Err(Error::unavailable(format!("{primaries} of {needed} databases answered")));
        }
        let good = answers.iter().filter(|answer| answer.status.is_success());
        let best_good = good.max_by_key(|answer| newest(answer)).cloned();
        let gone = answers
            .iter()
            .filter(|answer| answer.status == StatusCode::NOT_FOUND)
            // That an account was deleted is told by who had it.
            .max_by_key(|answer| {
                let is_deleted = header(&answer.headers, headers::ACCOUNT_STATUS).is_some();
                (newest(answer), is_deleted, answer.primary)
            });
        match (best_good, gone) {
            // A deletion that is newer than what others still show wins in a strong read, and over
            // what lies on a handoff.
            (Some(good), Some(gone))
                if (cx.is_strong() || !good.primary) && newest(gone) > newest(&good) =>
            {
                Ok(gone.clone())
            }
            (Some(good), _) => Ok(good),
            // With most replicas out of reach, "not found" would be a guess; a deletion is none.
            (None, Some(gone))
                if primaries >= majority(nodes.primaries.len()) || newest(gone).is_some() =>
            {
                Ok(gone.clone())
            }
            (None, Some(_)) => {
                Err(Error::unavailable(format!("{primaries} primary databases answered")))
            }
            (None, None) => answers
                .into_iter()
                .find(|answer| answer.status.is_client_error())
                .ok_or_else(|| Error::unavailable("no database answered")),
        }
    }

    /// Whether these are of a majority of the primaries, and of those of the ring before.
    pub(crate) fn are_majority(nodes: &Nodes, answers: &[Answer]) -> bool {
        let by: Vec<_> = answers.iter().map(|answer| answer.voter).collect();
        nodes.enough(majority(nodes.primaries.len())).is_met(&by)
    }

    /// How many of whom must have taken a change of a database: a write quorum, handoffs among
    /// them; while others may go by another ring, a strong one needs majorities of both.
    pub(crate) fn enough_databases(cx: &Context, nodes: &Nodes) -> Enough {
        let replicas = nodes.primaries.len();
        match cx.is_strong() && !nodes.former.is_empty() {
            true => nodes.enough(majority(replicas)),
            false => Enough::Any(write_quorum(replicas)),
        }
    }

    /// The answer of a node unless it is a failure. A voter is asked also when it is being avoided:
    /// the caller chooses.
    pub(crate) async fn ask(
        &self,
        nodes: &Nodes,
        node: Device,
        request: &NodeRequest,
    ) -> Option<Answer> {
        let voter = nodes.voter(&node);
        let primary = voter.is_some_and(|index| index < nodes.primaries.len());
        let sent = match voter.is_some() {
            true => {
                let deadline = self.client.deadlines().answer;
                self.client.send_anyway(&node, request, empty(), deadline).await
            }
            false => self.client.send(&node, request, empty()).await,
        };
        match sent {
            Ok(response) if !response.status().is_server_error() => {
                let (head, body) = response.into_parts();
                let body = collect_answer(body, LISTING_BYTES_MAX).await.ok()?;
                let (node, replica) = (node.id, 0);
                let (status, headers) = (head.status, head.headers);
                Some(Answer { status, headers, body, primary, voter, node, replica })
            }
            Ok(response) => {
                tracing::debug!(status = %response.status(), node = node.address(), device = node.device, "read");
                None
            }
            Err(error) => {
                tracing::debug!(%error, node = node.address(), device = node.device, "read");
                None
            }
        }
    }

    pub(crate) fn container_head(answer: &Answer) -> ContainerHead {
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
        self.container_facts_of(cx, container).await
    }

    /// As [`Quorum::head_container`], for the gate itself, which must know a container's lists
    /// before it can permit anything.
    pub(crate) async fn container_facts_of(
        &self,
        cx: &Context,
        container: &ContainerPath,
    ) -> Result<ContainerHead> {
        let nodes = self.container_nodes(container);
        let request = self.container_request(cx, Method::HEAD, container, &nodes);
        let answer = self.read_database(cx, &nodes, &request).await?;
        match answer.status {
            status if status.is_success() => Ok(Self::container_head(&answer)),
            StatusCode::NOT_FOUND => Err(Error::new(Kind::NotFound, Subject::Container)),
            status => Err(Error::unavailable(format!("container HEAD answered {status}"))),
        }
    }

    async fn write_container(
        &self,
        cx: &Context,
        method: Method,
        container: &ContainerPath,
        mut extra: HeaderMap,
        metadata: &Metadata,
    ) -> Result<(Vec<Answer>, Enough)> {
        let nodes = self.container_nodes(container);
        let enough = Self::enough_databases(cx, &nodes);
        let mut request = self.container_request(cx, method, container, &nodes);
        set(&mut extra, headers::TIMESTAMP, &self.clock.stamp().to_string());
        for (name, value) in metadata {
            set(&mut extra, name, value);
        }
        request.headers.extend(extra);
        let account_ring = self.rings.account.get();
        let account_partition =
            account_ring.partition_of(&self.hash, &[container.account.as_str()]);
        let account_nodes = Nodes::new(&account_ring, account_partition).primaries;
        let requests = nodes.primaries.len();
        let build = |index| {
            let mut request = request.clone();
            deal(
                &mut request.headers,
                index,
                requests,
                &account_nodes,
                [headers::ACCOUNT_HOST, headers::ACCOUNT_PARTITION, headers::ACCOUNT_DEVICE],
                account_partition,
            );
            request
        };
        let none = Replayable::default();
        let answers = broadcast(&self.client, &nodes, &enough, none, build).await;
        Ok((answers, enough))
    }

    fn agreed((answers, enough): &(Vec<Answer>, Enough)) -> Result<StatusCode> {
        match agreed_status(enough, answers) {
            Some(StatusCode::BAD_REQUEST) => Err(bad_request(answers)),
            Some(status) => Ok(status),
            None => {
                let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
                Err(Error::unavailable(format!("container servers answered {statuses:?}")))
            }
        }
    }

    /// Makes a container, and its account if need be; `true` when it is new.
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
        let put = |extra: HeaderMap| {
            self.write_container(cx, Method::PUT, &op.container, extra, &op.metadata)
        };
        let answers = put(extra.clone()).await?;
        let status = match Self::agreed(&answers) {
            Ok(status) if status != StatusCode::NOT_FOUND => status,
            // The first round made the databases; without an account nobody had the container. Few
            // servers may be there to tell that it is missing, and it is to be there when they are.
            _ if answers.0.iter().any(|answer| answer.status == StatusCode::NOT_FOUND) => {
                self.make_account(cx, &op.container.account, &Metadata::new()).await?;
                match Self::agreed(&put(extra).await?)? {
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
            status => Err(Error::unavailable(format!("container PUT answered {status}"))),
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
        let answers = self
            .write_container(cx, Method::POST, &op.container, HeaderMap::new(), &op.metadata)
            .await?;
        match Self::agreed(&answers)? {
            StatusCode::NOT_FOUND => Err(Error::new(Kind::NotFound, Subject::Container)),
            status if status.is_success() => Ok(()),
            status => Err(Error::unavailable(format!("container POST answered {status}"))),
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
        let none = (HeaderMap::new(), Metadata::new());
        let answers =
            self.write_container(cx, Method::DELETE, &op.container, none.0, &none.1).await?;
        // One replica that holds an object is enough to refuse: it may be the only one that knows.
        if answers.0.iter().any(|answer| answer.status == StatusCode::CONFLICT) {
            return Err(Error::new(Kind::NotEmpty, Subject::Container));
        }
        match Self::agreed(&answers)? {
            StatusCode::NOT_FOUND => Err(Error::new(Kind::NotFound, Subject::Container)),
            status if status.is_success() => Ok(()),
            status => Err(Error::unavailable(format!("container DELETE answered {status}"))),
        }
    }
}
