//! The account server: the containers of an account, in Swift's databases.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

mod backend;
mod handlers;
#[cfg(test)]
mod idle {
    mod tests;
}
mod kind;
pub mod options;
mod reaper;
mod schema;
mod server;
mod units;

pub use server::{Parts, Server};
pub use units::{DaemonParts, units};
