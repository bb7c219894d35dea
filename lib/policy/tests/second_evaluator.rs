//! Generated decisions, compared with a second evaluator that interprets the raw JSON.
//!
//! The second evaluator is written from the IAM User Guide in another style: it parses nothing in
//! advance, walks the document for each decision, and matches with regular expressions.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod second;

use std::collections::BTreeMap;

use apus_policy::{
    ConditionValues, DocumentKind, PolicyCaller, PolicyDocument, PolicyOutcome, PolicyRequest,
};
use serde_json::{Map, Value, json};

/// Number of generated documents, each with several requests.
const DOCUMENTS: usize = 800;
const REQUESTS_EACH: usize = 6;

/// A deterministic generator.
struct Generator(u64);

impl Generator {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) as usize % bound
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of these, or a list of some.
    fn some(&mut self, of: &[&str]) -> Value {
        if self.chance(50) {
            return json!(self.pick(of));
        }
        let count = 1 + self.below(3);
        (0..count).map(|_| json!(self.pick(of))).collect()
    }
}

const ACTIONS: [&str; 12] = [
    "s3:GetObject",
    "s3:PutObject",
    "s3:DeleteObject",
    "s3:ListBucket",
    "s3:GetObject*",
    "s3:*Object",
    "S3:get*",
    "s3:?utObject",
    "s3:GetObjectTagging",
    "s3:*",
    "*",
    "s3:List*",
];
const ASKED: [&str; 6] = [
    "s3:GetObject",
    "s3:PutObject",
    "s3:DeleteObject",
    "s3:ListBucket",
    "s3:GetObjectTagging",
    "s3:GetObjectVersion",
];
const RESOURCES: [&str; 11] = [
    "arn:aws:s3:::b",
    "arn:aws:s3:::b/*",
    "arn:aws:s3:::b/home/*",
    "arn:aws:s3:::b/home/${aws:username}/*",
    "arn:aws:s3:::b/home/${aws:username, 'guest'}/?",
    "arn:aws:s3:::b*",
    "arn:aws:s3:::*",
    "arn:aws:s3:::b/*.jpg",
    "arn:aws:s3:::b/?*/a*b*",
    "arn:aws:s3:::b/${*}",
    "*",
];
const NAMES: [&str; 10] = [
    "arn:aws:s3:::b",
    "arn:aws:s3:::b/x",
    "arn:aws:s3:::b/home/joe/a",
    "arn:aws:s3:::b/home/ann/a.jpg",
    "arn:aws:s3:::b/home/guest/a",
    "arn:aws:s3:::b/x/aabb",
    "arn:aws:s3:::b/x/a:b",
    "arn:aws:s3:::b/*",
    "arn:aws:s3:::b/.jpg",
    "arn:aws:s3:::b/home/",
];
const PRINCIPALS: [&str; 7] = [
    "*",
    "test",
    "AUTH_test",
    "arn:aws:iam::test:root",
    "arn:aws:iam::test:user/joe",
    "arn:aws:iam::test:user/ann",
    "arn:aws:iam::other:root",
];
/// Operators with keys and operands that fit them.
const CONDITIONS: [(&str, &[&str], &[&str]); 9] = [
    (
        "String Equals/NotEquals/EqualsIgnoreCase/NotEqualsIgnoreCase/Like/NotLike",
        &["s3:prefix", "aws:UserAgent", "aws:username", "s3:ExistingObjectTag/Team"],
        &["a", "A*", "jo?", "joe", "${aws:username}", "x${aws:userid,'y'}", "${$}{a}", "*", "Äb"],
    ),
    (
        "ForAllValues:String Equals/Like/NotEquals/NotLike",
        &["s3:RequestObjectTagKeys", "s3:prefix"],
        &["a", "b", "a*", "${aws:username}"],
    ),
    (
        "ForAnyValue:String Equals/Like/NotEquals/NotLike",
        &["s3:RequestObjectTagKeys", "s3:prefix"],
        &["a", "b", "a*", "c"],
    ),
    (
        "Numeric Equals/NotEquals/LessThan/LessThanEquals/GreaterThan/GreaterThanEquals",
        &["s3:max-keys", "s3:signatureAge"],
        &["10", "10.5", "-3", "1000"],
    ),
    (
        "Date Equals/NotEquals/LessThan/LessThanEquals/GreaterThan/GreaterThanEquals",
        &["aws:CurrentTime", "aws:EpochTime"],
        &[
            "2024-02-29T12:00:00Z",
            "2024-02-29T13:00:00+01:00",
            "1709208000",
            "2024-02-29",
            "1999-12-31T23:59Z",
        ],
    ),
    ("Ip Address", &["aws:SourceIp"], &["10.0.0.0/8", "10.1.2.3", "2001:db8::/33", "0.0.0.0/0"]),
    ("Not IpAddress", &["aws:SourceIp"], &["10.0.0.0/9", "192.0.2.128/25", "::/0"]),
    (
        "Arn Equals/NotEquals/Like/NotLike",
        &["aws:SourceArn", "aws:PrincipalArn"],
        &["arn:aws:iam::test:user/joe", "arn:aws:iam::*:user/*", "arn:aws:sns:*", "arn:*:*:*:1:t?"],
    ),
    ("Bool", &["aws:SecureTransport"], &["true", "false"]),
];

