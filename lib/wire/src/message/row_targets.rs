//! The replicas of a database that a row is to be sent to.

use apus_daemon::http::{header, set};
use apus_ring::Device;
use http::HeaderMap;

/// Names of the three headers that say where a row goes.
pub(super) type TargetHeaders = [&'static str; 3];

/// Replicas of one database: its partition, and the servers and devices that hold it. On the wire
/// two comma lists of the same length and a number.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RowTargets {
    /// Partition of the database.
    pub partition: u32,
    /// Where its replicas are; only address and device name travel.
    pub nodes: Vec<Device>,
}

impl RowTargets {
    /// Whether no replica is named.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Writes the headers; nothing when no replica is named.
    pub(super) fn encode(&self, head: &mut HeaderMap, [host, partition, device]: TargetHeaders) {
        if self.nodes.is_empty() {
            return;
        }
        let join =
            |each: fn(&Device) -> String| self.nodes.iter().map(each).collect::<Vec<_>>().join(",");
        set(head, host, &join(Device::address));
        set(head, device, &join(|node| node.device.clone()));
        set(head, partition, &self.partition.to_string());
    }

    /// Reads the headers; no replica when one of them is missing.
    pub(super) fn decode(head: &HeaderMap, [host, partition, device]: TargetHeaders) -> Self {
        let list = |name| header(head, name).unwrap_or_default().split(',').map(str::trim);
        let both = list(host).zip(list(device)).filter(|(_, device)| !device.is_empty());
        let nodes: Vec<_> = both.filter_map(|(host, device)| Device::at(host, device)).collect();
        match header(head, partition).and_then(|text| text.parse().ok()) {
            Some(partition) if !nodes.is_empty() => Self { partition, nodes },
            _ => Self::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADERS: TargetHeaders =
        ["x-container-host", "x-container-partition", "x-container-device"];

    fn targets(names: &[&str]) -> RowTargets {
        let nodes = names.iter().map(|name| Device::at("127.0.0.1:6201", name).unwrap());
        RowTargets { partition: 7, nodes: nodes.collect() }
    }

    #[test]
    fn targets_survive_a_round_trip() {
        for names in [&["sda"][..], &["sda", "sdb", "sdc"]] {
            let mut head = HeaderMap::new();
            targets(names).encode(&mut head, HEADERS);
            assert_eq!(RowTargets::decode(&head, HEADERS), targets(names));
        }
    }

    #[test]
    fn headers_that_are_incomplete_name_no_target() {
        for missing in HEADERS {
            let mut head = HeaderMap::new();
            targets(&["sda", "sdb"]).encode(&mut head, HEADERS);
            head.remove(missing);
            assert!(RowTargets::decode(&head, HEADERS).is_empty(), "{missing}");
        }
    }
}
