//! Device strings such as `r1z2-IP:PORT[RIP:RPORT]/DEV_META`, to add, search and change.
//!
//! Source of syntax and error texts: `swift/common/ring/utils.py`.

use crate::builder::{BuilderDevice, NewDevice, RingBuilder};
use crate::{Device, SyntaxError};

use crate::python;

/// Properties to search for or to set. A property that is `None` matches all and changes nothing.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct DeviceSpec {
    /// Device id.
    pub id: Option<i64>,
    /// Region.
    pub region: Option<i64>,
    /// Zone.
    pub zone: Option<i64>,
    /// Address.
    pub ip: Option<String>,
    /// Port.
    pub port: Option<i64>,
    /// Replication address.
    pub replication_ip: Option<String>,
    /// Replication port.
    pub replication_port: Option<i64>,
    /// Name of the device.
    pub device: Option<String>,
    /// Weight.
    pub weight: Option<f64>,
    /// Remark; a part of it when searching.
    pub meta: Option<String>,
}

/// A text that is parsed from its front.
struct Cursor<'a>(&'a str);

impl<'a> Cursor<'a> {
    fn eat(&mut self, mark: char) -> bool {
        let rest = self.0.strip_prefix(mark);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn take(&mut self, accept: impl Fn(char) -> bool) -> &'a str {
        let end = self.0.find(|c| !accept(c)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at(end);
        self.0 = rest;
        taken
    }

    fn rest(&mut self) -> &'a str {
        std::mem::take(&mut self.0)
    }

    fn number_after(&mut self, mark: char) -> Result<Option<i64>, SyntaxError> {
        if !self.eat(mark) {
            return Ok(None);
        }
        python::int(self.take(|c| c.is_ascii_digit())).map(Some)
    }

    fn ip(&mut self) -> Result<Option<String>, SyntaxError> {
        let text = if self.eat('[') {
            let inside = self.take(|c| c != ']');
            self.eat(']');
            inside
        } else if self.0.starts_with(|c: char| c.is_ascii_digit()) {
            self.take(|c| c.is_ascii_digit() || c == '.')
        } else {
            return Ok(None);
        };
        normal_ip(text).map(Some)
    }

    /// The part after the domain in search and change values: both addresses, name and remark.
    fn address_and_name(&mut self, into: &mut DeviceSpec) -> Result<(), SyntaxError> {
        into.ip = self.ip()?;
        into.port = self.number_after(':')?;
        if self.eat('R') {
            into.replication_ip = self.ip()?;
            into.replication_port = self.number_after(':')?;
        }
        if self.eat('/') {
            into.device = Some(self.take(|c| c != '_').to_owned());
        }
        if self.eat('_') {
            into.meta = Some(self.rest().to_owned());
        }
        Ok(())
    }

    /// `ip:port` of a device to add.
    fn address(&mut self) -> Result<(String, i64), SyntaxError> {
        let mut text = self.take(|c| c != 'R' && c != '/').to_owned();
        if text.starts_with('[') {
            text = text.replacen('[', "", 1).replacen(']', "", 1);
        }
        let (ip, port) = text.rsplit_once(':').ok_or("Invalid port in add value")?;
        let port = python::int(port).map_err(|_| format!("Invalid port :{port} in add value"))?;
        Ok((normal_ip(ip)?, port))
    }
}

/// An IP address in its usual spelling.
fn normal_ip(text: &str) -> Result<String, SyntaxError> {
    let ip: std::net::IpAddr = text.parse().map_err(|_| format!("Invalid ip {text}"))?;
    Ok(ip.to_string())
}

fn is_hostname(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    name.len() <= 255 && name.strip_suffix('.').unwrap_or(name).split('.').all(label)
}

/// An IP address, perhaps in brackets, or a host name in lower case.
///
/// # Errors
/// It is neither.
pub fn normal_address(text: &str) -> Result<String, SyntaxError> {
    let inside = text.trim_start_matches('[').trim_end_matches(']');
    if text.starts_with('[') && text.ends_with(']') {
        return normal_ip(inside);
    }
    let inside = inside.to_lowercase();
    match normal_ip(&inside) {
        Ok(ip) => Ok(ip),
        Err(_) if is_hostname(&inside) => Ok(inside),
        Err(_) => Err(format!("Invalid address {text}").into()),
    }
}

