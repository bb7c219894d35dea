//! Time of a decision. Run it with `cargo test --release -p apus-policy --test decision_time -- --ignored`.
#![allow(missing_docs, clippy::unwrap_used)]

use std::fmt::Write;
use std::time::{Duration, Instant};

use apus_policy::{
    ConditionValues, DocumentKind, PolicyCaller, PolicyDocument, PolicyOutcome, PolicyRequest,
};

const ROUNDS: u32 = 20_000;

/// A document near the limit of 20 KiB, whose last statement decides.
fn longest() -> String {
    let mut text = r#"{"Version":"2012-10-17","Statement":["#.to_owned();
    for n in 0..90 {
        write!(
            text,
            r#"{{"Effect":"Allow","Principal":{{"AWS":"arn:aws:iam::a{n}:user/u"}},"Action":["s3:Get*","s3:PutObject"],
            "Resource":"arn:aws:s3:::b/home{n}/*","Condition":{{"IpAddress":{{"aws:SourceIp":"10.{n}.0.0/16"}}}}}},"#
        )
        .unwrap();
    }
    text.push_str(
        r#"{"Effect":"Allow","Principal":"*","Action":"s3:GetObject",
        "Resource":"arn:aws:s3:::b/*a*/${aws:username}/*.jpg","Condition":{"StringLike":{"aws:Referer":"http*://*.example.org/*"},
        "DateGreaterThan":{"aws:CurrentTime":"2020-01-01T00:00:00Z"}}}]}"#,
    );
    text
}

#[test]
#[ignore = "measures time; run it alone and in release mode"]
fn a_decision_takes_less_than_20_microseconds() {
    let text = longest();
    let document = PolicyDocument::parse(&text, DocumentKind::Bucket { name: "b" }).unwrap();
    let caller = PolicyCaller {
        accounts: vec!["test".into()],
        arns: vec!["arn:aws:iam::test:user/joe".into()],
        ..PolicyCaller::default()
    };
    let context = |key: &str| {
        let value = match key {
            "aws:username" => "joe",
            "aws:referer" => "https://www.example.org/a/b/c",
            "aws:currenttime" => "2026-11-30T12:00:00Z",
            _ => "10.7.1.2",
        };
        ConditionValues::Known(vec![value.to_owned()])
    };
    let request = PolicyRequest {
        action: "s3:GetObject",
        resource: "arn:aws:s3:::b/family/joe/2026/11/30/one.jpg",
        caller: &caller,
        context: &context,
    };
    let started = Instant::now();
    for _ in 0..ROUNDS {
        assert!(matches!(document.evaluate(&request), PolicyOutcome::Allow { .. }));
    }
    let each = started.elapsed() / ROUNDS;
    println!("{} bytes, {} statements: {each:?}", text.len(), document.statement_count());
    assert!(each < Duration::from_micros(20), "{each:?}");
}
