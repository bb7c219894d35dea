//! The second evaluator: walks the raw JSON and matches with regular expressions.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::LazyLock;

use apus_policy::PolicyCaller;
use regex::Regex;
use serde_json::Value;

/// A variable or a character.
static TOKEN: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\$\{([^}]*)\}|(?s:.)").unwrap());

type Facts = BTreeMap<String, Vec<String>>;

pub(crate) fn decide(
    document: &Value,
    action: &str,
    resource: &str,
    caller: &PolicyCaller,
    facts: &Facts,
) -> &'static str {
    let has_variables = document["Version"] == "2012-10-17";
    let mut allowed = false;
    for statement in document["Statement"].as_array().unwrap() {
        let evaluation = Evaluation { statement, has_variables, facts };
        if evaluation.applies(action, resource, caller) {
            if statement["Effect"] == "Deny" {
                return "deny";
            }
            allowed = true;
        }
    }
    if allowed { "allow" } else { "no match" }
}

struct Evaluation<'a> {
    statement: &'a Value,
    has_variables: bool,
    facts: &'a Facts,
}

/// A string or list of strings, as a list.
fn list(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().map(|item| item.as_str().unwrap().to_owned()).collect(),
        other => vec![other.to_string()],
    }
}

impl Evaluation<'_> {
    /// The value of the element, or the opposite of its negated form.
    fn element(&self, name: &str, test: impl Fn(&Value) -> bool) -> bool {
        match self.statement.get(name) {
            Some(value) => test(value),
            None => !test(&self.statement[format!("Not{name}")]),
        }
    }

    fn applies(&self, action: &str, resource: &str, caller: &PolicyCaller) -> bool {
        let names_action = self.element("Action", |value| {
            list(value).iter().any(|pattern| {
                let pattern =
                    regex::escape(&pattern.to_lowercase()).replace(r"\*", ".*").replace(r"\?", ".");
                Regex::new(&format!("^{pattern}$")).unwrap().is_match(&action.to_lowercase())
            })
        });
        let names_caller = self.element("Principal", |value| {
            value == "*" || list(&value["AWS"]).iter().any(|name| is_principal(name, caller))
        });
        let names_resource = self.element("Resource", |value| {
            list(value).iter().any(|pattern| {
                self.regex(pattern, true, false).is_some_and(|regex| regex.is_match(resource))
            })
        });
        let conditions = self.statement.get("Condition").and_then(Value::as_object);
        let meets_conditions = conditions.is_none_or(|operators| {
            operators.iter().all(|(operator, keys)| {
                let keys = keys.as_object().unwrap();
                keys.iter().all(|(key, operands)| self.meets(operator, key, &list(operands)))
            })
        });
        names_action && names_caller && names_resource && meets_conditions
    }

    /// The regular expression of a text, or nothing if a variable has no value.
    fn regex(&self, text: &str, wildcards: bool, ignores_case: bool) -> Option<Regex> {
        let mut pattern = String::new();
        let mut rest = text;
        while let Some(found) = TOKEN.find(rest) {
            let inner = TOKEN.captures(rest).unwrap().get(1).map(|inner| inner.as_str());
            let consumed = match inner {
                Some(inner) if self.has_variables => {
                    pattern += &regex::escape(&self.variable(inner)?);
                    found.as_str().len()
                }
                _ => {
                    let character = rest.chars().next().unwrap();
                    match character {
                        '*' if wildcards => pattern += ".*",
                        '?' if wildcards => pattern += ".",
                        other => pattern += &regex::escape(&other.to_string()),
                    }
                    character.len_utf8()
                }
            };
            rest = &rest[consumed..];
        }
        let pattern = if ignores_case { pattern.to_lowercase() } else { pattern };
        Some(Regex::new(&format!("(?s)^{pattern}$")).unwrap())
    }

    fn variable(&self, inner: &str) -> Option<String> {
        if ["*", "?", "$"].contains(&inner) {
            return Some(inner.to_owned());
        }
        let parts =
            Regex::new(r"^\s*([^,\s]+)\s*(?:,\s*'(.*)')?\s*$").unwrap().captures(inner).unwrap();
        let value = self.facts.get(&parts[1].to_lowercase()).filter(|values| values.len() == 1);
        match value {
            Some(values) => Some(values[0].clone()),
            None => parts.get(2).map(|default| default.as_str().to_owned()),
        }
    }

    fn meets(&self, operator: &str, key: &str, operands: &[String]) -> bool {
        let key = match key.split_once('/') {
            Some((name, tag)) => format!("{}/{tag}", name.to_lowercase()),
            None => key.to_lowercase(),
        };
        let values = self.facts.get(&key).cloned().unwrap_or_default();
        if operator == "Null" {
            return operands.contains(&values.is_empty().to_string());
        }
        let for_all = operator.starts_with("ForAllValues:");
        let for_any = operator.starts_with("ForAnyValue:");
        let if_exists = operator.ends_with("IfExists");
        let base = operator.trim_start_matches("ForAllValues:").trim_start_matches("ForAnyValue:");
        let base = base.trim_end_matches("IfExists");
        let is_negated = base.contains("Not");
        let positive = base.replace("Not", "");
        if values.is_empty() {
            return if_exists || for_all || (is_negated && !for_any);
        }
        let test = |value: &String| {
            let matched = operands.iter().any(|operand| self.matches(&positive, value, operand));
            matched != is_negated
        };
        match for_all || (is_negated && !for_any) {
            true => values.iter().all(test),
            false => values.iter().any(test),
        }
    }

    fn matches(&self, operator: &str, value: &str, operand: &str) -> bool {
        let text = |wildcards, ignores_case| {
            let regex = self.regex(operand, wildcards, ignores_case);
            let lower = value.to_lowercase();
            let value = if ignores_case { lower.as_str() } else { value };
            regex.is_some_and(|regex| regex.is_match(value))
        };
        if let Some(order) = operator.strip_prefix("Numeric") {
            return ordered(order, value.parse::<f64>().ok(), operand.parse::<f64>().ok());
        }
        if let Some(order) = operator.strip_prefix("Date") {
            return ordered(order, seconds(value), seconds(operand));
        }
        match operator {
            "StringEquals" => text(false, false),
            "StringEqualsIgnoreCase" => text(false, true),
            "StringLike" => text(true, false),
            "Bool" => value == operand,
            "IpAddress" => in_network(value, operand),
            "ArnEquals" | "ArnLike" => arn_matches(value, operand),
            other => panic!("{other}"),
        }
    }
}

