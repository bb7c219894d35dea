//! Signatures of version 2: off by default, and what they cover.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::Sha1;

use super::*;

fn signature(text: &str) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

fn on() -> ProxyConfig {
    ProxyConfig { sigv2: true, ..config() }
}

/// A presigned URL of `/bucket/key`.
fn presigned(method: &'static str, text: &str) -> ClientRequest {
    ClientRequest::new(method, "/bucket/key")
        .param("AWSAccessKeyId", "a:u")
        .param("Expires", "1369353660")
        .param("Signature", &signature(text))
}

const GET: &str = "GET\n\n\n1369353660\n/bucket/key";

#[test]
fn it_is_refused_unless_it_is_switched_on() {
    let date = "Fri, 24 May 2013 00:00:00 GMT";
    let text = signature(&format!("GET\n\n\n{date}\n/bucket/key"));
    let header = ClientRequest::new("GET", "/bucket/key")
        .header("date", date)
        .header("authorization", &format!("AWS a:u:{text}"));
    for request in [header, presigned("GET", GET)] {
        assert!(matches!(request.verify_with(&on()), Ok(Some(_))));
        let error = request.verify().err().unwrap();
        assert_eq!(error.code, Code::InvalidRequest);
        assert!(error.message.contains("AWS4-HMAC-SHA256"));
    }
    assert!(!ProxyConfig::default().sigv2);
}

#[test]
fn a_sub_resource_that_it_does_not_cover_cannot_be_added() {
    for name in [
        "attributes",
        "renameObject",
        "publicAccessBlock",
        "ownershipControls",
        "policyStatus",
        "annotation",
    ] {
        let request = presigned("GET", GET).param(name, "");
        let error = request.verify_with(&on()).err().unwrap();
        assert_eq!(error.code, Code::InvalidRequest, "{name}");
    }
    for name in
        ["acl", "tagging", "uploadId", "versionId", "retention", "policy", "response-content-type"]
    {
        let request = presigned("GET", GET).param(name, "x");
        let error = request.verify_with(&on()).err().unwrap();
        assert_eq!(error.code, Code::SignatureDoesNotMatch, "{name}");
    }
}

#[test]
fn headers_that_it_covers_cannot_be_added() {
    for (name, value) in [
        ("x-amz-copy-source", "/b/k"),
        ("x-amz-acl", "private"),
        ("content-type", "a/b"),
        ("content-md5", "x"),
    ] {
        let request = presigned("GET", GET).header(name, value);
        let error = request.verify_with(&on()).err().unwrap();
        assert_eq!(error.code, Code::SignatureDoesNotMatch, "{name}");
    }
}

#[test]
fn a_refusal_shows_the_text_that_was_signed() {
    let error = presigned("PUT", GET).verify_with(&on()).err().unwrap();
    let names: Vec<&str> = error.extra.iter().map(|(name, _)| *name).collect();
    let expected = ["AWSAccessKeyId", "StringToSign", "SignatureProvided", "StringToSignBytes"];
    assert_eq!(names, expected);
}