fn check_name(name: &str) -> Result<(), SyntaxError> {
    if name.is_empty() || name.starts_with(' ') || name.ends_with(' ') {
        return Err("Invalid device name".into());
    }
    Ok(())
}

/// A number of a ring file, which has room for no others.
fn fit<T: TryFrom<i64>>(number: i64, what: &str) -> Result<T, SyntaxError> {
    T::try_from(number).map_err(|_| format!("Invalid {what}: {number}").into())
}

impl DeviceSpec {
    /// A search value such as `d74r4z1-1.2.3.4:5678R5.6.7.8:99/sdb1_"meta"`, any part of it.
    ///
    /// # Errors
    /// The value is not of this form.
    pub fn search(text: &str) -> Result<Self, SyntaxError> {
        let mut cursor = Cursor(text);
        let mut wanted = Self {
            id: cursor.number_after('d')?,
            region: cursor.number_after('r')?,
            zone: cursor.number_after('z')?,
            ..Self::default()
        };
        cursor.eat('-');
        cursor.address_and_name(&mut wanted)?;
        if !cursor.0.is_empty() {
            return Err(format!("Invalid <search-value>: {}", python::repr(text)).into());
        }
        Ok(wanted)
    }

    /// A change value such as `1.2.3.4:5678R5.6.7.8:99/sdb1_"meta"`, any part of it.
    ///
    /// # Errors
    /// The value is not of this form.
    pub fn change(text: &str) -> Result<Self, SyntaxError> {
        let mut cursor = Cursor(text);
        let mut wanted = Self::default();
        cursor.address_and_name(&mut wanted)?;
        if !cursor.0.is_empty() || wanted == Self::default() {
            return Err(format!("Invalid set info change value: {}", python::repr(text)).into());
        }
        Ok(wanted)
    }

    /// A device to add, such as `r1z2-10.1.2.3:7878/sdf_meta`; the region is optional.
    ///
    /// # Errors
    /// The value is not of this form.
    pub fn add(text: &str) -> Result<Self, SyntaxError> {
        let refuse = || SyntaxError::from(format!("Invalid add value: {text}"));
        let mut cursor = Cursor(text);
        let region = cursor.number_after('r')?;
        let zone = cursor.number_after('z')?.ok_or_else(refuse)?;
        if !cursor.eat('-') {
            return Err(refuse());
        }
        let (ip, port) = cursor.address()?;
        let replication = if cursor.eat('R') { Some(cursor.address()?) } else { None };
        if !cursor.eat('/') {
            return Err(refuse());
        }
        let device = cursor.take(|c| c != '_').to_owned();
        check_name(&device)?;
        let meta = cursor.eat('_').then(|| cursor.rest().to_owned());
        let (replication_ip, replication_port) = replication.unzip();
        Ok(Self {
            region,
            zone: Some(zone),
            ip: Some(ip),
            port: Some(port),
            replication_ip,
            replication_port,
            device: Some(device),
            meta,
            ..Self::default()
        })
    }

    fn matches(&self, device: &Device) -> bool {
        let number = |wanted: Option<i64>, found: i64| wanted.is_none_or(|wanted| wanted == found);
        let address = |wanted: &Option<String>, found: &str| {
            wanted.as_ref().is_none_or(|wanted| normal_address(found).as_ref() == Ok(wanted))
        };
        let replication_ip = device.replication_ip.as_ref().unwrap_or(&device.ip);
        let replication_port = device.replication_port.unwrap_or(device.port);
        number(self.id, device.id.into())
            && number(self.region, device.region.into())
            && number(self.zone, device.zone.into())
            && number(self.port, device.port.into())
            && number(self.replication_port, replication_port.into())
            && address(&self.ip, &device.ip)
            && address(&self.replication_ip, replication_ip)
            && self.device.as_ref().is_none_or(|name| *name == device.device)
            && self.weight.is_none_or(|weight| weight == device.weight)
            && self.meta.as_ref().is_none_or(|meta| device.meta.contains(meta.as_str()))
    }

