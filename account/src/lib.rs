//! The account server: which containers an account holds, in Swift's databases.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

mod audit;
mod backend;
mod handlers;
#[cfg(test)]
mod idle {
    mod tests;
}
mod reaper;
mod replica;
mod schema;
mod server;
mod units;

pub use server::{Parts, Server};
pub use units::{DaemonParts, units};
