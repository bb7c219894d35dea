//! Texts with policy variables: `${aws:username}`, `${key, 'default'}`, and the escapes `${*}`, `${?}`, `${$}`.

use std::borrow::Cow;

use crate::condition::keys;
use crate::facts::{ConditionContext, ConditionValues};
use crate::glob::{Glob, GlobItem};

/// What has a meaning in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TemplateSyntax {
    /// Variables: in documents of version 2012-10-17.
    pub(crate) variables: bool,
    /// `*` and `?`.
    pub(crate) wildcards: bool,
    /// Whether letters of both cases are equal.
    pub(crate) ignores_case: bool,
}

/// One item of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
enum TemplateItem {
    Glob(GlobItem),
    Variable { key: String, default: Option<String> },
}

/// A compiled text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Template {
    /// Without variables.
    Fixed(Glob),
    /// With variables, whose values are taken from the request.
    Variable {
        /// The items in order.
        #[allow(private_interfaces, reason = "items are built and read in this file only")]
        items: Vec<TemplateItem>,
        /// Whether values are compared in lower case.
        ignores_case: bool,
    },
}

/// The pattern of one request.
pub(crate) enum ResolvedTemplate<'a> {
    Pattern(Cow<'a, Glob>),
    /// The request has no value, or several, for a variable, and there is no default.
    Missing,
    /// A variable depends on the object, which was not read yet.
    Unread,
}

/// Errors of variables.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum VariableError {
    #[error("a variable that starts with \"${{\" has no \"}}\"")]
    Open,
    #[error("{0:?} is not a condition key that can be a variable")]
    Key(String),
    #[error("the default of a variable must be 'in quotes', found {0:?}")]
    Default(String),
}

fn lower(text: &str, ignores_case: bool) -> Cow<'_, str> {
    if ignores_case { Cow::Owned(text.to_lowercase()) } else { Cow::Borrowed(text) }
}

/// What stands between `${` and `}`.
fn variable(inner: &str) -> Result<TemplateItem, VariableError> {
    if let "*" | "?" | "$" = inner {
        let character = inner.chars().next().unwrap_or('$');
        return Ok(TemplateItem::Glob(GlobItem::Char(character)));
    }
    let (name, default) = match inner.split_once(',') {
        None => (inner, None),
        Some((name, default)) => {
            let quoted = default.trim();
            let text = quoted.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
            let text = text.filter(|text| !text.contains('\''));
            (name, Some(text.ok_or_else(|| VariableError::Default(quoted.to_owned()))?.to_owned()))
        }
    };
    let key = keys::normalize(name.trim());
    if !keys::is_known(&key) {
        return Err(VariableError::Key(name.trim().to_owned()));
    }
    Ok(TemplateItem::Variable { key, default })
}

impl Template {
    /// Compiles a text.
    pub(crate) fn parse(text: &str, syntax: TemplateSyntax) -> Result<Self, VariableError> {
        let mut items = Vec::new();
        let mut rest = text;
        while let Some(character) = rest.chars().next() {
            if syntax.variables
                && let Some(opened) = rest.strip_prefix("${")
            {
                let (inner, after) = opened.split_once('}').ok_or(VariableError::Open)?;
                items.push(variable(inner)?);
                rest = after;
                continue;
            }
            rest = rest.get(character.len_utf8()..).unwrap_or_default();
            match character {
                '*' if syntax.wildcards => items.push(TemplateItem::Glob(GlobItem::Any)),
                '?' if syntax.wildcards => items.push(TemplateItem::Glob(GlobItem::One)),
                other => {
                    let mut buffer = [0; 4];
                    let text = lower(other.encode_utf8(&mut buffer), syntax.ignores_case);
                    items.extend(
                        text.chars().map(|found| TemplateItem::Glob(GlobItem::Char(found))),
                    );
                }
            }
        }
        let fixed: Option<Vec<GlobItem>> = items
            .iter()
            .map(|item| match item {
                TemplateItem::Glob(item) => Some(*item),
                TemplateItem::Variable { .. } => None,
            })
            .collect();
        Ok(match fixed {
            Some(fixed) => Self::Fixed(Glob::compile(fixed)),
            None => Self::Variable { items, ignores_case: syntax.ignores_case },
        })
    }

