//! The status on which a quorum of answers agrees.
//!
//! Source: `swift/proxy/controllers/base.py`, `best_response`: the first class of statuses (2xx,
//! 3xx, 4xx) that a quorum shares, and in it the most frequent status; else 503.

use http::StatusCode;

/// The status that `quorum` answers agree on, if any.
pub(crate) fn best_status(statuses: &[StatusCode], quorum: usize) -> Option<StatusCode> {
    for class in [2u16, 3, 4] {
        let of_class: Vec<StatusCode> =
            statuses.iter().copied().filter(|status| status.as_u16() / 100 == class).collect();
        if of_class.len() >= quorum {
            let count = |status: StatusCode| of_class.iter().filter(|s| **s == status).count();
            return of_class
                .iter()
                .copied()
                .max_by_key(|status| (count(*status), u16::MAX - status.as_u16()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best(codes: &[u16], quorum: usize) -> Option<u16> {
        let statuses: Vec<_> = codes.iter().map(|c| StatusCode::from_u16(*c).unwrap()).collect();
        best_status(&statuses, quorum).map(|status| status.as_u16())
    }

    #[test]
    fn a_class_with_a_quorum_wins_and_in_it_the_most_frequent() {
        assert_eq!(best(&[201, 201, 503], 2), Some(201));
        assert_eq!(best(&[404, 404, 204], 2), Some(404));
        assert_eq!(best(&[409, 404, 404], 2), Some(404));
        assert_eq!(best(&[201, 404, 503], 2), None);
        assert_eq!(best(&[], 1), None);
    }
}
