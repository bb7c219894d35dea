//! Amounts of bytes as operators write and read them.

use std::fmt;

/// An amount of bytes that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct QuantityError(String);

impl fmt::Display for QuantityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: expected bytes, such as 800GB, 1.5T or 2TiB", self.0)
    }
}

impl std::error::Error for QuantityError {}

/// Reads bytes: `1.5T`, `800GB` (steps of 1000) or `2TiB` (steps of 1024).
pub(super) fn bytes(text: &str) -> Result<f64, QuantityError> {
    let refuse = || QuantityError(text.to_owned());
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: f64 = number.parse().map_err(|_| refuse())?;
    let unit = unit.trim().to_ascii_uppercase();
    let (letters, step) = match unit.strip_suffix("IB") {
        Some(letters) => (letters, 1024f64),
        None => (unit.strip_suffix('B').unwrap_or(&unit), 1000f64),
    };
    let power = match letters {
        "" => 0,
        "K" => 1,
        "M" => 2,
        "G" => 3,
        "T" => 4,
        "P" => 5,
        "E" => 6,
        _ => return Err(refuse()),
    };
    Ok(number * step.powi(power))
}

/// Shows bytes with three digits.
pub(super) fn show_bytes(bytes: f64) -> String {
    let mut left = bytes;
    for unit in ["B", "kB", "MB", "GB", "TB", "PB"] {
        if left.abs() < 999.5 {
            let digits = match left.abs() {
                _ if unit == "B" => 0,
                left if left < 9.995 => 2,
                left if left < 99.95 => 1,
                _ => 0,
            };
            return format!("{left:.digits$} {unit}");
        }
        left /= 1000.0;
    }
    format!("{left:.2} EB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_and_shown_with_units() {
        for (text, expected) in [
            ("0", 0.0),
            ("1.5T", 1.5e12),
            ("800GB", 8e11),
            ("2TiB", 2.199023255552e12),
            ("7k", 7e3),
        ] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for bad in ["", "T", "1X", "-1", "1..2G"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
        for (bytes, text) in [
            (0.0, "0 B"),
            (999.0, "999 B"),
            (1500.0, "1.50 kB"),
            (25.04e9, "25.0 GB"),
            (2e18, "2.00 EB"),
        ] {
            assert_eq!(show_bytes(bytes), text);
        }
    }
}
