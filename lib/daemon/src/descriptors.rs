//! The limit of open files, and the share of connections in it.
//!
//! Connections, databases and object files share one limit. Connections must leave enough for the
//! files that requests need, or idle clients would prevent all reads and writes.

use std::sync::LazyLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::serve::Callers;

/// Descriptors that a process needs before it serves anything: databases, logs, the runtime.
const RESERVE: u64 = 64;
/// Used when the limit cannot be read: Linux' default.
const USUAL: u64 = 1024;

/// The limit of this process, which is raised as far as possible.
static LIMIT: LazyLock<u64> = LazyLock::new(raise);

/// Raises the soft limit to the hard one.
fn raise() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let soft = limit.current.unwrap_or(u64::MAX);
    let hard = limit.maximum.unwrap_or(u64::MAX);
    if soft >= hard {
        return soft;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        Ok(()) => hard,
        Err(error) => {
            tracing::warn!(%error, soft, hard, "Failed to raise the limit of open files");
            soft
        }
    }
}

/// Most connections of one listener within the limit of the process.
pub(crate) fn for_connections(callers: Callers) -> usize {
    share(*LIMIT, callers)
}

/// The share of one listener. A request of a client opens up to three files in one process. The four
/// listeners (proxy, account, container, object) together use less than two thirds of the limit.
fn share(limit: u64, callers: Callers) -> usize {
    let limit = if limit == 0 { USUAL } else { limit };
    let parts = match callers {
        Callers::Clients => 4,
        Callers::Plain | Callers::Swifts => 8,
    };
    usize::try_from(limit.saturating_sub(RESERVE) / parts).unwrap_or(usize::MAX).max(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let raised = *LIMIT;
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
        assert_eq!(raised, limit.maximum.unwrap_or(u64::MAX));
    }

    #[test]
    fn all_listeners_of_a_process_leave_descriptors_for_files() {
        for limit in [256, 1024, 4096, 1 << 20] {
            let all = share(limit, Callers::Clients) + 3 * share(limit, Callers::Swifts);
            assert!((all as u64) < limit * 2 / 3, "{limit}: {all}");
        }
        assert_eq!(share(1024, Callers::Clients), 240);
        assert!(share(10, Callers::Plain) > 0);
    }
}
