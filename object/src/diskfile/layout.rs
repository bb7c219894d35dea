//! Derives the state of an object from the file names of its hash directory.
//!
//! Pure. Source: `swift/obj/diskfile.py`, `get_ondisk_files`. The newest tombstone hides everything of
//! its time or older; the newest data file hides older ones; metadata files count when newer than
//! the data, the newest for metadata and, if another has it, the one with the newest content type.

use apus_cluster::Timestamp;
use apus_cluster::timestamp::{apply_delta, delta};

use crate::engine::object::{Times, Version};

/// A current file, with its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) time: Timestamp,
}

/// A metadata file, whose name also contains the time of its content type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MetaFile {
    pub(crate) name: String,
    pub(crate) time: Timestamp,
    pub(crate) content_type_time: Option<Timestamp>,
}

/// The files of a hash directory, sorted by their use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    /// The body, unless deleted.
    pub(crate) data: Option<File>,
    /// Newest metadata after the body.
    pub(crate) meta: Option<MetaFile>,
    /// Another metadata file whose content type is newer than that of `meta`.
    pub(crate) content_type: Option<MetaFile>,
    /// The tombstone, if it is newer than any body.
    pub(crate) tombstone: Option<File>,
    /// Files that are no longer needed.
    pub(crate) obsolete: Vec<String>,
}

enum FileKind {
    Data,
    Tombstone,
    Meta(Option<Timestamp>),
}

fn parse(name: &str) -> Option<(FileKind, Timestamp)> {
    let (stem, extension) = name.rsplit_once('.')?;
    match extension {
        // `time#index[#d].data` is a fragment of an erasure code, not a copy.
        "data" => Some((FileKind::Data, Timestamp::parse(stem)?)),
        "ts" => Some((FileKind::Tombstone, Timestamp::parse(stem)?)),
        "meta" => {
            let at = stem.find(['+', '-']).unwrap_or(stem.len());
            let (time, rest) = stem.split_at(at);
            let time = Timestamp::parse(time)?;
            let content_type = if rest.is_empty() { None } else { Some(apply_delta(time, rest)?) };
            Some((FileKind::Meta(content_type), time))
        }
        _ => None,
    }
}

/// The file name of a version.
pub(crate) fn file_name(version: Version) -> String {
    match version {
        Version::Data(time) => data_name(time),
        Version::Tombstone(time) => tombstone_name(time),
        Version::Metadata { time, content_type } => meta_name(time, content_type),
    }
}

/// `<time>.data`.
pub(crate) fn data_name(time: Timestamp) -> String {
    format!("{time}.data")
}

/// `<time>.ts`.
fn tombstone_name(time: Timestamp) -> String {
    format!("{time}.ts")
}

/// `<time>[+delta].meta`.
fn meta_name(time: Timestamp, content_type_time: Option<Timestamp>) -> String {
    match content_type_time {
        Some(content_type) => format!("{time}{}.meta", delta(time, content_type)),
        None => format!("{time}.meta"),
    }
}

impl Layout {
    /// When the content type was set, if that was after the body was written.
    pub(crate) fn newer_content_type(&self) -> Option<Timestamp> {
        let data = self.data.as_ref()?.time;
        let file = self.content_type.as_ref().or(self.meta.as_ref())?;
        file.content_type_time.filter(|time| *time > data)
    }

    /// The times that identify the object's state; `None` when nothing is stored.
    pub(crate) fn times(&self) -> Option<Times> {
        match (&self.data, &self.tombstone) {
            (Some(data), _) => Some(Times {
                data: data.time,
                meta: self.meta.as_ref().map(|meta| meta.time),
                content_type: self.newer_content_type(),
            }),
            (None, Some(tombstone)) => {
                Some(Times { data: tombstone.time, meta: None, content_type: None })
            }
            (None, None) => None,
        }
    }

    /// Classifies the names.
    pub(crate) fn of(names: &[String]) -> Self {
        let mut layout = Self::default();
        let mut metas: Vec<MetaFile> = Vec::new();
        for name in names {
            let Some((kind, time)) = parse(name) else { continue };
            let file = File { name: name.clone(), time };
            let newest = match kind {
                FileKind::Data => &mut layout.data,
                FileKind::Tombstone => &mut layout.tombstone,
                FileKind::Meta(content_type_time) => {
                    metas.push(MetaFile { name: file.name, time, content_type_time });
                    continue;
                }
            };
            let replaced = match newest {
                Some(known) if known.time >= time => Some(file),
                other => other.replace(file),
            };
            layout.obsolete.extend(replaced.map(|file| file.name));
        }
        match (&layout.data, &layout.tombstone) {
            (Some(data), Some(tombstone)) if tombstone.time >= data.time => {
                layout.obsolete.extend(layout.data.take().map(|file| file.name));
            }
            (Some(_), Some(_)) => {
                layout.obsolete.extend(layout.tombstone.take().map(|file| file.name));
            }
            _ => {}
        }
        let floor = layout.data.as_ref().or(layout.tombstone.as_ref()).map(|file| file.time);
        for meta in metas {
            if floor.is_some_and(|floor| meta.time <= floor) {
                layout.obsolete.push(meta.name);
                continue;
            }
            layout.add_meta(meta);
        }
        // The content type of a metadata file counts only when newer than the data's.
        let newer = |meta: &MetaFile| meta.content_type_time > floor;
        if layout.content_type.as_ref().is_some_and(|meta| !newer(meta)) {
            layout.obsolete.extend(layout.content_type.take().map(|meta| meta.name));
        }
        layout
    }

