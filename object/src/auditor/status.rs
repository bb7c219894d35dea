//! Status file of a sweep, from which it resumes after a restart.
//!
//! It lists the partitions of a device that are left, in Swift's format (`swift/obj/diskfile.py`,
//! `get_auditor_status`). Without a readable file everything is swept.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use apus_disk::{AtomicFile, Counters};
use serde_json::{Value, json};

/// How often the file is written (Swift's interval).
pub(super) const INTERVAL: Duration = Duration::from_secs(60);

/// The file of a sweep (`ALL` or `ZBF`) in a directory such as `objects`.
pub(super) fn path(objects: &Path, sweep: &str) -> PathBuf {
    objects.join(format!("auditor_status_{sweep}.json"))
}

/// The partitions that are left; `None` without a readable file.
pub(super) fn read(path: &Path) -> Option<Vec<u32>> {
    let status: Value = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    let left = status.get("partitions")?.as_array()?;
    left.iter().map(|partition| partition.as_str()?.parse().ok()).collect()
}

/// Stores the partitions that are left.
pub(super) fn write(path: &Path, left: &[u32], counters: &Arc<Counters>) -> io::Result<()> {
    let left: Vec<String> = left.iter().map(u32::to_string).collect();
    let directory = path.parent().unwrap_or(path);
    let mut file = AtomicFile::create(directory, directory, counters)?;
    file.append(json!({ "partitions": left }).to_string().as_bytes())?;
    file.sync()?;
    file.publish(path, &[])
}

/// Removes the file, after a whole sweep.
pub(super) fn clear(path: &Path) -> io::Result<()> {
    match apus_disk::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_read_back_and_damage_means_everything() {
        let directory = std::env::temp_dir().join(format!("apus-status-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let file = path(&directory, "ALL");
        assert_eq!(read(&file), None);
        write(&file, &[7, 12], &Arc::default()).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), br#"{"partitions":["7","12"]}"#);
        assert_eq!(read(&file), Some(vec![7, 12]));
        std::fs::write(&file, br#"{"partitions":["7","1"#).unwrap();
        assert_eq!(read(&file), None);
        clear(&file).unwrap();
        clear(&file).unwrap();
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
