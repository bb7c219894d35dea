//! Random identifiers, keys and nonces.

/// Random bytes of the operating system.
///
/// # Panics
/// When the operating system does not return random bytes: nothing is safe to run then.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0u8; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

/// `2 * N` random lower-case hex digits.
pub fn hex<const N: usize>() -> String {
    hex::encode(bytes::<N>())
}

/// A random number from 0 to 1, to spread work over time.
pub fn share() -> f64 {
    f64::from(u16::from_le_bytes(bytes())) / f64::from(u16::MAX)
}

/// A random version 4 UUID in its usual spelling.
#[allow(clippy::indexing_slicing, reason = "constant indexes into an array")]
pub fn uuid() -> String {
    let mut raw = bytes::<16>();
    raw[6] = raw[6] & 0x0f | 0x40;
    raw[8] = raw[8] & 0x3f | 0x80;
    let hex = hex::encode(raw);
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default().to_owned();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}
