//! The other path of an object while the number of partitions is being doubled.
//!
//! Source: `swift/obj/diskfile.py`, `_finalize_put`, `_part_power_cleanup`. Each object then has a
//! path in each of two partitions: by the part power that its request names (`X-Backend-Next-Part-
//! Power`), and by that of the request's own ring. What is written in one gets a name in the other,
//! too, as durable as the first; what is obsolete goes from both. Where both powers give the same
//! partition the ring has been changed already: then the place before it is only tidied.
//!
//! A proxy that has just taken up the doubled ring names the power before it, so that those who do
//! not know the ring yet find what it writes. That ends when the relinker begins to empty the old
//! partitions: what is linked there later would never be removed.

use std::io;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use apus_disk::{Committer, DirectoryLock};

use super::cleanup;
use super::writer::Place;
use crate::relinker::state;

/// How often a directory that was tidied away is made again for one link.
const REMAKE_MAX: u32 = 3;

/// What a write has to do elsewhere.
#[derive(Debug, Clone)]
pub(crate) enum OtherPath {
    /// Another name in the partition of this place.
    Link(Place),
    /// Tidy this place, in which nothing is written any more.
    Tidy(Place),
}

impl OtherPath {
    /// By the part power that a request names.
    pub(crate) fn of(own: &Place, power: u32) -> Option<Self> {
        let at = |power: u32| Place { partition: own.hash.partition(power), ..own.clone() };
        if own.hash.partition(power) != own.partition {
            return Some(Self::Link(at(power)));
        }
        let before = at(power.checked_sub(1)?);
        // Partition 0 keeps its number.
        (before.partition != own.partition).then_some(Self::Tidy(before))
    }

    /// Gives the file `name`, which was written durably in `own`, its other name, durably.
    pub(crate) fn settle(
        &self,
        own: &Place,
        name: &str,
        committer: &Arc<Committer>,
    ) -> io::Result<()> {
        if apus_fault::planted("bug.skip-other-path") {
            return Ok(());
        }
        let counters = committer.counters();
        let tidy = |place: &Place| {
            cleanup::remove_obsolete(&place.device, &place.directory(), &place.hash, counters);
        };
        match self {
            Self::Tidy(before) => tidy(before),
            Self::Link(place) if place.partition > own.partition => {
                link(own, place, name, committer)?;
                tidy(place);
            }
            Self::Link(before) => {
                if let Some(_lock) = may_link_back(before)? {
                    link(own, before, name, committer)?;
                }
                tidy(before);
            }
        }
        Ok(())
    }
}

fn link(own: &Place, other: &Place, name: &str, committer: &Arc<Committer>) -> io::Result<()> {
    let (file, directory) = (own.directory().join(name), other.directory());
    let mut tries = 0;
    loop {
        committer.make_directories(&other.device, &directory)?;
        let suffix = other.hash.suffix_dir();
        cleanup::invalidate(&other.partition_directory(), &suffix, committer.counters())?;
        apus_fault::fallible("object.other-path.begun")?;
        committer.counters().calls(1);
        match apus_disk::hard_link_over(&file, &directory.join(name)) {
            Ok(()) => break,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if !file.exists() {
                    // A newer write has taken its place, and links itself.
                    return Ok(());
                }
                tries += 1;
                if tries > REMAKE_MAX {
                    return Err(error);
                }
            }
            Err(error) => return Err(error),
        }
    }
    apus_fault::point("object.other-path.linked");
    committer.sync_names(&other.device, &directory)?;
    Ok(())
}

/// The relinker's lock, shared, unless it empties the old partitions of the device, or has.
fn may_link_back(before: &Place) -> io::Result<Option<DirectoryLock>> {
    let kind = before.policy.suffixed("objects");
    let lock = match DirectoryLock::share(&before.device, &state::lock(&kind), Duration::ZERO) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
        lock => lock?,
    };
    Ok((!has_cleanup_begun(&before.device.join(state::file(&kind)), before)?).then_some(lock))
}

