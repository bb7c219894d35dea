//! The part of a queue of one process, when several processes share it.

use apus_options::{options, whole};

use super::{ConfigError, Section};

options! {
    /// The share of this process.
    #[derive(Debug)]
    pub struct ShareOptions {
        /// Processes that share the queue; 0 when this one works alone.
        processes: u64 = whole(0),
        /// The number of this process, from 0 to one less than `processes`.
        process: u64 = whole(0),
    }
}

/// One of several processes, by the options `processes` and `process` of Swift's daemons; by default
/// there is only this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Share {
    /// 0 when there is only this one.
    processes: u64,
    /// From 0.
    process: u64,
}

impl Share {
    /// Reads the two options.
    ///
    /// # Errors
    /// A number that is not as expected.
    pub fn read(section: &Section<'_>) -> Result<Self, ConfigError> {
        let ShareOptions { processes, process } = ShareOptions::read(section)?;
        if processes > 0 && process >= processes {
            let expected = format!("less than processes, which is {processes}");
            return Err(section.refuse("process", &process.to_string(), &expected));
        }
        Ok(Self { processes, process })
    }

    /// Whether an entry is for this process. `modulo` returns the remainder of its hash.
    pub fn takes(self, modulo: impl FnOnce(u64) -> u64) -> bool {
        self.processes == 0 || modulo(self.processes) == self.process
    }
}
