//! `REPLICATE` and `SSYNC`: requests about one partition of an object server.

use apus_cluster::{PartPower, PolicyIndex, Timestamp};
use apus_daemon::http::{header, set};
use http::HeaderMap;
use http::request::Parts;

use super::super::{InvalidRequest, Received, fields};
use crate::{NodePath, NodeRequest, headers, methods};

/// Partitions whose marks one request may ask for.
const MARKS_MAX: usize = 1000;

/// Sent by every receiver of Swift that supports fragments without commit.
const ACCEPT_NO_COMMIT: &str = "x-backend-accept-no-commit";

/// A partition in the ring of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionAddress {
    /// Its number.
    pub partition: u32,
    /// Its storage policy.
    pub policy: PolicyIndex,
}

impl PartitionAddress {
    fn encode(self, verb: &'static str) -> NodeRequest {
        let mut head = HeaderMap::with_capacity(4);
        set(&mut head, headers::POLICY_INDEX, &self.policy.to_string());
        NodeRequest {
            method: methods::method(verb),
            partition: self.partition,
            names: Vec::new(),
            query: String::new(),
            headers: head,
        }
    }

    /// Reads path and policy; with the names that follow the partition in the path.
    fn decode(
        head: &Parts,
        names_max: usize,
    ) -> Result<(Received<Self>, Vec<String>), InvalidRequest> {
        let path = NodePath::decode(head.uri.path(), names_max)?;
        let message = Self { partition: path.partition, policy: fields::policy(&head.headers)? };
        Ok((Received { device: path.device, message }, path.names))
    }
}

/// What a `REPLICATE` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplicatePurpose {
    /// The suffix hashes of the partition.
    Hashes,
    /// These suffixes are to be hashed again.
    Rehash(Vec<String>),
    /// The marks of these partitions, in this order. Ours.
    Marks(Vec<u32>),
}

/// `REPLICATE /device/partition[/suffix-suffix…]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicatePartitionRequest {
    /// The partition.
    pub address: PartitionAddress,
    /// What is asked for.
    pub purpose: ReplicatePurpose,
}

impl ReplicatePartitionRequest {
    /// As a request to the server of a device.
    pub fn encode(&self) -> NodeRequest {
        let mut request = self.address.encode(methods::REPLICATE);
        set(&mut request.headers, "content-length", "0");
        match &self.purpose {
            ReplicatePurpose::Hashes => {}
            ReplicatePurpose::Rehash(suffixes) => request.names.push(suffixes.join("-")),
            ReplicatePurpose::Marks(numbers) => {
                let numbers: Vec<String> = numbers.iter().map(u32::to_string).collect();
                set(&mut request.headers, headers::PARTITION_MARKS, &numbers.join(","));
            }
        }
        request
    }

    /// Reads a request.
    ///
    /// # Errors
    /// When path, policy or the list of partitions are malformed.
    pub fn decode(parts: &Parts) -> Result<Received<Self>, InvalidRequest> {
        let (address, mut names) = PartitionAddress::decode(parts, 1)?;
        let purpose = match (header(&parts.headers, headers::PARTITION_MARKS), names.pop()) {
            (Some(list), _) => ReplicatePurpose::Marks(numbers(list)?),
            (None, Some(listed)) if !listed.is_empty() => {
                ReplicatePurpose::Rehash(listed.split('-').map(str::to_owned).collect())
            }
            (None, _) => ReplicatePurpose::Hashes,
        };
        Ok(address.map(|address| Self { address, purpose }))
    }
}

fn numbers(list: &str) -> Result<Vec<u32>, InvalidRequest> {
    let numbers = list.split(',').take(MARKS_MAX + 1).map(str::parse);
    let numbers: Option<Vec<u32>> = numbers.collect::<Result<_, _>>().ok();
    numbers.filter(|numbers| numbers.len() <= MARKS_MAX).ok_or_else(|| {
        let expected = "at most 1000 numbers of partitions, comma separated";
        InvalidRequest::header("X-Backend-Apus-Partition-Marks", Some(list), expected)
    })
}

/// The headers of the reply to a `REPLICATE` for suffix hashes, which are the body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplicateReply {
    /// The mark of the partition, taken before the hashes were read. Ours.
    pub mark: Option<String>,
}

