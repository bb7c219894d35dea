//! The other path of an object while the number of partitions is being doubled.
//!
//! Source: `swift/obj/diskfile.py`, `_finalize_put`, `_part_power_cleanup`. During that time an
//! object has a path in each of two partitions: that of the part power named by its request
//! (`X-Backend-Next-Part-Power`), and that of the request's own ring. A file written in one gets a
//! name in the other, as durable as the first; obsolete files are removed from both. Where both
//! powers give the same partition the ring has been changed already: then the previous place is
//! only tidied.
//!
//! A proxy that has just loaded the doubled ring names the previous power, so that servers with the
//! old ring find what it writes. That ends when the relinker begins to empty the old partitions: a
//! link made there later would never be removed.

use std::io;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use apus_disk::{Committer, DirectoryLock};

use super::{cleanup, relink_notes};
use crate::engine::place::{OtherPath, Place};

/// How often a removed directory is created again for one link.
const REMAKE_MAX: u32 = 3;

/// Gives the file `name`, which was written durably in `own`, its other name, durably.
pub(super) fn settle(
    other: &OtherPath,
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
    match other {
        OtherPath::Tidy(before) => tidy(before),
        OtherPath::Link(place) if place.partition > own.partition => {
            link(own, place, name, committer)?;
            tidy(place);
        }
        OtherPath::Link(before) => {
            if let Some(_lock) = may_link_back(before)? {
                link(own, before, name, committer)?;
            }
            tidy(before);
        }
    }
    Ok(())
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
                    // A newer write replaced it, and makes its own link.
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

/// Takes the relinker's lock, shared; `None` when it empties, or has emptied, the old partitions.
fn may_link_back(before: &Place) -> io::Result<Option<DirectoryLock>> {
    let kind = before.policy.suffixed("objects");
    let lock =
        match DirectoryLock::share(&before.device, &relink_notes::lock(&kind), Duration::ZERO) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            lock => lock?,
        };
    Ok((!has_cleanup_begun(&before.device.join(relink_notes::file(&kind)), before)?)
        .then_some(lock))
}

/// Whether the relinker's notes describe the partitions of a doubled ring.
fn has_cleanup_begun(state: &Path, before: &Place) -> io::Result<bool> {
    /// The part powers come first.
    const HEAD_BYTES: u64 = 256;
    let mut head = Vec::new();
    match std::fs::File::open(state) {
        Ok(file) => file.take(HEAD_BYTES).read_to_end(&mut head)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let power = relink_notes::own_power(&head);
    Ok(power.is_some_and(|power| power.partition(&before.hash).0 != before.partition))
}

#[cfg(test)]
mod tests {
    use apus_cluster::{PartPower, PathHash, PolicyIndex};

    use super::*;

    fn place(partition: u32) -> Place {
        let hash = PathHash::parse("9d00c9d091fea9ea855f29c22714dc83").unwrap();
        Place { device: "/srv/node/sd1".into(), policy: PolicyIndex(0), partition, hash }
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
    fn the_other_name_replaces_a_file_and_obsolete_ones_are_removed() {
        let (own, committer) = bed("replaces", 628);
        let OtherPath::Link(other) = OtherPath::of(&own, PartPower::new(11).unwrap()).unwrap()
        else {
            panic!("no link")
        };
        std::fs::create_dir_all(other.directory()).unwrap();
        let name = "0000000002.00000.data";
        for name in [name, "0000000001.00000.data"] {
            std::fs::write(other.directory().join(name), "old").unwrap();
        }
        for _ in 0..2 {
            let wanted = OtherPath::Link(other.clone());
            settle(&wanted, &own, name, &committer).unwrap();
            assert_eq!(apus_disk::names(&other.directory()).unwrap(), [name]);
            assert_eq!(std::fs::read(other.directory().join(name)).unwrap(), b"new");
        }
        // What was replaced by a newer write meanwhile needs no link.
        let gone = "0000000001.00000.ts";
        settle(&OtherPath::Link(other.clone()), &own, gone, &committer).unwrap();
        assert_eq!(apus_disk::names(&other.directory()).unwrap(), [name]);
        std::fs::remove_dir_all(&own.device).unwrap();
    }

    #[test]
    fn a_link_back_is_left_out_while_the_relinker_works() {
        let (own, committer) = bed("back", 1256);
        let back = OtherPath::of(&own, PartPower::new(10).unwrap()).unwrap();
        let (name, before) = ("0000000002.00000.data", own.device.join("objects/628"));
        let held = DirectoryLock::take(&own.device, &relink_notes::lock("objects"), Duration::ZERO);
        settle(&back, &own, name, &committer).unwrap();
        assert!(!before.exists());
        drop(held);
        settle(&back, &own, name, &committer).unwrap();
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
