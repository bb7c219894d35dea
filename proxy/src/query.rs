//! Query strings: pairs of names and values.

use apus_cluster::percent;

/// A parameter that is not UTF-8, with its name as it was sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct InvalidParameter<'a>(pub(crate) &'a str);

/// Splits a query string. Names and values are decoded; `+` is a space.
///
/// # Errors
/// The first parameter whose name or value is not UTF-8.
pub(crate) fn parse(query: &str) -> Result<Vec<(String, String)>, InvalidParameter<'_>> {
    let decode = |text: &str| percent::decode_utf8(&text.replace('+', " "));
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let invalid = || InvalidParameter(name);
            Ok((decode(name).ok_or_else(invalid)?, decode(value).ok_or_else(invalid)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_decoded() {
        let owned = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        for (query, pairs) in [
            ("", &[][..]),
            ("&&", &[]),
            ("a", &[("a", "")]),
            ("a=1&b=+%2B%26&a=", &[("a", "1"), ("b", " +&"), ("a", "")]),
            ("=x", &[("", "x")]),
            ("a=b=c", &[("a", "b=c")]),
        ] {
            assert_eq!(parse(query), Ok(owned(pairs)), "{query}");
        }
        assert_eq!(parse("a=1&b%20=%ff"), Err(InvalidParameter("b%20")));
        assert_eq!(parse("%ff=1"), Err(InvalidParameter("%ff")));
    }
}
