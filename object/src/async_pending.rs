//! Row updates that could not be delivered, kept beside the objects until somebody can.
//!
//! `<device>/async_pending[-N]/<suffix>/<hash>-<time>`, pickled as Swift's updater reads them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use apus_cluster::pickle::{self, Value};
use apus_cluster::{HashConf, Metadata, PathHash, PolicyIndex, Timestamp};
use apus_disk::{AtomicFile, Committer, Counters, Unnamed};

use crate::diskfile::writer::CRC_ATTRIBUTE;

/// One update: the verb, the three names and the headers of the request to container servers.
#[derive(Debug, Clone)]
pub(crate) struct Update {
    pub(crate) method: &'static str,
    pub(crate) account: String,
    pub(crate) container: String,
    pub(crate) object: String,
    pub(crate) headers: Metadata,
}

/// Writes an update durably.
pub(crate) fn write(
    device: &Path,
    policy: PolicyIndex,
    hash: &PathHash,
    time: Timestamp,
    update: &Update,
    committer: &Committer,
) -> io::Result<()> {
    let text = |text: &str| Value::Str(text.to_owned());
    let items = update.headers.iter().map(|(name, value)| (text(name), text(value)));
    let pickled = pickle::dumps(&Value::Dict(vec![
        (text("op"), text(update.method)),
        (text("account"), text(&update.account)),
        (text("container"), text(&update.container)),
        (text("obj"), text(&update.object)),
        (text("headers"), Value::Dict(items.collect())),
        (text("db_state"), Value::None),
    ]));
    let directory = device.join(policy.suffixed("async_pending")).join(hash.suffix_dir());
    let temporary = device.join(policy.suffixed("tmp"));
    let target = directory.join(name(hash, time));
    let attempt = || {
        committer.make_directories(device, &directory)?;
        let mut file = AtomicFile::create(&directory, &temporary, committer.counters())?;
        fill(&mut file, &pickled)?;
        let (target, root) = (target.clone(), device.to_owned());
        committer.commit_now(Unnamed { file, synced: false, target, root })
    };
    match attempt() {
        // The updater has just removed the empty directory.
        Err(error) if error.kind() == io::ErrorKind::NotFound => attempt(),
        other => other,
    }
}

/// The file name of an update.
pub(crate) fn name(hash: &PathHash, time: Timestamp) -> String {
    format!("{hash}-{time}")
}

/// Writes an update with its checksum, which tells a damaged row from another.
fn fill(file: &mut AtomicFile, pickled: &[u8]) -> io::Result<()> {
    file.append(pickled)?;
    let crc = format!("{:016x}", crc_fast::crc64_nvme(pickled));
    // A help only: Swift's own have none either.
    let _ = file.set_attribute(CRC_ATTRIBUTE, crc.as_bytes());
    Ok(())
}

/// An update as it lies on a device. What is not understood is kept.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pending(Vec<(Value, Value)>);

impl Pending {
    fn value(&self, name: &str) -> Option<&Value> {
        self.0
            .iter()
            .find(|(key, _)| key.to_text().as_deref() == Some(name))
            .map(|(_, value)| value)
    }

    /// A field as text.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.value(name)?.to_text()
    }

    /// Account, container and object; the container that a shard named wins.
    pub(crate) fn names(&self) -> Option<[String; 3]> {
        let object = self.text("obj")?;
        if let Some(path) = self.text("container_path") {
            let (account, container) = path.split_once('/')?;
            return Some([account.to_owned(), container.to_owned(), object]);
        }
        Some([self.text("account")?, self.text("container")?, object])
    }

    /// The headers of the request.
    pub(crate) fn headers(&self) -> Vec<(String, String)> {
        let Some(Value::Dict(headers)) = self.value("headers") else { return Vec::new() };
        let pair = |(name, value): &(Value, Value)| Some((name.to_text()?, value.to_text()?));
        headers.iter().filter_map(pair).collect()
    }

    /// Ids of the devices that have it.
    pub(crate) fn successes(&self) -> Vec<i64> {
        let ids = self.value("successes").and_then(Value::items).unwrap_or_default();
        ids.iter().filter_map(Value::as_int).collect()
    }

    /// Notes one more.
    pub(crate) fn succeeded(&mut self, id: i64) {
        let mut ids: Vec<Value> = self.successes().into_iter().map(Value::Int).collect();
        ids.push(Value::Int(id));
        self.0.retain(|(key, _)| key.to_text().as_deref() != Some("successes"));
        self.0.push((Value::Str("successes".to_owned()), Value::List(ids)));
    }
}

/// The suffix directories below `async_pending`; none when there is no such directory.
pub(crate) fn suffixes(directory: &Path) -> io::Result<Vec<PathBuf>> {
    Ok(apus_disk::names(directory)?.into_iter().map(|name| directory.join(name)).collect())
}

/// The updates of one suffix directory.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The newest of each object.
    pub(crate) newest: Vec<PathBuf>,
    /// Older ones, which were removed.
    pub(crate) obsolete: u64,
}

/// Lists a suffix directory and removes what a newer update of the same object made obsolete.
pub(crate) fn newest_of_each(suffix: &Path) -> io::Result<Found> {
    let mut names: Vec<(String, Timestamp, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir(suffix)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // Anything else is not ours to touch.
        if let Some((hash, time)) = name.split_once('-')
            && let Some(time) = Timestamp::parse(time)
        {
            names.push((hash.to_owned(), time, entry.path()));
        }
    }
    names.sort_by(|a, b| (&a.0, b.1).cmp(&(&b.0, a.1)));
    let mut found = Found::default();
    let mut last = String::new();
    for (hash, _, path) in names {
        if hash == last {
            remove(&path)?;
            found.obsolete += 1;
        } else {
            last = hash;
            found.newest.push(path);
        }
    }
    if found.newest.is_empty() {
        // Somebody may write into it at this moment; then it stays.
        let _ = std::fs::remove_dir(suffix);
    }
    Ok(found)
}

