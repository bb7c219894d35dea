//! Which devices of a ring belong to this node.

use std::net::IpAddr;

use crate::device::Device;

/// The addresses under which rings know this node's server of one kind.
#[derive(Debug, Clone)]
pub struct Local {
    addresses: Vec<IpAddr>,
    port: u16,
}

impl Local {
    /// A server that listens on `port` at these addresses.
    pub fn new(addresses: Vec<IpAddr>, port: u16) -> Self {
        Self { addresses, port }
    }

    fn is_at(&self, ip: &str, port: u16) -> bool {
        port == self.port && ip.parse().is_ok_and(|ip| self.addresses.contains(&ip))
    }

    /// Whether a device is this node's, by its own address or by that for replication.
    pub fn owns(&self, device: &Device) -> bool {
        let ip = device.replication_ip.as_deref().unwrap_or(&device.ip);
        self.is_at(&device.ip, device.port)
            || self.is_at(ip, device.replication_port.unwrap_or(device.port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_local_by_either_of_its_addresses_and_only_on_the_servers_port() {
        let local = Local::new(vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()], 6200);
        let device = |address: &str| Device::at(address, "sd1").unwrap();
        assert!(local.owns(&device("127.0.0.1:6200")) && local.owns(&device("[::1]:6200")));
        assert!(!local.owns(&device("127.0.0.1:6201")) && !local.owns(&device("127.0.0.2:6200")));
        let replication = Device {
            replication_ip: Some("127.0.0.1".to_owned()),
            replication_port: Some(6200),
            ..device("127.0.0.9:6300")
        };
        assert!(local.owns(&replication));
    }
}
