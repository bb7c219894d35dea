//! Values in Swift's spellings.

pub use apus_options::flag_value as flag;
