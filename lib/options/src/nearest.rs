//! The known name that is most like a misspelt one.

/// Insertions, deletions, replacements and exchanges of neighbours that lead from one word to the other
/// (optimal string alignment), without regard to case and to `-` for `_`.
fn distance(one: &[u8], other: &[u8]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for (row, left) in one.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, right) in other.iter().enumerate() {
            let of = |line: &[usize], at: usize| line.get(at).copied().unwrap_or(usize::MAX / 2);
            let replaced = of(&last, column) + usize::from(left != right);
            let mut least = replaced.min(of(&last, column + 1) + 1).min(of(&current, column) + 1);
            let swapped = row > 0
                && column > 0
                && one.get(row - 1) == Some(right)
                && other.get(column - 1) == Some(left);
            if swapped {
                least = least.min(of(&before, column - 1) + 1);
            }
            current.push(least);
        }
        before = std::mem::replace(&mut last, current);
    }
    last.last().copied().unwrap_or(0)
}

fn plain(name: &str) -> Vec<u8> {
    let plain = |byte: u8| if byte == b'-' { b'_' } else { byte.to_ascii_lowercase() };
    name.bytes().map(plain).collect()
}

/// The name that is most like `name`; `None` when all are very different. Of equally near ones the first.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = plain(name);
    let allowed = (wanted.len() / 3).clamp(1, 4);
    let distances = known.into_iter().map(|name| (distance(&wanted, &plain(name)), name));
    let found = distances.min_by_key(|(distance, _)| *distance);
    found.filter(|(distance, _)| *distance <= allowed).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_nearest_name_is_found_or_none() {
        let known = ["interval", "concurrency", "files_per_second", "bytes_per_second", "devices"];
        for (name, expected) in [
            ("intervall", Some("interval")),
            ("Interval", Some("interval")),
            ("cocnurrency", Some("concurrency")),
            ("file_per_second", Some("files_per_second")),
            ("byte_per_secnod", Some("bytes_per_second")),
            ("device", Some("devices")),
            ("colour", None),
            ("x", None),
        ] {
            assert_eq!(nearest(name, known), expected, "{name}");
        }
    }

    proptest! {
        #[test]
        fn a_distance_is_symmetric_and_at_most_the_longer_word(one in "[a-c]{0,8}", other in "[a-c]{0,8}") {
            let (one, other) = (one.as_bytes(), other.as_bytes());
            let found = distance(one, other);
            prop_assert_eq!(found, distance(other, one));
            prop_assert!(found <= one.len().max(other.len()));
            prop_assert_eq!(found == 0, one == other);
        }
    }
}
