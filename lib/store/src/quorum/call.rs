//! One operation on an object, with what all of its requests share.

use apus_cluster::{ObjectPath, PolicyIndex, Timestamp};
use apus_daemon::http::{header, set};
use apus_wire::{Client, NodeRequest, headers};
use http::{HeaderMap, Method};

use super::Quorum;
use super::nodes::{Nodes, QuorumRule};
use super::object_rows::ObjectRows;
use super::send::{NodeAnswer, Replayable, broadcast};
use crate::Result;
use crate::context::Context;

/// One operation on an object: the caller, the name, and the nodes that hold it.
pub(super) struct ObjectCall<'a> {
    pub(super) quorum: &'a Quorum,
    pub(super) cx: &'a Context,
    pub(super) object: &'a ObjectPath,
    pub(super) policy: PolicyIndex,
    pub(super) nodes: Nodes,
}

impl<'a> ObjectCall<'a> {
    /// Finds the nodes of an object in a policy.
    ///
    /// # Errors
    /// `Unavailable` when the policy has no ring.
    pub(super) fn new(
        quorum: &'a Quorum,
        cx: &'a Context,
        object: &'a ObjectPath,
        policy: PolicyIndex,
    ) -> Result<Self> {
        let ring = quorum.object_ring(policy)?;
        let names = [
            object.account().as_str(),
            object.container.container.as_str(),
            object.object.as_str(),
        ];
        let nodes = Nodes::of(ring, &quorum.hash, &names);
        Ok(Self { quorum, cx, object, policy, nodes })
    }

    pub(super) fn client(&self) -> &'a Client {
        &self.quorum.client
    }

    /// The request that every node of the call gets, without what an operation adds to it.
    pub(super) fn request(&self, method: Method) -> NodeRequest {
        let mut request_headers = HeaderMap::new();
        set(&mut request_headers, headers::TRANS_ID, &self.cx.trans_id);
        set(&mut request_headers, headers::POLICY_INDEX, &self.policy.to_string());
        if self.cx.open_expired && matches!(method, Method::GET | Method::HEAD | Method::POST) {
            set(&mut request_headers, headers::OPEN_EXPIRED, "true");
        }
        if let Some(power) = self.nodes.other_power {
            set(&mut request_headers, headers::NEXT_PART_POWER, &power.to_string());
        }
        NodeRequest {
            method,
            partition: self.nodes.partition,
            names: vec![
                self.object.account().to_string(),
                self.object.container.container.to_string(),
                self.object.object.to_string(),
            ],
            query: String::new(),
            headers: request_headers,
        }
    }

    /// The requests of a write at `time`, by the index of the replica: each with its share of the
    /// rows that object servers send to databases.
    pub(super) fn write_requests(
        &self,
        method: Method,
        time: Timestamp,
        extra: &HeaderMap,
    ) -> impl Fn(usize) -> NodeRequest + use<> {
        let mut request = self.request(method);
        set(&mut request.headers, headers::TIMESTAMP, &time.to_string());
        if self.cx.is_fenced() {
            set(&mut request.headers, headers::STRONG, "yes");
        }
        request.headers.extend(extra.clone());
        let delete_at = header(extra, headers::DELETE_AT).and_then(|text| text.parse().ok());
        let rows = ObjectRows::new(self.quorum, self.object, delete_at, self.nodes.primaries.len());
        move |index| {
            let mut request = request.clone();
            rows.deal(index, &mut request.headers);
            request
        }
    }

    /// Which nodes must accept a write.
    pub(super) fn write_rule(&self, strict: bool) -> QuorumRule {
        let needed = super::write::needed(strict, self.nodes.primaries.len());
        if strict { self.nodes.voter_rule(needed) } else { QuorumRule::Any(needed) }
    }

    /// Sends a request to every replica, notes the times that the nodes report, and returns their
    /// answers.
    pub(super) async fn broadcast(
        &self,
        rule: &QuorumRule,
        body: Replayable,
        build: impl Fn(usize) -> NodeRequest,
    ) -> Vec<NodeAnswer> {
        let answers = broadcast(&self.quorum.client, &self.nodes, rule, body, build).await;
        self.observe(&answers);
        answers
    }

    /// Moves the clock past the times that nodes reported.
    pub(super) fn observe(&self, answers: &[NodeAnswer]) {
        for time in answers.iter().filter_map(NodeAnswer::timestamp) {
            self.quorum.clock.observe(time);
        }
    }
}