    fn add_meta(&mut self, meta: MetaFile) {
        let Some(newest) = &self.meta else {
            self.meta = Some(meta);
            return;
        };
        // Of two with the same time only the one with the newer content type stays.
        let rank = |file: &MetaFile| (file.time, file.content_type_time);
        let (newest, older) = if rank(&meta) > rank(newest) {
            (meta, self.meta.take())
        } else {
            (newest.clone(), Some(meta))
        };
        let Some(older) = older else { return };
        let best = [Some(older), self.content_type.take()].into_iter().flatten().fold(
            None::<MetaFile>,
            |best, file| match best {
                Some(best) if best.content_type_time >= file.content_type_time => {
                    self.obsolete.push(file.name);
                    Some(best)
                }
                Some(best) => {
                    self.obsolete.push(best.name);
                    Some(file)
                }
                None => Some(file),
            },
        );
        match best {
            Some(best) if best.content_type_time > newest.content_type_time => {
                self.content_type = Some(best);
            }
            Some(best) => self.obsolete.push(best.name),
            None => {}
        }
        self.meta = Some(newest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(names: &[&str]) -> Layout {
        Layout::of(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
    }

    fn time(seconds: u64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    #[test]
    fn newest_data_hides_older_files_and_older_tombstones() {
        let got =
            layout(&["0000000001.00000.data", "0000000003.00000.data", "0000000002.00000.ts"]);
        assert_eq!(got.data.unwrap().time, time(3));
        assert_eq!(got.tombstone, None);
        assert_eq!(got.obsolete, ["0000000001.00000.data", "0000000002.00000.ts"]);
    }

    #[test]
    fn a_tombstone_of_the_same_time_wins() {
        let got =
            layout(&["0000000003.00000.ts", "0000000003.00000.data", "0000000002.00000.meta"]);
        assert_eq!(got.data, None);
        assert_eq!(got.tombstone.unwrap().time, time(3));
        assert_eq!(got.obsolete.len(), 2);
    }

    #[test]
    fn metadata_counts_only_after_the_data_and_may_be_in_two_files() {
        let got = layout(&[
            "0000000001.00000.meta",
            "0000000002.00000.data",
            "0000000005.00000-493e0.meta",
            "0000000004.00000+0.meta",
        ]);
        assert_eq!(got.meta.as_ref().unwrap().time, time(5));
        assert_eq!(got.content_type.as_ref().unwrap().time, time(4));
        assert_eq!(got.obsolete, ["0000000001.00000.meta"]);
    }

    #[test]
    fn the_result_does_not_depend_on_the_order_of_names() {
        let mut names = vec![
            "0000000001.00000.data",
            "0000000002.00000.ts",
            "0000000003.00000.data",
            "0000000004.00000+0.meta",
            "0000000005.00000-186a0.meta",
            "0000000006.00000-249f0.meta",
            "junk",
        ];
        let expected = layout(&names);
        for _ in 0..names.len() {
            names.rotate_left(1);
            let mut got = layout(&names);
            got.obsolete.sort();
            let mut wanted = expected.clone();
            wanted.obsolete.sort();
            assert_eq!(got, wanted);
        }
    }

    #[test]
    fn of_two_metadata_files_of_one_time_the_newer_content_type_stays() {
        let names =
            ["0000000001.00000.data", "0000000005.00000-186a0.meta", "0000000005.00000+0.meta"];
        for names in [names, [names[2], names[1], names[0]]] {
            let got = layout(&names);
            assert_eq!(got.meta.unwrap().content_type_time, Some(time(5)));
            assert_eq!(got.content_type, None);
            assert_eq!(got.obsolete, ["0000000005.00000-186a0.meta"]);
        }
    }

    #[test]
    fn fragments_and_foreign_files_are_left_alone() {
        let got = layout(&["0000000001.00000#3#d.data", ".tmp.abc123", "notes.txt"]);
        assert_eq!(got, Layout::default());
    }

    #[test]
    fn names_are_swifts() {
        let at = Timestamp::parse("1700000000.12345").unwrap();
        assert_eq!(meta_name(at, Some(at)), "1700000000.12345+0.meta");
        assert_eq!(data_name(at.with_offset(1)), "1700000000.12345_0000000000000001.data");
    }
}
