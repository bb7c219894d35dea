//! Rules for requests from web pages of other origins (CORS).
//!
//! Source: `PutBucketCors` and "Configuring cross-origin resource sharing" in AWS's documentation.

use serde::{Deserialize, Serialize};

/// Most rules of a bucket.
const RULES_MAX: usize = 100;
/// Longest id of a rule, in characters.
const ID_CHARACTERS_MAX: usize = 255;
/// The methods that rules can allow.
const METHODS: [&str; 5] = ["GET", "PUT", "HEAD", "POST", "DELETE"];

/// A rule.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CorsRule {
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Origins, each with at most one asterisk.
    pub origins: Vec<String>,
    /// Methods.
    pub methods: Vec<String>,
    /// Headers that requests may have, each with at most one asterisk.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<String>,
    /// Headers of responses that pages may read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expose: Vec<String>,
    /// Time for which a browser may keep the response to a preflight, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age_seconds: Option<u32>,
}

/// Reasons why rules are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CorsError {
    /// There is no rule, or there are too many.
    #[error("{0} rules, expected 1 to {RULES_MAX}")]
    Count(usize),
    /// A rule has no origin or no method.
    #[error("a rule needs at least one AllowedOrigin and one AllowedMethod")]
    Incomplete,
    /// A method is not one of those that rules can allow.
    #[error("Found unsupported HTTP method in CORS config. Unsupported method is {0}")]
    Method(String),
    /// A text has more than one asterisk.
    #[error("{element} {text:?} can not have more than one wildcard.")]
    Wildcards {
        /// Name of the element.
        element: &'static str,
        /// The text.
        text: String,
    },
    /// A text has an asterisk or characters that the name of a header cannot have.
    #[error("ExposeHeader {0:?}: expected the name of a header, without a wildcard")]
    Exposed(String),
    /// A text has characters that an origin or a name cannot have.
    #[error("{element} {text:?} has characters that are not allowed")]
    Characters {
        /// Name of the element.
        element: &'static str,
        /// The text.
        text: String,
    },
    /// An id is too long.
    #[error("an ID has more than {ID_CHARACTERS_MAX} characters")]
    Id,
}

/// The rules of a bucket, in order: the first that matches counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CorsRules(Vec<CorsRule>);

/// The facts of a request that rules look at.
#[derive(Debug, Clone, Copy)]
pub struct CorsQuery<'a> {
    /// `Origin`.
    pub origin: &'a str,
    /// The method of the request, or of the one that a preflight announces.
    pub method: &'a str,
    /// The headers that a preflight announces.
    pub headers: &'a [&'a str],
}

/// The rule that allows a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CorsMatch<'a> {
    /// The rule.
    pub rule: &'a CorsRule,
    /// Whether it allows every origin.
    pub any_origin: bool,
}

/// Whether a text matches a pattern with at most one asterisk.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, end)) => {
            text.len() >= start.len() + end.len() && text.starts_with(start) && text.ends_with(end)
        }
    }
}

fn check_pattern(element: &'static str, text: &str) -> Result<(), CorsError> {
    if text.matches('*').count() > 1 {
        return Err(CorsError::Wildcards { element, text: text.to_owned() });
    }
    if text.is_empty() || !text.bytes().all(|byte| (b'!'..=b'~').contains(&byte)) {
        return Err(CorsError::Characters { element, text: text.to_owned() });
    }
    Ok(())
}

/// Whether a text can be the name of a header (a token of RFC 9110) without an asterisk.
fn is_header_name(text: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_token)
}

impl CorsRule {
    fn check(&self) -> Result<(), CorsError> {
        if self.origins.is_empty() || self.methods.is_empty() {
            return Err(CorsError::Incomplete);
        }
        if let Some(method) = self.methods.iter().find(|method| !METHODS.contains(&method.as_str()))
        {
            return Err(CorsError::Method(method.clone()));
        }
        for origin in &self.origins {
            check_pattern("AllowedOrigin", origin)?;
        }
        for header in &self.headers {
            check_pattern("AllowedHeader", header)?;
        }
        if let Some(name) = self.expose.iter().find(|name| !is_header_name(name)) {
            return Err(CorsError::Exposed(name.clone()));
        }
        match &self.id {
            Some(id) if id.chars().count() > ID_CHARACTERS_MAX => Err(CorsError::Id),
            _ => Ok(()),
        }
    }

    fn allows_header(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        self.headers.iter().any(|pattern| matches(&pattern.to_ascii_lowercase(), &name))
    }
}

impl CorsRules {
    /// Checks rules.
    ///
    /// # Errors
    /// See [`CorsError`].
    pub fn new(rules: Vec<CorsRule>) -> Result<Self, CorsError> {
        if !(1..=RULES_MAX).contains(&rules.len()) {
            return Err(CorsError::Count(rules.len()));
        }
        rules.iter().try_for_each(CorsRule::check)?;
        Ok(Self(rules))
    }

    /// The rules.
    pub fn rules(&self) -> &[CorsRule] {
        &self.0
    }

