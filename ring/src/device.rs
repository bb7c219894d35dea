//! A device of the ring: one disk directory on one node.

use serde::{Deserialize, Serialize};

/// Index of a device in the ring's list; holes are allowed, reuse is not.
pub type DeviceId = u32;

/// A device as ring files have it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Device {
    /// Its id.
    pub id: DeviceId,
    /// Failure domain: region.
    pub region: u32,
    /// Failure domain: zone within the region.
    pub zone: u32,
    /// Address of the node's servers.
    pub ip: String,
    /// Port of the server that this ring is for.
    pub port: u16,
    /// Name of the directory below `devices`.
    pub device: String,
    /// Share of partitions relative to other devices.
    pub weight: f64,
    /// Operator's remark.
    #[serde(default)]
    pub meta: String,
    /// Address for replication traffic; the servers' own when absent.
    #[serde(default)]
    pub replication_ip: Option<String>,
    /// Port for replication traffic; the server's own when absent.
    #[serde(default)]
    pub replication_port: Option<u16>,
}

impl Device {
    /// `ip:port`, with brackets for IPv6: the key under which a server is reached.
    pub fn address(&self) -> String {
        joined(&self.ip, self.port)
    }

    /// The same for traffic between daemons, which may have a network of its own.
    pub fn replication_address(&self) -> String {
        let ip = self.replication_ip.as_deref().unwrap_or(&self.ip);
        joined(ip, self.replication_port.unwrap_or(self.port))
    }

    /// The device as daemons reach it: at its address for replication.
    #[must_use]
    pub fn for_replication(&self) -> Self {
        let mut device = self.clone();
        if let Some(ip) = device.replication_ip.clone() {
            device.ip = ip;
        }
        device.port = device.replication_port.unwrap_or(device.port);
        device
    }
}

fn joined(ip: &str, port: u16) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

impl Device {
    /// A device with only an address and a name, as in `X-Container-Host` and similar headers.
    /// `None` when the address is not `ip:port`.
    pub fn at(address: &str, device: &str) -> Option<Self> {
        let (ip, port) = address.trim().rsplit_once(':')?;
        Some(Self {
            id: 0,
            region: 0,
            zone: 0,
            ip: ip.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: port.parse().ok()?,
            device: device.trim().to_owned(),
            weight: 0.0,
            meta: String::new(),
            replication_ip: None,
            replication_port: None,
        })
    }
}
