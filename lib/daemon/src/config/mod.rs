//! Configuration files of Swift: INI in the form of Paste, as one file or a `.conf.d` directory.

mod error;
mod ini;
mod share;
pub mod value;

pub use error::ConfigError;
pub use ini::{Conf, Section};
pub use share::Share;
