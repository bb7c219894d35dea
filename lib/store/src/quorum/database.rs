//! One operation on an account or container, with what all of its requests share.

use apus_cluster::policy::{majority, write_quorum};
use apus_cluster::{AccountName, ContainerPath, Timestamp};
use apus_daemon::http::empty;
use apus_ring::Device;
use apus_wire::NodeRequest;
use apus_wire::message::account::{AbsentAccount, AccountAddress};
use apus_wire::message::container::{ContainerAddress, ContainerTimes};
use http::StatusCode;

use super::Quorum;
use super::nodes::{Nodes, QuorumRule};
use super::send::{NodeAnswer, Replayable, agreed_status, bad_request, broadcast};
use crate::body::{LISTING_BYTES_MAX, collect_answer};
use crate::context::Context;
use crate::{Error, Result};

/// One operation on a database: the caller, the name, and the nodes that hold its replicas.
pub(super) struct DatabaseCall<'a> {
    pub(super) quorum: &'a Quorum,
    pub(super) cx: &'a Context,
    pub(super) nodes: Nodes,
    /// Kind of the servers, for errors.
    kind: &'static str,
}

/// The answers to a write, and which nodes had to accept it.
pub(super) struct DatabaseAnswers {
    pub(super) answers: Vec<NodeAnswer>,
    rule: QuorumRule,
    /// Kind of the servers, for errors.
    kind: &'static str,
}

impl DatabaseAnswers {
    /// Whether any node answered with this status.
    pub(super) fn any(&self, status: StatusCode) -> bool {
        self.answers.iter().any(|answer| answer.status() == status)
    }

    /// The status that enough servers agree on.
    ///
    /// # Errors
    /// `Invalid` with the servers' words for a 400; `Unavailable`.
    pub(super) fn agreed(&self) -> Result<StatusCode> {
        match agreed_status(&self.rule, &self.answers) {
            Some(StatusCode::BAD_REQUEST) => Err(bad_request(&self.answers)),
            Some(status) => Ok(status),
            None => {
                let statuses: Vec<_> = self.answers.iter().map(|answer| answer.status()).collect();
                let kind = self.kind;
                Err(Error::unavailable(format!("{kind} servers answered {statuses:?}")))
            }
        }
    }
}

/// When a database was created, changed its status or was deleted.
pub(super) fn status_time(answer: &NodeAnswer) -> Option<Timestamp> {
    ContainerTimes::decode(&answer.head.headers).newest()
}

impl<'a> DatabaseCall<'a> {
    pub(super) fn account(quorum: &'a Quorum, cx: &'a Context, account: &AccountName) -> Self {
        let nodes = Nodes::of(&quorum.rings.account, &quorum.hash, &[account.as_str()]);
        Self { quorum, cx, nodes, kind: "account" }
    }

    pub(super) fn container(
        quorum: &'a Quorum,
        cx: &'a Context,
        container: &ContainerPath,
    ) -> Self {
        let names = [container.account.as_str(), container.container.as_str()];
        let nodes = Nodes::of(&quorum.rings.container, &quorum.hash, &names);
        Self { quorum, cx, nodes, kind: "container" }
    }

    /// The account and its partition, as messages name them.
    pub(super) fn account_address(&self, account: &AccountName) -> AccountAddress {
        AccountAddress {
            account: account.clone(),
            partition: self.nodes.partition,
            trans_id: Some(self.cx.trans_id.to_string()),
        }
    }

    /// The container and its partition, as messages name them.
    pub(super) fn container_address(&self, container: &ContainerPath) -> ContainerAddress {
        ContainerAddress {
            container: container.clone(),
            partition: self.nodes.partition,
            trans_id: Some(self.cx.trans_id.to_string()),
        }
    }

    /// Sends a change to every replica.
    pub(super) async fn write(&self, build: impl Fn(usize) -> NodeRequest) -> DatabaseAnswers {
        let rule = self.write_rule();
        let body = Replayable::default();
        let answers = broadcast(&self.quorum.client, &self.nodes, &rule, body, build).await;
        DatabaseAnswers { answers, rule, kind: self.kind }
    }

    /// Which nodes must accept a change: a write quorum, handoffs included. While other proxies may
    /// use the previous ring, a strong change needs a majority by each ring.
    fn write_rule(&self) -> QuorumRule {
        let replicas = self.nodes.primaries.len();
        match self.cx.is_strong() && !self.nodes.former.is_empty() {
            true => self.nodes.voter_rule(majority(replicas)),
            false => QuorumRule::Any(write_quorum(replicas)),
        }
    }

