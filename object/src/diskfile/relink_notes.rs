//! Lock and notes of the relinker on a device, as far as writers need them.
//!
//! Source: `swift/cli/relinker.py`, `hook_pre_device`.

use apus_cluster::PartPower;

/// Lock of the relinker that works on a device; `kind` is `objects[-N]`.
pub(crate) fn lock(kind: &str) -> String {
    format!(".relink.{kind}.lock")
}

/// Name of the file with its notes.
pub(crate) fn file(kind: &str) -> String {
    format!("relink.{kind}.json")
}

/// The part power of the ring for which notes were made, from their first bytes.
pub(crate) fn own_power(head: &[u8]) -> Option<PartPower> {
    const KEY: &str = "\"part_power\":";
    let head = String::from_utf8_lossy(head);
    let rest = head.get(head.find(KEY)? + KEY.len()..)?.trim_start();
    let end = rest.find(|letter: char| !letter.is_ascii_digit())?;
    rest.get(..end)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_power_is_read_from_the_first_bytes_only_when_it_is_complete() {
        assert_eq!(
            own_power(br#"{"next_part_power": 12, "part_power": 11, "sta"#),
            PartPower::new(11)
        );
        assert_eq!(own_power(br#"{"part_power": 1"#), None);
        assert_eq!(own_power(b""), None);
    }
}
