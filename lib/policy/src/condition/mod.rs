//! Conditions of a statement: operator, key and operands, and whether a request meets them.

pub(crate) mod address;
pub(crate) mod date;
pub(crate) mod keys;
pub(crate) mod operator;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use self::address::IpNetwork;
use self::operator::{ConditionOperator, ConditionTest, OrderTest, Quantifier};
use crate::arn::{self, ArnError, ArnPattern};
use crate::facts::{ConditionContext, ConditionValues, Truth, all, any};
use crate::variables::{ResolvedTemplate, Template, TemplateSyntax, VariableError};

/// The operands of a condition, of which one must match a value.
#[derive(Debug, Clone)]
pub(crate) enum Operands {
    Texts {
        templates: Vec<Template>,
        ignores_case: bool,
    },
    Numbers(OrderTest, Vec<f64>),
    Dates(OrderTest, Vec<i64>),
    Bools(Vec<bool>),
    Binaries(Vec<Vec<u8>>),
    Addresses(Vec<IpNetwork>),
    Arns(Vec<ArnPattern>),
    /// Whether the key must be absent.
    Nulls(Vec<bool>),
}

/// One condition of a statement.
#[derive(Debug, Clone)]
pub(crate) struct Condition {
    pub(crate) operator: ConditionOperator,
    /// Normalized.
    pub(crate) key: String,
    pub(crate) operands: Operands,
}