    /// Whether these answers are from a majority of the primaries, and of those of the previous
    /// ring.
    pub(super) fn is_majority(&self, answers: &[NodeAnswer]) -> bool {
        let rule = self.nodes.voter_rule(majority(self.nodes.primaries.len()));
        rule.is_met(answers.iter().map(|answer| answer.voter))
    }

    /// Reads a database: any good answer, or for strong reads the newest of a majority. Other reads
    /// ask handoffs as well before they report that the database does not exist: what was
    /// acknowledged while primaries were down is stored there.
    ///
    /// # Errors
    /// `Unavailable` when too few replicas answer.
    pub(super) async fn read(&self, request: &NodeRequest) -> Result<NodeAnswer> {
        let answers = self.collect(request).await;
        let primaries = answers.iter().filter(|answer| answer.primary).count();
        if self.cx.is_strong() && !self.is_majority(&answers) {
            let needed = majority(self.nodes.primaries.len());
            return Err(Error::unavailable(format!("{primaries} of {needed} databases answered")));
        }
        let has_majority = primaries >= majority(self.nodes.primaries.len());
        match choose(&answers, self.cx.is_strong(), has_majority) {
            Choice::Answer(index) => answers
                .into_iter()
                .nth(index)
                .ok_or_else(|| Error::unavailable("no database answered")),
            Choice::Unknown => {
                Err(Error::unavailable(format!("{primaries} primary databases answered")))
            }
            Choice::None => Err(Error::unavailable("no database answered")),
        }
    }

    /// Asks nodes in batches until enough have answered.
    async fn collect(&self, request: &NodeRequest) -> Vec<NodeAnswer> {
        let (nodes, is_strong) = (&self.nodes, self.cx.is_strong());
        let replicas = nodes.primaries.len();
        let needed = if is_strong { majority(replicas) } else { 1 };
        let turn = self.quorum.clock.stamp().steps();
        let (mut waiting, mut avoided) = nodes.shuffled_primaries(&self.quorum.client, turn);
        if is_strong {
            waiting.extend(nodes.former.iter().cloned());
            waiting.append(&mut avoided);
        }
        waiting.extend(nodes.fallbacks(is_strong));
        let mut waiting = waiting.into_iter();
        let mut answers: Vec<NodeAnswer> = Vec::new();
        loop {
            let primaries = answers.iter().filter(|answer| answer.primary).count();
            let found = answers.iter().any(|answer| answer.status().is_success());
            let is_enough = match is_strong {
                true => self.is_majority(&answers),
                false => primaries >= needed && found,
            };
            if is_enough {
                return answers;
            }
            let missing = match primaries >= replicas {
                true => nodes.handoffs.len().max(1),
                false => needed.saturating_sub(primaries).max(1),
            };
            let mut batch: Vec<_> = waiting.by_ref().take(missing).collect();
            if batch.is_empty() && !found && primaries < majority(replicas) {
                batch.append(&mut avoided);
            }
            if batch.is_empty() {
                return answers;
            }
            answers.extend(self.ask(batch, request).await);
        }
    }

    /// Sends a request to several nodes at the same time; nodes that fail are left out.
    pub(super) async fn ask(
        &self,
        nodes: Vec<Device>,
        request: &NodeRequest,
    ) -> impl Iterator<Item = NodeAnswer> + use<> {
        let asked = nodes.into_iter().map(|node| self.ask_one(node, request));
        futures_util::future::join_all(asked).await.into_iter().flatten()
    }

    /// The answer of a node unless it failed. A voter is asked also while it is avoided, since the
    /// caller chose it.
    async fn ask_one(&self, node: Device, request: &NodeRequest) -> Option<NodeAnswer> {
        let voter = self.nodes.voter(&node);
        let primary = voter.is_some_and(|index| index < self.nodes.primaries.len());
        let client = &self.quorum.client;
        let sent = match voter.is_some() {
            true => client.send_anyway(&node, request, empty(), client.deadlines().answer).await,
            false => client.send(&node, request, empty()).await,
        };
        match sent {
            Ok(response) if !response.status().is_server_error() => {
                let (head, body) = response.into_parts();
                let body = collect_answer(body, LISTING_BYTES_MAX).await.ok()?;
                let (node, replica) = (node.id, 0);
                Some(NodeAnswer { head, body, primary, voter, node, replica })
            }
            Ok(response) => {
                tracing::debug!(status = %response.status(), node = node.address(), device = node.device, "a database server failed to read");
                None
            }
            Err(error) => {
                tracing::debug!(%error, node = node.address(), device = node.device, "no answer from a database server to a read");
                None
            }
        }
    }
}