    /// The first rule that allows a request.
    pub fn find(&self, query: &CorsQuery<'_>) -> Option<CorsMatch<'_>> {
        self.0.iter().find_map(|rule| {
            let origin = rule.origins.iter().find(|pattern| matches(pattern, query.origin))?;
            let allowed = rule.methods.iter().any(|method| method == query.method)
                && query.headers.iter().all(|name| rule.allows_header(name));
            allowed.then_some(CorsMatch { rule, any_origin: origin == "*" })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn rule(origins: &[&str], methods: &[&str], headers: &[&str]) -> CorsRule {
        CorsRule {
            origins: texts(origins),
            methods: texts(methods),
            headers: texts(headers),
            ..CorsRule::default()
        }
    }

    #[test]
    fn the_first_rule_that_allows_origin_method_and_headers_counts() {
        let rules = CorsRules::new(vec![
            rule(&["*suffix"], &["GET"], &[]),
            rule(&["start*end"], &["GET"], &["X-A"]),
            rule(&["https://page"], &["PUT", "GET"], &["x-amz-*", "Content-Type"]),
            rule(&["http://a", "*"], &["DELETE"], &["*"]),
        ])
        .unwrap();
        let cases: &[(&str, &str, &[&str], Option<usize>)] = &[
            ("foo.suffix", "GET", &[], Some(0)),
            ("suffix", "GET", &[], Some(0)),
            ("foo.suffix.get", "GET", &[], None),
            ("foo.suffix", "PUT", &[], None),
            ("foo.suffix", "get", &[], None),
            ("foo.suffix", "GET", &["x-a"], None),
            ("startend", "GET", &[], Some(1)),
            ("start1end", "GET", &["x-A"], Some(1)),
            ("starend", "GET", &[], None),
            ("0start1end", "GET", &[], None),
            ("https://page", "PUT", &["X-Amz-Meta-A", "content-type"], Some(2)),
            ("https://page", "PUT", &["x-amz"], None),
            ("https://PAGE", "PUT", &[], None),
            ("https://page:8080", "PUT", &[], None),
            ("http://a", "DELETE", &["anything"], Some(3)),
            ("http://b", "DELETE", &["anything", "else"], Some(3)),
            ("null", "DELETE", &[], Some(3)),
            ("", "DELETE", &[], Some(3)),
        ];
        for (origin, method, headers, expected) in cases {
            let found = rules.find(&CorsQuery { origin, method, headers });
            let at = found.and_then(|found| {
                rules.rules().iter().position(|rule| std::ptr::eq(rule, found.rule))
            });
            assert_eq!(at, *expected, "{origin} {method} {headers:?}");
        }
        let any = |origin| {
            rules.find(&CorsQuery { origin, method: "DELETE", headers: &[] }).unwrap().any_origin
        };
        assert!(any("http://b") && !any("http://a"));
    }

    #[test]
    fn rules_that_are_not_valid_are_refused() {
        let wild = |element, text: &str| CorsError::Wildcards { element, text: text.to_owned() };
        let characters =
            |element, text: &str| CorsError::Characters { element, text: text.to_owned() };
        let exposing =
            |name: &str| CorsRule { expose: texts(&[name]), ..rule(&["*"], &["GET"], &[]) };
        let named = |id: String| CorsRule { id: Some(id), ..rule(&["*"], &["GET"], &[]) };
        for (rule, error) in [
            (rule(&[], &["GET"], &[]), CorsError::Incomplete),
            (rule(&["*"], &[], &[]), CorsError::Incomplete),
            (rule(&["*"], &["PATCH"], &[]), CorsError::Method("PATCH".to_owned())),
            (rule(&["*"], &["get"], &[]), CorsError::Method("get".to_owned())),
            (rule(&["*.*"], &["GET"], &[]), wild("AllowedOrigin", "*.*")),
            (rule(&["*"], &["GET"], &["*a*"]), wild("AllowedHeader", "*a*")),
            (rule(&["a\r\nb"], &["GET"], &[]), characters("AllowedOrigin", "a\r\nb")),
            (rule(&[""], &["GET"], &[]), characters("AllowedOrigin", "")),
            (rule(&["*"], &["GET"], &["a\0"]), characters("AllowedHeader", "a\0")),
            (exposing("*"), CorsError::Exposed("*".to_owned())),
            (exposing("a\nb"), CorsError::Exposed("a\nb".to_owned())),
            (exposing("a\rb"), CorsError::Exposed("a\rb".to_owned())),
            (exposing("a\0"), CorsError::Exposed("a\0".to_owned())),
            (exposing("a: b"), CorsError::Exposed("a: b".to_owned())),
            (named("i".repeat(256)), CorsError::Id),
        ] {
            assert_eq!(CorsRules::new(vec![rule.clone()]).unwrap_err(), error, "{rule:?}");
        }
        let plain = rule(&["*"], &["GET"], &[]);
        assert_eq!(CorsRules::new(Vec::new()).unwrap_err(), CorsError::Count(0));
        assert_eq!(CorsRules::new(vec![plain.clone(); 101]).unwrap_err(), CorsError::Count(101));
        assert!(CorsRules::new(vec![plain; 100]).is_ok());
        assert!(CorsRules::new(vec![named("i".repeat(255)), exposing("x-amz-meta-a")]).is_ok());
    }
}
