//! Slots for connections, limited in total and per client address.
//!
//! Nothing waits for a slot. When all are taken, the oldest connection that has not sent a request
//! within a second is closed; without such a connection the new one is refused. So idle connections
//! do not prevent clients from connecting, and connections in use are not closed.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

/// Time after which a connection without a request may be closed for another.
const SILENT_AFTER: Duration = Duration::from_secs(1);

/// A connection that has not sent a request.
#[derive(Debug)]
struct Silent {
    address: IpAddr,
    since: Instant,
    evicted: CancellationToken,
}

#[derive(Debug, Default)]
struct OfAddress {
    open: usize,
    /// The connections without a request, oldest first.
    silent: BTreeMap<u64, ()>,
}

#[derive(Debug, Default)]
struct State {
    open: usize,
    opened: u64,
    addresses: HashMap<IpAddr, OfAddress>,
    silent: BTreeMap<u64, Silent>,
}

impl State {
    fn release(&mut self, address: IpAddr) {
        self.open = self.open.saturating_sub(1);
        if let Some(of) = self.addresses.get_mut(&address) {
            of.open = of.open.saturating_sub(1);
            if of.open == 0 {
                self.addresses.remove(&address);
            }
        }
    }

    /// Removes a connection from those without a request.
    fn no_longer_silent(&mut self, number: u64) -> Option<Silent> {
        let silent = self.silent.remove(&number)?;
        if let Some(of) = self.addresses.get_mut(&silent.address) {
            of.silent.remove(&number);
        }
        Some(silent)
    }

    /// Closes a connection without a request that is old enough; its slot is free at once.
    fn evict(&mut self, oldest: Option<u64>, now: Instant) -> bool {
        let is_old = |silent: &Silent| now.saturating_duration_since(silent.since) >= SILENT_AFTER;
        let Some(number) = oldest.filter(|number| self.silent.get(number).is_some_and(is_old))
        else {
            return false;
        };
        if let Some(silent) = self.no_longer_silent(number) {
            silent.evicted.cancel();
            self.release(silent.address);
        }
        true
    }
}

/// The slots of one listener.
#[derive(Debug)]
pub(crate) struct Slots {
    most: usize,
    most_of_address: usize,
    state: Mutex<State>,
}

/// The slot of one connection, which is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Arc<Slots>,
    number: u64,
    address: IpAddr,
    evicted: CancellationToken,
}

/// The owner of an address: one host of IPv4, one network of IPv6.
fn owner(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address @ IpAddr::V4(_) => address,
    }
}

impl Slots {
    pub(crate) fn new(most: usize, most_of_address: usize) -> Arc<Self> {
        Arc::new(Self { most, most_of_address, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A slot for a new connection, if there is one.
    pub(crate) fn take(self: &Arc<Self>, address: IpAddr, now: Instant) -> Option<Slot> {
        let address = owner(address);
        let mut state = self.state();
        let of = state.addresses.get(&address);
        let oldest = of.and_then(|of| of.silent.keys().next().copied());
        if of.is_some_and(|of| of.open >= self.most_of_address) && !state.evict(oldest, now) {
            return None;
        }
        let oldest = state.silent.keys().next().copied();
        if state.open >= self.most && !state.evict(oldest, now) {
            return None;
        }
        let evicted = CancellationToken::new();
        state.open += 1;
        state.opened += 1;
        let number = state.opened;
        let of = state.addresses.entry(address).or_default();
        of.open += 1;
        of.silent.insert(number, ());
        let silent = Silent { address, since: now, evicted: evicted.clone() };
        state.silent.insert(number, silent);
        drop(state);
        Some(Slot { slots: self.clone(), number, address, evicted })
    }
}

impl Slot {
    /// To be dropped when the first request arrives.
    pub(crate) fn first_request(&self) -> FirstRequest {
        FirstRequest { slots: self.slots.clone(), number: self.number }
    }

    /// Waits until the connection must be closed for another.
    pub(crate) async fn evicted(&self) {
        self.evicted.cancelled().await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.slots.state();
        state.no_longer_silent(self.number);
        if !self.evicted.is_cancelled() {
            state.release(self.address);
        }
    }
}

/// Marks its connection as one with a request when it is dropped.
#[derive(Debug)]
pub(crate) struct FirstRequest {
    slots: Arc<Slots>,
    number: u64,
}

impl Drop for FirstRequest {
    fn drop(&mut self) {
        self.slots.state().no_longer_silent(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn slots_are_shared_by_addresses_and_returned() {
        let (slots, now) = (Slots::new(3, 2), Instant::now());
        let one = slots.take(at("10.0.0.1"), now).unwrap();
        let mapped = slots.take(at("::ffff:10.0.0.1"), now).unwrap();
        assert!(slots.take(at("10.0.0.1"), now).is_none(), "its share is taken");
        let other = slots.take(at("10.0.0.2"), now).unwrap();
        assert!(slots.take(at("10.0.0.3"), now).is_none(), "all are taken");
        drop(mapped);
        let again = slots.take(at("10.0.0.3"), now).unwrap();
        drop((one, other, again));
        let state = slots.state();
        assert_eq!((state.open, state.addresses.len(), state.silent.len()), (0, 0, 0));
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let (slots, now) = (Slots::new(9, 1), Instant::now());
        let _one = slots.take(at("2001:db8::1"), now).unwrap();
        assert!(slots.take(at("2001:db8::ffff:1"), now).is_none());
        assert!(slots.take(at("2001:db8:0:1::1"), now).is_some());
    }

    #[test]
    fn the_oldest_connection_without_a_request_is_closed_and_one_with_a_request_is_not() {
        let (slots, now) = (Slots::new(3, 2), Instant::now());
        let used = slots.take(at("10.0.0.1"), now).unwrap();
        drop(used.first_request());
        let silent = slots.take(at("10.0.0.1"), now).unwrap();
        let other = slots.take(at("10.0.0.2"), now).unwrap();
        assert!(slots.take(at("10.0.0.1"), now).is_none(), "it may still send a request");
        let later = now + SILENT_AFTER;
        let new = slots.take(at("10.0.0.1"), later).unwrap();
        assert!(silent.evicted.is_cancelled());
        assert!(!used.evicted.is_cancelled() && !other.evicted.is_cancelled());
        drop(silent);
        assert!(slots.take(at("10.0.0.3"), later).is_some(), "the other one was closed");
        assert!(other.evicted.is_cancelled());
        drop((used, other, new));
        assert_eq!(slots.state().open, 0);
    }
}
