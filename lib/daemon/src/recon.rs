//! Recon cache files: the latest results of daemons as JSON.
//!
//! Servers return them at `/recon/*`.
//! A value that is an object is merged into the existing one, one level deep; an empty object or null
//! removes the key. A daemon continues when it cannot write the file.
//! Source: `dump_recon_cache` in `swift/common/utils`.

use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

/// The directory of the recon files of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReconCache {
    directory: PathBuf,
}

impl ReconCache {
    /// Files in `directory` (Swift's option `recon_cache_path`).
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// The content of `<file>`, such as `object.recon`; empty when it does not exist or is damaged.
    pub fn read(&self, file: &str) -> Map<String, Value> {
        let text = std::fs::read(self.directory.join(file)).unwrap_or_default();
        match serde_json::from_slice(&text) {
            Ok(Value::Object(map)) => map,
            _ => Map::new(),
        }
    }

    /// Merges entries into a file. Waits for the disk.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn merge(&self, file: &str, entries: Map<String, Value>) -> io::Result<()> {
        // For this user only, as Swift's `dump_recon_cache` writes them.
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        let private = |options: &mut std::fs::OpenOptions| {
            options.create(true).write(true).mode(0o600).to_owned()
        };
        let lock = private(std::fs::OpenOptions::new().truncate(false))
            .open(self.directory.join(format!(".{file}.lock")))?;
        lock.lock()?;
        let mut content = self.read(file);
        for (key, value) in entries {
            merge_one(&mut content, key, value);
        }
        let temporary = self.directory.join(format!(".{file}.tmp"));
        let mut written = private(std::fs::OpenOptions::new().truncate(true)).open(&temporary)?;
        written.write_all((Value::Object(content).to_string() + "\n").as_bytes())?;
        std::fs::rename(&temporary, self.directory.join(file))
    }
}

fn merge_one(content: &mut Map<String, Value>, key: String, value: Value) {
    let empty = |value: &Value| value.is_null() || value.as_object().is_some_and(Map::is_empty);
    if empty(&value) {
        content.remove(&key);
        return;
    }
    if let (Some(Value::Object(old)), Value::Object(new)) = (content.get_mut(&key), &value) {
        for (name, value) in new {
            if empty(value) {
                old.remove(name);
            } else {
                old.insert(name.clone(), value.clone());
            }
        }
        return;
    }
    content.insert(key, value);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn entries_are_merged_one_level_deep_and_empty_ones_removed() {
        let directory = std::env::temp_dir().join(format!("apus-recon-{}", std::process::id()));
        let cache = ReconCache::new(&directory);
        let entries = |value: Value| value.as_object().unwrap().clone();
        cache.merge("object.recon", entries(json!({"a": 1, "b": {"sd1": 1, "sd2": 2}}))).unwrap();
        cache
            .merge("object.recon", entries(json!({"a": null, "b": {"sd1": {}, "sd3": 3}})))
            .unwrap();
        assert_eq!(Value::Object(cache.read("object.recon")), json!({"b": {"sd2": 2, "sd3": 3}}));
        std::fs::write(directory.join("object.recon"), "{torn").unwrap();
        assert!(cache.read("object.recon").is_empty());
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
