//! Tables of text with aligned columns.

/// Columns, the first to the left and the others to the right.
pub(super) fn aligned<'a, const N: usize>(
    rows: impl Iterator<Item = &'a [String; N]> + Clone,
) -> Vec<String> {
    let mut widths = [0; N];
    for row in rows.clone() {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.len().max(*width);
        }
    }
    rows.map(|row| {
        let cells = row.iter().zip(widths).enumerate().map(|(at, (cell, width))| match at {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        cells.collect::<Vec<_>>().join("  ")
    })
    .collect()
}
