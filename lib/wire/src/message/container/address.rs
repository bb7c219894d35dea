//! The container that a request is about.

use apus_cluster::{AccountName, ContainerName, ContainerPath};
use http::request::Parts;
use http::{HeaderMap, Method};

use super::super::{InvalidRequest, Received, fields};
use crate::{NodePath, NodeRequest, headers};

/// Which container a request is about, and which client request it belongs to. The path is
/// `/device/partition/account/container`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerAddress {
    /// The container.
    pub container: ContainerPath,
    /// Its partition.
    pub partition: u32,
    /// Id of the client request that this one belongs to.
    pub trans_id: Option<String>,
}

impl ContainerAddress {
    /// A request of `method` with what all requests to container servers carry.
    pub(super) fn encode(&self, method: Method) -> NodeRequest {
        let mut head = HeaderMap::with_capacity(8);
        fields::set_some(&mut head, headers::TRANS_ID, self.trans_id.as_deref());
        NodeRequest {
            method,
            partition: self.partition,
            names: vec![self.container.account.to_string(), self.container.container.to_string()],
            query: String::new(),
            headers: head,
        }
    }

    /// Reads path and headers; with the name of an object in it, if the path has one.
    ///
    /// # Errors
    /// When the path does not name a container.
    pub fn decode(head: &Parts) -> Result<(Received<Self>, Option<String>), InvalidRequest> {
        let invalid = |error: &dyn std::fmt::Display| InvalidRequest::Path(error.to_string());
        let path = NodePath::decode(head.uri.path(), 3)?;
        let mut names = path.names.into_iter();
        let (Some(account), Some(container)) = (names.next(), names.next()) else {
            let text = "Invalid path: expected a container";
            return Err(InvalidRequest::Path(text.to_owned()));
        };
        let message = Self {
            container: ContainerPath::new(
                AccountName::parse(&account).map_err(|error| invalid(&error))?,
                ContainerName::parse(&container).map_err(|error| invalid(&error))?,
            ),
            partition: path.partition,
            trans_id: fields::text(&head.headers, headers::TRANS_ID),
        };
        Ok((Received { device: path.device, message }, names.next()))
    }
}
