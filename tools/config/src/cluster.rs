//! Checks of `swift.conf` and the rings.

use std::sync::Arc;

use apus_node::{Place, Roles};
use apus_ring::SharedRing;

use crate::files::Configuration;
use crate::report::Report;

/// The rings of the cluster, each with the word of its servers.
#[derive(Debug)]
pub(crate) struct ClusterRings(pub(crate) Vec<(&'static str, Arc<SharedRing>)>);

/// Checks that the cluster's settings and rings can be used; returns the rings.
pub(crate) fn check(configuration: &Configuration, report: &mut Report) -> Option<ClusterRings> {
    // A single file of the ring manager, say, has no roles.
    let is_server = configuration.files.iter().any(|file| file.server().is_some());
    if !is_server && !configuration.path.is_dir() {
        return None;
    }
    if !configuration.path.join("swift.conf").exists() && !is_server {
        report.error(format!("{}: no swift.conf in it", configuration.path.display()));
        return None;
    }
    let swift_dir = configuration.swift_dir();
    let rings = Place::find(&swift_dir, &Roles::main()).and_then(|place| place.verify());
    match rings {
        Ok(rings) => {
            for (kind, ring) in &rings {
                let ring = ring.get();
                let devices = ring.devices().iter().flatten().count();
                let parts = ring.part_power().partitions();
                report.passed(format!(
                    "{}: {kind} ring with {devices} devices, {parts} partitions, {} replicas",
                    swift_dir.display(),
                    ring.rows().len()
                ));
            }
            Some(ClusterRings(rings))
        }
        Err(error) => {
            report.error(error);
            None
        }
    }
}
