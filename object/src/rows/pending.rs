//! Row updates that could not be delivered, kept on the device of their object.
//!
//! `<device>/async_pending[-N]/<suffix>/<hash>-<time>`, pickled as Swift's updater reads them.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use apus_cluster::pickle::{self, PickleError, Value};
use apus_cluster::{HashConf, PathHash, PolicyIndex, Timestamp};
use apus_disk::{AtomicFile, Committer, Counters, Unnamed};
use apus_wire::message::container::{RowHeaders, RowVerb};

use crate::diskfile::writer::CRC_ATTRIBUTE;

/// Longest update that is read: Swift's contain the headers of one request.
const BYTES_MAX: u64 = 1024 * 1024;
/// Larger updates are not repaired: that takes the square of their length.
const MENDED_BYTES_MAX: u64 = 16 * 1024;

/// One update: the verb, the three names and the headers of the request to container servers.
#[derive(Debug, Clone)]
pub(crate) struct Update {
    pub(crate) verb: RowVerb,
    pub(crate) account: String,
    pub(crate) container: String,
    pub(crate) object: String,
    pub(crate) headers: RowHeaders,
    /// Account and container of the shard that gets the row instead.
    pub(crate) container_path: Option<String>,
    /// State of the root container's database, as the proxy knew it.
    pub(crate) db_state: Option<String>,
}

impl Update {
    /// Account, container and object of the row; the container that a shard named wins.
    pub(crate) fn names(&self) -> Vec<String> {
        let shard = self.container_path.as_deref().and_then(|path| path.split_once('/'));
        let (account, container) = shard.unwrap_or((&self.account, &self.container));
        vec![account.to_owned(), container.to_owned(), self.object.clone()]
    }
}