/// Errors of operands.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum OperandError {
    #[error("{0:?} is not a number")]
    Number(String),
    #[error("{0:?} is not a date: expected 2012-10-17T00:00:00Z or seconds since 1970")]
    Date(String),
    #[error("{0:?} is not a boolean: expected true or false")]
    Bool(String),
    #[error("{0:?} is not base 64")]
    Binary(String),
    #[error("{0:?} is not an IP address or a network in CIDR notation")]
    Address(String),
    #[error(transparent)]
    Arn(#[from] ArnError),
    #[error(transparent)]
    Variable(#[from] VariableError),
}

fn number(text: &str) -> Option<f64> {
    let is_decimal = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.".contains(&byte));
    is_decimal.then(|| text.parse::<f64>().ok()).flatten()
}

fn boolean(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else {
        text.eq_ignore_ascii_case("false").then_some(false)
    }
}

fn each<T>(
    texts: &[String],
    parse: impl Fn(&str) -> Option<T>,
    error: fn(String) -> OperandError,
) -> Result<Vec<T>, OperandError> {
    texts.iter().map(|text| parse(text).ok_or_else(|| error(text.clone()))).collect()
}

impl Operands {
    /// Compiles the operands of an operator.
    pub(crate) fn parse(
        test: ConditionTest,
        texts: &[String],
        variables: bool,
    ) -> Result<Self, OperandError> {
        let templates = |wildcards, ignores_case| {
            let syntax = TemplateSyntax { variables, wildcards, ignores_case };
            let parsed: Result<Vec<_>, _> =
                texts.iter().map(|text| Template::parse(text, syntax)).collect();
            Ok(Self::Texts { templates: parsed?, ignores_case })
        };
        match test {
            ConditionTest::Text => templates(false, false),
            ConditionTest::TextIgnoreCase => templates(false, true),
            ConditionTest::Pattern => templates(true, false),
            ConditionTest::Number(order) => {
                Ok(Self::Numbers(order, each(texts, number, OperandError::Number)?))
            }
            ConditionTest::Date(order) => {
                Ok(Self::Dates(order, each(texts, date::parse, OperandError::Date)?))
            }
            ConditionTest::Bool => Ok(Self::Bools(each(texts, boolean, OperandError::Bool)?)),
            ConditionTest::Null => Ok(Self::Nulls(each(texts, boolean, OperandError::Bool)?)),
            ConditionTest::Binary => {
                let decode = |text: &str| STANDARD.decode(text).ok();
                Ok(Self::Binaries(each(texts, decode, OperandError::Binary)?))
            }
            ConditionTest::Address => {
                Ok(Self::Addresses(each(texts, IpNetwork::parse, OperandError::Address)?))
            }
            ConditionTest::Arn => {
                let parsed: Result<Vec<_>, _> =
                    texts.iter().map(|text| ArnPattern::parse(text, variables)).collect();
                Ok(Self::Arns(parsed?))
            }
        }
    }

    /// Whether one operand matches a value. A value that does not have the type of the operator
    /// matches none.
    fn match_value(&self, value: &str, context: &dyn ConditionContext) -> Truth {
        match self {
            Self::Texts { templates, ignores_case } => {
                let lower = ignores_case.then(|| value.to_lowercase());
                let value = lower.as_deref().unwrap_or(value);
                any(templates.iter().map(|template| match template.resolve(context) {
                    ResolvedTemplate::Pattern(glob) => glob.matches(value).into(),
                    ResolvedTemplate::Missing => Truth::No,
                    ResolvedTemplate::Unread => Truth::Unknown,
                }))
            }
            Self::Numbers(order, numbers) => number(value)
                .is_some_and(|value| numbers.iter().any(|operand| order.holds(&value, operand)))
                .into(),
            Self::Dates(order, dates) => date::parse(value)
                .is_some_and(|value| dates.iter().any(|operand| order.holds(&value, operand)))
                .into(),
            Self::Bools(bools) => boolean(value).is_some_and(|value| bools.contains(&value)).into(),
            Self::Binaries(binaries) => {
                STANDARD.decode(value).is_ok_and(|value| binaries.contains(&value)).into()
            }
            Self::Addresses(networks) => address::parse_address(value)
                .is_some_and(|value| networks.iter().any(|network| network.contains(value)))
                .into(),
            Self::Arns(patterns) => {
                let segments = arn::split(value);
                any(patterns.iter().map(|pattern| pattern.matches(&segments, context)))
            }
            // A test of existence, which has no value.
            Self::Nulls(_) => Truth::No,
        }
    }
}

impl Condition {
    /// Whether a request meets the condition.
    pub(crate) fn holds(&self, context: &dyn ConditionContext) -> Truth {
        let values = match context.values(&self.key) {
            ConditionValues::Known(values) => values,
            ConditionValues::Unread => return Truth::Unknown,
        };
        if let Operands::Nulls(nulls) = &self.operands {
            return nulls.contains(&values.is_empty()).into();
        }
        let ConditionOperator { negated, if_exists, quantifier, .. } = self.operator;
        if values.is_empty() {
            let holds_without = match quantifier {
                Quantifier::Single => negated,
                Quantifier::All => true,
                Quantifier::Any => false,
            };
            return (holds_without || if_exists).into();
        }
        let mut passed = values.iter().map(|value| {
            let matched = self.operands.match_value(value, context);
            if negated { matched.not() } else { matched }
        });
        match quantifier {
            Quantifier::All => all(passed),
            Quantifier::Any => any(passed),
            // With several values a condition without a quantifier asks whether one of them matches.
            Quantifier::Single if negated => all(&mut passed),
            Quantifier::Single => any(&mut passed),
        }
    }

    /// Whether only requests with one of some fixed values of the key pass.
    pub(crate) fn is_fixed(&self) -> bool {
        let has_fixed_operands = match &self.operands {
            Operands::Texts { templates, .. } => templates.iter().all(Template::is_fixed),
            Operands::Arns(patterns) => patterns.iter().all(ArnPattern::is_fixed),
            Operands::Addresses(networks) => networks.iter().all(IpNetwork::is_narrow),
            Operands::Numbers(..)
            | Operands::Dates(..)
            | Operands::Bools(_)
            | Operands::Binaries(_)
            | Operands::Nulls(_) => false,
        };
        self.operator.restricts() && has_fixed_operands
    }
}

#[cfg(test)]
mod tests;
