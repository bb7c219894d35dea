//! One operation on an object, with what all of its requests share.

use apus_cluster::{ObjectPath, PolicyIndex};
use apus_wire::message::object::{ObjectAddress, WriteFence};
use apus_wire::{Client, NodeRequest};

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

    /// The object and its partition, as messages name them.
    pub(super) fn address(&self) -> ObjectAddress {
        ObjectAddress {
            object: self.object.clone(),
            partition: self.nodes.partition,
            policy: self.policy,
            next_part_power: self.nodes.other_power,
            trans_id: Some(self.cx.trans_id.to_string()),
        }
    }

    /// How a write relates to reservations, before one was made for it.
    pub(super) fn fence(&self) -> WriteFence {
        WriteFence { strong: self.cx.is_fenced(), reserved: false }
    }

    /// The requests of a write, by the index of the replica: each with its share of the rows that
    /// object servers send to databases. `delete_at` is the expiry that is written.
    pub(super) fn with_rows(
        &self,
        request: NodeRequest,
        delete_at: Option<u64>,
    ) -> impl Fn(usize) -> NodeRequest + use<> {
        let replicas = self.nodes.primaries.len();
        let rows = ObjectRows::new(self.quorum, self.object, delete_at, replicas);
        move |index| request.clone().with_rows(rows.of(index))
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