/// Writes an update durably.
pub(crate) fn write(
    (device, policy, hash): (&Path, PolicyIndex, &PathHash),
    time: Timestamp,
    update: &Update,
    committer: &Committer,
) -> io::Result<()> {
    let text = |text: &str| Value::Str(text.to_owned());
    let items = update.headers.0.iter().map(|(name, value)| (text(name), text(value)));
    let state = update.db_state.as_deref().map_or(Value::None, text);
    let mut fields = vec![
        (text("op"), text(update.verb.word())),
        (text("account"), text(&update.account)),
        (text("container"), text(&update.container)),
        (text("obj"), text(&update.object)),
        (text("headers"), Value::Dict(items.collect())),
        (text("db_state"), state),
    ];
    fields.extend(update.container_path.iter().map(|path| (text("container_path"), text(path))));
    let pickled = pickle::dumps(&Value::Dict(fields));
    let directory = device.join(policy.suffixed("async_pending")).join(hash.suffix_dir());
    let temporary = device.join(policy.suffixed("tmp"));
    let target = directory.join(name(hash, time));
    let attempt = || -> io::Result<()> {
        committer.make_directories(device, &directory)?;
        let mut file = AtomicFile::create(&directory, &temporary, committer.counters())?;
        fill(&mut file, &pickled)?;
        let (target, root) = (target.clone(), device.to_owned());
        apus_fault::point("async.write.written");
        committer.commit_now(Unnamed { file, synced: false, target, root })?;
        apus_fault::point("async.write.durable");
        Ok(())
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

/// Writes an update with its checksum, which detects damage.
fn fill(file: &mut AtomicFile, pickled: &[u8]) -> io::Result<()> {
    file.append(pickled)?;
    let crc = format!("{:016x}", crc_fast::crc64_nvme(pickled));
    // Optional: Swift's own updates have none.
    let _ = file.set_attribute(CRC_ATTRIBUTE, crc.as_bytes());
    Ok(())
}

/// An update as it is stored. Unknown fields are kept.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PendingUpdate(Vec<(Value, Value)>);

impl PendingUpdate {
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
    pub(crate) fn headers(&self) -> RowHeaders {
        let Some(Value::Dict(headers)) = self.value("headers") else {
            return RowHeaders::default();
        };
        let pair = |(name, value): &(Value, Value)| Some((name.to_text()?, value.to_text()?));
        RowHeaders(headers.iter().filter_map(pair).collect())
    }

    /// Whether the row is put or deleted; `None` when it is neither.
    pub(crate) fn verb(&self) -> Option<RowVerb> {
        match self.text("op").as_deref() {
            Some("PUT") => Some(RowVerb::Put),
            Some("DELETE") => Some(RowVerb::Delete),
            _ => None,
        }
    }

    /// Ids of the devices that have the row.
    pub(crate) fn successes(&self) -> Vec<i64> {
        let ids = self.value("successes").and_then(Value::items).unwrap_or_default();
        ids.iter().filter_map(Value::as_int).collect()
    }

    /// Adds a device that has the row.
    pub(crate) fn succeeded(&mut self, id: i64) {
        let mut ids: Vec<Value> = self.successes().into_iter().map(Value::Int).collect();
        ids.push(Value::Int(id));
        self.set("successes", Value::List(ids));
    }

    fn remove(&mut self, name: &str) {
        self.0.retain(|(key, _)| key.to_text().as_deref() != Some(name));
    }

    fn set(&mut self, name: &str, value: Value) {
        self.remove(name);
        self.0.push((Value::Str(name.to_owned()), value));
    }

    /// Redirects the update to the shard at `path` (account and container), whose databases do not
    /// have the row yet. A shard that it was sent to before indicates a loop: then the root is asked
    /// again.
    pub(crate) fn redirect(&mut self, path: &str) {
        self.remove("successes");
        let history = self.value("redirect_history").and_then(Value::items).unwrap_or_default();
        let mut history = history.to_vec();
        let mut shard = Value::None;
        if history.iter().any(|known| known.to_text().as_deref() == Some(path)) {
            history.clear();
        } else {
            shard = Value::Str(path.to_owned());
            history.push(shard.clone());
        }
        self.set("container_path", shard);
        self.set("redirect_history", Value::List(history));
    }
}

/// The suffix directories below `async_pending`; empty when that does not exist.
pub(crate) fn suffixes(directory: &Path) -> io::Result<Vec<PathBuf>> {
    Ok(apus_disk::names(directory)?.into_iter().map(|name| directory.join(name)).collect())
}

/// Whether an update of an object is pending on a device.
pub(crate) fn of_object(device: &Path, policy: PolicyIndex, hash: &PathHash) -> io::Result<bool> {
    let directory = device.join(policy.suffixed("async_pending")).join(hash.suffix_dir());
    let own = format!("{hash}-");
    Ok(apus_disk::names(&directory)?.iter().any(|name| name.starts_with(&own)))
}

/// The updates of one suffix directory.
#[derive(Debug, Default)]
pub(crate) struct PendingUpdates {
    /// The newest of each object, the oldest of these first.
    pub(crate) newest: Vec<(Timestamp, PathBuf)>,
    /// Older ones, which were removed.
    pub(crate) obsolete: u64,
    /// Files whose names are not those of updates.
    pub(crate) strange: u64,
}

/// Lists a suffix directory and removes what a newer update of the same object made obsolete.
pub(crate) fn newest_of_each(suffix: &Path) -> io::Result<PendingUpdates> {
    let mut names: Vec<(String, Timestamp, PathBuf)> = Vec::new();
    let mut found = PendingUpdates::default();
    for name in apus_disk::names(suffix)? {
        match name.split_once('-').map(|(hash, time)| (hash, Timestamp::parse(time))) {
            Some((hash, Some(time))) => names.push((hash.to_owned(), time, suffix.join(&name))),
            // A temporary file.
            _ if name.starts_with('.') => {}
            // A file of another program stays.
            _ => found.strange += 1,
        }
    }
    names.sort_by(|a, b| (&a.0, b.1).cmp(&(&b.0, a.1)));
    let mut last = String::new();
    for (hash, time, path) in names {
        if hash == last {
            remove(&path)?;
            found.obsolete += 1;
        } else {
            last = hash;
            found.newest.push((time, path));
        }
    }
    found.newest.sort();
    if found.newest.is_empty() {
        // A directory that is being written to stays.
        let _ = apus_disk::remove_directory(suffix);
    }
    Ok(found)
}

/// Restores an update in which one bit, or one bit of its checksum, has flipped; `None` when it is
/// damaged in another way. No two single bits have the same effect on a CRC.
///
/// # Errors
/// The error of the operating system.
pub(crate) fn repaired(path: &Path) -> io::Result<Option<PendingUpdate>> {
    let file = std::fs::File::open(path)?;
    let mut bytes = Vec::new();
    (&file).take(MENDED_BYTES_MAX).read_to_end(&mut bytes)?;
    let mut stored = [0u8; 16];
    let length = apus_disk::read_attribute(&file, CRC_ATTRIBUTE, &mut stored, &Counters::default());
    if length != Some(stored.len()) {
        return Ok(None);
    }
    let parse = |bytes: &[u8]| match pickle::loads(bytes) {
        Ok(Value::Dict(fields)) => Some(PendingUpdate(fields)),
        _ => None,
    };
    let computed = format!("{:016x}", crc_fast::crc64_nvme(&bytes));
    let pairs = stored.iter().zip(computed.as_bytes());
    if pairs.map(|(one, other)| (one ^ other).count_ones()).sum::<u32>() == 1 {
        return Ok(parse(&bytes));
    }
    let wanted =
        std::str::from_utf8(&stored).ok().and_then(|hex| u64::from_str_radix(hex, 16).ok());
    for at in 0..bytes.len() {
        for mask in (0..8).map(|bit| 1u8 << bit) {
            bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= mask);
            if wanted == Some(crc_fast::crc64_nvme(&bytes)) {
                return Ok(parse(&bytes));
            }
            bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= mask);
        }
    }
    Ok(None)
}

