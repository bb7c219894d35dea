//! Reads a file piece by piece, however long the file or a piece is.

use std::io::{self, BufRead};

/// Calls `take` with each piece between two separators, and with the rest at the end. Of a piece
/// that is longer than `bytes_max` it gets only the last `bytes_max` bytes, with `false`.
///
/// # Errors
/// Those of the reader and of `take`.
pub fn each_piece<E: From<io::Error>>(
    mut reader: impl BufRead,
    separator: u8,
    bytes_max: usize,
    mut take: impl FnMut(&[u8], bool) -> Result<(), E>,
) -> Result<(), E> {
    let (mut piece, mut is_whole) = (Vec::new(), true);
    loop {
        let read = reader.fill_buf()?;
        if read.is_empty() {
            break;
        }
        let end = read.iter().position(|byte| *byte == separator);
        let part = read.get(..end.unwrap_or(read.len())).unwrap_or_default();
        piece.extend_from_slice(part);
        let used = part.len() + usize::from(end.is_some());
        reader.consume(used);
        if let Some(over) = piece.len().checked_sub(bytes_max).filter(|over| *over > 0) {
            piece.drain(..over);
            is_whole = false;
        }
        if end.is_some() {
            take(&piece, is_whole)?;
            (piece, is_whole) = (Vec::new(), true);
        }
    }
    if piece.is_empty() { Ok(()) } else { take(&piece, is_whole) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(content: &[u8], capacity: usize) -> Vec<(Vec<u8>, bool)> {
        let mut found = Vec::new();
        let reader = io::BufReader::with_capacity(capacity, content);
        each_piece(reader, b'\n', 4, |piece, is_whole| {
            found.push((piece.to_vec(), is_whole));
            Ok::<(), io::Error>(())
        })
        .unwrap();
        found
    }

    #[test]
    fn pieces_do_not_depend_on_reads_and_long_ones_lose_their_beginning() {
        let piece = |text: &str, is_whole| (text.as_bytes().to_vec(), is_whole);
        for capacity in [1, 2, 3, 5, 64] {
            let expected = vec![
                piece("abc", true),
                piece("", true),
                piece("abcd", true),
                piece("6789", false),
                piece("ab", true),
            ];
            assert_eq!(pieces(b"abc\n\nabcd\n123456789\nab", capacity), expected, "{capacity}");
            assert_eq!(pieces(b"", capacity), []);
            assert_eq!(pieces(b"\n", capacity), [piece("", true)]);
        }
    }
}
