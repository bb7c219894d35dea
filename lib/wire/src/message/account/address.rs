//! The account that a request is about.

use apus_cluster::AccountName;
use http::request::Parts;
use http::{HeaderMap, Method};

use super::super::{InvalidRequest, Received, fields};
use crate::{NodePath, NodeRequest, headers};

/// Which account a request is about, and which client request it belongs to. The path is
/// `/device/partition/account`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountAddress {
    /// The account.
    pub account: AccountName,
    /// Its partition.
    pub partition: u32,
    /// Id of the client request that this one belongs to.
    pub trans_id: Option<String>,
}

impl AccountAddress {
    /// A request of `method` with what all requests to account servers carry.
    pub(super) fn encode(&self, method: Method) -> NodeRequest {
        let mut head = HeaderMap::with_capacity(8);
        fields::set_some(&mut head, headers::TRANS_ID, self.trans_id.as_deref());
        NodeRequest {
            method,
            partition: self.partition,
            names: vec![self.account.to_string()],
            query: String::new(),
            headers: head,
        }
    }

    /// Reads path and headers; with the name of a container, if the path has one.
    ///
    /// # Errors
    /// When the path does not name an account.
    pub fn decode(head: &Parts) -> Result<(Received<Self>, Option<String>), InvalidRequest> {
        let path = NodePath::decode(head.uri.path(), 2)?;
        let mut names = path.names.into_iter();
        let account = names.next().unwrap_or_default();
        let message = Self {
            account: AccountName::parse(&account)
                .map_err(|error| InvalidRequest::Path(error.to_string()))?,
            partition: path.partition,
            trans_id: fields::text(&head.headers, headers::TRANS_ID),
        };
        Ok((Received { device: path.device, message }, names.next()))
    }
}