/// Why a stored update cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpdateDamage {
    #[error("it has {BYTES_MAX} bytes or more")]
    TooLong,
    #[error("it does not match its checksum")]
    Checksum,
    #[error("it cannot be decoded")]
    Pickle(#[from] PickleError),
    #[error("it is not a dictionary")]
    NotADictionary,
    #[error("it is neither PUT nor DELETE")]
    UnknownVerb,
    #[error("{0} has another hash")]
    OtherHash(String),
}

/// The content of a file, or its damage; `None` when the file does not exist.
fn load(path: &Path) -> io::Result<Option<Result<PendingUpdate, UpdateDamage>>> {
    let file = match std::fs::File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut bytes = Vec::new();
    let length = (&file).take(BYTES_MAX).read_to_end(&mut bytes)?;
    if length as u64 == BYTES_MAX {
        return Ok(Some(Err(UpdateDamage::TooLong)));
    }
    let mut stored = [0u8; 16];
    let length = apus_disk::read_attribute(&file, CRC_ATTRIBUTE, &mut stored, &Counters::default());
    let crc = format!("{:016x}", crc_fast::crc64_nvme(&bytes));
    if length.is_some_and(|length| stored.get(..length) != Some(crc.as_bytes())) {
        return Ok(Some(Err(UpdateDamage::Checksum)));
    }
    Ok(Some(match pickle::loads(&bytes) {
        Ok(Value::Dict(fields)) => Ok(PendingUpdate(fields)),
        Ok(_) => Err(UpdateDamage::NotADictionary),
        Err(error) => Err(error.into()),
    }))
}

/// Reads an update; `None` when it does not exist.
///
/// # Errors
/// `InvalidData` for a file that is not an update; otherwise the error of the operating system.
pub(crate) fn read(path: &Path) -> io::Result<Option<PendingUpdate>> {
    match load(path)? {
        None => Ok(None),
        Some(Ok(pending)) => Ok(Some(pending)),
        Some(Err(reason)) => Err(io::Error::new(io::ErrorKind::InvalidData, reason)),
    }
}

/// The damage of the update whose name begins with `hash`; `None` when it is good.
pub(crate) fn damage(
    path: &Path,
    hash: &PathHash,
    conf: &HashConf,
) -> io::Result<Option<UpdateDamage>> {
    let pending = match load(path)? {
        None => return Ok(None),
        Some(Err(reason)) => return Ok(Some(reason)),
        Some(Ok(pending)) => pending,
    };
    if pending.verb().is_none() {
        return Ok(Some(UpdateDamage::UnknownVerb));
    }
    let names = ["account", "container", "obj"].map(|name| pending.text(name).unwrap_or_default());
    let [account, container, object] = names.each_ref().map(String::as_str);
    // Rows of internal accounts are named after other objects.
    let own = account.starts_with('.') || conf.hash(&[account, container, object]) == *hash;
    let name = format!("/{account}/{container}/{object}");
    Ok((!own).then_some(UpdateDamage::OtherHash(name)))
}

/// Removes an update.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match apus_disk::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Replaces an update, durably.
pub(crate) fn replace(
    path: &Path,
    update: &PendingUpdate,
    counters: &Arc<Counters>,
) -> io::Result<()> {
    let directory = path.parent().unwrap_or(path);
    let mut file = AtomicFile::create(directory, directory, counters)?;
    fill(&mut file, &pickle::dumps(&Value::Dict(update.0.clone())))?;
    file.sync()?;
    file.publish(path, &[])
}

#[cfg(test)]
mod tests {
    use apus_cluster::Metadata;

    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("apus-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    fn update(size: &str) -> Update {
        Update {
            verb: RowVerb::Put,
            account: "AUTH_a".to_owned(),
            container: "c".to_owned(),
            object: "o/ü".to_owned(),
            headers: RowHeaders(Metadata::from([("x-size".to_owned(), size.to_owned())])),
            container_path: None,
            db_state: Some("unsharded".to_owned()),
        }
    }

