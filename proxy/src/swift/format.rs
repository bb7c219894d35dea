//! The format of a listing or report, from `format=` or `Accept`.

use http::StatusCode;

use super::error::{Result, SwiftError};
use super::request::SwiftRequest;

/// The format of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Plain,
    Json,
    Xml,
}

impl Format {
    /// The media type with the character set.
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Plain => "text/plain; charset=utf-8",
            Self::Json => "application/json; charset=utf-8",
            Self::Xml => "application/xml; charset=utf-8",
        }
    }

    /// The media type alone.
    pub(super) fn media_type(self) -> &'static str {
        self.content_type().split(';').next().unwrap_or_default()
    }
}

impl SwiftRequest {
    /// The format that the request asks for: by `format=`, or else by `Accept`.
    ///
    /// # Errors
    /// 406 when none of the formats is acceptable, 400 when `Accept` is not valid.
    pub(super) fn format(&self) -> Result<Format> {
        match self.param("format").map(str::to_ascii_lowercase).as_deref() {
            None | Some("") => {}
            Some("json") => return Ok(Format::Json),
            Some("xml") => return Ok(Format::Xml),
            Some(_) => return Ok(Format::Plain),
        }
        match acceptable(self.header("accept").unwrap_or_default()) {
            Ok(Some(format)) => Ok(format),
            Ok(None) => Err(SwiftError::refused(StatusCode::NOT_ACCEPTABLE, "")),
            Err(InvalidAccept) => {
                Err(SwiftError::refused(StatusCode::BAD_REQUEST, "Invalid Accept header"))
            }
        }
    }
}

impl SwiftRequest {
    /// Whether the client accepts JSON, for documents that have no other form.
    ///
    /// # Errors
    /// 406 if it does not, 400 when `Accept` is not valid.
    pub(super) fn require_json(&self) -> Result<()> {
        let accepts = match self.param("format").map(str::to_ascii_lowercase).as_deref() {
            Some("json") => Ok(true),
            None | Some("") => accepts_json(self.header("accept").unwrap_or_default()),
            Some(_) => Ok(false),
        };
        match accepts {
            Ok(true) => Ok(()),
            Ok(false) => Err(SwiftError::refused(StatusCode::NOT_ACCEPTABLE, "")),
            Err(InvalidAccept) => {
                Err(SwiftError::refused(StatusCode::BAD_REQUEST, "Invalid Accept header"))
            }
        }
    }
}

/// Whether an `Accept` header allows JSON.
fn accepts_json(accept: &str) -> std::result::Result<bool, InvalidAccept> {
    if accept.trim().is_empty() {
        return Ok(true);
    }
    let mut accepts = false;
    for item in accept.split(',') {
        let item = Accepted::parse(item)?;
        let is_json =
            matches!((item.main, item.sub), ("*", "*" | "json") | ("application", "*" | "json"));
        accepts |= is_json && item.quality > 0.0;
    }
    Ok(accepts)
}

/// An `Accept` header that is not a list of media types.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct InvalidAccept;

/// One media type of an `Accept` header.
struct Accepted<'a> {
    main: &'a str,
    sub: &'a str,
    quality: f32,
}

impl<'a> Accepted<'a> {
    fn parse(item: &'a str) -> std::result::Result<Self, InvalidAccept> {
        let mut words = item.split(';').map(str::trim);
        let kind = words.next().unwrap_or_default();
        let is_token = |word: &str| {
            !word.is_empty()
                && !word.bytes().any(|byte| {
                    byte <= b' ' || byte == 0x7f || b"()<>@,;:\"/[]?={}".contains(&byte)
                })
        };
        let (main, sub) = kind.split_once('/').ok_or(InvalidAccept)?;
        if !is_token(main) || !is_token(sub) {
            return Err(InvalidAccept);
        }
        let mut quality = None;
        for word in words.filter(|word| !word.is_empty()) {
            let (name, value) = word.split_once('=').ok_or(InvalidAccept)?;
            if name.trim() == "q" {
                let value: f32 = value.trim().parse().map_err(|_| InvalidAccept)?;
                if quality.replace(value).is_some() {
                    return Err(InvalidAccept);
                }
            }
        }
        Ok(Self { main, sub, quality: quality.unwrap_or(1.0) })
    }

    /// The format that the type selects, and whether it names it exactly.
    fn format(&self) -> Option<(Format, bool)> {
        Some(match (self.main, self.sub) {
            ("*", "*" | "plain") | ("text", "*") => (Format::Plain, false),
            ("text", "plain") => (Format::Plain, true),
            ("*", "json") | ("application", "*") => (Format::Json, false),
            ("application", "json") => (Format::Json, true),
            ("*", "xml") => (Format::Xml, false),
            ("application" | "text", "xml") => (Format::Xml, true),
            _ => return None,
        })
    }
}

/// The format that an `Accept` header prefers: plain text when it is empty.
///
/// Source: `Accept` in `swift/common/swob.py`; of two types of the same quality an exact one comes
/// before a pattern.
pub(super) fn acceptable(accept: &str) -> std::result::Result<Option<Format>, InvalidAccept> {
    let mut best: Option<(f32, bool, Format)> = None;
    if accept.trim().is_empty() {
        return Ok(Some(Format::Plain));
    }
    for item in accept.split(',') {
        let item = Accepted::parse(item)?;
        let Some((format, is_exact)) = item.format() else { continue };
        let rank = (item.quality, is_exact);
        let is_better = best.is_none_or(|(quality, exact, _)| rank > (quality, exact));
        if item.quality > 0.0 && is_better {
            best = Some((item.quality, is_exact, format));
        }
    }
    Ok(best.map(|(_, _, format)| format))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_accepted_by_name_or_by_a_pattern() {
        for (accept, accepts) in [
            ("", Ok(true)),
            ("*/*", Ok(true)),
            ("text/plain, application/*;q=0.1", Ok(true)),
            ("application/json", Ok(true)),
            ("application/json;q=0", Ok(false)),
            ("text/plain", Ok(false)),
            ("application/xml", Ok(false)),
            ("foo/bar", Ok(false)),
            ("json", Err(InvalidAccept)),
        ] {
            assert_eq!(accepts_json(accept), accepts, "{accept:?}");
        }
    }

    #[test]
    fn the_preferred_format_of_accept_is_chosen() {
        for (accept, format) in [
            ("", Ok(Some(Format::Plain))),
            (" ", Ok(Some(Format::Plain))),
            ("*/*", Ok(Some(Format::Plain))),
            ("application/*", Ok(Some(Format::Json))),
            ("text/xml", Ok(Some(Format::Xml))),
            ("*/*,application/json", Ok(Some(Format::Json))),
            ("application/json;q=0.5, application/xml ; q=0.6", Ok(Some(Format::Xml))),
            ("text/plain;charset=utf-8", Ok(Some(Format::Plain))),
            ("application/json;q=0", Ok(None)),
            ("image/png", Ok(None)),
            ("image/png, */*;q=0.1", Ok(Some(Format::Plain))),
            ("json", Err(InvalidAccept)),
            ("text/plain,", Err(InvalidAccept)),
            ("text/plain;q", Err(InvalidAccept)),
            ("text/plain;q=high", Err(InvalidAccept)),
            ("text/plain;q=1;q=0.5", Err(InvalidAccept)),
            ("text/pl ain", Err(InvalidAccept)),
        ] {
            assert_eq!(acceptable(accept), format, "{accept:?}");
        }
    }
}