    /// Devices of a builder that match.
    pub fn find<'a>(&self, builder: &'a RingBuilder) -> Vec<&'a BuilderDevice> {
        builder.devices().filter(|device| self.matches(&device.device)).collect()
    }

    /// Sets the given properties of a device.
    ///
    /// # Errors
    /// A number does not fit.
    pub fn apply(&self, device: &mut Device) -> Result<(), SyntaxError> {
        if let Some(ip) = &self.ip {
            device.ip.clone_from(ip);
        }
        if let Some(port) = self.port {
            device.port = fit(port, "port")?;
        }
        if let Some(ip) = &self.replication_ip {
            device.replication_ip = Some(ip.clone());
        }
        if let Some(port) = self.replication_port {
            device.replication_port = Some(fit(port, "port")?);
        }
        if let Some(name) = &self.device {
            device.device.clone_from(name);
        }
        if let Some(meta) = &self.meta {
            device.meta.clone_from(meta);
        }
        Ok(())
    }

    /// The device to add.
    ///
    /// # Errors
    /// A property is missing or does not fit.
    pub fn new_device(self) -> Result<NewDevice, SyntaxError> {
        let need = |option: &str| format!("Required argument {option} not specified.");
        let region = self.region.ok_or_else(|| need("-r/--region"))?;
        let zone = self.zone.ok_or_else(|| need("-z/--zone"))?;
        let ip = self.ip.ok_or_else(|| need("-i/--ip"))?;
        let port = self.port.ok_or_else(|| need("-p/--port"))?;
        let device = self.device.ok_or_else(|| need("-d/--device"))?;
        let weight = self.weight.ok_or_else(|| need("-w/--weight"))?;
        check_name(&device)?;
        if weight < 0.0 {
            return Err(format!("Invalid weight value: {}", python::show(weight)).into());
        }
        let replication_port = self.replication_port.filter(|port| *port != 0);
        Ok(NewDevice {
            region: fit(region, "region")?,
            zone: fit(zone, "zone")?,
            ip,
            port: fit(port, "port")?,
            replication_ip: self.replication_ip,
            replication_port: replication_port.map(|port| fit(port, "port")).transpose()?,
            device,
            weight,
            meta: self.meta.unwrap_or_default(),
        })
    }
}

/// `d0r1z1-127.0.0.1:6200R127.0.0.1:6200/sdb1_"meta"`.
pub fn format_device(device: &Device) -> String {
    let replication_ip = device.replication_ip.as_ref().unwrap_or(&device.ip);
    format!(
        "d{}r{}z{}-{}:{}R{}:{}/{}_\"{}\"",
        device.id,
        device.region,
        device.zone,
        bracketed(&device.ip),
        device.port,
        bracketed(replication_ip),
        device.replication_port.unwrap_or(device.port),
        device.device,
        device.meta
    )
}

/// An address in the form that precedes a port.
pub fn bracketed(ip: &str) -> String {
    if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn search_values_are_swifts() {
        let wanted =
            DeviceSpec::search("d74r4z1-1.2.3.4:5678R[::1]:99/sdb1_\"snet: 5.6\"").unwrap();
        assert_eq!((wanted.id, wanted.region, wanted.zone), (Some(74), Some(4), Some(1)));
        assert_eq!(wanted.ip.as_deref(), Some("1.2.3.4"));
        assert_eq!(
            (wanted.replication_ip.as_deref(), wanted.replication_port),
            (Some("::1"), Some(99))
        );
        assert_eq!(wanted.meta.as_deref(), Some("\"snet: 5.6\""));
        assert_eq!(DeviceSpec::search(":6200").unwrap().port, Some(6200));
        assert_eq!(DeviceSpec::search("").unwrap(), DeviceSpec::default());
        for bad in ["x", "d", "1.2.3", "z1-[::1z", "r1junk"] {
            assert!(DeviceSpec::search(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn devices_to_add_are_swifts() {
        let wanted = DeviceSpec::add("z2-[2001:0DB8::1]:6200R10.0.0.1:6300/sda_fast_one").unwrap();
        assert_eq!((wanted.region, wanted.zone), (None, Some(2)));
        assert_eq!(wanted.ip.as_deref(), Some("2001:db8::1"));
        assert_eq!(wanted.replication_port, Some(6300));
        assert_eq!(wanted.meta.as_deref(), Some("fast_one"));
        for bad in
            ["r1-1.2.3.4:1/a", "z1-1.2.3.4/a", "z1-1.2.3.4:x/a", "z1-1.2.3.4:1", "z1-1.2.3.4:1/"]
        {
            assert!(DeviceSpec::add(bad).is_err(), "{bad}");
        }
    }
}