fn is_principal(name: &str, caller: &PolicyCaller) -> bool {
    let of_account = caller
        .accounts
        .iter()
        .any(|account| name == account || name == format!("arn:aws:iam::{account}:root"));
    name == "*" || of_account || caller.arns.iter().any(|arn| arn == name)
}

fn ordered(order: &str, value: Option<f64>, operand: Option<f64>) -> bool {
    let (Some(value), Some(operand)) = (value, operand) else { return false };
    match order {
        "Equals" => value == operand,
        "LessThan" => value < operand,
        "LessThanEquals" => value <= operand,
        "GreaterThan" => value > operand,
        "GreaterThanEquals" => value >= operand,
        other => panic!("{other}"),
    }
}

/// Seconds since the epoch, by counting the days of each year and month.
fn seconds(text: &str) -> Option<f64> {
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    let form = r"^(\d{4})-(\d\d)-(\d\d)(?:T(\d\d):(\d\d)(?::(\d\d(?:\.\d+)?))?(?:Z|([+-])(\d\d):(\d\d)))?$";
    let parts = Regex::new(form).unwrap().captures(text)?;
    let part =
        |index: usize| parts.get(index).map_or(0.0, |found| found.as_str().parse::<f64>().unwrap());
    let leap = |year: i64| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let (year, month) = (part(1) as i64, part(2) as usize);
    let mut days: i64 = (1970..year).map(|year| if leap(year) { 366 } else { 365 }).sum();
    let february = if leap(year) { 29 } else { 28 };
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    days += months[..month - 1].iter().sum::<i64>() + part(3) as i64 - 1;
    let zone = part(8) * 3600.0 + part(9) * 60.0;
    let sign = if parts.get(7).is_some_and(|sign| sign.as_str() == "-") { -1.0 } else { 1.0 };
    Some(days as f64 * 86_400.0 + part(4) * 3600.0 + part(5) * 60.0 + part(6) - sign * zone)
}

/// Compares bit strings.
fn in_network(value: &str, network: &str) -> bool {
    let bits = |text: &str| match text.parse().unwrap() {
        IpAddr::V4(address) => format!("4{:032b}", u32::from(address)),
        IpAddr::V6(address) => format!("6{:0128b}", u128::from(address)),
    };
    let (address, prefix) = match network.split_once('/') {
        Some((address, prefix)) => (bits(address), prefix.parse().unwrap()),
        None => (bits(network), 128),
    };
    let length = (prefix + 1).min(address.len());
    bits(value).starts_with(&address[..length])
}

/// Segment by segment; a `*` at the end of a short pattern takes the rest.
fn arn_matches(value: &str, pattern: &str) -> bool {
    let count = pattern.matches(':').count();
    let in_segments = regex::escape(pattern).replace(r"\*", "[^:]*").replace(r"\?", "[^:]");
    let open = match count < 5 && in_segments.ends_with("[^:]*") {
        true => format!("{}.*", in_segments.trim_end_matches("[^:]*")),
        false => in_segments,
    };
    Regex::new(&format!("^{open}$")).unwrap().is_match(value)
}
