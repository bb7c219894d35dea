//! Patterns of Amazon resource names, compared segment by segment.
//!
//! Wildcards do not match the `:` between segments, except a `*` at the end of a pattern with fewer
//! segments than six.

use std::borrow::Cow;

use crate::facts::{ConditionContext, Truth};
use crate::glob::Glob;
use crate::variables::{ResolvedTemplate, Template, TemplateSyntax, VariableError, find_outside};

/// Segments of a name: `arn:partition:service:region:account:resource`.
pub(crate) const SEGMENTS: usize = 6;

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ArnPattern {
    /// One to six segments. With fewer than six the last one matches all the rest.
    segments: Vec<Template>,
}

/// Errors of patterns.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ArnError {
    #[error("{0:?} is not an ARN: expected arn:partition:service:region:account:resource")]
    Syntax(String),
    #[error(transparent)]
    Variable(#[from] VariableError),
}

/// Splits a name into its segments; the last one may contain colons.
pub(crate) fn split(arn: &str) -> Vec<&str> {
    arn.splitn(SEGMENTS, ':').collect()
}

impl ArnPattern {
    /// Compiles `*`, or a pattern that starts with `arn:`.
    pub(crate) fn parse(text: &str, variables: bool) -> Result<Self, ArnError> {
        let syntax = TemplateSyntax { variables, wildcards: true, ignores_case: false };
        let mut segments = Vec::new();
        let mut rest = text;
        while segments.len() < SEGMENTS - 1
            && let Some(at) = find_outside(rest, ':')
        {
            let (segment, after) = rest.split_at(at);
            segments.push(Template::parse(segment, syntax)?);
            rest = after.get(1..).unwrap_or_default();
        }
        segments.push(Template::parse(rest, syntax)?);
        let is_short = segments.len() < SEGMENTS;
        let starts_well = match segments.first() {
            Some(Template::Fixed(Glob::Literal(scheme))) => scheme == "arn",
            Some(Template::Fixed(Glob::Prefix(before))) => before.is_empty() && segments.len() == 1,
            Some(_) | None => false,
        };
        if !starts_well || (is_short && !rest.ends_with('*')) {
            return Err(ArnError::Syntax(text.to_owned()));
        }
        Ok(Self { segments })
    }

    /// Whether it matches a name, given as segments.
    pub(crate) fn matches(&self, arn: &[&str], context: &dyn ConditionContext) -> Truth {
        let mut unread = false;
        let last = self.segments.len().saturating_sub(1);
        for (index, template) in self.segments.iter().enumerate() {
            let Some(found) = arn.get(index) else { return Truth::No };
            let found = match index == last && arn.len() > index + 1 {
                true => Cow::Owned(arn.get(index..).unwrap_or_default().join(":")),
                false => Cow::Borrowed(*found),
            };
            match template.resolve(context) {
                ResolvedTemplate::Pattern(glob) if glob.matches(&found) => {}
                ResolvedTemplate::Pattern(_) | ResolvedTemplate::Missing => return Truth::No,
                ResolvedTemplate::Unread => unread = true,
            }
        }
        if unread { Truth::Unknown } else { Truth::Yes }
    }

    /// Whether it matches every name.
    pub(crate) fn is_everything(&self) -> bool {
        matches!(self.segments.as_slice(), [Template::Fixed(Glob::Prefix(text))] if text.is_empty())
    }

    /// Whether it matches exactly one name.
    pub(crate) fn is_fixed(&self) -> bool {
        self.segments.iter().all(Template::is_fixed)
    }

    /// The pattern of a segment in which a variable stands for any text.
    pub(crate) fn widest(&self, index: usize) -> Option<Glob> {
        self.segments.get(index).map(Template::widest)
    }

    /// The literal text of a segment.
    pub(crate) fn literal(&self, index: usize) -> Option<&str> {
        match self.segments.get(index)? {
            Template::Fixed(Glob::Literal(text)) => Some(text),
            Template::Fixed(_) | Template::Variable { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::ConditionValues;

    #[test]
    fn wildcards_stay_in_their_segment() {
        let context = |_: &str| ConditionValues::Known(Vec::new());
        let name = "arn:aws:sns:eu-west-1:123:topic:a";
        for (pattern, expected) in [
            ("arn:aws:sns:eu-west-1:123:topic:a", true),
            ("arn:aws:sns:*:*:topic*", true),
            ("arn:aws:sns:*:topic:a", false),
            ("arn:aws:s*", true),
            ("arn:*", true),
            ("*", true),
            ("arn:aws:sqs*", false),
            ("arn:a?s:sns:*:123:*", true),
        ] {
            let parsed = ArnPattern::parse(pattern, true).unwrap();
            assert_eq!(parsed.matches(&split(name), &context), expected.into(), "{pattern}");
        }
        for pattern in ["", "a", "x:aws:s3:::b", "arn:aws:s3", "a*", "arn:aws:s3:::${x}"] {
            assert!(ArnPattern::parse(pattern, true).is_err(), "{pattern}");
        }
    }
}