fn condition(generator: &mut Generator) -> Value {
    let mut block = Map::new();
    for _ in 0..1 + generator.below(2) {
        if generator.chance(10) {
            let key = generator.pick(&["s3:prefix", "aws:SourceIp"]);
            let operand = generator.some(&["true", "false"]);
            block.insert("Null".to_owned(), json!({ key: operand }));
            continue;
        }
        let (family, keys, operands) = CONDITIONS[generator.below(CONDITIONS.len())];
        let (base, forms) = family.split_once(' ').unwrap_or((family, ""));
        let forms: Vec<&str> = forms.split('/').collect();
        let exists = if generator.chance(25) { "IfExists" } else { "" };
        let operator = format!("{base}{}{exists}", generator.pick(&forms));
        let mut of_keys = Map::new();
        for _ in 0..1 + generator.below(2) {
            of_keys.insert(generator.pick(keys).to_owned(), generator.some(operands));
        }
        block.insert(operator, Value::Object(of_keys));
    }
    Value::Object(block)
}

fn statement(generator: &mut Generator, index: usize) -> Value {
    let mut statement = Map::new();
    let deny = generator.chance(35);
    statement.insert("Sid".to_owned(), json!(format!("s{index}")));
    statement.insert("Effect".to_owned(), json!(if deny { "Deny" } else { "Allow" }));
    let principal = match generator.below(3) {
        0 => json!("*"),
        _ => json!({ "AWS": generator.some(&PRINCIPALS) }),
    };
    let negated = deny && generator.chance(25);
    statement.insert(if negated { "NotPrincipal" } else { "Principal" }.to_owned(), principal);
    let actions = generator.some(&ACTIONS);
    let negated = generator.chance(15);
    statement.insert(if negated { "NotAction" } else { "Action" }.to_owned(), actions);
    let resources = generator.some(&RESOURCES);
    let negated = generator.chance(15);
    statement.insert(if negated { "NotResource" } else { "Resource" }.to_owned(), resources);
    if generator.chance(70) {
        statement.insert("Condition".to_owned(), condition(generator));
    }
    Value::Object(statement)
}

fn document(generator: &mut Generator) -> Value {
    let version = if generator.chance(80) { "2012-10-17" } else { "2008-10-17" };
    let count = 1 + generator.below(3);
    let statements: Vec<Value> = (0..count).map(|index| statement(generator, index)).collect();
    json!({ "Version": version, "Statement": statements })
}

/// A caller and its condition keys, and those of a request.
fn request(generator: &mut Generator) -> (PolicyCaller, BTreeMap<String, Vec<String>>) {
    let user = generator.pick(&["", "joe", "ann", "jo*"]);
    let account = generator.pick(&["test", "other"]);
    let mut caller = PolicyCaller::default();
    let mut facts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut set = |key: &str, value: &str| {
        facts.entry(key.to_owned()).or_default().push(value.to_owned());
    };
    if !user.is_empty() {
        let arn = format!("arn:aws:iam::{account}:user/{user}");
        set("aws:username", user);
        set("aws:principalarn", &arn);
        caller.accounts = vec![format!("AUTH_{account}"), account.to_owned()];
        caller.arns = vec![arn];
    }
    for (key, values) in [
        ("s3:prefix", &["a", "abc", "A*", "", "joe"][..]),
        ("aws:useragent", &["a", "ÄB", "x", "xy", "${a}"]),
        ("aws:userid", &["AIDA", "y"]),
        ("s3:existingobjecttag/Team", &["a", "A", "joe"]),
        ("s3:requestobjecttagkeys", &["a", "b", "ab", "c"]),
        ("s3:max-keys", &["10", "10.50", "0", "many", "1000"]),
        ("s3:signatureage", &["-3.0", "11"]),
        ("aws:currenttime", &["2024-02-29T12:00:00Z", "2024-02-29T12:00:00.5Z"]),
        ("aws:epochtime", &["1709208000", "0"]),
        ("aws:sourceip", &["10.1.2.3", "10.200.0.1", "192.0.2.200", "2001:db8:8000::1", "::1"]),
        ("aws:sourcearn", &["arn:aws:sns:eu:1:t1", "arn:aws:sns:eu:2:t", "text"]),
        ("aws:securetransport", &["true", "false"]),
    ] {
        let many = key == "s3:requestobjecttagkeys";
        for _ in 0..if many { generator.below(4) } else { usize::from(generator.chance(70)) } {
            set(key, generator.pick(values));
        }
    }
    (caller, facts)
}

#[test]
fn both_evaluators_decide_the_same() {
    let mut generator = Generator(2012);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for _ in 0..DOCUMENTS {
        let raw = document(&mut generator);
        let kind = DocumentKind::Bucket { name: "b" };
        let Ok(parsed) = PolicyDocument::parse(&raw.to_string(), kind) else {
            // Denials without effect, and variables in operands of a version without variables.
            *counts.entry("refused").or_default() += 1;
            continue;
        };
        for _ in 0..REQUESTS_EACH {
            let (caller, facts) = request(&mut generator);
            let (action, resource) = (generator.pick(&ASKED), generator.pick(&NAMES));
            let context =
                |key: &str| ConditionValues::Known(facts.get(key).cloned().unwrap_or_default());
            let asked = PolicyRequest { action, resource, caller: &caller, context: &context };
            let ours = match parsed.evaluate(&asked) {
                PolicyOutcome::Deny { .. } => "deny",
                PolicyOutcome::Allow { .. } => "allow",
                PolicyOutcome::NoMatch => "no match",
                PolicyOutcome::Unread { .. } => "unread",
            };
            let theirs = second::decide(&raw, action, resource, &caller, &facts);
            assert_eq!(ours, theirs, "{raw:#} {action} {resource} {caller:?} {facts:?}");
            *counts.entry(ours).or_default() += 1;
        }
    }
    let count = |outcome: &str| counts.get(outcome).copied().unwrap_or_default();
    assert!(count("refused") < DOCUMENTS / 5, "{counts:?}");
    assert!(count("allow") >= 300 && count("deny") >= 200, "{counts:?}");
    assert!(count("no match") >= 1_000 && count("unread") == 0, "{counts:?}");
}