    /// The pattern with this request's values, in which `*` and `?` are ordinary characters.
    pub(crate) fn resolve(&self, context: &dyn ConditionContext) -> ResolvedTemplate<'_> {
        let (items, ignores_case) = match self {
            Self::Fixed(glob) => return ResolvedTemplate::Pattern(Cow::Borrowed(glob)),
            Self::Variable { items, ignores_case } => (items, *ignores_case),
        };
        let mut resolved = Vec::new();
        for item in items {
            let (key, default) = match item {
                TemplateItem::Glob(item) => {
                    resolved.push(*item);
                    continue;
                }
                TemplateItem::Variable { key, default } => (key, default),
            };
            let values = match context.values(key) {
                ConditionValues::Known(values) => values,
                ConditionValues::Unread => return ResolvedTemplate::Unread,
            };
            let text = match (values.as_slice(), default) {
                ([value], _) => value,
                (_, Some(default)) => default,
                (_, None) => return ResolvedTemplate::Missing,
            };
            resolved.extend(lower(text, ignores_case).chars().map(GlobItem::Char));
        }
        ResolvedTemplate::Pattern(Cow::Owned(Glob::compile(resolved)))
    }

    /// The pattern in which a variable stands for any text.
    pub(crate) fn widest(&self) -> Glob {
        match self {
            Self::Fixed(glob) => glob.clone(),
            Self::Variable { items, .. } => Glob::compile(items.iter().map(|item| match item {
                TemplateItem::Glob(item) => *item,
                TemplateItem::Variable { .. } => GlobItem::Any,
            })),
        }
    }

    /// Whether it matches exactly one text, whatever the request is.
    pub(crate) fn is_fixed(&self) -> bool {
        matches!(self, Self::Fixed(glob) if !glob.is_open())
    }
}

/// The position of the first `separator` outside of a variable, in bytes.
pub(crate) fn find_outside(text: &str, separator: char) -> Option<usize> {
    let mut closes_at = 0;
    for (at, character) in text.char_indices() {
        if at < closes_at {
            continue;
        }
        let rest = text.get(at..).unwrap_or_default();
        if rest.starts_with("${")
            && let Some(length) = rest.find('}')
        {
            closes_at = at + length;
        } else if character == separator {
            return Some(at);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: TemplateSyntax =
        TemplateSyntax { variables: true, wildcards: true, ignores_case: false };

    fn context(key: &str) -> ConditionValues {
        match key {
            "aws:username" => ConditionValues::Known(vec!["jo*".to_owned()]),
            "s3:requestobjecttagkeys" => ConditionValues::Known(vec!["a".into(), "b".into()]),
            "s3:existingobjecttag/Team" => ConditionValues::Unread,
            _ => ConditionValues::Known(Vec::new()),
        }
    }

    fn matches(template: &str, text: &str) -> Option<bool> {
        match Template::parse(template, FULL).unwrap().resolve(&context) {
            ResolvedTemplate::Pattern(glob) => Some(glob.matches(text)),
            ResolvedTemplate::Missing | ResolvedTemplate::Unread => None,
        }
    }

    #[test]
    fn variables_are_replaced_by_literal_text() {
        assert_eq!(matches("home/${aws:username}/*", "home/jo*/x"), Some(true));
        assert_eq!(matches("home/${AWS:UserName}/*", "home/joe/x"), Some(false));
        assert_eq!(matches("${aws:userid, 'guest'}", "guest"), Some(true));
        assert_eq!(matches("${aws:userid}", ""), None);
        assert_eq!(matches("${s3:RequestObjectTagKeys}", "a"), None);
        assert_eq!(matches("${s3:ExistingObjectTag/Team}", "a"), None);
        assert_eq!(matches("${*}${?}${$}{x}", "*?${x}"), Some(true));
        assert_eq!(matches("${*}", "a"), Some(false));
        assert_eq!(matches("$x", "$x"), Some(true));
    }

    #[test]
    fn variables_that_cannot_be_resolved_are_refused() {
        for (text, error) in [
            ("${aws:username", VariableError::Open),
            ("${username}", VariableError::Key("username".to_owned())),
            ("${}", VariableError::Key(String::new())),
            ("${aws:username, x}", VariableError::Default("x".to_owned())),
            ("${aws:username, '''}", VariableError::Default("'''".to_owned())),
        ] {
            assert_eq!(Template::parse(text, FULL).unwrap_err(), error, "{text}");
        }
        let old = TemplateSyntax { variables: false, ..FULL };
        let template = Template::parse("${aws:username", old).unwrap();
        assert_eq!(template.widest(), Glob::Literal("${aws:username".to_owned()));
    }

    #[test]
    fn separators_in_variables_do_not_count() {
        assert_eq!(find_outside("a${aws:username}:b", ':'), Some(16));
        assert_eq!(find_outside("a${aws:username", ':'), Some(6));
        assert_eq!(find_outside("ab", ':'), None);
    }
}
