//! Latencies in a histogram of fixed size: exact below 256 µs, to within 0.4 % above.
//!
//! Every power of two is cut into 128 equal buckets, so memory does not grow with the run.

use std::time::Duration;

const EXACT: u64 = 256;
const CUTS: usize = 128;

/// Counts of latencies.
#[derive(Debug, Clone, Default)]
pub(super) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    sum_us: u64,
    max_us: u64,
}

fn bucket(value_us: u64) -> usize {
    let shift = if value_us < EXACT { 0 } else { value_us.ilog2() - 7 };
    shift as usize * CUTS + (value_us >> shift) as usize
}

/// The middle of a bucket.
fn middle(bucket: usize) -> u64 {
    let shift = (bucket / CUTS).saturating_sub(1);
    let cut = (bucket - shift * CUTS) as u64;
    (cut << shift) + (1u64 << shift) / 2
}

impl Histogram {
    /// Counts one latency.
    pub(super) fn add(&mut self, latency: Duration) {
        let value_us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        let bucket = bucket(value_us);
        if bucket >= self.counts.len() {
            self.counts.resize(bucket + 1, 0);
        }
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
        self.total += 1;
        self.sum_us += value_us;
        self.max_us = self.max_us.max(value_us);
    }

    /// Counts all latencies of another histogram.
    pub(super) fn merge(&mut self, other: &Self) {
        if other.counts.len() > self.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
        self.sum_us += other.sum_us;
        self.max_us = self.max_us.max(other.max_us);
    }

    /// Latencies counted.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// The latency that `per_mille` of a thousand requests did not exceed; `None` when there are
    /// none.
    pub(super) fn percentile_us(&self, per_mille: u64) -> Option<u64> {
        let rank = (self.total * per_mille).div_ceil(1000).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Some(middle(bucket).min(self.max_us));
            }
        }
        None
    }

    /// The longest latency, exact.
    pub(super) fn max_us(&self) -> Option<u64> {
        (self.total > 0).then_some(self.max_us)
    }

    /// The mean, exact.
    pub(super) fn mean_us(&self) -> Option<f64> {
        (self.total > 0).then(|| self.sum_us as f64 / self.total as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values_us: impl IntoIterator<Item = u64>) -> Histogram {
        let mut histogram = Histogram::default();
        for value in values_us {
            histogram.add(Duration::from_micros(value));
        }
        histogram
    }

    #[test]
    fn percentiles_are_those_of_the_sorted_list() {
        let histogram = of(1..=200);
        assert_eq!(histogram.percentile_us(500), Some(100));
        assert_eq!(histogram.percentile_us(900), Some(180));
        assert_eq!(histogram.percentile_us(990), Some(198));
        assert_eq!(histogram.percentile_us(999), Some(200));
        assert_eq!(histogram.max_us(), Some(200));
        assert_eq!(histogram.mean_us(), Some(100.5));
    }

    #[test]
    fn every_value_is_kept_to_within_half_a_percent() {
        let mut value = 1u64;
        while value < 1 << 40 {
            for value in [value - 1, value, value + 1] {
                let kept = middle(bucket(value));
                let off = kept.abs_diff(value) as f64 / value.max(1) as f64;
                assert!(off < 0.005, "{value} became {kept}");
            }
            value = value * 17 / 16 + 1;
        }
    }

    #[test]
    fn buckets_follow_one_another() {
        for value in 0..100_000 {
            assert!(bucket(value + 1) - bucket(value) <= 1, "{value}");
        }
    }

    #[test]
    fn one_slow_request_in_a_thousand_shows_in_the_maximum_only() {
        let histogram = of(std::iter::repeat_n(100, 999).chain([5_000_000]));
        assert_eq!(histogram.percentile_us(999), Some(100));
        assert_eq!(histogram.max_us(), Some(5_000_000));
    }

    #[test]
    fn merged_histograms_equal_one_of_all() {
        let (left, right) = (of(0..500), of(400..90_000));
        let mut merged = left.clone();
        merged.merge(&right);
        let all = of((0..500).chain(400..90_000));
        assert_eq!(merged.percentile_us(990), all.percentile_us(990));
        assert_eq!(merged.mean_us(), all.mean_us());
        assert_eq!(merged.total(), all.total());
    }

    #[test]
    fn nothing_has_no_percentiles() {
        assert_eq!(Histogram::default().percentile_us(500), None);
        assert_eq!(Histogram::default().mean_us(), None);
    }
}
