//! Logs that SQLite wrote itself.

use std::path::PathBuf;

use super::*;

/// A database with ten commits in its log, and the log.
fn written(name: &str) -> (PathBuf, Vec<u8>) {
    let folder = std::env::temp_dir().join(format!("apus-log-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("one.db");
    let mut connection = crate::open::connect(&path, crate::open::Journal::Wal, true).unwrap();
    connection.script("CREATE TABLE t (a TEXT)").unwrap();
    for number in 0..9 {
        connection
            .run("INSERT INTO t VALUES (?)", &[format!("row {number}").as_str().into()])
            .unwrap();
    }
    // Before it is closed, which checkpoints the log.
    let (database, log) =
        (std::fs::read(&path).unwrap(), std::fs::read(with_suffix(&path, "-wal")).unwrap());
    connection.close().unwrap();
    std::fs::write(&path, database).unwrap();
    std::fs::write(with_suffix(&path, "-wal"), &log).unwrap();
    (path, log)
}

fn checked(log: &[u8]) -> WalState {
    scan_log(&mut &log[..]).unwrap()
}

#[test]
fn every_flipped_bit_is_found_where_it_is() {
    let (path, mut log) = written("flips");
    assert_eq!(check(&path).unwrap(), WalState::Good);
    assert!(log.len() > 10 * 4096);
    let frame = FRAME_HEADER_BYTES + 4096;
    let heads = (0..HEADER_BYTES + FRAME_HEADER_BYTES)
        .chain(HEADER_BYTES + frame..HEADER_BYTES + frame + 40);
    for at in heads.chain((0..log.len()).step_by(1777)).chain([log.len() - 1]) {
        for mask in [1, 0x10, 0x80] {
            log[at] ^= mask;
            let found = checked(&log);
            assert_ne!(found.damage(), None, "byte {at}");
            // Of the high bits of a word some look like others; salts are compared as they are.
            let inside = at.saturating_sub(HEADER_BYTES) % frame;
            let is_sure = at < HEADER_BYTES
                || match inside {
                    8..16 => true,
                    // A checksum looks like the last word of its page.
                    16..FRAME_HEADER_BYTES => false,
                    _ => inside % 4 < 2,
                };
            if is_sure || matches!(found, WalState::Flipped(_)) {
                assert_eq!(
                    found,
                    WalState::Flipped(Flips(vec![Flip { at: at as u64, mask }])),
                    "byte {at}"
                );
            }
            log[at] ^= mask;
        }
    }
    std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
}

#[test]
fn a_mended_copy_has_every_row() {
    let (path, mut log) = written("copy");
    let at = HEADER_BYTES + FRAME_HEADER_BYTES + 77;
    log[at] ^= 4;
    std::fs::write(with_suffix(&path, "-wal"), &log).unwrap();
    let WalState::Flipped(flips) = check(&path).unwrap() else { panic!("good") };
    let copy = path.with_file_name("copy.db");
    copy_mended(&path, &flips, &copy).unwrap();
    assert_eq!(check(&copy).unwrap(), WalState::Good);
    let mut connection = crate::audit::open_to_read(&copy).unwrap();
    let mut rows = 0;
    connection
        .query("SELECT a FROM t", &[], |_| {
            rows += 1;
            true
        })
        .unwrap();
    assert_eq!(rows, 9);
    connection.close().unwrap();
    std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
}

#[test]
fn what_was_never_synced_is_no_damage() {
    let (path, log) = written("torn");
    let frame = FRAME_HEADER_BYTES + 4096;
    assert_eq!((log.len() - HEADER_BYTES) % frame, 0);
    // Cut anywhere, a last frame of zeros, one of which a sector is missing, frames of an earlier life.
    for length in [0, 5, HEADER_BYTES, HEADER_BYTES + 100, log.len() - 1] {
        assert_eq!(checked(&log[..length]), WalState::Good);
    }
    let zeros = [&log[..], &vec![0; frame]].concat();
    assert_eq!(checked(&zeros), WalState::Good);
    let mut torn = log.clone();
    let end = torn.len();
    torn[end - 512..].fill(0x5a);
    assert_eq!(checked(&torn), WalState::Good);
    let mut earlier = log.clone();
    let last = end - frame;
    earlier[last + 8..last + 16].copy_from_slice(&[0x11; 8]);
    assert_eq!(checked(&earlier), WalState::Good);
    std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
}

#[test]
fn a_frame_that_was_synced_and_is_beyond_repair_is_damage() {
    let (path, mut log) = written("lost");
    log[HEADER_BYTES + FRAME_HEADER_BYTES + 100..][..512].fill(0x5a);
    assert_eq!(checked(&log), WalState::Lost(0));
    std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
}
