//! Facts about devices: names, mounts, usage, and counts of the quarantine.
//!
//! It never writes, and lists no directories below those of the quarantine.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

/// Names in a directory, sorted; none when it cannot be read.
fn entries(directory: &Path) -> Vec<String> {
    let found = std::fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    let mut names: Vec<String> =
        found.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort_unstable();
    names
}

fn device_paths(devices: &Path) -> impl Iterator<Item = (String, PathBuf)> {
    let paths = entries(devices).into_iter().map(|name| (name.clone(), devices.join(name)));
    paths.filter(|(_, path)| path.is_dir())
}

/// Whether a device and its parent are on different file systems.
fn is_mount(path: &Path) -> std::io::Result<bool> {
    let own = std::fs::symlink_metadata(path)?;
    let above = std::fs::symlink_metadata(path.parent().unwrap_or(path))?;
    Ok(own.dev() != above.dev() || own.ino() == above.ino())
}

/// As in Swift: true, false, or the text of an error.
fn mounted(path: &Path, mount_check: bool) -> Value {
    if !mount_check {
        return json!(true);
    }
    match is_mount(path) {
        Ok(mounted) => json!(mounted),
        Err(error) => json!(error.to_string()),
    }
}

pub(super) fn names(devices: &Path) -> Value {
    let names = devices.is_dir().then(|| entries(devices));
    Value::Object(Map::from_iter([(devices.display().to_string(), json!(names))]))
}

pub(super) fn unmounted(devices: &Path, mount_check: bool) -> Value {
    let states = device_paths(devices).map(|(name, path)| (name, mounted(&path, mount_check)));
    let missing = states.filter(|(_, mounted)| *mounted != json!(true));
    let rows = missing.map(|(name, mounted)| json!({ "device": name, "mounted": mounted }));
    Value::Array(rows.collect())
}

/// Bytes of each device. Space that is reserved for the system counts as used.
pub(super) fn usage(devices: &Path, mount_check: bool) -> Value {
    let rows = device_paths(devices).map(|(name, path)| {
        let mounted = mounted(&path, mount_check);
        match rustix::fs::statvfs(&path) {
            Ok(disk) if mounted == json!(true) => json!({
                "device": name,
                "mounted": true,
                "size": disk.f_frsize.saturating_mul(disk.f_blocks),
                "used": disk.f_frsize.saturating_mul(disk.f_blocks.saturating_sub(disk.f_bavail)),
                "avail": disk.f_frsize.saturating_mul(disk.f_bavail),
            }),
            Err(error) if mounted == json!(true) => {
                let mounted = error.to_string();
                json!({ "device": name, "mounted": mounted, "size": "", "used": "", "avail": "" })
            }
            _ => json!({ "device": name, "mounted": mounted, "size": "", "used": "", "avail": "" }),
        }
    });
    Value::Array(rows.collect())
}

/// Numbers of quarantined accounts, containers and objects (also by policy) on all devices.
pub(super) fn quarantined(devices: &Path) -> Value {
    let (mut accounts, mut containers, mut objects) = (0, 0, 0);
    let mut policies = Map::new();
    for (_, device) in device_paths(devices) {
        let quarantine = device.join("quarantined");
        for kind in entries(&quarantine) {
            let count = std::fs::read_dir(quarantine.join(&kind)).map_or(0, Iterator::count);
            match kind.as_str() {
                _ if count == 0 => {}
                "accounts" => accounts += count,
                "containers" => containers += count,
                kind if kind.starts_with("objects") => {
                    let policy = kind.split_once('-').map_or("0", |(_, index)| index).to_owned();
                    let before = policies.get(&policy).and_then(|of| of["objects"].as_u64());
                    let sum = before.unwrap_or(0) + count as u64;
                    policies.insert(policy, json!({ "objects": sum }));
                    objects += count;
                }
                _ => {}
            }
        }
    }
    json!({ "accounts": accounts, "containers": containers, "objects": objects, "policies": policies })
}
