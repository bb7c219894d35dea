//! The ring files of one `swift_dir`, with their statements. Everything here blocks on the disk.
//!
//! A file is cached until it is replaced, so that a manifest costs a few `stat`s.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use apus_ring::SharedRing;

use super::install::{Writer, statement_path};
use super::judge::{check_step, check_usable, judge};
use super::manifest::Facts;
use super::{
    Entry, FILE_BYTES_MAX, Manifest, Refusal, RingFile, RingKeys, RingName, STATEMENT_BYTES_MAX,
    Statement, Step,
};

/// Most ring files of a manifest.
const RINGS_MAX: usize = 1024;

/// Identity of a file's content, without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    inode: (u64, u64),
    length: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(found: &Metadata) -> Self {
        Self {
            inode: (found.dev(), found.ino()),
            length: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
        }
    }
}

/// A ring file as it was read.
#[derive(Debug, Clone)]
struct CachedEntry {
    ring: Stamp,
    statement: Option<Stamp>,
    entry: Entry,
}

/// The rings of a directory.
#[derive(Debug)]
pub struct RingFolder {
    directory: PathBuf,
    keys: RingKeys,
    /// Those that this process uses.
    used: Vec<Arc<SharedRing>>,
    known: Mutex<BTreeMap<RingName, CachedEntry>>,
    /// Held while a file that is not cached is read, so that it is read once.
    reading: Mutex<()>,
}

impl RingFolder {
    /// The rings of `swift_dir`. `used` are those that this process uses: they are reloaded as soon
    /// as a new one is installed.
    pub fn new(swift_dir: &Path, keys: RingKeys, used: Vec<Arc<SharedRing>>) -> Self {
        let directory = swift_dir.to_owned();
        Self { directory, keys, used, known: Mutex::default(), reading: Mutex::default() }
    }

    /// The keys that sign and verify statements.
    pub fn keys(&self) -> &RingKeys {
        &self.keys
    }

    /// All rings of the directory.
    ///
    /// # Errors
    /// When the directory cannot be read. A file that cannot be read is an entry with a fault.
    pub fn manifest(&self) -> Result<Manifest, String> {
        let listed = std::fs::read_dir(&self.directory)
            .map_err(|error| format!("{}: {error}", self.directory.display()))?;
        let mut names: Vec<RingName> = listed
            .flatten()
            .filter_map(|entry| RingName::parse(entry.file_name().to_str()?))
            .take(RINGS_MAX)
            .collect();
        names.sort_unstable();
        let mut manifest = Manifest::default();
        for name in names {
            match self.entry(&name) {
                Ok(entry) => manifest.rings.extend(entry),
                Err(fault) => manifest.rings.push(self.unread(name, fault)),
            }
        }
        Ok(manifest)
    }

    /// One ring; `None` when it does not exist.
    ///
    /// # Errors
    /// When a file cannot be read; the text names it.
    pub fn entry(&self, name: &RingName) -> Result<Option<Entry>, String> {
        let found = self.look(name)?;
        let entry = found.map(|(_, known)| known.entry);
        Ok(entry.map(|entry| Entry { loaded_version: self.loaded_version(name), ..entry }))
    }

    fn loaded_version(&self, name: &RingName) -> Option<u64> {
        let path = self.directory.join(name.as_str());
        let used = self.used.iter().find(|ring| ring.path() == path)?;
        Some(used.get().version())
    }

    fn unread(&self, name: RingName, fault: String) -> Entry {
        Entry {
            loaded_version: self.loaded_version(&name),
            name,
            length: 0,
            sha256: String::new(),
            md5: String::new(),
            ring: None,
            statement: None,
            fault: Some(fault),
        }
    }

    /// A ring that may be passed on: its file, open at the beginning, and its statement.
    ///
    /// # Errors
    /// When the file cannot be read; the text names it.
    pub fn open_signed(&self, name: &RingName) -> Result<Option<(File, Statement)>, String> {
        let found = self.look(name)?;
        Ok(found.and_then(|(file, known)| Some((file, known.entry.signed()?.clone()))))
    }

