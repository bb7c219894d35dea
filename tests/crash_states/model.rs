//! A file system that is as strict as it may be: what a power cut leaves of the changes in a journal.
//!
//! A file's bytes and attributes are durable when the file was synced after they were written; a
//! name is durable when its directory was synced after it was given, and can be reached only
//! through directories whose own names are. Of everything else the power cut keeps what it likes:
//! none, all, or any part, single writes torn at a sector. No order between changes is assumed,
//! which real file systems hide: there a synced directory is never lost with its parent.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use apus_fault::journal::{Change, Which};

/// Smallest piece of a write that a disk does at once.
const SECTORS: [usize; 2] = [512, 4096];

/// What a file holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) bytes: Vec<u8>,
    pub(crate) attributes: BTreeMap<String, Vec<u8>>,
}

/// A file that survived, with the digest of its content.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) content: Content,
    digest: OnceCell<u64>,
}

impl Kept {
    fn new(content: Content) -> Rc<Self> {
        Rc::new(Self { content, digest: OnceCell::new() })
    }

    pub(crate) fn digest(&self) -> u64 {
        *self.digest.get_or_init(|| {
            let mut hasher = DefaultHasher::new();
            self.content.bytes.hash(&mut hasher);
            self.content.attributes.hash(&mut hasher);
            hasher.finish()
        })
    }
}

/// What is there after a power cut: files, and directories as `None`, by path below the root.
pub(crate) type Tree = BTreeMap<PathBuf, Option<Rc<Kept>>>;

/// What is kept of that which was not synced.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Keep {
    Nothing,
    Everything,
    /// Some, by the seed.
    Some(u64),
}

#[derive(Debug)]
enum Edit {
    Write { offset: usize, bytes: Vec<u8> },
    Truncate,
    Attribute { key: String, value: Vec<u8> },
}

impl Edit {
    fn apply(&self, content: &mut Content) {
        match self {
            Self::Write { offset, bytes } => {
                let end = offset + bytes.len();
                if content.bytes.len() < end {
                    content.bytes.resize(end, 0);
                }
                content.bytes[*offset..end].copy_from_slice(bytes);
            }
            Self::Truncate => content.bytes.clear(),
            Self::Attribute { key, value } => {
                content.attributes.insert(key.clone(), value.clone());
            }
        }
    }
}

#[derive(Debug, Default)]
struct File {
    live: Content,
    durable: Rc<Kept>,
    /// Since the last sync, each with the number of its change.
    unsynced: Vec<(usize, Edit)>,
}

#[derive(Debug, Default)]
struct Directory {
    live: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
    /// Since the last sync: the number of the change, a name, and what has it now.
    unsynced: Vec<(usize, String, Option<usize>)>,
}

#[derive(Debug)]
enum Inode {
    File(File),
    Directory(Directory),
}

/// The file system, change by change.
#[derive(Debug)]
pub(crate) struct Model {
    root: PathBuf,
    inodes: Vec<Inode>,
    /// Files that were made without a name.
    numbers: BTreeMap<u64, usize>,
    /// Changes so far.
    at: usize,
}

