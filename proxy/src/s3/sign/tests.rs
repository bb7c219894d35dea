//! The rules of signatures, each with the fault that it prevents.
//!
//! Source of the vectors: "Signature Calculations for the Authorization Header" and "Authenticating
//! Requests: Using Query Parameters" in AWS's S3 API reference (2013 examples).

mod client;
mod version_2;

use apus_cluster::HashConf;
use apus_cluster::percent;
use hmac::{Hmac, KeyInit, Mac};
use http::Request;
use sha2::Sha256;

use self::client::ClientRequest;
use super::*;
use crate::auth::tempauth::TempAuth;
use crate::config::ProxyConfig;
use crate::public_url::PublicUrl;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
/// `20130524T000000Z` in seconds since 1970, and as it is written.
const NOW: u64 = 1_369_353_600;
const DATE: &str = "20130524T000000Z";
const SCOPE: &str = "20130524/us-east-1/s3/aws4_request";
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn auth() -> TempAuth {
    let hash = HashConf { prefix: b"p".to_vec(), suffix: b"s".to_vec() };
    TempAuth::from_options([("user_a_u", SECRET)].into_iter(), &hash).unwrap()
}

fn config() -> ProxyConfig {
    ProxyConfig { region: "us-east-1".to_owned(), ..ProxyConfig::default() }
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// A second implementation of the calculation, from AWS's description.
fn signature(scope: &str, date: &str, canonical: &str) -> String {
    let mut key = format!("AWS4{SECRET}").into_bytes();
    for word in scope.split('/') {
        key = mac(&key, word);
    }
    let text =
        format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", canonical::sha256(canonical.as_bytes()));
    hex::encode(mac(&key, &text))
}

fn encoded(text: &str) -> String {
    let mut out = String::new();
    percent::encode_into(&mut out, text.as_bytes(), b"");
    out
}

fn put() -> ClientRequest {
    ClientRequest::new("PUT", "/bucket/key")
}

#[test]
fn awss_published_vectors_are_accepted() {
    let bucket = |mut request: ClientRequest| {
        request.headers[0].1 = "examplebucket.s3.amazonaws.com".to_owned();
        request
    };
    let of_file = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072";
    let mut upload = ClientRequest::new("PUT", "/test%24file.text")
        .header("date", "Fri, 24 May 2013 00:00:00 GMT")
        .header("x-amz-date", DATE)
        .header("x-amz-storage-class", "REDUCED_REDUNDANCY");
    upload.payload = of_file.to_owned();
    for (request, expected) in [
        (
            ClientRequest::new("GET", "/test.txt").header("range", "bytes=0-9"),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (upload, "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"),
        (
            ClientRequest::new("GET", "/").param("lifecycle", ""),
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
        (
            ClientRequest::new("GET", "/").param("max-keys", "2").param("prefix", "J"),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ] {
        let request = bucket(request).signed();
        let authorization = &request.headers.last().unwrap().1;
        assert!(authorization.ends_with(expected), "{authorization}");
        assert!(request.is_accepted(), "{authorization}");
    }
}

#[test]
fn awss_presigned_vector_is_verified() {
    // Its access key is part of the signed query, so the canonical request is compared.
    let uri = "https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256\
               &X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request\
               &X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=x";
    let request = Request::builder().uri(uri).header("host", "examplebucket.s3.amazonaws.com");
    let head = request.body(()).unwrap().into_parts().0;
    let canonical = canonical::request(&head, &["host"], "UNSIGNED-PAYLOAD", None).unwrap();
    let found = signature(SCOPE, DATE, std::str::from_utf8(&canonical).unwrap());
    assert_eq!(found, "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404");
}

#[test]
fn awss_vector_of_signed_chunks_is_verified() {
    let mut key = format!("AWS4{SECRET}").into_bytes();
    for word in SCOPE.split('/') {
        key = mac(&key, word);
    }
    let request = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9";
    let chunks = [
        (65_536, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"),
        (1024, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"),
        (0, "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"),
    ];
    let mut seed = Seed::new(&key, DATE, SCOPE.to_owned(), request.to_owned());
    for (length, expected) in chunks {
        assert!(seed.check_chunk(&canonical::sha256(&vec![b'a'; length]), expected), "{length}");
    }
    // Each chunk's signature covers those before it: none can be left out, repeated or replaced.
    let digest = |length: usize| canonical::sha256(&vec![b'a'; length]);
    for order in [[1, 0], [0, 0], [0, 2], [1, 1], [2, 2]] {
        let mut seed = Seed::new(&key, DATE, SCOPE.to_owned(), request.to_owned());
        let all = order.iter().all(|at| seed.check_chunk(&digest(chunks[*at].0), chunks[*at].1));
        assert!(!all, "{order:?}");
    }
}

#[test]
fn a_signed_request_is_accepted_in_the_header_and_in_the_query() {
    assert!(put().signed().is_accepted());
    assert!(put().presigned("60").is_accepted());
    assert!(
        put().header("x-amz-meta-a", "1").header("x-amz-acl", "private").signed().is_accepted()
    );
    let odd = put().param("prefix", "a b+c/ü&=").param("A", "").param("a", "2").param("a", "1");
    assert!(odd.clone().signed().is_accepted());
    assert!(odd.presigned("60").is_accepted());
    assert!(ClientRequest::new("PUT", "/bucket/a//b/../c%20%2B").signed().is_accepted());
}

/// CVE-2026-71191, CVE-2026-97731, CVE-2026-54330 and versitygw 57747021.
#[test]
fn each_x_amz_header_must_be_signed() {
    for name in [
        "x-amz-acl",
        "x-amz-bypass-governance-retention",
        "x-amz-copy-source",
        "x-amz-copy-source-range",
        "x-amz-grant-full-control",
        "x-amz-meta-a",
        "x-amz-metadata-directive",
        "x-amz-object-lock-mode",
        "x-amz-security-token",
        "x-amz-server-side-encryption-customer-key",
        "x-amz-tagging",
        "x-amz-website-redirect-location",
        "x-amz-not-known-yet",
    ] {
        let request = put().header(name, "v");
        let unsigned = [name];
        let error = request.clone().signed_without(&unsigned).verify().err().unwrap();
        assert_eq!(error.code, Code::AccessDenied, "{name}");
        assert!(error.extra.contains(&("HeadersNotSigned", name.to_owned())), "{name}");
        let error = request.clone().presigned_without("60", &unsigned).verify().err().unwrap();
        assert_eq!(error.code, Code::AccessDenied, "{name}");
        // One that was signed and is altered, added again or left out.
        for signed in [request.clone().signed(), request.presigned("60")] {
            let at = signed.headers.iter().position(|(known, _)| known == name).unwrap();
            let mut altered = signed.clone();
            altered.headers[at].1 = "w".to_owned();
            assert_eq!(altered.refusal(), Some(Code::SignatureDoesNotMatch), "{name}");
            let again = signed.clone().header(name, "w");
            assert!(again.refusal().is_some(), "{name}");
            let mut left_out = signed;
            left_out.headers.remove(at);
            assert_eq!(left_out.refusal(), Some(Code::SignatureDoesNotMatch), "{name}");
        }
    }
    let error = put().header("x-amz-b", "1").header("x-amz-a", "1");
    let error = error.signed_without(&["x-amz-a", "x-amz-b"]).verify().err().unwrap();
    assert!(error.extra.contains(&("HeadersNotSigned", "x-amz-a, x-amz-b".to_owned())));
}

#[test]
fn the_host_must_be_signed_and_be_the_one_of_the_request() {
    let code = put().signed_without(&["host"]).refusal();
    assert_eq!(code, Some(Code::AuthorizationHeaderMalformed));
    let code = put().presigned_without("60", &["host"]).refusal();
    assert_eq!(code, Some(Code::AuthorizationQueryParametersError));
    for mut request in [put().signed(), put().presigned("60")] {
        request.headers[0].1 = "other.example".to_owned();
        // A forwarded host is a claim of the client.
        let request = request
            .header("x-forwarded-host", "store.example")
            .header("forwarded", "host=store.example");
        assert_eq!(request.refusal(), Some(Code::SignatureDoesNotMatch));
    }
}

#[test]
fn a_gateway_may_send_another_host_and_path_if_its_url_is_configured() {
    let of = |url: &str| ProxyConfig { public_url: PublicUrl::parse(url).unwrap(), ..config() };
    let gated = of("https://store.example:443/gate");
    for sign in [ClientRequest::signed, |request: ClientRequest| request.presigned("60")] {
        let mut request = sign(ClientRequest::new("PUT", "/gate/bucket/key"));
        request.path = "/bucket/key";
        request.headers[0].1 = "10.0.0.1:8080".to_owned();
        assert!(request.verify_with(&gated).is_ok());
        assert!(request.verify().is_err());
        for url in [
            "https://store.example",
            "https://other.example/gate",
            "https://store.example:8443/gate",
        ] {
            let error = request.verify_with(&of(url)).err().unwrap();
            assert_eq!(error.code, Code::SignatureDoesNotMatch, "{url}");
        }
        request.path = "/bucket/other";
        assert!(request.verify_with(&gated).is_err());
        // Requests that reach the server without the gateway.
        assert!(sign(put()).verify_with(&gated).is_ok());
    }
}

#[test]
fn method_path_query_and_listed_headers_are_covered() {
    let base =
        || put().param("versionId", "1").header("content-type", "a/b").header("content-md5", "m");
    let changes: [fn(&mut ClientRequest); 9] = [
        |request| request.method = "DELETE",
        |request| request.path = "/bucket/other",
        |request| request.path = "/bucket//key",
        |request| request.path = "/bucket/./key",
        |request| request.query[0].1 = "2".to_owned(),
        |request| request.query.push(("acl".to_owned(), String::new())),
        |request| request.query.push(("versionId".to_owned(), "2".to_owned())),
        |request| request.headers[1].1 = "c/d".to_owned(),
        |request| request.headers[2].1 = "n".to_owned(),
    ];
    for signed in [base().signed(), base().presigned("60")] {
        assert!(signed.is_accepted());
        for (at, change) in changes.iter().enumerate() {
            let mut changed = signed.clone();
            change(&mut changed);
            assert!(changed.refusal().is_some(), "{at}");
        }
    }
}

#[test]
fn the_clock_may_differ_by_fifteen_minutes() {
    for (date, refused) in [
        ("20130523T234500Z", None),
        ("20130523T234459Z", Some(Code::RequestTimeTooSkewed)),
        ("20130524T001500Z", None),
        ("20130524T001501Z", Some(Code::RequestTimeTooSkewed)),
        ("20130524", Some(Code::AccessDenied)),
        ("20130524T000000", Some(Code::AccessDenied)),
        ("garbage", Some(Code::AccessDenied)),
    ] {
        let mut request = put();
        request.date = date.to_owned();
        let day = date.get(..8).unwrap_or_default();
        request.scope = format!("{day}/us-east-1/s3/aws4_request");
        assert_eq!(request.signed().refusal(), refused, "{date}");
    }
    let mut dated = put().header("date", "Fri, 24 May 2013 00:10:00 GMT");
    dated.date = "20130524T001000Z".to_owned();
    assert_eq!(dated.clone().signed().refusal(), None);
    dated.headers[1].1 = "Fri, 24 May 2013 00:20:00 GMT".to_owned();
    assert_eq!(dated.signed().refusal(), Some(Code::RequestTimeTooSkewed));
}

/// Garage e55fa38c.
#[test]
fn a_presigned_url_is_valid_from_its_date_until_it_expires() {
    let wrong = Some(Code::AuthorizationQueryParametersError);
    for (date, expires, refused) in [
        (DATE, "1", None),
        (DATE, "604800", None),
        (DATE, "604801", wrong),
        (DATE, "18446744073709551615", wrong),
        (DATE, "1e3", wrong),
        (DATE, "", wrong),
        (DATE, "0", Some(Code::AccessDenied)),
        (DATE, "-1", Some(Code::AccessDenied)),
        ("20130523T235900Z", "60", None),
        ("20130523T235859Z", "60", Some(Code::AccessDenied)),
        ("20130517T000000Z", "604800", None),
        ("20130516T235959Z", "604800", Some(Code::AccessDenied)),
        ("20130524T001500Z", "60", None),
        ("20130524T001501Z", "60", Some(Code::AccessDenied)),
        ("20130524T0000", "60", wrong),
    ] {
        let mut request = put();
        request.date = date.to_owned();
        request.scope = format!("{}/us-east-1/s3/aws4_request", &date[..8]);
        assert_eq!(request.presigned(expires).refusal(), refused, "{date} {expires}");
    }
}

#[test]
fn the_scope_is_the_day_the_region_and_the_service_of_the_request() {
    for scope in [
        "20130523/us-east-1/s3/aws4_request",
        "20130525/us-east-1/s3/aws4_request",
        "20130524/eu-west-1/s3/aws4_request",
        "20130524/us-east-1/sts/aws4_request",
        "20130524/us-east-1/s3/aws2_request",
        "20130524/us-east-1/s3",
        "20130524//s3/aws4_request",
        "",
    ] {
        let mut request = put();
        request.scope = scope.to_owned();
        let code = request.clone().signed().refusal();
        assert_eq!(code, Some(Code::AuthorizationHeaderMalformed), "{scope}");
        let code = request.presigned("60").refusal();
        assert_eq!(code, Some(Code::AuthorizationQueryParametersError), "{scope}");
    }
}

/// MinIO CVE-2026-41145: a credential that is present and not verified.
#[test]
fn a_request_with_a_part_of_a_credential_is_not_anonymous() {
    assert!(put().verify().unwrap().is_none());
    assert!(put().header("authorization", " ").verify().unwrap().is_none());
    for name in [
        "X-Amz-Algorithm",
        "X-Amz-Credential",
        "X-Amz-Signature",
        "X-Amz-SignedHeaders",
        "x-amz-signature",
        "x-amz-credential",
        "AWSAccessKeyId",
        "Signature",
        "awsaccesskeyid",
    ] {
        for value in ["", "x"] {
            assert!(put().param(name, value).verify().is_err(), "{name}={value}");
        }
    }
    for value in [
        "x",
        "Basic YTpi",
        "Bearer t",
        "AWS",
        "AWS ",
        "AWS a:u:x",
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 ",
    ] {
        assert!(put().header("authorization", value).verify().is_err(), "{value}");
    }
}

#[test]
fn a_request_has_one_credential() {
    let header = put().signed();
    let authorization = header.headers.last().unwrap().1.clone();
    let both = put().presigned("60").header("authorization", &authorization);
    assert_eq!(both.refusal(), Some(Code::InvalidArgument));
    // Two headers, the same or different ones, in either order.
    for second in [authorization.as_str(), "AWS a:u:x", "Basic x", ""] {
        let two = header.clone().header("authorization", second);
        assert_eq!(two.refusal(), Some(Code::InvalidArgument), "{second}");
        let mut two = header.clone();
        two.headers.insert(0, ("authorization".to_owned(), second.to_owned()));
        assert_eq!(two.refusal(), Some(Code::InvalidArgument), "{second}");
    }
    for (name, value) in [
        ("AWSAccessKeyId", "a:u"),
        ("Signature", "x"),
        ("X-Amz-Signature", "x"),
        ("X-Amz-Credential", "x"),
    ] {
        let mixed = put().param(name, value).signed();
        assert_eq!(mixed.refusal(), Some(Code::InvalidArgument), "{name}");
    }
    let mixed = put().param("AWSAccessKeyId", "a:u").presigned("60");
    assert_eq!(mixed.refusal(), Some(Code::InvalidArgument));
}

#[test]
fn parts_of_a_credential_are_given_once() {
    let presigned = put().presigned("60");
    for (name, value) in presigned.query.clone() {
        if name == "X-Amz-Signature" {
            continue;
        }
        // Even when both are signed.
        let twice = put().param(&name, &value).presigned("60");
        assert_eq!(twice.refusal(), Some(Code::AuthorizationQueryParametersError), "{name}");
    }
    let twice = presigned.clone().param("X-Amz-Signature", "x");
    assert_eq!(twice.refusal(), Some(Code::AuthorizationQueryParametersError));
    for missing in 0..presigned.query.len() {
        let mut request = presigned.clone();
        let (name, _) = request.query.remove(missing);
        assert_eq!(request.refusal(), Some(Code::AuthorizationQueryParametersError), "{name}");
    }
    let good = put().signed();
    let value = good.headers.last().unwrap().1.clone();
    let scheme = "AWS4-HMAC-SHA256 ";
    let fields: Vec<&str> = value.strip_prefix(scheme).unwrap().split(',').collect();
    for field in &fields {
        for text in
            [format!("{value},{field}"), value.replace(*field, "x=y"), format!("{value},{field},")]
        {
            let mut request = good.clone();
            request.headers.last_mut().unwrap().1 = text;
            assert_eq!(request.refusal(), Some(Code::AuthorizationHeaderMalformed), "{field}");
        }
        let others: Vec<&str> = fields.iter().copied().filter(|other| other != field).collect();
        let mut request = good.clone();
        request.headers.last_mut().unwrap().1 = format!("{scheme}{}", others.join(","));
        assert_eq!(request.refusal(), Some(Code::AuthorizationHeaderMalformed), "{field}");
    }
}

#[test]
fn signed_headers_are_named_once_in_lower_case() {
    let good = put().signed();
    let value = good.headers.last().unwrap().1.clone();
    for (from, to) in [
        ("SignedHeaders=host;", "SignedHeaders=host;host;"),
        ("x-amz-date,", "x-amz-date;x-amz-date,"),
        ("SignedHeaders=host;", "SignedHeaders=Host;"),
        ("SignedHeaders=host;", "SignedHeaders=;host;"),
        ("SignedHeaders=host;", "SignedHeaders=host;x-amz-absent;"),
        ("x-amz-date,", "x-amz-date;,"),
    ] {
        let mut request = good.clone();
        assert!(value.contains(from));
        request.headers.last_mut().unwrap().1 = value.replace(from, to);
        assert!(request.refusal().is_some(), "{to}");
    }
}

#[test]
fn headers_that_decide_are_not_repeated() {
    for name in
        ["x-amz-content-sha256", "x-amz-copy-source", "x-amz-date", "x-amz-decoded-content-length"]
    {
        let value = match name {
            "x-amz-date" => DATE,
            "x-amz-content-sha256" => EMPTY,
            _ => "1",
        };
        // Even when both are signed.
        let request = put().header(name, value).header(name, value).signed();
        let refusal = match name {
            "x-amz-date" => Code::AccessDenied,
            _ => Code::InvalidArgument,
        };
        assert_eq!(request.refusal(), Some(refusal), "{name}");
    }
}

#[test]
fn a_session_token_is_refused() {
    let name = "x-amz-security-token";
    assert_eq!(put().header(name, "t").signed().refusal(), Some(Code::InvalidToken));
    assert_eq!(put().header(name, "t").presigned("60").refusal(), Some(Code::InvalidToken));
    for name in ["X-Amz-Security-Token", "x-amz-security-token"] {
        assert_eq!(put().param(name, "t").presigned("60").refusal(), Some(Code::InvalidToken));
        assert_eq!(put().param(name, "t").signed().refusal(), Some(Code::InvalidToken));
    }
    // A wrong signature is reported first: the token's error is for the holder of the key.
    let mut forged = put().header(name, "t").signed();
    forged.headers.last_mut().unwrap().1.push('0');
    assert_eq!(forged.refusal(), Some(Code::SignatureDoesNotMatch));
    assert!(put().header(name, "").signed().is_accepted());
}

#[test]
fn the_payload_hash_is_required_and_one_of_the_known_forms() {
    let kind = |payload: &str| {
        let mut request = put();
        request.payload = payload.to_owned();
        request.signed().verify().map(|signed| signed.unwrap().payload)
    };
    assert!(matches!(kind("UNSIGNED-PAYLOAD"), Ok(Payload::Unsigned)));
    assert!(matches!(kind(&EMPTY.to_uppercase()), Ok(Payload::Sha256(hash)) if hash == EMPTY));
    for (name, chunks_are_signed, has_trailer) in [
        ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", true, false),
        ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", true, true),
        ("STREAMING-UNSIGNED-PAYLOAD-TRAILER", false, true),
    ] {
        let Ok(Payload::Chunked { seed, trailer }) = kind(name) else { panic!("{name}") };
        assert_eq!((seed.is_some(), trailer), (chunks_are_signed, has_trailer), "{name}");
    }
    for other in [
        "",
        "x",
        "unsigned-payload",
        "STREAMING-UNSIGNED-PAYLOAD",
        "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD",
        &EMPTY[1..],
        &format!("{EMPTY}0"),
        &EMPTY.replace('e', "g"),
    ] {
        assert_eq!(kind(other).err().unwrap().code, Code::InvalidArgument, "{other}");
    }
    let mut missing = put().signed_without(&["x-amz-content-sha256"]);
    missing.headers.retain(|(name, _)| name != "x-amz-content-sha256");
    assert_eq!(missing.refusal(), Some(Code::InvalidRequest));
    // What was signed as one hash and is sent with another.
    let mut other = put().signed();
    let at = other.headers.iter().position(|(name, _)| name == "x-amz-content-sha256").unwrap();
    other.headers[at].1 = "UNSIGNED-PAYLOAD".to_owned();
    assert_eq!(other.refusal(), Some(Code::SignatureDoesNotMatch));
}

#[test]
fn a_request_without_a_body_has_the_hash_of_nothing() {
    assert!(check_empty_body(&Payload::Sha256(EMPTY.to_owned())).is_ok());
    assert!(check_empty_body(&Payload::Unsigned).is_ok());
    let error = check_empty_body(&Payload::Sha256("0".repeat(64))).unwrap_err();
    assert_eq!(error.code, Code::XAmzContentSHA256Mismatch);
}

#[test]
fn a_refused_signature_shows_what_was_signed_and_nothing_secret() {
    let mut request = put().header("x-amz-meta-a", "1").signed();
    let good = request.headers.last().unwrap().1.rsplit_once('=').unwrap().1.to_owned();
    let forged = "0".repeat(64);
    request.headers.last_mut().unwrap().1 =
        request.headers.last().unwrap().1.replace(&good, &forged);
    let error = request.verify().err().unwrap();
    let names: Vec<&str> = error.extra.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        names,
        [
            "AWSAccessKeyId",
            "StringToSign",
            "SignatureProvided",
            "StringToSignBytes",
            "CanonicalRequest",
            "CanonicalRequestBytes"
        ]
    );
    let get = |name: &str| &error.extra.iter().find(|(known, _)| *known == name).unwrap().1;
    let canonical = format!(
        "PUT\n/bucket/key\n\nhost:store.example\nx-amz-content-sha256:{EMPTY}\nx-amz-date:{DATE}\n\
         x-amz-meta-a:1\n\nhost;x-amz-content-sha256;x-amz-date;x-amz-meta-a\n{EMPTY}"
    );
    assert_eq!(*get("CanonicalRequest"), canonical);
    assert!(get("CanonicalRequestBytes").starts_with("50 55 54 0a 2f 62 75 63 6b 65 74 2f"));
    let hash = canonical::sha256(canonical.as_bytes());
    assert_eq!(*get("StringToSign"), format!("AWS4-HMAC-SHA256\n{DATE}\n{SCOPE}\n{hash}"));
    assert_eq!(*get("SignatureProvided"), forged);
    assert_eq!(*get("AWSAccessKeyId"), "a:u");
    let mut key = format!("AWS4{SECRET}").into_bytes();
    for word in SCOPE.split('/') {
        key = mac(&key, word);
    }
    for secret in [SECRET.to_owned(), good, hex::encode(&key)] {
        for (name, value) in &error.extra {
            assert!(!value.contains(&secret), "{name}");
            assert!(!value.replace(' ', "").contains(&secret), "{name}");
        }
    }
}

#[test]
fn unknown_keys_and_wrong_signatures_have_awss_codes() {
    let mut unknown = put().signed();
    let value = &mut unknown.headers.last_mut().unwrap().1;
    *value = value.replace("a:u", "a:v");
    assert_eq!(unknown.refusal(), Some(Code::InvalidAccessKeyId));
    for change in ["", "0", "A"] {
        let mut wrong = put().signed();
        let value = &mut wrong.headers.last_mut().unwrap().1;
        value.pop();
        value.push_str(change);
        if change == "A" {
            *value = value
                .to_uppercase()
                .replace("AWS4-HMAC-SHA256 CREDENTIAL", "AWS4-HMAC-SHA256 Credential");
        }
        assert!(wrong.refusal().is_some(), "{change}");
    }
}

#[test]
fn the_claimed_key_is_found_wherever_it_is() {
    let claimed = |authorization: &str, query: &str| {
        let mut headers = http::HeaderMap::new();
        headers.insert("authorization", authorization.parse().unwrap());
        claimed_access_key(&headers, &crate::s3::address::query(query).unwrap())
    };
    let scope = "a:b/c/20261130/us-east-1/s3/aws4_request";
    let header = format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host");
    for (authorization, query, key) in [
        (header.as_str(), "", Some("a:b/c")),
        ("AWS a:b:c2ln", "", Some("a:b")),
        ("", "X-Amz-Credential=a%3Ab/c/20261130/us-east-1/s3/aws4_request", Some("a:b/c")),
        ("", "AWSAccessKeyId=a%3Ab&Signature=x", Some("a:b")),
        ("", "", None),
        ("AWS ", "", None),
        ("AWS4-HMAC-SHA256 Credential=a/b", "", None),
        ("Basic x", "", None),
    ] {
        assert_eq!(claimed(authorization, query).as_deref(), key, "{authorization} {query}");
    }
}
