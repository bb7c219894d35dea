//! Rows of a matrix as sums of other rows: the linear algebra of codes.
#![allow(clippy::indexing_slicing, reason = "indexes are within the matrix that this file makes")]

use crate::field::Field;

/// For each of `targets` the coefficients with which `rows` add up to it; `None` if one is not such a sum.
///
/// All rows have the same length. A solution uses the first rows that suffice: the coefficients of rows
/// that depend on earlier ones are zero. Arithmetic in a field is exact, so any other set of rows
/// returns the same bytes.
pub(crate) fn combine(field: Field, rows: &[&[u16]], targets: &[&[u16]]) -> Option<Vec<Vec<u16>>> {
    let length = targets.first().map_or(0, |target| target.len());
    // One equation per column of the rows: the unknowns are the coefficients, the targets stand at the right.
    let entry = |column: usize| move |row: &&[u16]| row[column];
    let mut equations: Vec<Vec<u16>> =
        (0..length).map(|column| rows.iter().chain(targets).map(entry(column)).collect()).collect();
    let mut solved_by = vec![None; rows.len()];
    let mut used = 0;
    for unknown in 0..rows.len() {
        let Some(pivot) = (used..length).find(|equation| equations[*equation][unknown] != 0) else {
            continue;
        };
        equations.swap(used, pivot);
        eliminate(field, &mut equations, used, unknown);
        solved_by[unknown] = Some(used);
        used += 1;
    }
    let rest_is_zero = |equation: &Vec<u16>| equation[rows.len()..].iter().all(|entry| *entry == 0);
    if !equations[used..].iter().all(rest_is_zero) {
        return None;
    }
    let solution = |target: usize| {
        let value =
            |equation: &Option<usize>| equation.map_or(0, |at| equations[at][rows.len() + target]);
        solved_by.iter().map(value).collect()
    };
    Some((0..targets.len()).map(solution).collect())
}

/// Makes the entry of `unknown` one in the equation at `pivot` and zero in all others.
fn eliminate(field: Field, equations: &mut [Vec<u16>], pivot: usize, unknown: usize) {
    let scale = field.invert(equations[pivot][unknown]);
    if scale != 1 {
        equations[pivot].iter_mut().for_each(|entry| *entry = field.multiply(*entry, scale));
    }
    let row = std::mem::take(&mut equations[pivot]);
    for equation in equations.iter_mut().filter(|equation| !equation.is_empty()) {
        let factor = equation[unknown];
        if factor != 0 {
            for (entry, subtracted) in equation.iter_mut().zip(&row) {
                *entry ^= field.multiply(factor, *subtracted);
            }
        }
    }
    equations[pivot] = row;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coefficients_are_found_where_they_exist() {
        let rows: [&[u16]; 3] = [&[1, 0, 0], &[1, 1, 0], &[0, 1, 0]];
        let cases: [(&[u16], Option<Vec<u16>>); 4] = [
            (&[0, 1, 0], Some(vec![1, 1, 0])),
            (&[7, 0, 0], Some(vec![7, 0, 0])),
            (&[0, 0, 0], Some(vec![0, 0, 0])),
            (&[0, 0, 1], None),
        ];
        for (target, expected) in cases {
            let found = combine(Field::Bytes, &rows, &[target]);
            assert_eq!(found, expected.map(|coefficients| vec![coefficients]), "{target:?}");
        }
    }

    #[test]
    fn nothing_is_wanted_of_nothing() {
        assert_eq!(combine(Field::Words, &[], &[]), Some(vec![]));
        assert_eq!(combine(Field::Words, &[], &[&[1]]), None);
    }
}
