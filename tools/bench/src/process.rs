//! What processes use, from `/proc`: CPU time and resident memory.

use std::time::Duration;

/// The text of `/proc/PID/NAME`.
fn read(pid: u32, name: &str) -> Option<String> {
    std::fs::read_to_string(format!("/proc/{pid}/{name}")).ok()
}

/// User and system ticks in the text of `/proc/PID/stat`.
fn ticks(stat: &str) -> Option<u64> {
    // The second field is the program's name, which may hold blanks and parentheses.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Resident bytes in the text of `/proc/PID/status`.
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// CPU time that a set of processes has used; `None` when one of them is gone.
pub(super) fn cpu(pids: &[u32]) -> Option<Duration> {
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    let ticks: Option<u64> = pids.iter().map(|pid| ticks(&read(*pid, "stat")?)).sum();
    ticks.map(|ticks| Duration::from_millis(ticks * 1000 / per_second))
}

/// Resident bytes of a set of processes; `None` when one of them is gone.
pub(super) fn rss_bytes(pids: &[u32]) -> Option<u64> {
    pids.iter().map(|pid| resident(&read(*pid, "status")?)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_with_blanks_and_parentheses_does_not_shift_the_fields() {
        let stat = "42 (a ) b) S 1 2 3 4 5 6 7 8 9 10 120 34 0 0 20 0";
        assert_eq!(ticks(stat), Some(154));
    }

    #[test]
    fn resident_memory_is_read_in_bytes() {
        assert_eq!(resident("Name:\tapus\nVmRSS:\t   1234 kB\n"), Some(1234 * 1024));
        assert_eq!(resident("Name:\tkthreadd\n"), None);
    }

    #[test]
    fn this_process_uses_memory_and_a_missing_one_is_an_error() {
        let own = std::process::id();
        assert!(rss_bytes(&[own]).unwrap() > 0);
        assert!(cpu(&[own]).is_some());
        assert_eq!(cpu(&[own, u32::MAX]), None);
    }
}
