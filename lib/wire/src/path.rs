//! `/device/partition/account[/container[/object]]`, percent-encoded, both directions.

use apus_cluster::percent;

use crate::message::InvalidRequest;

/// The path of a backend request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodePath {
    /// Device directory on the node.
    pub device: String,
    /// Partition.
    pub partition: u32,
    /// Account, container, object: one to three names (or a suffix list for REPLICATE).
    pub names: Vec<String>,
}

impl NodePath {
    /// As a request path.
    pub fn encode(&self) -> String {
        let mut path = String::with_capacity(64);
        path.push('/');
        percent::encode_into(&mut path, self.device.as_bytes(), b"");
        path.push('/');
        path.push_str(&self.partition.to_string());
        for name in &self.names {
            path.push('/');
            percent::encode_into(&mut path, name.as_bytes(), b"/");
        }
        path
    }

    /// Splits a request path into device, partition and at most `names_max` names; the last
    /// keeps its slashes. A slash at the end names nothing (`swift.common.utils.split_path`):
    /// Swift's proxy asks for `AUTH_a/c/` when its client does.
    ///
    /// # Errors
    /// [`InvalidRequest::Path`].
    pub fn decode(path: &str, names_max: usize) -> Result<Self, InvalidRequest> {
        let invalid = || InvalidRequest::Path(format!("Invalid path: {path}"));
        let mut parts = path.strip_prefix('/').ok_or_else(invalid)?.splitn(2 + names_max, '/');
        let mut next = || -> Option<String> { parts.next().and_then(percent::decode_utf8) };
        let device = next().filter(|device| !device.is_empty());
        let partition = next().and_then(|partition| partition.parse().ok());
        let mut names: Vec<String> = std::iter::from_fn(next).collect();
        if names.len() > 1 {
            names.pop_if(|last| last.is_empty());
        }
        match (device, partition) {
            // A device name is one directory below the root of devices, never a way out of it.
            (Some(device), Some(partition))
                if !matches!(device.as_str(), "." | "..")
                    && !device.contains(['/', '\0'])
                    && names.iter().all(|name| !name.is_empty()) =>
            {
                Ok(Self { device, partition, names })
            }
            _ => Err(invalid()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_round_trip_with_slashes_and_any_byte() {
        let path = NodePath {
            device: "sd b1".to_owned(),
            partition: 1023,
            names: vec!["AUTH_ü".to_owned(), "c%2F".to_owned(), "a//b/?#".to_owned()],
        };
        assert_eq!(NodePath::decode(&path.encode(), 3).unwrap(), path);
    }

    #[test]
    fn a_slash_at_the_end_names_nothing() {
        let names = |path: &str| NodePath::decode(path, 3).map(|path| path.names);
        assert_eq!(names("/sda/1/a/c/").unwrap(), ["a", "c"]);
        assert_eq!(names("/sda/1/a/").unwrap(), ["a"]);
        assert_eq!(names("/sda/1/a/c/o/").unwrap(), ["a", "c", "o/"]);
        assert!(names("/sda/1/a//o").is_err() && names("/sda/1/").is_err());
    }

    #[test]
    fn paths_that_leave_the_devices_are_refused() {
        for path in ["/../0/a", "/./0/a", "/%2e%2e/0/a", "/a%2Fb/0/a", "//0/a", "/sda/x/a", "/sda"]
        {
            assert!(NodePath::decode(path, 3).is_err(), "{path}");
        }
    }
}