/// A draw that is the same for the same change.
fn draw(seed: u64, change: usize, what: u64, of: u64) -> u64 {
    let mut state =
        seed ^ (change as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ what.rotate_left(40);
    for _ in 0..3 {
        state = (state ^ (state >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    }
    (state >> 33) % of
}

impl Model {
    /// An empty directory, which is durable.
    pub(crate) fn new(root: &Path) -> Self {
        let inodes = vec![Inode::Directory(Directory::default())];
        Self { root: root.to_owned(), inodes, numbers: BTreeMap::new(), at: 0 }
    }

    fn names(&self, path: &Path) -> Vec<String> {
        let below = path.strip_prefix(&self.root).expect("the journal is of this root");
        below
            .components()
            .filter_map(|part| match part {
                Component::Normal(name) => Some(name.to_str().unwrap().to_owned()),
                _ => None,
            })
            .collect()
    }

    fn find(&self, path: &Path) -> Option<usize> {
        self.names(path).iter().try_fold(0, |id, name| match &self.inodes[id] {
            Inode::Directory(directory) => directory.live.get(name).copied(),
            Inode::File(_) => None,
        })
    }

    fn directory(&mut self, id: usize) -> &mut Directory {
        match &mut self.inodes[id] {
            Inode::Directory(directory) => directory,
            Inode::File(_) => panic!("a file where a directory should be"),
        }
    }

    fn file(&mut self, which: &Which) -> Option<&mut File> {
        let id = match which {
            Which::Number(number) => self.numbers.get(number).copied(),
            Which::Path(path) => self.find(path),
        }?;
        match &mut self.inodes[id] {
            Inode::File(file) => Some(file),
            Inode::Directory(_) => None,
        }
    }

    fn new_inode(&mut self, inode: Inode) -> usize {
        self.inodes.push(inode);
        self.inodes.len() - 1
    }

    /// Gives or takes a name. `None` when its directory is not known: then it was made behind
    /// the journal.
    fn name(&mut self, path: &Path, id: Option<usize>) -> Option<()> {
        let (at, name) = (self.at, path.file_name()?.to_str()?.to_owned());
        let parent = self.find(path.parent()?)?;
        let directory = self.directory(parent);
        match id {
            Some(id) => drop(directory.live.insert(name.clone(), id)),
            None => drop(directory.live.remove(&name)),
        }
        directory.unsynced.push((at, name, id));
        Some(())
    }

    fn edit(&mut self, which: &Which, make: impl FnOnce(&Content) -> Edit) {
        let at = self.at;
        // A file of SQLite's that was never synced by us is none of ours.
        let Some(file) = self.file(which) else { return };
        let edit = make(&file.live);
        edit.apply(&mut file.live);
        file.unsynced.push((at, edit));
    }

    fn sync_file(file: &mut File, begun: usize) {
        if file.unsynced.is_empty() {
            return;
        }
        let mut durable = file.durable.content.clone();
        file.unsynced.retain(|(at, edit)| {
            let done = *at < begun;
            if done {
                edit.apply(&mut durable);
            }
            !done
        });
        file.durable = Kept::new(durable);
    }

    fn sync_names(directory: &mut Directory, begun: usize) {
        let durable = &mut directory.durable;
        directory.unsynced.retain(|(at, name, id)| {
            let done = *at < begun;
            match id {
                Some(id) if done => drop(durable.insert(name.clone(), *id)),
                None if done => drop(durable.remove(name)),
                _ => {}
            }
            !done
        });
    }

    /// Does one change of the journal.
    pub(crate) fn apply(&mut self, change: &Change) {
        self.change(change);
        self.at += 1;
    }

    fn change(&mut self, change: &Change) {
        match change {
            Change::MakeDirectory(path) => {
                let id = self.new_inode(Inode::Directory(Directory::default()));
                self.name(path, Some(id)).expect("a directory in an unknown one");
            }
            Change::Create(Which::Number(number)) => {
                let id = self.new_inode(Inode::File(File::default()));
                self.numbers.insert(*number, id);
            }
            Change::Create(Which::Path(path)) => {
                if self.find(path).is_none() {
                    let id = self.new_inode(Inode::File(File::default()));
                    self.name(path, Some(id));
                }
            }
            Change::Write { file, offset, bytes } => self.edit(file, |live| Edit::Write {
                offset: offset.map_or(live.bytes.len(), |offset| usize::try_from(offset).unwrap()),
                bytes: bytes.clone(),
            }),
            Change::Truncate(file) => self.edit(file, |_| Edit::Truncate),
            Change::Attribute { file, key, value } => {
                self.edit(file, |_| Edit::Attribute { key: key.clone(), value: value.clone() });
            }
            Change::Link { file, path } => {
                let id = match file {
                    Which::Number(number) => self.numbers.get(number).copied(),
                    Which::Path(from) => self.find(from),
                };
                if let Some(id) = id {
                    self.name(path, Some(id)).expect("a file in an unknown directory");
                }
            }
            Change::Rename { from, to } => {
                if let Some(id) = self.find(from) {
                    self.name(from, None);
                    self.name(to, Some(id)).expect("renamed into an unknown directory");
                }
            }
            Change::Remove(path) | Change::RemoveDirectory(path) => drop(self.name(path, None)),
            Change::SyncFile { file, begun } => {
                if let Some(file) = self.file(file) {
                    Self::sync_file(file, *begun);
                }
            }
            Change::Snapshot { path, content } => {
                let id = self.find(path).unwrap_or_else(|| {
                    let id = self.new_inode(Inode::File(File::default()));
                    self.name(path, Some(id)).expect("a database in an unknown directory");
                    id
                });
                if let Inode::File(file) = &mut self.inodes[id] {
                    file.live = Content { bytes: content.clone(), ..Content::default() };
                    file.durable = Kept::new(file.live.clone());
                    file.unsynced.clear();
                }
            }
            Change::SyncDirectory { path, begun } => {
                if let Some(id) = self.find(path) {
                    Self::sync_names(self.directory(id), *begun);
                }
            }
            Change::SyncFileSystem { begun } => {
                for inode in &mut self.inodes {
                    match inode {
                        Inode::File(file) => Self::sync_file(file, *begun),
                        Inode::Directory(directory) => Self::sync_names(directory, *begun),
                    }
                }
            }
        }
    }

    /// What is there when the power goes now.
    pub(crate) fn crash(&self, keep: Keep) -> Tree {
        let mut tree = Tree::new();
        self.survive(0, Path::new(""), keep, &mut tree);
        tree
    }

    fn survive(&self, id: usize, path: &Path, keep: Keep, tree: &mut Tree) {
        match &self.inodes[id] {
            Inode::File(file) => {
                tree.insert(path.to_owned(), Some(Self::surviving(file, keep)));
            }
            Inode::Directory(directory) => {
                if id != 0 {
                    tree.insert(path.to_owned(), None);
                }
                let mut names = match keep {
                    Keep::Everything => directory.live.clone(),
                    Keep::Nothing | Keep::Some(_) => directory.durable.clone(),
                };
                if let Keep::Some(seed) = keep {
                    // Both halves of a rename have one number, and so one fate.
                    let kept =
                        directory.unsynced.iter().filter(|(at, ..)| draw(seed, *at, 0, 2) == 0);
                    for (_, name, id) in kept {
                        match id {
                            Some(id) => drop(names.insert(name.clone(), *id)),
                            None => drop(names.remove(name)),
                        }
                    }
                }
                for (name, id) in names {
                    self.survive(id, &path.join(name), keep, tree);
                }
            }
        }
    }

    fn surviving(file: &File, keep: Keep) -> Rc<Kept> {
        let seed = match keep {
            _ if file.unsynced.is_empty() => return file.durable.clone(),
            Keep::Nothing => return file.durable.clone(),
            Keep::Everything => return Kept::new(file.live.clone()),
            Keep::Some(seed) => seed,
        };
        let mut content = file.durable.content.clone();
        for (at, edit) in &file.unsynced {
            match (edit, draw(seed, *at, 1, 4)) {
                (_, 0) => {}
                (Edit::Write { offset, bytes }, 1) => {
                    // Torn: a part of its sectors, the rest as if nothing had been written.
                    let sector = SECTORS[draw(seed, *at, 2, 2) as usize];
                    for (index, piece) in bytes.chunks(sector).enumerate() {
                        if draw(seed, *at, 3 + index as u64, 2) == 0 {
                            let (offset, bytes) = (offset + index * sector, piece.to_vec());
                            Edit::Write { offset, bytes }.apply(&mut content);
                        }
                    }
                }
                (edit, _) => edit.apply(&mut content),
            }
        }
        Kept::new(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(number: u64, bytes: &[u8]) -> Change {
        Change::Write { file: Which::Number(number), offset: Some(0), bytes: bytes.to_vec() }
    }

    fn named(path: &str) -> PathBuf {
        Path::new("/d").join(path)
    }

    fn after(changes: &[Change], keep: Keep) -> BTreeMap<String, Option<Vec<u8>>> {
        let mut model = Model::new(Path::new("/d"));
        changes.iter().for_each(|change| model.apply(change));
        let tree = model.crash(keep).into_iter();
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        tree.map(|(path, file)| (text(path), file.map(|file| file.content.bytes.clone()))).collect()
    }

    fn changes(syncs: [bool; 3]) -> Vec<Change> {
        let mut changes = vec![
            Change::MakeDirectory(named("new")),
            Change::Create(Which::Number(1)),
            write(1, b"body"),
        ];
        let mut add = |wanted: bool, sync: fn(usize) -> Change| {
            if wanted {
                let begun = changes.len();
                changes.push(sync(begun));
            }
        };
        add(syncs[0], |begun| Change::SyncFile { file: Which::Number(1), begun });
        changes.push(Change::Link { file: Which::Number(1), path: named("new/f") });
        let mut add = |wanted: bool, path: &str| {
            if wanted {
                let begun = changes.len();
                changes.push(Change::SyncDirectory { path: named(path), begun });
            }
        };
        add(syncs[1], "new");
        add(syncs[2], "");
        changes
    }

    #[test]
    fn each_of_three_syncs_is_needed() {
        let whole = Some(Some(b"body".to_vec()));
        let kept = |syncs| after(&changes(syncs), Keep::Nothing).get("new/f").cloned();
        assert_eq!(kept([true, true, true]), whole);
        assert_eq!(kept([true, true, false]), None, "the new parent");
        assert_eq!(kept([true, false, true]), None, "the name");
        assert_eq!(kept([false, true, true]), Some(Some(vec![])), "the bytes");
        assert_eq!(after(&changes([false; 3]), Keep::Everything).get("new/f").cloned(), whole);
    }

    #[test]
    fn a_sync_covers_what_was_there_when_it_began() {
        let mut changes = changes([true, false, false]);
        let begun = changes.len() - 1;
        changes.push(Change::SyncFileSystem { begun });
        let tree = after(&changes, Keep::Nothing);
        assert_eq!(tree.keys().collect::<Vec<_>>(), ["new"]);
    }

    #[test]
    fn some_of_what_is_not_synced_stays_in_every_mixture() {
        let changes = changes([false; 3]);
        let found: std::collections::BTreeSet<_> =
            (0..200).map(|seed| after(&changes, Keep::Some(seed)).get("new/f").cloned()).collect();
        assert_eq!(found.len(), 3, "gone, empty, whole: {found:?}");
    }

    #[test]
    fn half_of_a_rename_is_durable_when_only_one_directory_was_synced() {
        let mut changes = changes([true; 3]);
        changes.push(Change::MakeDirectory(named("aside")));
        changes.push(Change::Rename { from: named("new/f"), to: named("aside/f") });
        assert!(after(&changes, Keep::Nothing).contains_key("new/f"));
        for seed in 0..50 {
            let tree = after(&changes, Keep::Some(seed));
            let (old, new) = (tree.contains_key("new/f"), tree.contains_key("aside/f"));
            assert!(old || new || !tree.contains_key("aside"), "both or none");
        }
        let begun = changes.len();
        changes.push(Change::SyncDirectory { path: named("new"), begun });
        assert!(!after(&changes, Keep::Nothing).values().any(|file| file.is_some()));
    }
}
