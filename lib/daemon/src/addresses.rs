//! The addresses of this machine, to find its own devices in a ring.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The addresses at which a server that binds `bind` is reached: `bind` itself, or each of the
/// machine's when `bind` stands for all.
pub fn of(bind: IpAddr) -> Vec<IpAddr> {
    if !bind.is_unspecified() {
        return vec![bind];
    }
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let mut addresses = ipv4(&read("/proc/net/fib_trie"));
    addresses.extend(ipv6(&read("/proc/net/if_inet6")));
    addresses
}

/// The local addresses in the kernel's table of routes.
fn ipv4(table: &str) -> Vec<IpAddr> {
    let mut last = None;
    let mut found: Vec<IpAddr> = Vec::new();
    for line in table.lines() {
        if let Some((_, address)) = line.split_once("|-- ") {
            last = address.trim().parse::<Ipv4Addr>().ok();
        } else if line.trim() == "/32 host LOCAL"
            && let Some(address) = last.take()
            && !found.contains(&address.into())
        {
            found.push(address.into());
        }
    }
    found
}

/// The addresses of a table with one per line, in 32 hex digits.
fn ipv6(table: &str) -> Vec<IpAddr> {
    let digits = table.lines().filter_map(|line| line.get(..32));
    let numbers = digits.filter_map(|digits| u128::from_str_radix(digits, 16).ok());
    numbers.map(|number| Ipv6Addr::from(number).into()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_machine_are_taken_from_the_kernels_tables() {
        let table = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n           \
            |-- 127.0.0.1\n              /32 host LOCAL\n        |-- 192.0.2.255\n           /32 link BROADCAST\n";
        assert_eq!(ipv4(table), [IpAddr::from([127, 0, 0, 1])]);
        let table = "00000000000000000000000000000001 01 80 10 80       lo\n";
        assert_eq!(ipv6(table), ["::1".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn a_server_bound_everywhere_is_reached_on_loopback() {
        let loopback = IpAddr::from([127, 0, 0, 1]);
        assert!(of(Ipv4Addr::UNSPECIFIED.into()).contains(&loopback));
        assert_eq!(of(loopback), [loopback]);
    }
}
