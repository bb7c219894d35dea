//! The object that a request is about.

use apus_cluster::{
    AccountName, ContainerName, ContainerPath, ObjectName, ObjectPath, PartPower, PolicyIndex,
};
use apus_daemon::http::set;
use http::request::Parts;
use http::{HeaderMap, Method};

use super::super::{InvalidRequest, Received, fields};
use crate::{NodePath, NodeRequest, headers};

/// Which object a request is about, and which client request it belongs to. The path is
/// `/device/partition/account/container/object`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectAddress {
    /// The object.
    pub object: ObjectPath,
    /// Its partition in the ring of the policy.
    pub partition: u32,
    /// Its storage policy.
    pub policy: PolicyIndex,
    /// Another part power: what is written needs a name in that partition, too.
    pub next_part_power: Option<PartPower>,
    /// Id of the client request that this one belongs to.
    pub trans_id: Option<String>,
}

impl ObjectAddress {
    /// A request of `method` with what all requests to object servers carry.
    pub(super) fn encode(&self, method: Method) -> NodeRequest {
        let mut head = HeaderMap::with_capacity(16);
        fields::set_some(&mut head, headers::TRANS_ID, self.trans_id.as_deref());
        set(&mut head, headers::POLICY_INDEX, &self.policy.to_string());
        fields::set_display(&mut head, headers::NEXT_PART_POWER, self.next_part_power);
        NodeRequest {
            method,
            partition: self.partition,
            names: vec![
                self.object.account().to_string(),
                self.object.container.container.to_string(),
                self.object.object.to_string(),
            ],
            query: String::new(),
            headers: head,
        }
    }

    /// Reads path and headers.
    ///
    /// # Errors
    /// When the path is not that of an object, or policy or part power are malformed.
    pub fn decode(head: &Parts) -> Result<Received<Self>, InvalidRequest> {
        let invalid = |error: &dyn std::fmt::Display| InvalidRequest::Path(error.to_string());
        let path = NodePath::decode(head.uri.path(), 3)?;
        let [account, container, object] = path.names.try_into().map_err(|_| {
            InvalidRequest::Path("Invalid path: expected account, container and object".to_owned())
        })?;
        let object = ObjectPath {
            container: ContainerPath::new(
                AccountName::parse(&account).map_err(|error| invalid(&error))?,
                ContainerName::parse(&container).map_err(|error| invalid(&error))?,
            ),
            object: ObjectName::parse(&object).map_err(|error| invalid(&error))?,
        };
        let message = Self {
            object,
            partition: path.partition,
            policy: fields::policy(&head.headers)?,
            next_part_power: fields::next_part_power(&head.headers)?,
            trans_id: fields::text(&head.headers, headers::TRANS_ID),
        };
        Ok(Received { device: path.device, message })
    }
}
