//! Drains: devices that get no weight, so that they become empty.
//!
//! A drain is noted in the state first, then weights change builder by builder, so that a later
//! process can continue it.

use std::collections::{BTreeMap, BTreeSet};

use apus_ring::builder::{BuilderDevice, RingBuilder};
use apus_ring::search::DeviceSpec;

use super::manager::{Manager, at, place_of};
use super::state::{Draining, Place};

impl Manager {
    /// Weights that drains still have to set: ring, place, weight.
    pub(super) fn weights_due(&self) -> Vec<(String, Place, f64)> {
        let mut due = Vec::new();
        for draining in &self.builders.state.drains {
            for (ring, before) in &draining.weights {
                let found = self.builders.get(ring).and_then(|all| at(all, &draining.place));
                let Some(known) = found else { continue };
                let weight = if draining.cancelled { *before } else { 0.0 };
                if known.device.weight != weight {
                    due.push((ring.clone(), draining.place.clone(), weight));
                }
            }
        }
        due
    }

    pub(super) fn apply_drains(&mut self, now_seconds: u64) -> Result<(), String> {
        let mut changed: BTreeMap<String, RingBuilder> = BTreeMap::new();
        for (ring, place, weight) in self.weights_due() {
            let Some(builder) = self.builders.get(&ring) else { continue };
            let builder = changed.entry(ring).or_insert_with(|| builder.clone());
            if let Some(id) = at(builder, &place).map(|known| known.device.id) {
                builder.set_weight(id, weight).map_err(|error| error.to_string())?;
            }
        }
        for (ring, builder) in changed {
            self.builders.save(&ring, builder, now_seconds)?;
        }
        let mut state = self.builders.state.clone();
        let is_known =
            |place: &Place| self.builders.all().any(|(_, builder)| at(builder, place).is_some());
        state.drains.retain(|draining| !draining.cancelled && is_known(&draining.place));
        self.builders.save_state(state)
    }

    /// Devices of a node's address or of a search value of `ring-builder`, in any ring.
    pub(super) fn found(&self, search: &str) -> Result<Vec<Place>, String> {
        let wanted = match search.parse::<std::net::IpAddr>() {
            Ok(ip) => DeviceSpec { ip: Some(ip.to_string()), ..DeviceSpec::default() },
            Err(_) => DeviceSpec::search(search).map_err(|error| error.to_string())?,
        };
        if wanted == DeviceSpec::default() {
            return Err(format!("{search:?}: this selects every device"));
        }
        let mut places = BTreeSet::new();
        for (_, builder) in self.builders.all() {
            places.extend(wanted.find(builder).into_iter().map(|known| place_of(&known.device)));
        }
        Ok(places.into_iter().collect())
    }

    /// Starts the drain of devices. Those that are being drained already stay as they are.
    pub(super) fn drain(
        &mut self,
        search: &str,
        dry_run: bool,
        now_seconds: u64,
    ) -> Result<Vec<Place>, String> {
        let _lock = self.builders.lock()?;
        let places = self.found(search)?;
        if places.is_empty() {
            return Err(format!("{search:?}: no matching devices"));
        }
        let mut state = self.builders.state.clone();
        for place in &places {
            let mut weights = BTreeMap::new();
            for (ring, builder) in self.builders.all() {
                if let Some(known) = at(builder, place) {
                    weights.insert(ring.to_owned(), known.device.weight);
                }
            }
            match state.drains.iter_mut().find(|known| known.place == *place) {
                Some(known) => known.cancelled = false,
                None => state.drains.push(Draining {
                    place: place.clone(),
                    since: now_seconds,
                    weights,
                    cancelled: false,
                    safe_since: None,
                }),
            }
        }
        for (ring, builder) in self.builders.all() {
            let stays = |known: &&BuilderDevice| {
                let device = &known.device;
                device.weight > 0.0
                    && !builder.removed.contains(&device.id)
                    && !state.drains.iter().any(|draining| draining.place == place_of(device))
            };
            let left = builder.devices().filter(stays).count();
            if (left as f64) < builder.replicas {
                return Err(format!(
                    "{ring}: {left} devices would be left for {} replicas",
                    builder.replicas
                ));
            }
        }
        if !dry_run {
            self.builders.save_state(state)?;
            self.apply_drains(now_seconds)?;
        }
        Ok(places)
    }

    /// The places of running drains of these devices.
    fn drains_of(&self, search: &str) -> Result<BTreeSet<Place>, String> {
        let mut places: BTreeSet<Place> = self.found(search)?.into_iter().collect();
        let drains = &self.builders.state.drains;
        places.retain(|place| drains.iter().any(|draining| draining.place == *place));
        if places.is_empty() {
            return Err(format!("{search:?}: none of the devices is being drained"));
        }
        Ok(places)
    }

    /// Cancels drains: the devices get their weight back.
    pub(super) fn cancel(&mut self, search: &str, now_seconds: u64) -> Result<Vec<Place>, String> {
        let _lock = self.builders.lock()?;
        let places = self.drains_of(search)?;
        let mut state = self.builders.state.clone();
        for draining in state.drains.iter_mut().filter(|known| places.contains(&known.place)) {
            draining.cancelled = true;
        }
        self.builders.save_state(state)?;
        self.apply_drains(now_seconds)?;
        Ok(places.into_iter().collect())
    }

    /// Removes devices that are safe to pull from the builders.
    pub(super) fn remove(&mut self, search: &str, now_seconds: u64) -> Result<Vec<Place>, String> {
        let _lock = self.builders.lock()?;
        let places = self.drains_of(search)?;
        for draining in self.builders.state.drains.iter().filter(|one| places.contains(&one.place))
        {
            if draining.safe_since.is_none() {
                return Err(format!("{}: it is not known to be safe to pull", draining.place));
            }
        }
        let mut changed = Vec::new();
        for (ring, builder) in self.builders.all() {
            let ids: Vec<_> = places
                .iter()
                .filter_map(|place| at(builder, place).map(|known| known.device.id))
                .collect();
            if !ids.is_empty() {
                let mut builder = builder.clone();
                for id in ids {
                    builder.remove(id).map_err(|error| error.to_string())?;
                }
                changed.push((ring.to_owned(), builder));
            }
        }
        for (ring, builder) in changed {
            self.builders.save(&ring, builder, now_seconds)?;
        }
        // Their drains end with them.
        self.apply_drains(now_seconds)?;
        Ok(places.into_iter().collect())
    }

    /// Notes since when a device is safe to pull; `None` when it is not.
    pub(super) fn note_safe(&mut self, place: &Place, since: Option<u64>) -> Result<(), String> {
        let mut state = self.builders.state.clone();
        for draining in state.drains.iter_mut().filter(|known| known.place == *place) {
            match since {
                Some(_) => draining.safe_since = draining.safe_since.or(since),
                None => draining.safe_since = None,
            }
        }
        self.builders.save_state(state)
    }
}
