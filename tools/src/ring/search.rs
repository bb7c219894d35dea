//! Device strings: `r1z2-IP:PORT[RIP:RPORT]/DEV_META` to add, and search values.
//! Source: `swift/common/ring/utils.py`.

use apus_ring::Device;
use apus_ring::builder::{BuilderDevice, NewDevice, RingBuilder};

/// What a device must be like; what is `None` matches all.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    id: Option<u32>,
    region: Option<u32>,
    zone: Option<u32>,
    ip: Option<String>,
    port: Option<u16>,
    replication_ip: Option<String>,
    replication_port: Option<u16>,
    device: Option<String>,
    meta: Option<String>,
}

/// Reads a text from its front.
struct Cursor<'a>(&'a str);

impl<'a> Cursor<'a> {
    fn eat(&mut self, mark: char) -> bool {
        match self.0.strip_prefix(mark) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    fn take(&mut self, accept: impl Fn(char) -> bool) -> &'a str {
        let end = self.0.find(|c| !accept(c)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at(end);
        self.0 = rest;
        taken
    }

    fn number<T: std::str::FromStr>(&mut self) -> Result<T, String> {
        let digits = self.take(|c| c.is_ascii_digit());
        digits.parse().map_err(|_| format!("expected a number, got {digits:?}"))
    }

    fn ip(&mut self) -> Result<Option<String>, String> {
        let text = if self.eat('[') {
            let inside = self.take(|c| c != ']');
            if !self.eat(']') {
                return Err("address without closing bracket".to_owned());
            }
            inside
        } else if self.0.starts_with(|c: char| c.is_ascii_digit()) {
            self.take(|c| c.is_ascii_digit() || c == '.')
        } else {
            return Ok(None);
        };
        let ip: std::net::IpAddr =
            text.parse().map_err(|_| format!("{text:?} is no IP address"))?;
        Ok(Some(ip.to_string()))
    }

    fn port(&mut self) -> Result<Option<u16>, String> {
        if self.eat(':') { self.number().map(Some) } else { Ok(None) }
    }
}

impl Wanted {
    /// Parses a search value such as `d74r4z1-1.2.3.4:5678/sdb1_"meta"`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let refuse = |reason: String| format!("Invalid <search-value>: '{text}' ({reason})");
        let wanted = Self::parse_inner(text).map_err(refuse)?;
        if wanted == Self::default() {
            return Err(format!("Invalid <search-value>: '{text}'"));
        }
        Ok(wanted)
    }

    fn parse_inner(text: &str) -> Result<Self, String> {
        let mut cursor = Cursor(text);
        let mut wanted = Self::default();
        if cursor.eat('d') {
            wanted.id = Some(cursor.number()?);
        }
        if cursor.eat('r') {
            wanted.region = Some(cursor.number()?);
        }
        if cursor.eat('z') {
            wanted.zone = Some(cursor.number()?);
        }
        cursor.eat('-');
        wanted.ip = cursor.ip()?;
        wanted.port = cursor.port()?;
        if cursor.eat('R') {
            wanted.replication_ip = cursor.ip()?;
            wanted.replication_port = cursor.port()?;
        }
        if cursor.eat('/') {
            wanted.device = Some(cursor.take(|c| c != '_').to_owned());
        }
        if cursor.eat('_') {
            wanted.meta = Some(cursor.0.trim_matches('"').to_owned());
            cursor.0 = "";
        }
        if cursor.0.is_empty() { Ok(wanted) } else { Err(format!("left over: {:?}", cursor.0)) }
    }

    fn matches(&self, device: &Device) -> bool {
        fn same<T: PartialEq>(wanted: &Option<T>, found: &T) -> bool {
            wanted.as_ref().is_none_or(|wanted| wanted == found)
        }
        same(&self.id, &device.id)
            && same(&self.region, &device.region)
            && same(&self.zone, &device.zone)
            && same(&self.ip, &device.ip)
            && same(&self.port, &device.port)
            && same(&self.device, &device.device)
            && self.meta.as_ref().is_none_or(|meta| device.meta.contains(meta))
            && self
                .replication_ip
                .as_ref()
                .is_none_or(|ip| device.replication_ip.as_ref().unwrap_or(&device.ip) == ip)
            && self
                .replication_port
                .is_none_or(|port| device.replication_port.unwrap_or(device.port) == port)
    }

