use super::*;

const BUCKET: DocumentKind<'static> = DocumentKind::Bucket { name: "b" };

fn statement(effect: &str, rest: &str) -> String {
    format!(r#"{{"Version":"2012-10-17","Statement":{{"Effect":"{effect}",{rest}}}}}"#)
}

fn element_of(text: &str, kind: DocumentKind<'_>) -> String {
    match PolicyDocument::parse(text, kind).unwrap_err() {
        DocumentError::Element { element, reason } => {
            assert!(!reason.is_empty());
            element
        }
        other => other.to_string(),
    }
}

const FULL: &str = r#""Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::b/*""#;

#[test]
fn documents_in_every_form_are_accepted() {
    for rest in [
        FULL,
        r#""Sid":"a b","Principal":{"AWS":["*","test"],"CanonicalUser":"x"},"Action":["s3:GetObject"],"Resource":["arn:aws:s3:::b","arn:aws:s3:::b/*"]"#,
        r#""Principal":{"AWS":"arn:aws:iam::s3tenant1:root"},"NotAction":"s3:Get*","NotResource":"arn:aws:s3:::b/x""#,
        r#""Principal":"*","Action":"*","Resource":"arn:aws:s3:::*""#,
        r#""Principal":"*","Action":"s3:GetObject","Resource":"*""#,
        r#""Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::?/${aws:username}/*""#,
        r#""Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::${aws:username}/*""#,
        r#""Principal":"*","Action":"s3:PutObject","Resource":"arn:aws:s3:::b""#,
        r#""Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::b","Condition":{}"#,
        r#""Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::b","Condition":{"Bool":{"aws:SecureTransport":false},"NumericLessThan":{"s3:max-keys":[10,"20"]}}"#,
    ] {
        let parsed = PolicyDocument::parse(&statement("Allow", rest), BUCKET);
        assert!(parsed.is_ok(), "{rest}: {parsed:?}");
    }
    let trust = r#""Principal":{"Federated":"idp.example.org"},"Action":"sts:AssumeRoleWithWebIdentity","Condition":{"StringEquals":{"idp.example.org:aud":"x"}}"#;
    assert!(PolicyDocument::parse(&statement("Allow", trust), DocumentKind::Trust).is_ok());
    let identity = r#""Action":["iam:*","s3:*"],"Resource":["arn:aws:iam::1:user/x","*"]"#;
    assert!(PolicyDocument::parse(&statement("Deny", identity), DocumentKind::Identity).is_ok());
}

#[test]
fn what_cannot_be_evaluated_is_refused_with_its_element() {
    let of_s3 = r#""Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::b/*","#;
    for (effect, rest, element) in [
        ("Permit", FULL.to_owned(), "Effect"),
        ("Allow", format!(r#"{FULL},"Extra":1"#), "Extra"),
        ("Allow", format!(r#"{FULL},"NotAction":"s3:*""#), "NotAction"),
        ("Allow", FULL.replace(r#""Principal":"*","#, ""), "Principal"),
        ("Allow", FULL.replace("\"*\"", "\"me\""), "Principal"),
        ("Allow", FULL.replace("\"*\"", "{}"), "Principal"),
        ("Allow", FULL.replace("\"*\"", r#"{"AWS":[]}"#), "Principal.AWS"),
        ("Allow", FULL.replace("\"*\"", r#"{"AWS":"test:tester"}"#), "Principal.AWS"),
        ("Allow", FULL.replace("\"*\"", r#"{"Group":"x"}"#), "Principal.Group"),
        ("Allow", FULL.replace("\"Principal", "\"NotPrincipal"), "NotPrincipal"),
        ("Allow", FULL.replace(r#""Action":"s3:*","#, ""), "Action"),
        ("Allow", FULL.replace("s3:*", "s3:GetObjekt"), "Action"),
        ("Allow", FULL.replace("s3:*", "iam:GetUser"), "Action"),
        ("Allow", FULL.replace("s3:*", "s3:ListAllMyBuckets"), "Action"),
        ("Deny", FULL.replace("s3:*", "s3:ListBucket"), "Action"),
        ("Deny", FULL.replace("s3:*", "s3:GetObject").replace("b/*", "b"), "Action"),
        ("Allow", FULL.replace(r#","Resource":"arn:aws:s3:::b/*""#, ""), "Resource"),
        ("Allow", FULL.replace(":::b/*", ":::c/*"), "Resource"),
        ("Allow", FULL.replace(":::b/*", ":::b2*"), "Resource"),
        ("Allow", FULL.replace(":::b/*", "::1:b/*"), "Resource"),
        ("Allow", FULL.replace("arn:aws:s3:::b/*", "b/*"), "Resource"),
        ("Allow", FULL.replace("b/*", "b/${user}"), "Resource"),
        ("Allow", format!(r#"{of_s3}"Condition":[]"#), "Condition"),
        ("Allow", format!(r#"{of_s3}"Condition":{{"StringIs":{{}}}}"#), "Condition.StringIs"),
        (
            "Allow",
            format!(r#"{of_s3}"Condition":{{"StringLike":{{"s3:pre":"a"}}}}"#),
            "Condition.StringLike.s3:pre",
        ),
        (
            "Allow",
            format!(r#"{of_s3}"Condition":{{"StringLike":{{"s3:prefix":null}}}}"#),
            "Condition.StringLike.s3:prefix",
        ),
        (
            "Allow",
            format!(r#"{of_s3}"Condition":{{"IpAddress":{{"aws:SourceIp":"10.0.0.0/40"}}}}"#),
            "Condition.IpAddress.aws:SourceIp",
        ),
        (
            "Allow",
            format!(r#"{of_s3}"Condition":{{"DateLessThan":{{"aws:CurrentTime":"soon"}}}}"#),
            "Condition.DateLessThan.aws:CurrentTime",
        ),
    ] {
        let text = statement(effect, &rest);
        assert_eq!(element_of(&text, BUCKET), format!("Statement[0].{element}"), "{text}");
    }
}

#[test]
fn documents_of_the_wrong_form_are_refused() {
    let one = format!(r#"{{"Effect":"Allow",{FULL}}}"#);
    let twice = one.replacen('{', r#"{"Sid":"a","#, 1);
    for (text, element) in [
        ("[]".to_owned(), "the document"),
        ("{}".to_owned(), "Statement"),
        (r#"{"Statement":[]}"#.to_owned(), "Statement"),
        (r#"{"Statement":["x"]}"#.to_owned(), "Statement[0]"),
        (r#"{"Version":"2012","Statement":[]}"#.to_owned(), "Version"),
        (r#"{"Version":2012,"Statement":[]}"#.to_owned(), "Version"),
        (r#"{"Id":1,"Statement":[]}"#.to_owned(), "Id"),
        (format!(r#"{{"Extra":1,"Statement":[{one}]}}"#), "Extra"),
        (format!(r#"{{"Statement":[{twice},{twice}]}}"#), "Statement[1].Sid"),
    ] {
        assert_eq!(element_of(&text, BUCKET), element, "{text}");
    }
    for text in ["", "{", "{\"a\":1}x", "{\"Id\":\"a\",\"Id\":\"b\"}"] {
        let error = PolicyDocument::parse(text, BUCKET).unwrap_err();
        assert!(matches!(error, DocumentError::Json(_)), "{text}");
    }
    let long = format!(r#"{{"Statement":[{one}]{}}}"#, " ".repeat(DOCUMENT_BYTES_MAX));
    let error = PolicyDocument::parse(&long, BUCKET).unwrap_err();
    assert!(matches!(error, DocumentError::TooLong { .. }));
}

#[test]
fn identities_have_no_principals_and_roles_no_resources() {
    let text = statement("Allow", FULL);
    assert_eq!(element_of(&text, DocumentKind::Identity), "Statement[0].Principal");
    assert_eq!(element_of(&text, DocumentKind::Trust), "Statement[0].Resource");
    let sid = r#""Sid":"a b","Action":"s3:*","Resource":"*""#;
    assert_eq!(element_of(&statement("Allow", sid), DocumentKind::Identity), "Statement[0].Sid");
}
