//! A rebalance with the checks and the clean-up of `swift-ring-builder`.

use super::RingBuilder;
use crate::error::BuilderError;
use crate::python;

/// Outcome of a rebalance.
#[derive(Debug, Clone, Copy)]
pub struct Placed {
    /// Partition replicas that got another device.
    pub moved: u64,
    /// Devices that left the builder.
    pub removed: u64,
    /// The balance afterwards, in percent.
    pub balance: f64,
}

/// Rebalances a builder.
///
/// # Errors
/// The devices cannot take the replicas.
pub fn place(
    builder: &mut RingBuilder,
    now_seconds: u64,
    seed: u64,
) -> Result<Placed, BuilderError> {
    let weighted = builder.devices().filter(|known| known.device.weight > 0.0).count();
    if weighted == 0 {
        return Err("There are no devices in this ring, or all devices have been deleted".into());
    }
    if (weighted as f64) < builder.replicas {
        return Err(format!(
            "Replica count of {} requires more than {weighted} devices",
            python::show(builder.replicas)
        )
        .into());
    }
    let done = builder.rebalance(now_seconds, seed)?;
    builder.close_gaps();
    Ok(Placed { moved: done.moved, removed: done.removed, balance: builder.balance().percent })
}
