//! Values of options as Rust's types.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// A type that an option may have.
pub trait OptionValue: Sized {
    /// Parses the text of an option.
    fn from_text(text: &str) -> Option<Self>;

    /// The value when the option is not given and has no default; `None` for types that need one.
    fn unset() -> Option<Self> {
        None
    }
}

/// `true`, `yes`, `on`, `1`, `t`, `y` and their opposites, in any case.
pub fn flag_value(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" | "t" | "y" => Some(true),
        "false" | "no" | "off" | "0" | "f" | "n" | "" | "none" => Some(false),
        _ => None,
    }
}

/// A whole number. Swift's samples write some with a fraction of zero (`client_timeout = 60.0`).
pub(crate) fn whole_value(text: &str) -> Option<u64> {
    let text = text.trim();
    let whole = match text.split_once('.') {
        Some((whole, zeros)) if !zeros.is_empty() && zeros.bytes().all(|byte| byte == b'0') => {
            whole
        }
        Some(_) => return None,
        None => text,
    };
    whole.parse().ok()
}

/// Whether a text is bytes or a percentage (`fallocate_reserve`).
pub(crate) fn is_size(text: &str) -> bool {
    match text.strip_suffix('%') {
        Some(percent) => {
            percent.trim().parse::<f64>().is_ok_and(|percent| (0.0..=100.0).contains(&percent))
        }
        None => text.parse::<u64>().is_ok(),
    }
}

impl OptionValue for bool {
    fn from_text(text: &str) -> Option<Self> {
        flag_value(text)
    }
}

macro_rules! whole_numbers {
    ($($type:ty),*) => {
        $(impl OptionValue for $type {
            fn from_text(text: &str) -> Option<Self> {
                whole_value(text)?.try_into().ok()
            }
        })*
    };
}

whole_numbers!(u16, u32, u64, usize);

macro_rules! parsed {
    ($($type:ty),*) => {
        $(impl OptionValue for $type {
            fn from_text(text: &str) -> Option<Self> {
                text.trim().parse().ok()
            }
        })*
    };
}

parsed!(f64, IpAddr, SocketAddr);

impl OptionValue for String {
    fn from_text(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

impl OptionValue for PathBuf {
    fn from_text(text: &str) -> Option<Self> {
        Some(Self::from(text))
    }
}

/// Seconds. Longer than a `Duration` can be is its greatest value.
impl OptionValue for Duration {
    fn from_text(text: &str) -> Option<Self> {
        let seconds: f64 = text.trim().parse().ok()?;
        let is_time = seconds.is_finite() && seconds >= 0.0;
        is_time.then(|| Self::try_from_secs_f64(seconds).unwrap_or(Self::MAX))
    }
}

impl<T: OptionValue> OptionValue for Option<T> {
    fn from_text(text: &str) -> Option<Self> {
        T::from_text(text).map(Some)
    }

    fn unset() -> Option<Self> {
        Some(None)
    }
}

/// Words between commas.
impl OptionValue for Vec<String> {
    fn from_text(text: &str) -> Option<Self> {
        let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
        Some(words.map(str::to_owned).collect())
    }
}
