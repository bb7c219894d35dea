//! Swift's configuration files: Paste-style INI, single or as a `.conf.d` directory.

mod ini;
mod share;
pub mod value;

pub use ini::{Conf, Section};
pub use share::Share;
