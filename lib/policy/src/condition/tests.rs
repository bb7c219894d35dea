use super::*;

fn holds(operator: &str, operands: &[&str], values: &[&str]) -> bool {
    let operator = ConditionOperator::parse(operator).unwrap();
    let operands: Vec<String> = operands.iter().map(|text| (*text).to_owned()).collect();
    let operands = Operands::parse(operator.test, &operands, true).unwrap();
    let condition = Condition { operator, key: "aws:x".to_owned(), operands };
    let known: Vec<String> = values.iter().map(|text| (*text).to_owned()).collect();
    let context = |key: &str| match key {
        "aws:x" => ConditionValues::Known(known.clone()),
        "aws:username" => ConditionValues::Known(vec!["joe".to_owned()]),
        _ => ConditionValues::Known(Vec::new()),
    };
    condition.holds(&context) == Truth::Yes
}

/// Operator, operands, values of the request, result.
type Case = (&'static str, &'static [&'static str], &'static [&'static str], bool);

fn check(table: &[Case]) {
    for (operator, operands, values, expected) in table {
        assert_eq!(
            holds(operator, operands, values),
            *expected,
            "{operator} {operands:?} {values:?}"
        );
    }
}

#[test]
fn texts_are_compared_as_in_the_table() {
    check(&[
        ("StringEquals", &["a"], &["a"], true),
        ("StringEquals", &["a"], &["A"], false),
        ("StringEquals", &["a", "b"], &["b"], true),
        ("StringEquals", &["a*"], &["ab"], false),
        ("StringEquals", &["a*"], &["a*"], true),
        ("StringEquals", &["${aws:username}"], &["joe"], true),
        ("StringEquals", &["${aws:userid}"], &[""], false),
        ("StringNotEquals", &["a", "b"], &["b"], false),
        ("StringNotEquals", &["a", "b"], &["c"], true),
        ("StringNotEquals", &["${aws:userid}"], &["x"], true),
        ("StringEqualsIgnoreCase", &["ÄB"], &["äb"], true),
        ("StringNotEqualsIgnoreCase", &["AB"], &["ab"], false),
        ("StringEqualsIgnoreCase", &["X${aws:username}"], &["xJOE"], true),
        ("StringLike", &["a*c"], &["abbc"], true),
        ("StringLike", &["a?c"], &["abbc"], false),
        ("StringLike", &["home/${aws:username}/*"], &["home/joe/a"], true),
        ("StringNotLike", &["a*"], &["ba"], true),
        ("StringNotLike", &["a*"], &["ab"], false),
    ]);
}

#[test]
fn numbers_dates_and_booleans_are_compared_as_in_the_table() {
    check(&[
        ("NumericEquals", &["10"], &["10.0"], true),
        ("NumericNotEquals", &["10"], &["11"], true),
        ("NumericLessThan", &["10"], &["9"], true),
        ("NumericLessThan", &["10"], &["10"], false),
        ("NumericLessThanEquals", &["10"], &["10"], true),
        ("NumericGreaterThan", &["10", "-2"], &["0"], true),
        ("NumericGreaterThanEquals", &["10"], &["x"], false),
        ("NumericNotEquals", &["10"], &["x"], true),
        ("DateEquals", &["2024-01-01T00:00:00Z"], &["1704067200"], true),
        ("DateNotEquals", &["2024-01-01T00:00:00Z"], &["1704067200"], false),
        ("DateLessThan", &["2024-01-01T00:00:00Z"], &["2023-12-31T23:59:59Z"], true),
        ("DateGreaterThan", &["2024-01-01"], &["2024-01-01T00:00:00Z"], false),
        ("DateGreaterThanEquals", &["2024-01-01"], &["2024-01-01T00:00:00Z"], true),
        ("DateLessThanEquals", &["2024-01-01"], &["soon"], false),
        ("Bool", &["true"], &["true"], true),
        ("Bool", &["TRUE"], &["false"], false),
        ("Bool", &["false"], &["no"], false),
        ("BinaryEquals", &["aGVsbG8="], &["aGVsbG8="], true),
        ("BinaryEquals", &["aGVsbG8="], &["aGVsbG8"], false),
    ]);
}

#[test]
fn addresses_and_names_are_compared_as_in_the_table() {
    check(&[
        ("IpAddress", &["10.0.0.0/8", "2001:db8::/32"], &["10.1.2.3"], true),
        ("IpAddress", &["10.0.0.0/8", "2001:db8::/32"], &["2001:db8::7"], true),
        ("IpAddress", &["10.0.0.0/8"], &["11.0.0.1"], false),
        ("NotIpAddress", &["10.0.0.0/8"], &["11.0.0.1"], true),
        ("NotIpAddress", &["10.0.0.0/8"], &["10.0.0.1"], false),
        ("NotIpAddress", &["10.0.0.0/8"], &["unknown"], true),
        ("ArnEquals", &["arn:aws:sns:*:1:t"], &["arn:aws:sns:eu:1:t"], true),
        ("ArnLike", &["arn:aws:sns:*:1:t*"], &["arn:aws:sns:eu:2:t"], false),
        ("ArnNotEquals", &["arn:aws:sns:eu:1:t"], &["arn:aws:sns:eu:2:t"], true),
        ("ArnNotLike", &["arn:aws:sns:*:*:*"], &["arn:aws:sns:eu:2:t"], false),
        ("ArnLike", &["arn:aws:sns:*:*:*"], &["text"], false),
    ]);
}

#[test]
fn a_missing_key_passes_as_in_the_table() {
    check(&[
        ("StringEquals", &["a"], &[], false),
        ("StringEqualsIfExists", &["a"], &[], true),
        ("StringEqualsIfExists", &["a"], &["b"], false),
        ("StringNotEquals", &["a"], &[], true),
        ("StringNotEqualsIfExists", &["a"], &[], true),
        ("NumericLessThan", &["1"], &[], false),
        ("NotIpAddress", &["10.0.0.0/8"], &[], true),
        ("Bool", &["false"], &[], false),
        ("BoolIfExists", &["false"], &[], true),
        ("Null", &["true"], &[], true),
        ("Null", &["true"], &["a"], false),
        ("Null", &["false"], &["a"], true),
        ("Null", &["false"], &[], false),
        ("Null", &["true", "false"], &[], true),
        ("ForAllValues:StringEquals", &["a"], &[], true),
        ("ForAnyValue:StringEquals", &["a"], &[], false),
        ("ForAnyValue:StringNotEquals", &["a"], &[], false),
        ("ForAnyValue:StringEqualsIfExists", &["a"], &[], true),
    ]);
}

#[test]
fn several_values_pass_as_in_the_table() {
    check(&[
        ("ForAllValues:StringEquals", &["a", "b"], &["a", "b"], true),
        ("ForAllValues:StringEquals", &["a", "b"], &["a", "c"], false),
        ("ForAnyValue:StringEquals", &["a", "b"], &["a", "c"], true),
        ("ForAnyValue:StringEquals", &["a", "b"], &["c", "d"], false),
        ("ForAllValues:StringNotEquals", &["a", "b"], &["c", "d"], true),
        ("ForAllValues:StringNotEquals", &["a", "b"], &["a", "d"], false),
        ("ForAnyValue:StringNotEquals", &["a", "b"], &["a", "d"], true),
        ("ForAnyValue:StringNotEquals", &["a", "b"], &["a", "b"], false),
        ("StringEquals", &["a"], &["a", "c"], true),
        ("StringNotEquals", &["a"], &["a", "c"], false),
    ]);
}

#[test]
fn operands_of_another_type_are_refused() {
    for (operator, operand) in [
        ("NumericEquals", "ten"),
        ("NumericEquals", "1e5"),
        ("NumericEquals", "inf"),
        ("DateEquals", "soon"),
        ("Bool", "yes"),
        ("Null", ""),
        ("BinaryEquals", "?"),
        ("IpAddress", "10.0.0"),
        ("IpAddress", "${aws:SourceIp}"),
        ("ArnLike", "b"),
        ("StringEquals", "${aws:username"),
    ] {
        let test = ConditionOperator::parse(operator).unwrap().test;
        let parsed = Operands::parse(test, &[operand.to_owned()], true);
        assert!(parsed.is_err(), "{operator} {operand}");
    }
}

#[test]
fn a_key_of_an_unread_object_leaves_the_condition_open() {
    let operator = ConditionOperator::parse("StringEquals").unwrap();
    let operands = Operands::parse(operator.test, &["a".to_owned()], true).unwrap();
    let key = "s3:existingobjecttag/x".to_owned();
    let condition = Condition { operator, key, operands };
    assert_eq!(condition.holds(&|_: &str| ConditionValues::Unread), Truth::Unknown);
}
