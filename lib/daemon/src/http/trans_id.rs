//! Transaction ids: `tx`, 21 hex digits, `-`, ten hex digits of the time.

use crate::clock::Clock;
use crate::random;

/// A new id; `suffix` is the cluster's own (often empty).
pub fn new_trans_id(clock: &dyn Clock, suffix: &str) -> String {
    let random = random::hex::<11>();
    format!("tx{}-{:010x}{suffix}", random.get(..21).unwrap_or(&random), clock.now().as_secs())
}
