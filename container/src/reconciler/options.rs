//! How an operator wants the reconciler: `[container-reconciler]` of `container-server.conf` or of a
//! file of its own.

use apus_daemon::config::Section;

/// The options, with Swift's names and defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    /// Entries at the same time.
    pub(crate) concurrency: usize,
    /// Processes that share the queue; 0 when there is only this one.
    pub(crate) processes: u64,
    /// Which of them this is, from 0.
    pub(crate) process: u64,
    /// Seconds after which an object that nobody has is given up, and an empty container of the
    /// queue removed.
    pub(crate) reclaim_age: u64,
}

impl Options {
    /// Reads them.
    pub(crate) fn read(section: &Section<'_>) -> Result<Self, String> {
        let concurrency = section.parse("concurrency", 1_usize, "a number from 1")?;
        if concurrency == 0 {
            return Err(section.refuse("concurrency", "0", "a number from 1"));
        }
        let processes = section.parse("processes", 0, "a number of processes")?;
        let process: u64 = section.parse("process", 0, "a process's number, from 0")?;
        if processes > 0 && process >= processes {
            let expected = format!("less than processes, which is {processes}");
            return Err(section.refuse("process", &process.to_string(), &expected));
        }
        let reclaim_age = section.parse("reclaim_age", 604_800, "whole seconds")?;
        Ok(Self { concurrency, processes, process, reclaim_age })
    }
}

#[cfg(test)]
mod tests {
    use apus_daemon::config::Conf;

    use super::*;

    fn read(text: &str) -> Result<Options, String> {
        let conf = Conf::parse(&format!("[container-reconciler]\n{text}")).unwrap();
        Options::read(&conf.section("container-reconciler"))
    }

    #[test]
    fn defaults_are_swifts_and_nonsense_is_named() {
        let expected = Options { concurrency: 1, processes: 0, process: 0, reclaim_age: 604_800 };
        assert_eq!(read("").unwrap(), expected);
        for (text, word) in [
            ("concurrency = 0", "concurrency"),
            ("processes = 2\nprocess = 2", "process"),
            ("processes = -1", "processes"),
            ("reclaim_age = soon", "reclaim_age"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(word) && error.contains("[container-reconciler]"), "{error}");
        }
    }
}
