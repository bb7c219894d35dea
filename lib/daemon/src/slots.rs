//! Places for connections: so many in all, and so many for one address.
//!
//! Nothing waits for a place. When there is none, the oldest connection that has not sent a request
//! yet makes room, if it had a moment to do so; else the new one is refused. So connections that are
//! silent do not keep clients away, and those that are served go on being served.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

/// How long a new connection has to send its first request before it may have to make room.
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
    /// The silent ones, oldest first.
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

    /// Takes one from the silent ones.
    fn no_longer_silent(&mut self, number: u64) -> Option<Silent> {
        let silent = self.silent.remove(&number)?;
        if let Some(of) = self.addresses.get_mut(&silent.address) {
            of.silent.remove(&number);
        }
        Some(silent)
    }

    /// Ends a silent connection that is old enough; its place is free at once.
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

/// The places of one listener.
#[derive(Debug)]
pub(crate) struct Slots {
    most: usize,
    most_of_address: usize,
    state: Mutex<State>,
}

/// The place of one connection, free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Arc<Slots>,
    number: u64,
    address: IpAddr,
    evicted: CancellationToken,
}

/// To whom an address belongs: one host of IPv4, one network of IPv6.
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

    /// A place for a new connection, if there is one.
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
    /// What it takes to tell that the first request has come.
    pub(crate) fn first_request(&self) -> FirstRequest {
        FirstRequest { slots: self.slots.clone(), number: self.number }
    }

    /// Waits until the connection has to make room.
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

/// When it is dropped its connection is not silent any more.
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
    fn places_are_shared_by_addresses_and_given_back() {
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
    fn the_oldest_silent_connection_makes_room_and_one_that_spoke_does_not() {
        let (slots, now) = (Slots::new(3, 2), Instant::now());
        let spoke = slots.take(at("10.0.0.1"), now).unwrap();
        drop(spoke.first_request());
        let silent = slots.take(at("10.0.0.1"), now).unwrap();
        let other = slots.take(at("10.0.0.2"), now).unwrap();
        assert!(slots.take(at("10.0.0.1"), now).is_none(), "it may yet speak");
        let later = now + SILENT_AFTER;
        let new = slots.take(at("10.0.0.1"), later).unwrap();
        assert!(silent.evicted.is_cancelled());
        assert!(!spoke.evicted.is_cancelled() && !other.evicted.is_cancelled());
        drop(silent);
        assert!(slots.take(at("10.0.0.3"), later).is_some(), "the other one made room");
        assert!(other.evicted.is_cancelled());
        drop((spoke, other, new));
        assert_eq!(slots.state().open, 0);
    }
}