/// Whether the relinker's notes are of the partitions of a doubled ring.
fn has_cleanup_begun(state: &Path, before: &Place) -> io::Result<bool> {
    /// The part powers stand first.
    const HEAD_BYTES: u64 = 256;
    let mut head = Vec::new();
    match std::fs::File::open(state) {
        Ok(file) => file.take(HEAD_BYTES).read_to_end(&mut head)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let power = state::own_power(&head);
    Ok(power.is_some_and(|power| before.hash.partition(power) != before.partition))
}

#[cfg(test)]
mod tests {
    use apus_cluster::{PathHash, PolicyIndex};

    use super::*;

    fn place(partition: u32) -> Place {
        let hash = PathHash::parse("9d00c9d091fea9ea855f29c22714dc83").unwrap();
        Place { device: "/srv/node/sd1".into(), policy: PolicyIndex(0), partition, hash }
    }

    #[test]
    fn the_other_path_is_by_the_named_power() {
        // 628 of 2^10, 1256 of 2^11.
        let next = OtherPath::of(&place(628), 11).unwrap();
        assert!(matches!(next, OtherPath::Link(other) if other.partition == 1256));
        let doubled = OtherPath::of(&place(1256), 11).unwrap();
        assert!(matches!(doubled, OtherPath::Tidy(before) if before.partition == 628));
        let back = OtherPath::of(&place(1256), 10).unwrap();
        assert!(matches!(back, OtherPath::Link(before) if before.partition == 628));
        assert!(OtherPath::of(&place(0), 0).is_none(), "one partition has none before it");
    }

    /// A device with a file in one of the two places, and its committer.
    fn bed(name: &str, own: u32) -> (Place, Arc<Committer>) {
        let device = std::env::temp_dir().join(format!("apus-other-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&device);
        let place = Place { device, ..place(own) };
        std::fs::create_dir_all(place.directory()).unwrap();
        std::fs::write(place.directory().join("0000000002.00000.data"), "new").unwrap();
        (place, Arc::new(Committer::start(name, Arc::default()).unwrap()))
    }

    #[test]
    fn the_other_name_replaces_what_has_it_and_what_is_obsolete_there_goes() {
        let (own, committer) = bed("replaces", 628);
        let OtherPath::Link(other) = OtherPath::of(&own, 11).unwrap() else { panic!("no link") };
        std::fs::create_dir_all(other.directory()).unwrap();
        let name = "0000000002.00000.data";
        for name in [name, "0000000001.00000.data"] {
            std::fs::write(other.directory().join(name), "old").unwrap();
        }
        for _ in 0..2 {
            let wanted = OtherPath::Link(other.clone());
            wanted.settle(&own, name, &committer).unwrap();
            assert_eq!(apus_disk::names(&other.directory()).unwrap(), [name]);
            assert_eq!(std::fs::read(other.directory().join(name)).unwrap(), b"new");
        }
        // What was replaced by a newer write meanwhile needs no link.
        let gone = "0000000001.00000.ts";
        OtherPath::Link(other.clone()).settle(&own, gone, &committer).unwrap();
        assert_eq!(apus_disk::names(&other.directory()).unwrap(), [name]);
        std::fs::remove_dir_all(&own.device).unwrap();
    }

    #[test]
    fn a_link_back_is_left_out_while_the_relinker_works() {
        let (own, committer) = bed("back", 1256);
        let back = OtherPath::of(&own, 10).unwrap();
        let (name, before) = ("0000000002.00000.data", own.device.join("objects/628"));
        let held = DirectoryLock::take(&own.device, &state::lock("objects"), Duration::ZERO);
        back.settle(&own, name, &committer).unwrap();
        assert!(!before.exists());
        drop(held);
        back.settle(&own, name, &committer).unwrap();
        assert!(before.exists());
        std::fs::remove_dir_all(&own.device).unwrap();
    }

    #[test]
    fn nothing_is_linked_back_once_the_old_partitions_are_being_emptied() {
        let state = std::env::temp_dir().join(format!("apus-back-{}", std::process::id()));
        let begun = |text: &str| {
            std::fs::write(&state, text).unwrap();
            has_cleanup_begun(&state, &place(628)).unwrap()
        };
        let before = place(628);
        assert!(!has_cleanup_begun(Path::new("/nowhere"), &before).unwrap());
        assert!(!begun(r#"{"part_power": 10, "next_part_power": 11, "state": {}}"#));
        assert!(begun(r#"{"part_power": 11, "next_part_power": 11, "state": {}}"#));
        assert!(begun(r#"{"next_part_power":11,"part_power":11,"state":{"0":true}}"#));
        assert!(!begun("{torn"));
        std::fs::remove_file(&state).unwrap();
    }
}
