//! Configuration files of Swift: INI in the form of Paste, as one file or a `.conf.d` directory.

mod error;
mod ini;
mod server_options;
mod share;
pub mod value;

pub use error::ConfigError;
pub use ini::{Conf, Section};
pub use server_options::{BindOptions, DeviceOptions, ReconCacheOptions};
pub use share::{Share, ShareOptions};