impl ReplicateReply {
    /// Writes the headers of a reply.
    pub fn encode(&self, head: &mut HeaderMap) {
        fields::set_some(head, headers::PARTITION_MARKS, self.mark.as_deref());
    }

    /// Reads the headers of a reply.
    pub fn decode(head: &HeaderMap) -> Self {
        Self { mark: fields::text(head, headers::PARTITION_MARKS) }
    }
}

/// `SSYNC /device/partition`; the exchange is the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SsyncRequest {
    /// The partition.
    pub address: PartitionAddress,
    /// Another part power: what is sent needs a name in that partition, too.
    pub next_part_power: Option<PartPower>,
    /// Asks since when the receiver's device is present. Ours.
    pub asks_presence: bool,
}

impl SsyncRequest {
    /// As a request to the server of a device.
    pub fn encode(&self) -> NodeRequest {
        let mut request = self.address.encode(methods::SSYNC);
        fields::set_display(&mut request.headers, headers::NEXT_PART_POWER, self.next_part_power);
        if self.asks_presence {
            set(&mut request.headers, headers::PRESENT_SINCE, "?");
        }
        request
    }

    /// Reads a request.
    ///
    /// # Errors
    /// When path, policy or part power are malformed.
    pub fn decode(parts: &Parts) -> Result<Received<Self>, InvalidRequest> {
        let (address, names) = PartitionAddress::decode(parts, 1)?;
        if !names.is_empty() {
            let text = "Invalid path: expected device/partition";
            return Err(InvalidRequest::Path(text.to_owned()));
        }
        let next_part_power = fields::next_part_power(&parts.headers)?;
        let asks_presence = parts.headers.contains_key(headers::PRESENT_SINCE);
        Ok(address.map(|address| Self { address, next_part_power, asks_presence }))
    }
}

/// The headers of the reply to an `SSYNC`; the receiver's lines are the body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SsyncReply {
    /// Since when the receiver's device is present without a gap. Ours.
    pub present_since: Option<Timestamp>,
}

impl SsyncReply {
    /// Writes the headers of a reply.
    pub fn encode(self, head: &mut HeaderMap) {
        set(head, ACCEPT_NO_COMMIT, "True");
        fields::set_display(head, headers::PRESENT_SINCE, self.present_since);
    }

    /// Reads the headers of a reply.
    pub fn decode(head: &HeaderMap) -> Self {
        Self { present_since: fields::time(head, headers::PRESENT_SINCE) }
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn parts(request: &NodeRequest) -> Parts {
        let names: String = request.names.iter().map(|name| format!("/{name}")).collect();
        let uri = format!("/sd1/{}{names}", request.partition);
        let built = Request::builder().method(request.method.clone()).uri(uri).body(()).unwrap();
        let mut parts = built.into_parts().0;
        parts.headers = request.headers.clone();
        parts
    }

    const ADDRESS: PartitionAddress = PartitionAddress { partition: 7, policy: PolicyIndex(2) };

    #[test]
    fn requests_survive_a_round_trip() {
        for purpose in [
            ReplicatePurpose::Hashes,
            ReplicatePurpose::Rehash(vec!["abc".to_owned(), "def".to_owned()]),
            ReplicatePurpose::Marks(vec![7, 9]),
        ] {
            let request = ReplicatePartitionRequest { address: ADDRESS, purpose };
            let received = ReplicatePartitionRequest::decode(&parts(&request.encode())).unwrap();
            assert_eq!((received.device.as_str(), received.message), ("sd1", request));
        }
        for (next_part_power, asks_presence) in [(None, false), (PartPower::new(11), true)] {
            let request = SsyncRequest { address: ADDRESS, next_part_power, asks_presence };
            let received = SsyncRequest::decode(&parts(&request.encode())).unwrap();
            assert_eq!((received.device.as_str(), received.message), ("sd1", request));
        }
    }

    #[test]
    fn too_many_or_malformed_numbers_are_refused() {
        let many = vec!["1"; MARKS_MAX + 1].join(",");
        for list in [many.as_str(), "", "1,,2", "x"] {
            assert!(numbers(list).is_err(), "{list}");
        }
    }
}
