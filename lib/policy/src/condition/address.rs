//! Networks of IP addresses.

use std::net::IpAddr;

/// A network in CIDR notation, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IpNetwork {
    address: IpAddr,
    prefix_bits: u32,
}

/// The address; an IPv4 address that is written as IPv6 is the former.
pub(crate) fn parse_address(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

fn bits(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(address) => (u128::from(u32::from(address)), 32),
        IpAddr::V6(address) => (u128::from(address), 128),
    }
}

impl IpNetwork {
    /// Parses `192.0.2.0/24`, `2001:db8::/32` or one address.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address.parse::<IpAddr>().ok()?, Some(prefix)),
            None => (parse_address(text)?, None),
        };
        let (_, width) = bits(address);
        let prefix_bits = match prefix {
            None => width,
            Some(prefix) => {
                let is_number = !prefix.is_empty() && prefix.bytes().all(|b| b.is_ascii_digit());
                let prefix_bits: u32 = is_number.then(|| prefix.parse().ok()).flatten()?;
                (prefix_bits <= width).then_some(prefix_bits)?
            }
        };
        Some(Self { address, prefix_bits })
    }

    /// Whether the network has the address.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let ((network, width), (address, other_width)) = (bits(self.address), bits(address));
        let ignored = width - self.prefix_bits;
        let shifted = |bits: u128| bits.checked_shr(ignored).unwrap_or(0);
        width == other_width && shifted(network) == shifted(address)
    }

    /// Whether S3 takes it for a fixed set of addresses: at most a /8 of IPv4 or a /32 of IPv6, or private
    /// (RFC 1918).
    pub(crate) fn is_narrow(&self) -> bool {
        let private = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"];
        let is_within =
            |outer: Self| outer.contains(self.address) && outer.prefix_bits <= self.prefix_bits;
        match self.address {
            IpAddr::V4(_) => {
                self.prefix_bits >= 8 || private.into_iter().filter_map(Self::parse).any(is_within)
            }
            IpAddr::V6(_) => self.prefix_bits >= 32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_have_the_addresses_of_the_table() {
        for (network, address, expected) in [
            ("192.0.2.0/24", "192.0.2.255", true),
            ("192.0.2.77/24", "192.0.2.1", true),
            ("192.0.2.0/24", "192.0.3.0", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.8", false),
            ("0.0.0.0/0", "203.0.113.1", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "::1", true),
            ("::/0", "1.2.3.4", false),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "2001:db9::", false),
            ("192.0.2.0/24", "::ffff:192.0.2.9", true),
        ] {
            let parsed = IpNetwork::parse(network).unwrap();
            let address = parse_address(address).unwrap();
            assert_eq!(parsed.contains(address), expected, "{network} {address}");
        }
        for text in
            ["", "1.2.3", "1.2.3.4/33", "1.2.3.4/", "1.2.3.4/+8", "::/129", "a", "1.2.3.4/8/8"]
        {
            assert_eq!(IpNetwork::parse(text), None, "{text}");
        }
    }

    #[test]
    fn wide_networks_are_not_fixed() {
        for (network, expected) in [
            ("10.0.0.0/8", true),
            ("8.0.0.0/8", true),
            ("8.0.0.0/7", false),
            ("0.0.0.0/0", false),
            ("2001:db8::/32", true),
            ("2001::/31", false),
        ] {
            assert_eq!(IpNetwork::parse(network).unwrap().is_narrow(), expected, "{network}");
        }
    }
}
