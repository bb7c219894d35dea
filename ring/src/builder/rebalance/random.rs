//! Seeded chance for the builder: the same seed gives the same ring on every machine.

/// SplitMix64: small, seeded, and good enough to spread partitions and break ties.
#[derive(Debug)]
pub(in crate::builder) struct Random(u64);

impl Random {
    pub(in crate::builder) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(in crate::builder) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 when the bound is 0.
    pub(in crate::builder) fn below(&mut self, bound: usize) -> usize {
        // The high half of the product: uniform to within 2^-64 times the bound.
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    pub(in crate::builder) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}
