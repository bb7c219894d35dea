//! Values in Swift's spellings.

/// `true`, `yes`, `on`, `1`, `t`, `y` and their opposites, in any case.
pub fn flag(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" | "t" | "y" => Some(true),
        "false" | "no" | "off" | "0" | "f" | "n" | "" | "none" => Some(false),
        _ => None,
    }
}
