//! Names of condition operators.

/// How values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConditionTest {
    Text,
    TextIgnoreCase,
    Pattern,
    Number(OrderTest),
    Date(OrderTest),
    Bool,
    Binary,
    Address,
    Arn,
    Null,
}

/// The order that a value must have to the operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OrderTest {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl OrderTest {
    /// Whether `value` has this order to `operand`.
    pub(crate) fn holds<T: PartialOrd>(self, value: &T, operand: &T) -> bool {
        match self {
            Self::Equal => value == operand,
            Self::Less => value < operand,
            Self::LessOrEqual => value <= operand,
            Self::Greater => value > operand,
            Self::GreaterOrEqual => value >= operand,
        }
    }
}

/// Which of several values of a key must pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quantifier {
    /// No prefix: one value is expected.
    Single,
    /// `ForAllValues:`
    All,
    /// `ForAnyValue:`
    Any,
}

/// A condition operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConditionOperator {
    pub(crate) test: ConditionTest,
    pub(crate) negated: bool,
    /// Whether the condition holds for a request without the key.
    pub(crate) if_exists: bool,
    pub(crate) quantifier: Quantifier,
}

impl ConditionOperator {
    /// The operator with this name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (quantifier, rest) = match name.split_once(':') {
            Some(("ForAllValues", rest)) => (Quantifier::All, rest),
            Some(("ForAnyValue", rest)) => (Quantifier::Any, rest),
            Some(_) => return None,
            None => (Quantifier::Single, name),
        };
        let (base, if_exists) = match rest.strip_suffix("IfExists") {
            Some(base) => (base, true),
            None => (rest, false),
        };
        let (test, negated) = base_test(base)?;
        // Null tests whether the key exists.
        if test == ConditionTest::Null && (if_exists || quantifier != Quantifier::Single) {
            return None;
        }
        Some(Self { test, negated, if_exists, quantifier })
    }
}

impl ConditionOperator {
    /// Whether only requests with a value that matches pass.
    pub(crate) fn restricts(&self) -> bool {
        !self.negated && !self.if_exists && self.quantifier != Quantifier::All
    }
}

fn base_test(base: &str) -> Option<(ConditionTest, bool)> {
    use ConditionTest::{Address, Arn, Binary, Bool, Null, Pattern, Text, TextIgnoreCase};
    Some(match base {
        "StringEquals" => (Text, false),
        "StringNotEquals" => (Text, true),
        "StringEqualsIgnoreCase" => (TextIgnoreCase, false),
        "StringNotEqualsIgnoreCase" => (TextIgnoreCase, true),
        "StringLike" => (Pattern, false),
        "StringNotLike" => (Pattern, true),
        "Bool" => (Bool, false),
        "BinaryEquals" => (Binary, false),
        "IpAddress" => (Address, false),
        "NotIpAddress" => (Address, true),
        "ArnEquals" | "ArnLike" => (Arn, false),
        "ArnNotEquals" | "ArnNotLike" => (Arn, true),
        "Null" => (Null, false),
        other => {
            if let Some(order) = other.strip_prefix("Numeric") {
                let (order, negated) = order_test(order)?;
                (ConditionTest::Number(order), negated)
            } else {
                let (order, negated) = order_test(other.strip_prefix("Date")?)?;
                (ConditionTest::Date(order), negated)
            }
        }
    })
}

fn order_test(name: &str) -> Option<(OrderTest, bool)> {
    Some(match name {
        "Equals" => (OrderTest::Equal, false),
        "NotEquals" => (OrderTest::Equal, true),
        "LessThan" => (OrderTest::Less, false),
        "LessThanEquals" => (OrderTest::LessOrEqual, false),
        "GreaterThan" => (OrderTest::Greater, false),
        "GreaterThanEquals" => (OrderTest::GreaterOrEqual, false),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_are_those_of_aws() {
        let bases = "StringEquals StringNotEquals StringEqualsIgnoreCase StringNotEqualsIgnoreCase StringLike \
            StringNotLike NumericEquals NumericNotEquals NumericLessThan NumericLessThanEquals \
            NumericGreaterThan NumericGreaterThanEquals DateEquals DateNotEquals DateLessThan \
            DateLessThanEquals DateGreaterThan DateGreaterThanEquals Bool BinaryEquals IpAddress \
            NotIpAddress ArnEquals ArnLike ArnNotEquals ArnNotLike";
        for base in bases.split_whitespace() {
            for prefix in ["", "ForAllValues:", "ForAnyValue:"] {
                for suffix in ["", "IfExists"] {
                    let name = format!("{prefix}{base}{suffix}");
                    let operator = ConditionOperator::parse(&name).expect(&name);
                    assert_eq!(operator.negated, base.contains("Not"), "{name}");
                    assert_eq!(operator.if_exists, !suffix.is_empty(), "{name}");
                }
            }
        }
        assert!(ConditionOperator::parse("Null").is_some());
        for name in [
            "",
            "stringequals",
            "StringEqual",
            "NullIfExists",
            "ForAllValues:Null",
            "ForSomeValues:StringLike",
            "Numeric",
            "IfExists",
            "DateLike",
            "StringEqualsIfExistsIfExists",
        ] {
            assert_eq!(ConditionOperator::parse(name), None, "{name}");
        }
    }
}
