//! The share of a disk that clients must leave free.

use std::io;
use std::path::Path;

/// `fallocate_reserve` of Swift: bytes, or a percentage with `%`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reserve {
    /// Bytes that stay free.
    Bytes(u64),
    /// Percent of the file system that stays free.
    Percent(f64),
}

impl Reserve {
    /// Parses `10000000` or `1%`.
    pub fn parse(text: &str) -> Option<Self> {
        match text.trim().strip_suffix('%') {
            Some(percent) => percent
                .trim()
                .parse()
                .ok()
                .filter(|percent: &f64| (0.0..=100.0).contains(percent))
                .map(Self::Percent),
            None => text.trim().parse().ok().map(Self::Bytes),
        }
    }

    /// Whether `bytes` more would use the reserve of the file system of `path`.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn is_short(&self, path: &Path, bytes: u64) -> io::Result<bool> {
        if matches!(self, Self::Bytes(0))
            || matches!(self, Self::Percent(percent) if *percent == 0.0)
        {
            return Ok(false);
        }
        let (free, total) = free_space(path)?;
        let left = free.saturating_sub(bytes);
        Ok(match self {
            Self::Bytes(reserve) => left <= *reserve,
            Self::Percent(percent) => left as f64 * 100.0 <= percent * total as f64,
        })
    }
}

/// Free and total bytes of the file system of `path`, as an unprivileged writer sees them.
///
/// # Errors
/// As the operating system says.
pub fn free_space(path: &Path) -> io::Result<(u64, u64)> {
    let stat = rustix::fs::statvfs(path)?;
    Ok((stat.f_bavail.saturating_mul(stat.f_frsize), stat.f_blocks.saturating_mul(stat.f_frsize)))
}
