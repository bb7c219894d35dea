//! How a write relates to names that conditional writes have reserved.

use apus_daemon::http::{header, set};
use http::HeaderMap;

use crate::{NodeRequest, headers};

/// Whether a write must respect reservations of its object's name. The rules are in
/// `apus_object::reservation`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WriteFence {
    /// The write must not succeed below a time that was promised to another one.
    pub strong: bool,
    /// The write is the commit of a reservation at its own time.
    pub reserved: bool,
}

impl WriteFence {
    pub(super) fn encode(self, head: &mut HeaderMap) {
        if self.strong {
            set(head, headers::STRONG, "yes");
        }
        if self.reserved {
            set(head, headers::RESERVED, "yes");
        }
    }

    pub(super) fn decode(head: &HeaderMap) -> Self {
        Self {
            strong: header(head, headers::STRONG).is_some(),
            reserved: header(head, headers::RESERVED).is_some(),
        }
    }
}

impl NodeRequest {
    /// The same write as the commit of a reservation that its receiver granted.
    #[must_use]
    pub fn with_reservation(mut self) -> Self {
        set(&mut self.headers, headers::RESERVED, "yes");
        self
    }

    /// Makes a write that of a node which granted no reservation: a handoff.
    pub fn remove_reservation(&mut self) {
        self.headers.remove(headers::RESERVED);
    }
}