/// The content of a file, or what is wrong with it; `None` when it is gone.
fn load(path: &Path) -> io::Result<Option<Result<Pending, String>>> {
    let file = match std::fs::File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut &file, &mut bytes)?;
    let mut stored = [0u8; 16];
    let length = apus_disk::read_attribute(&file, CRC_ATTRIBUTE, &mut stored, &Counters::default());
    let crc = format!("{:016x}", crc_fast::crc64_nvme(&bytes));
    if length.is_some_and(|length| stored.get(..length) != Some(crc.as_bytes())) {
        return Ok(Some(Err("does not match its checksum".to_owned())));
    }
    Ok(Some(match pickle::loads(&bytes) {
        Ok(Value::Dict(fields)) => Ok(Pending(fields)),
        Ok(_) => Err("no dictionary".to_owned()),
        Err(error) => Err(error.to_string()),
    }))
}

/// Reads an update; `None` when it is gone or no update.
pub(crate) fn read(path: &Path) -> io::Result<Option<Pending>> {
    match load(path)? {
        None => Ok(None),
        Some(Ok(pending)) => Ok(Some(pending)),
        Some(Err(reason)) => {
            tracing::error!(path = %path.display(), reason, "no row update");
            Ok(None)
        }
    }
}

/// What is wrong with the update that `hash` begins the name of; `None` when nothing is.
pub(crate) fn damage(path: &Path, hash: &PathHash, conf: &HashConf) -> io::Result<Option<String>> {
    let pending = match load(path)? {
        None => return Ok(None),
        Some(Err(reason)) => return Ok(Some(reason)),
        Some(Ok(pending)) => pending,
    };
    if !matches!(pending.text("op").as_deref(), Some("PUT" | "DELETE")) {
        return Ok(Some("neither PUT nor DELETE".to_owned()));
    }
    let names = ["account", "container", "obj"].map(|name| pending.text(name).unwrap_or_default());
    let [account, container, object] = names.each_ref().map(String::as_str);
    // Rows of internal accounts are about other objects than those that they are named after.
    let own = account.starts_with('.') || conf.hash(&[account, container, object]) == *hash;
    Ok((!own).then(|| format!("/{account}/{container}/{object} belongs elsewhere")))
}

/// Removes an update.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Writes an update over itself, durably.
pub(crate) fn replace(path: &Path, update: &Pending, counters: &Arc<Counters>) -> io::Result<()> {
    let directory = path.parent().unwrap_or(path);
    let mut file = AtomicFile::create(directory, directory, counters)?;
    fill(&mut file, &pickle::dumps(&Value::Dict(update.0.clone())))?;
    file.sync()?;
    file.publish(path, &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("apus-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    fn update(size: &str) -> Update {
        Update {
            method: "PUT",
            account: "AUTH_a".to_owned(),
            container: "c".to_owned(),
            object: "o/ü".to_owned(),
            headers: Metadata::from([("x-size".to_owned(), size.to_owned())]),
        }
    }

    #[test]
    fn an_update_is_read_back_and_remembers_who_has_it() {
        let device = scratch("pending");
        let counters = Arc::default();
        let committer = Committer::start("test", Arc::clone(&counters)).unwrap();
        let hash = PathHash([7; 16]);
        let policy = PolicyIndex(1);
        let time = Timestamp::from_seconds(5);
        write(&device, policy, &hash, time, &update("1"), &committer).unwrap();
        let suffixes = suffixes(&device.join("async_pending-1")).unwrap();
        let found = newest_of_each(&suffixes[0]).unwrap();
        let mut pending = read(&found.newest[0]).unwrap().unwrap();
        assert_eq!(pending.names().unwrap(), ["AUTH_a", "c", "o/ü"]);
        assert_eq!(pending.headers(), [("x-size".to_owned(), "1".to_owned())]);
        pending.succeeded(4);
        pending.succeeded(9);
        replace(&found.newest[0], &pending, &counters).unwrap();
        let again = read(&found.newest[0]).unwrap().unwrap();
        assert_eq!(again.successes(), [4, 9]);
        assert_eq!(again.text("op").as_deref(), Some("PUT"));
        std::fs::remove_dir_all(&device).unwrap();
    }

    #[test]
    fn of_one_object_only_the_newest_update_stays() {
        let device = scratch("obsolete");
        let committer = Committer::start("test", Arc::default()).unwrap();
        let one = PathHash([1; 16]);
        for seconds in [7, 9, 8] {
            let time = Timestamp::from_seconds(seconds);
            write(&device, PolicyIndex(0), &one, time, &update("1"), &committer).unwrap();
        }
        let suffix = suffixes(&device.join("async_pending")).unwrap().remove(0);
        std::fs::write(suffix.join("notes.txt"), "not ours").unwrap();
        let found = newest_of_each(&suffix).unwrap();
        assert_eq!((found.newest.len(), found.obsolete), (1, 2));
        assert!(found.newest[0].to_str().unwrap().ends_with("-0000000009.00000"));
        assert!(suffix.join("notes.txt").exists());
        std::fs::remove_dir_all(&device).unwrap();
    }
}
