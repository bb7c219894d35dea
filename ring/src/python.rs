//! Python's syntax of numbers and texts, which operators' scripts expect in the output.

use crate::SyntaxError;

/// Reads a whole number; the error is Python's.
///
/// # Errors
/// The text is not a whole number.
pub fn int(text: &str) -> Result<i64, SyntaxError> {
    let plain = text.trim().replace('_', "");
    plain.parse().map_err(|_| {
        SyntaxError::from(format!("invalid literal for int() with base 10: {}", repr(text)))
    })
}

/// Reads a number; the error is Python's.
///
/// # Errors
/// The text is not a finite number.
pub fn float(text: &str) -> Result<f64, SyntaxError> {
    let refuse = || SyntaxError::from(format!("could not convert string to float: {}", repr(text)));
    let number: f64 = text.trim().parse().map_err(|_| refuse())?;
    // Python accepts "nan" and "inf", which no setting allows.
    if number.is_finite() { Ok(number) } else { Err(refuse()) }
}

/// Text in quotes, as `repr` shows it.
pub fn repr(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::from(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c == quote => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

/// A float, as `str` shows it.
pub fn show(number: f64) -> String {
    let size = number.abs();
    if size != 0.0 && (!(1e-4..1e16).contains(&size)) {
        let text = format!("{number:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, digits) = match exponent.strip_prefix('-') {
            Some(digits) => ('-', digits),
            None => ('+', exponent),
        };
        return format!("{mantissa}e{sign}{digits:0>2}");
    }
    format!("{number:?}")
}

/// `H:MM:SS`, as a timedelta is shown.
pub fn duration(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let clock = format!("{}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60);
    match days {
        0 => clock,
        1 => format!("1 day, {clock}"),
        days => format!("{days} days, {clock}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_as_python_shows_them() {
        for (number, text) in [
            (100.0, "100.0"),
            (0.1, "0.1"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e-5, "1.5e-05"),
            (1e100, "1e+100"),
        ] {
            assert_eq!(show(number), text);
        }
        assert_eq!(int("x'"), Err("invalid literal for int() with base 10: \"x'\"".into()));
        assert_eq!(float(""), Err("could not convert string to float: ''".into()));
        assert_eq!(duration(2 * 86_400 + 61), "2 days, 0:01:01");
    }
}
