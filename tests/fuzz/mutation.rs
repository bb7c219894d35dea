//! Makes inputs out of good ones. The same seed gives the same inputs.

/// Longest input.
const INPUT_BYTES_MAX: usize = 64 * 1024;
/// Numbers at which readers go wrong.
const NUMBERS: [u64; 12] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    1 << 32,
    i64::MAX as u64,
    u64::MAX,
];
/// The same for texts.
const TEXTS: [&str; 16] = [
    "-1",
    "18446744073709551615",
    "18446744073709551616",
    "9223372036854775808",
    "1e308",
    "NaN",
    "%00",
    "%",
    "\0",
    "\r\n",
    "null",
    "[[[[",
    "{\"a\":",
    "\u{fffd}",
    "../",
    "_ffffffffffffffff",
];

/// Alters inputs.
pub(crate) struct Mutator<'a> {
    state: u64,
    seeds: &'a [Vec<u8>],
}

impl<'a> Mutator<'a> {
    /// `seeds` are inputs that are read without an error, at least one.
    pub(crate) fn new(seed: u64, seeds: &'a [Vec<u8>]) -> Self {
        Self { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, seeds }
    }

    /// Xorshift of 64 bits.
    fn random(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }

    /// Below `end`; 0 when that is 0.
    fn below(&mut self, end: usize) -> usize {
        (self.random() % end.max(1) as u64) as usize
    }

    fn seed(&mut self) -> &'a [u8] {
        let at = self.below(self.seeds.len());
        &self.seeds[at]
    }

    /// A part of `bytes`, mostly short.
    fn span(&mut self, bytes: &[u8]) -> std::ops::Range<usize> {
        let start = self.below(bytes.len() + 1);
        let longest = bytes.len() - start;
        let most = if self.below(4) == 0 { longest } else { longest.min(16) };
        start..start + self.below(most + 1)
    }

    /// The next input: a seed with one to eight changes.
    pub(crate) fn next_input(&mut self) -> Vec<u8> {
        let mut input = self.seed().to_vec();
        for _ in 0..=self.below(8) {
            self.change(&mut input);
        }
        input.truncate(INPUT_BYTES_MAX);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let span = self.span(input);
        match self.below(9) {
            0 if !input.is_empty() => {
                let at = self.below(input.len());
                input[at] ^= 1 << self.below(8);
            }
            1 if !input.is_empty() => {
                let at = self.below(input.len());
                input[at] = self.random() as u8;
            }
            2 => drop(input.drain(span)),
            3 => {
                // Small programs grow by being repeated.
                let copied = input[span.clone()].repeat(1 + self.below(64));
                input.splice(span.end..span.end, copied.into_iter().take(INPUT_BYTES_MAX));
            }
            4 => {
                let width = 1 << self.below(4);
                let number = NUMBERS[self.below(NUMBERS.len())];
                let bytes = match self.below(2) {
                    0 => number.to_le_bytes()[..width].to_vec(),
                    _ => number.to_be_bytes()[8 - width..].to_vec(),
                };
                let end = (span.start + width).min(input.len());
                input.splice(span.start..end, bytes);
            }
            5 => {
                let text = TEXTS[self.below(TEXTS.len())];
                input.splice(span, text.bytes());
            }
            6 => {
                let other = self.seed();
                let part = self.span(other);
                input.splice(span, other[part].to_vec());
            }
            7 => input.truncate(span.start),
            _ => {
                let number = self.random().to_string();
                input.splice(span, number.into_bytes());
            }
        }
    }
}