    /// The open file, and what is in it.
    fn look(&self, name: &RingName) -> Result<Option<(File, CachedEntry)>, String> {
        let path = self.directory.join(name.as_str());
        let failed = |error: io::Error| format!("{}: {error}", path.display());
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let ring = Stamp::of(&file.metadata().map_err(failed)?);
        let statement_file = statement_path(&self.directory, name);
        let statement = std::fs::metadata(&statement_file).ok().map(|found| Stamp::of(&found));
        let remembered = || {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let known = known.get(name)?;
            (known.ring == ring && known.statement == statement).then(|| known.clone())
        };
        if let Some(known) = remembered() {
            return Ok(Some((file, known)));
        }
        let _reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = remembered() {
            return Ok(Some((file, known)));
        }
        if ring.length > FILE_BYTES_MAX {
            return Err(format!(
                "{}: {} bytes: expected at most {FILE_BYTES_MAX}",
                path.display(),
                ring.length
            ));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(ring.length).unwrap_or_default());
        (&mut file).take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
        io::Seek::rewind(&mut file).map_err(failed)?;
        let entry = self.entry_of(name, bytes, &statement_file);
        let known = CachedEntry { ring, statement, entry };
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.clone(), known.clone());
        Ok(Some((file, known)))
    }

    fn entry_of(&self, name: &RingName, bytes: Vec<u8>, statement_file: &Path) -> Entry {
        let (length, (sha256, md5)) = (bytes.len() as u64, super::file::digests(&bytes));
        let file = RingFile::new(name.clone(), bytes.into());
        let statement = self.statement(name, statement_file);
        let fault = match (&file, &statement) {
            (Err(error), _) => Some(error.clone()),
            (Ok(_), Err(error)) => Some(error.clone()),
            (Ok(file), Ok(statement)) => {
                statement.check_fits(file).err().map(|refusal| refusal.to_string())
            }
        };
        Entry {
            name: name.clone(),
            length,
            sha256,
            md5,
            ring: file.ok().map(|file| Facts::of(file.ring())),
            loaded_version: None,
            statement: statement.ok(),
            fault,
        }
    }

    /// The statement of a ring, if the cluster's key signed it.
    fn statement(&self, name: &RingName, statement_file: &Path) -> Result<Statement, String> {
        let mut text = String::new();
        let read = File::open(statement_file)
            .and_then(|file| file.take(2 * STATEMENT_BYTES_MAX as u64).read_to_string(&mut text));
        match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err("not signed: it was not pushed".to_owned());
            }
            Err(error) => return Err(format!("{}: {error}", statement_file.display())),
            Ok(_) => {}
        }
        let statement = Statement::parse(text.trim_end()).map_err(|error| error.to_string())?;
        if statement.name != *name {
            return Err(format!("its statement is that of {}", statement.name));
        }
        self.keys.verify(&statement).map_err(|error| error.to_string())?;
        Ok(statement)
    }

    /// What to do with an offered ring, before its bytes arrive.
    ///
    /// # Errors
    /// Why it would be refused.
    pub fn judge(&self, offered: &Statement) -> Result<Step, Refusal> {
        self.keys.verify(offered)?;
        let held = self.entry(&offered.name).map_err(Refusal::Disk)?;
        judge(held.as_ref(), offered, |statement| self.keys.is_current(statement))
    }

    /// Stores a ring and its statement durably, and loads it.
    ///
    /// # Errors
    /// Why it is refused; nothing was changed, unless the disk failed between the two files.
    pub fn install(&self, file: &RingFile, offered: &Statement) -> Result<Step, Refusal> {
        self.keys.verify(offered)?;
        offered.check_fits(file)?;
        check_usable(file.name(), file.ring())?;
        let at = |error: io::Error| Refusal::of_disk(&self.directory, &error);
        let writer = Writer::of(&self.directory).map_err(at)?;
        // What was there when the file began to come may be another by now.
        let held = self.entry(&offered.name).map_err(Refusal::Disk)?;
        let step = judge(held.as_ref(), offered, |statement| self.keys.is_current(statement))?;
        match step {
            Step::Nothing => {}
            Step::Sign => writer.statement(offered).map_err(at)?,
            Step::Install => {
                if let Some(before) = held.and_then(|held| held.ring) {
                    check_step(file.name(), &before, &Facts::of(file.ring()))?;
                }
                writer.ring(file).map_err(at)?;
                writer.statement(offered).map_err(at)?;
            }
        }
        drop(writer);
        self.take_up();
        Ok(step)
    }

    /// As [`RingFolder::install`] of a ring whose file is there already ([`Step::Sign`]).
    ///
    /// # Errors
    /// Likewise.
    pub fn keep_statement(&self, offered: &Statement) -> Result<Step, Refusal> {
        self.keys.verify(offered)?;
        let path = self.directory.join(offered.name.as_str());
        let file = RingFile::read(&path).map_err(Refusal::Disk)?;
        self.install(&file, offered)
    }

    /// Signs again what was signed with the previous key, which will be forgotten.
    ///
    /// # Errors
    /// When that cannot be kept.
    pub fn renew_statements(&self) -> Result<(), Refusal> {
        for entry in self.manifest().map_err(Refusal::Disk)?.rings {
            let known = entry.signed().filter(|known| !self.keys.is_current(known)).cloned();
            if let Some(renewed) = known.and_then(|known| self.keys.signed(known)) {
                self.keep_statement(&renewed)?;
            }
        }
        Ok(())
    }

    /// Loads the files that are newer than the rings this process uses.
    pub fn take_up(&self) {
        take_up(&self.used);
    }
}

/// Takes up ring files that changed; a bad new one keeps the old ring and is named once.
pub fn take_up(rings: &[Arc<SharedRing>]) {
    for ring in rings {
        match ring.refresh() {
            Ok(true) => tracing::info!(ring = %ring.path().display(), "new ring"),
            Ok(false) => {}
            Err(error) => tracing::error!(%error, "the old ring stays"),
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