    /// Devices of a builder that match.
    pub(super) fn find<'a>(&self, builder: &'a RingBuilder) -> Vec<&'a BuilderDevice> {
        builder.devices().filter(|device| self.matches(&device.device)).collect()
    }

    /// Changes a device to what this says.
    pub(super) fn apply(self, device: &mut Device) {
        if let Some(ip) = self.ip {
            device.ip = ip;
        }
        if let Some(port) = self.port {
            device.port = port;
        }
        if let Some(ip) = self.replication_ip {
            device.replication_ip = Some(ip);
        }
        if let Some(port) = self.replication_port {
            device.replication_port = Some(port);
        }
        if let Some(name) = self.device {
            device.device = name;
        }
        if let Some(meta) = self.meta {
            device.meta = meta;
        }
    }

    /// A device to add; region 1 when none is given.
    pub(super) fn new_device(self, weight: f64) -> Result<NewDevice, String> {
        let need = |what: &str| format!("Invalid add value: {what} is missing");
        if weight.is_nan() || weight < 0.0 {
            return Err(format!("Invalid weight value: {weight}"));
        }
        let device = self.device.filter(|name| !name.is_empty()).ok_or_else(|| need("device"))?;
        Ok(NewDevice {
            region: self.region.unwrap_or(1),
            zone: self.zone.ok_or_else(|| need("zone"))?,
            ip: self.ip.ok_or_else(|| need("ip"))?,
            port: self.port.ok_or_else(|| need("port"))?,
            replication_ip: self.replication_ip,
            replication_port: self.replication_port,
            device,
            weight,
            meta: self.meta.unwrap_or_default(),
        })
    }

    /// From `--region 1 --zone 2 …`; gives the weight beside.
    pub(super) fn from_options(arguments: &[String]) -> Result<(Self, Option<f64>), String> {
        let mut wanted = Self::default();
        let mut weight = None;
        let mut words = arguments.iter();
        while let Some(option) = words.next() {
            let value = words.next().ok_or_else(|| format!("{option} needs a value"))?;
            let refuse = || format!("{option} {value:?}: expected a number");
            match option.as_str() {
                "--id" => wanted.id = Some(value.parse().map_err(|_| refuse())?),
                "--region" | "-r" => wanted.region = Some(value.parse().map_err(|_| refuse())?),
                "--zone" | "-z" => wanted.zone = Some(value.parse().map_err(|_| refuse())?),
                "--ip" | "-i" => wanted.ip = Some(value.clone()),
                "--port" | "-p" => wanted.port = Some(value.parse().map_err(|_| refuse())?),
                "--replication-ip" | "-j" => wanted.replication_ip = Some(value.clone()),
                "--replication-port" | "-q" => {
                    wanted.replication_port = Some(value.parse().map_err(|_| refuse())?);
                }
                "--device" | "-d" => wanted.device = Some(value.clone()),
                "--meta" | "-m" => wanted.meta = Some(value.clone()),
                "--weight" | "-w" => weight = Some(value.parse().map_err(|_| refuse())?),
                other => return Err(format!("no such option: {other}")),
            }
        }
        Ok((wanted, weight))
    }
}

/// `d0r1z1-127.0.0.1:6200R127.0.0.1:6200/sdb1_"meta"`.
pub(super) fn format_device(device: &Device) -> String {
    let bracket = |ip: &str| if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
    format!(
        "d{}r{}z{}-{}:{}R{}:{}/{}_\"{}\"",
        device.id,
        device.region,
        device.zone,
        bracket(&device.ip),
        device.port,
        bracket(device.replication_ip.as_ref().unwrap_or(&device.ip)),
        device.replication_port.unwrap_or(device.port),
        device.device,
        device.meta
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn search_values_are_swifts() {
        let wanted = Wanted::parse("d74r4z1-1.2.3.4:5678R[::1]:99/sdb1_\"snet: 5.6\"").unwrap();
        assert_eq!((wanted.id, wanted.region, wanted.zone), (Some(74), Some(4), Some(1)));
        assert_eq!(wanted.ip.as_deref(), Some("1.2.3.4"));
        assert_eq!(
            (wanted.replication_ip.as_deref(), wanted.replication_port),
            (Some("::1"), Some(99))
        );
        assert_eq!(wanted.meta.as_deref(), Some("snet: 5.6"));
        assert_eq!(Wanted::parse(":6200").unwrap().port, Some(6200));
        for bad in ["", "x", "d", "1.2.3", "z1-[::1", "r1junk"] {
            assert!(Wanted::parse(bad).is_err(), "{bad}");
        }
    }
}