/// Which answer of several is the answer to a read.
#[derive(Debug, PartialEq, Eq)]
enum Choice {
    /// The answer of this index.
    Answer(usize),
    /// The database was not found, but too few primaries answered to be certain.
    Unknown,
    /// No usable answer.
    None,
}

/// Chooses among the answers to a read. `has_majority`: most primaries are among them.
fn choose(answers: &[NodeAnswer], is_strong: bool, has_majority: bool) -> Choice {
    let all = || answers.iter().enumerate();
    let good = all()
        .filter(|(_, answer)| answer.status().is_success())
        .max_by_key(|(_, answer)| status_time(answer));
    let gone = all().filter(|(_, answer)| answer.status() == StatusCode::NOT_FOUND).max_by_key(
        // Only a replica that had the account reports that it was deleted.
        |(_, answer)| {
            let is_deleted = AbsentAccount::decode(&answer.head.headers).deleted;
            (status_time(answer), is_deleted, answer.primary)
        },
    );
    match (good, gone) {
        // A deletion that is newer than what others still have wins in a strong read, and over
        // what a handoff has.
        (Some((_, good)), Some((index, gone)))
            if (is_strong || !good.primary) && status_time(gone) > status_time(good) =>
        {
            Choice::Answer(index)
        }
        (Some((index, _)), _) => Choice::Answer(index),
        // With most replicas unreachable, "not found" would be a guess; a deletion is certain.
        (None, Some((index, gone))) if has_majority || status_time(gone).is_some() => {
            Choice::Answer(index)
        }
        (None, Some(_)) => Choice::Unknown,
        // A client error such as a bad parameter would be the answer of every node.
        (None, None) => all()
            .find(|(_, answer)| answer.status().is_client_error())
            .map_or(Choice::None, |(index, _)| Choice::Answer(index)),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    /// An answer of a primary with this status and time of the last status change.
    fn answer(status: u16, time: Option<&str>, primary: bool) -> NodeAnswer {
        let (mut head, ()) = http::Response::new(()).into_parts();
        head.status = StatusCode::from_u16(status).unwrap();
        let status_changed = time.and_then(Timestamp::parse);
        ContainerTimes { status_changed, ..ContainerTimes::default() }.encode(&mut head.headers);
        NodeAnswer { head, body: Bytes::new(), primary, voter: None, node: 0, replica: 0 }
    }

    #[test]
    fn a_read_takes_the_newest_answer_and_no_guess() {
        let (old, new) = (Some("0000000001.00000"), Some("0000000002.00000"));
        for (answers, is_strong, has_majority, expected) in [
            (vec![], true, false, Choice::None),
            (vec![answer(200, old, true), answer(200, new, true)], true, true, Choice::Answer(1)),
            // A newer deletion counts in a strong read, and against a handoff.
            (vec![answer(200, old, true), answer(404, new, true)], true, true, Choice::Answer(1)),
            (vec![answer(200, old, true), answer(404, new, true)], false, true, Choice::Answer(0)),
            (vec![answer(200, old, false), answer(404, new, true)], false, true, Choice::Answer(1)),
            (vec![answer(200, new, true), answer(404, old, true)], true, true, Choice::Answer(0)),
            // Not found: certain by a majority or by a deletion.
            (vec![answer(404, None, true)], false, false, Choice::Unknown),
            (vec![answer(404, None, true)], false, true, Choice::Answer(0)),
            (vec![answer(404, new, true)], false, false, Choice::Answer(0)),
            (vec![answer(412, None, true)], false, false, Choice::Answer(0)),
        ] {
            let statuses: Vec<_> = answers.iter().map(|answer| answer.status()).collect();
            let case = format!("{statuses:?} {is_strong} {has_majority}");
            assert_eq!(choose(&answers, is_strong, has_majority), expected, "{case}");
        }
    }
}