    #[test]
    fn an_update_is_read_back_with_the_devices_that_have_it() {
        let device = scratch("pending");
        let counters = Arc::default();
        let committer = Committer::start("test", Arc::clone(&counters)).unwrap();
        let hash = PathHash([7; 16]);
        let policy = PolicyIndex(1);
        let time = Timestamp::from_seconds(5);
        write((&device, policy, &hash), time, &update("1"), &committer).unwrap();
        let suffixes = suffixes(&device.join("async_pending-1")).unwrap();
        let found = newest_of_each(&suffixes[0]).unwrap();
        let path = &found.newest[0].1;
        let mut pending = read(path).unwrap().unwrap();
        assert_eq!(pending.names().unwrap(), ["AUTH_a", "c", "o/ü"]);
        assert_eq!(pending.headers(), update("1").headers);
        pending.succeeded(4);
        pending.succeeded(9);
        replace(path, &pending, &counters).unwrap();
        let again = read(path).unwrap().unwrap();
        assert_eq!(again.successes(), [4, 9]);
        assert_eq!(again.text("op").as_deref(), Some("PUT"));
        assert_eq!(again.text("db_state").as_deref(), Some("unsharded"));
        std::fs::remove_dir_all(&device).unwrap();
    }

    #[test]
    fn of_one_object_only_the_newest_update_stays() {
        let device = scratch("obsolete");
        let committer = Committer::start("test", Arc::default()).unwrap();
        let one = PathHash([1; 16]);
        for seconds in [7, 9, 8] {
            let time = Timestamp::from_seconds(seconds);
            write((&device, PolicyIndex(0), &one), time, &update("1"), &committer).unwrap();
        }
        let suffix = suffixes(&device.join("async_pending")).unwrap().remove(0);
        std::fs::write(suffix.join("notes.txt"), "not ours").unwrap();
        let found = newest_of_each(&suffix).unwrap();
        assert_eq!((found.newest.len(), found.obsolete, found.strange), (1, 2, 1));
        assert_eq!(found.newest[0].0, Timestamp::from_seconds(9));
        assert!(found.newest[0].1.to_str().unwrap().ends_with("-0000000009.00000"));
        assert!(suffix.join("notes.txt").exists());
        std::fs::remove_dir_all(&device).unwrap();
    }

    #[test]
    fn the_oldest_update_comes_first() {
        let device = scratch("oldest");
        let committer = Committer::start("test", Arc::default()).unwrap();
        for (hash, seconds) in [(1, 9), (2, 7), (3, 8)] {
            let mut bytes = [0; 16];
            bytes[0] = hash;
            let (hash, time) = (PathHash(bytes), Timestamp::from_seconds(seconds));
            write((&device, PolicyIndex(0), &hash), time, &update("1"), &committer).unwrap();
        }
        let suffix = suffixes(&device.join("async_pending")).unwrap().remove(0);
        let times = newest_of_each(&suffix).unwrap().newest.into_iter().map(|(time, _)| time);
        assert_eq!(times.map(Timestamp::seconds).collect::<Vec<_>>(), [7, 8, 9]);
        std::fs::remove_dir_all(&device).unwrap();
    }

    #[test]
    fn a_shard_is_remembered_and_a_loop_ends_at_the_root() {
        let mut pending = PendingUpdate(vec![
            (Value::Str("account".to_owned()), Value::Str("a".to_owned())),
            (Value::Str("container".to_owned()), Value::Str("c".to_owned())),
            (Value::Str("obj".to_owned()), Value::Str("o".to_owned())),
        ]);
        pending.succeeded(1);
        pending.redirect(".shards_a/c-1");
        assert_eq!(pending.names().unwrap(), [".shards_a", "c-1", "o"]);
        assert!(pending.successes().is_empty());
        pending.redirect(".shards_a/c-2");
        assert_eq!(pending.names().unwrap(), [".shards_a", "c-2", "o"]);
        pending.redirect(".shards_a/c-1");
        assert_eq!(pending.names().unwrap(), ["a", "c", "o"]);
        pending.redirect(".shards_a/c-2");
        assert_eq!(pending.names().unwrap(), [".shards_a", "c-2", "o"]);
    }

    #[test]
    fn a_file_that_is_not_an_update_is_an_error_and_a_missing_one_is_not() {
        let device = scratch("unreadable");
        let path = device.join("x");
        assert_eq!(read(&path).unwrap(), None);
        for content in [&b"torn"[..], b"", b"\x80\x02K\x01."] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(read(&path).unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
        std::fs::remove_dir_all(&device).unwrap();
    }
}
