use std::sync::Mutex;
use std::time::Duration;

use apus_cluster::backend_auth::ClusterKey;
use apus_daemon::http::{full, status, stream};
use bytes::Bytes;

use super::*;
use crate::signed::Signer;

const NOW: Duration = Duration::from_secs(1_700_000_000);
const HERE: &str = "127.0.0.1:6200";

#[derive(Debug)]
struct At(Duration);

impl Clock for At {
    fn now(&self) -> Duration {
        self.0
    }
}

/// Collects what it is given; answers 201 when the body came to its end.
#[derive(Default)]
struct Collects(Mutex<Vec<(Parts, Bytes)>>);

#[async_trait]
impl Handler for Collects {
    async fn call(&self, request: Request<Body>) -> Response<Body> {
        let (head, body) = request.into_parts();
        match body.collect().await {
            Ok(body) => {
                self.0.lock().unwrap().push((head, body.to_bytes()));
                status(StatusCode::CREATED)
            }
            Err(_) => status(StatusCode::BAD_REQUEST),
        }
    }
}

fn auth(mode: Mode, keys: &[&str]) -> BackendAuth {
    let keys = keys.iter().map(|digits| ClusterKey::parse(&digits.repeat(32)).unwrap());
    BackendAuth { mode, keys: keys.collect() }
}

fn signer(mode: Mode, key: &str, now: Duration) -> Signer {
    Signer::new(&auth(mode, &[key]), Arc::new(At(now))).unwrap()
}

fn guard(mode: Mode, keys: &[&str]) -> (Arc<Collects>, Guard) {
    let inner = Arc::new(Collects::default());
    let guard = Guard::new(inner.clone(), &auth(mode, keys), Arc::new(At(NOW)), vec![]);
    (inner, guard)
}

fn request(method: &str, body: Body) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri("/sd1/0/a/c/o%20x?format=json")
        .header("x-timestamp", "1700000000.00000")
        .header("x-object-meta-a", "1")
        .header("content-type", " text/plain")
        .body(body)
        .unwrap()
}

/// As a socket would give it: its body read to the end, so that it can be given again.
struct Captured(Parts, Bytes);

impl Captured {
    async fn of(signer: &Signer, request: Request<Body>) -> Self {
        let (mut head, body) = signer.sign(HERE, true, request).unwrap().into_parts();
        head.extensions.insert(Reached(HERE.parse().unwrap()));
        Self(head, body.collect().await.unwrap().to_bytes())
    }

    fn request(&self) -> Request<Body> {
        let body = if self.1.is_empty() { empty() } else { full(self.1.clone()) };
        Request::from_parts(self.0.clone(), body)
    }
}

async fn said(answer: Response<Body>) -> (u16, String) {
    let status = answer.status().as_u16();
    let text = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&text).into_owned())
}

#[tokio::test]
async fn a_signed_request_reaches_the_handler_as_it_was_before() {
    let (inner, guard) = guard(Mode::Signed, &["ab"]);
    let signer = signer(Mode::Signed, "ab", NOW);
    for (method, body) in [("PUT", "object"), ("DELETE", ""), ("REPLICATE", "[1, 2]"), ("GET", "")]
    {
        let body_of = || if body.is_empty() { empty() } else { full(body) };
        let captured = Captured::of(&signer, request(method, body_of())).await;
        assert_eq!(said(guard.call(captured.request()).await).await.0, 201, "{method}");
        let (head, got) = inner.0.lock().unwrap().pop().unwrap();
        assert_eq!(got, body.as_bytes());
        assert_eq!(head.uri, "/sd1/0/a/c/o%20x?format=json");
        assert!(!head.headers.contains_key(SIGNATURE));
        let length = header(&head.headers, "content-length").map(str::to_owned);
        assert_eq!(length, (!body.is_empty()).then(|| body.len().to_string()));
    }
}

#[tokio::test]
async fn what_was_changed_after_signing_is_refused_and_never_reaches_the_handler() {
    let (inner, guard) = guard(Mode::Signed, &["ab"]);
    let signer = signer(Mode::Signed, "ab", NOW);
    type Change = fn(&mut Parts);
    let changes: [(&str, Change); 12] = [
        ("method", |head| head.method = Method::POST),
        ("path", |head| head.uri = "/sd1/0/a/c/o%20y?format=json".parse().unwrap()),
        ("spelling of the path", |head| {
            head.uri = "/sd1/0/a/c/%6f%20x?format=json".parse().unwrap()
        }),
        ("query", |head| head.uri = "/sd1/0/a/c/o%20x?format=xml".parse().unwrap()),
        ("no query", |head| head.uri = "/sd1/0/a/c/o%20x".parse().unwrap()),
        ("value", |head| set(&mut head.headers, "x-timestamp", "1800000000.00000")),
        ("new header", |head| set(&mut head.headers, "x-backend-replication", "yes")),
        ("no header", |head| drop(head.headers.remove("x-object-meta-a"))),
        ("header twice", |head| {
            head.headers.append("x-object-meta-a", "1".parse().unwrap());
        }),
        ("host", |head| set(&mut head.headers, "host", "127.0.0.1:6201")),
        ("signature twice", |head| {
            let signature = head.headers[SIGNATURE].clone();
            head.headers.append(SIGNATURE, signature);
        }),
        ("no signature", |head| drop(head.headers.remove(SIGNATURE))),
    ];
    for (what, change) in changes {
        for body in ["", "body"] {
            let body = if body.is_empty() { empty() } else { full(body) };
            let mut captured = Captured::of(&signer, request("PUT", body)).await;
            change(&mut captured.0);
            let (status, text) = said(guard.call(captured.request()).await).await;
            assert_eq!(status, 401, "{what}: {text}");
        }
    }
    for (name, from, to) in [
        ("date", "date=17000", "date=17001"),
        ("body", "body=frames", "body=plain"),
        ("length", "length=4", "length=5"),
    ] {
        let mut captured = Captured::of(&signer, request("PUT", full("body"))).await;
        let value = captured.0.headers[SIGNATURE].to_str().unwrap().to_owned();
        let wrong = value.replace(from, to);
        assert_ne!(wrong, value);
        set(&mut captured.0.headers, SIGNATURE, &wrong);
        assert_eq!(said(guard.call(captured.request()).await).await.0, 401, "{name}");
    }
    assert!(inner.0.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_altered_body_is_a_401_and_not_what_the_handler_says() {
    let (inner, guard) = guard(Mode::Signed, &["ab"]);
    let signer = signer(Mode::Signed, "ab", NOW);
    let mut captured = Captured::of(&signer, request("PUT", full("body"))).await;
    let mut bytes = captured.1.to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    captured.1 = bytes.into();
    let (status, text) = said(guard.call(captured.request()).await).await;
    assert_eq!(status, 401);
    assert!(text.contains("body is not as its sender signed it"), "{text}");
    // A body where there was none.
    let mut captured = Captured::of(&signer, request("DELETE", empty())).await;
    captured.1 = "body".into();
    assert_eq!(said(guard.call(captured.request()).await).await.0, 401);
    assert!(inner.0.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_request_is_accepted_once_here_and_nowhere_else() {
    let (_, guard) = guard(Mode::Signed, &["ab"]);
    let signer = signer(Mode::Signed, "ab", NOW);
    let mut captured = Captured::of(&signer, request("PUT", full("body"))).await;
    for elsewhere in ["127.0.0.2:6200", "127.0.0.1:6210", "[::1]:6200"] {
        captured.0.extensions.insert(Reached(elsewhere.parse().unwrap()));
        let (status, text) = said(guard.call(captured.request()).await).await;
        assert!(status == 401 && text.contains(elsewhere) && text.contains(HERE), "{text}");
    }
    // A socket for both families sees the address so.
    captured.0.extensions.insert(Reached("[::ffff:127.0.0.1]:6200".parse().unwrap()));
    assert_eq!(said(guard.call(captured.request()).await).await.0, 201);
    let (status, text) = said(guard.call(captured.request()).await).await;
    assert!(status == 401 && text.contains("came before"), "{text}");
}

#[tokio::test]
async fn a_server_behind_another_address_accepts_its_configured_name() {
    let inner = Arc::new(Collects::default());
    let names = vec!["store-1.example:6200".to_owned()];
    let guard = Guard::new(inner, &auth(Mode::Signed, &["ab"]), Arc::new(At(NOW)), names);
    let signer = signer(Mode::Signed, "ab", NOW);
    for (host, expected) in [("store-1.example:6200", 201), ("store-2.example:6200", 401)] {
        let signed = signer.sign(host, true, request("GET", empty())).unwrap();
        assert_eq!(said(guard.call(signed).await).await.0, expected);
    }
}

#[tokio::test]
async fn clocks_may_be_a_minute_apart_and_a_refusal_names_both_times() {
    let (_, guard) = guard(Mode::Signed, &["ab"]);
    for (seconds, expected) in [(-60, 201), (60, 201), (-61, 401), (61, 401)] {
        let then = Duration::from_secs(NOW.as_secs().checked_add_signed(seconds).unwrap());
        let captured =
            Captured::of(&signer(Mode::Signed, "ab", then), request("PUT", empty())).await;
        let (status, text) = said(guard.call(captured.request()).await).await;
        assert_eq!(status, expected, "{seconds} {text}");
        if expected == 401 {
            assert!(text.contains(&format_date(then.as_secs())), "{text}");
            assert!(text.contains(&format_date(NOW.as_secs())) && text.contains("61 s"), "{text}");
        }
    }
}

#[tokio::test]
async fn the_previous_key_is_accepted_and_another_is_not() {
    let (_, guard) = guard(Mode::Signed, &["ab", "cd"]);
    for (key, expected) in [("ab", 201), ("cd", 201), ("ef", 401)] {
        let captured =
            Captured::of(&signer(Mode::Signed, key, NOW), request("PUT", full("x"))).await;
        assert_eq!(said(guard.call(captured.request()).await).await.0, expected, "{key}");
    }
}

#[tokio::test]
async fn an_open_server_takes_unsigned_and_plain_requests_but_no_wrong_signature() {
    let (inner, guard) = guard(Mode::Open, &["ab"]);
    assert_eq!(said(guard.call(request("PUT", full("body"))).await).await.0, 201);
    let signer = signer(Mode::Open, "ab", NOW);
    let sign = |frames| {
        let mut signed = signer.sign(HERE, frames, request("PUT", full("body"))).unwrap();
        signed.extensions_mut().insert(Reached(HERE.parse().unwrap()));
        signed
    };
    for frames in [true, false] {
        assert_eq!(said(guard.call(sign(frames)).await).await.0, 201);
    }
    assert!(inner.0.lock().unwrap().iter().all(|(_, body)| body == "body"));
    let mut wrong = sign(true);
    set(wrong.headers_mut(), "x-timestamp", "1");
    assert_eq!(said(guard.call(wrong).await).await.0, 401);
}

#[tokio::test]
async fn a_strict_server_takes_no_body_that_is_not_covered() {
    let (inner, guard) = guard(Mode::Signed, &["ab"]);
    let signer = signer(Mode::Open, "ab", NOW);
    let mut signed = signer.sign(HERE, false, request("PUT", full("body"))).unwrap();
    signed.extensions_mut().insert(Reached(HERE.parse().unwrap()));
    let (status, text) = said(guard.call(signed).await).await;
    assert!(status == 401 && text.contains("backend_auth = open"), "{text}");
    assert!(inner.0.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_server_without_a_key_stores_no_frames() {
    let (inner, guard) = guard(Mode::Open, &[]);
    let signer = signer(Mode::Signed, "ab", NOW);
    let framed = signer.sign(HERE, true, request("PUT", full("body"))).unwrap();
    assert_eq!(said(guard.call(framed).await).await.0, 401);
    let plain = signer.sign(HERE, false, request("PUT", full("body"))).unwrap();
    assert_eq!(said(guard.call(plain).await).await.0, 201);
    assert_eq!(inner.0.lock().unwrap().pop().unwrap().1, "body");
}

#[tokio::test]
async fn only_reading_the_listed_paths_needs_no_signature() {
    let (inner, guard) = guard(Mode::Signed, &["ab"]);
    let call = |method: &str, path: &str| {
        Request::builder().method(method).uri(path).body(full("body")).unwrap()
    };
    for path in
        ["/healthcheck", "/metrics", "/recon/mem", "/recon/ringmd5", "/recon/auditor/object"]
    {
        assert_eq!(said(guard.call(call("GET", path)).await).await.0, 201, "{path}");
        for method in ["PUT", "POST", "DELETE", "REPLICATE"] {
            assert_eq!(said(guard.call(call(method, path)).await).await.0, 401, "{method} {path}");
        }
    }
    // Of a device that is called `recon`, and things that only look like the list.
    for path in
        ["/recon/0/a/c/o", "/recon/%30/a/c/o", "/recon/", "/recon", "/healthcheck/0/a", "/sd1/0/a"]
    {
        assert_eq!(said(guard.call(call("GET", path)).await).await.0, 401, "{path}");
    }
    let answer = guard.call(call("OPTIONS", "/")).await;
    assert_eq!(answer.headers()[FRAMES], "v1");
    assert!(inner.0.lock().unwrap().iter().all(|(_, body)| body.is_empty()));
}

/// Answers every request with its path.
struct Echo;

#[async_trait]
impl Handler for Echo {
    async fn call(&self, request: Request<Body>) -> Response<Body> {
        Response::new(full(request.uri().path().to_owned()))
    }
}

#[tokio::test]
async fn an_answer_is_sealed_only_for_the_signer_of_its_question() {
    use super::super::seal::{NONCE, Question, SEAL, Sealed, Sealer};
    for mode in [Mode::Signed, Mode::Open] {
        let auth = auth(mode, &["ab"]);
        let sealed = Sealed::new(Arc::new(Echo), &auth, &["/recon/", "/apus/"]);
        let guard = Guard::new(Arc::new(sealed), &auth, Arc::new(At(NOW)), vec![]);
        let asked = |path: &str| {
            Request::builder()
                .uri(path)
                .header(NONCE, "n")
                .header("host", HERE)
                .body(empty())
                .unwrap()
        };
        let seal = |answer: &Response<Body>| answer.headers().get(SEAL).cloned();
        for path in ["/recon/redundancy/object?policy=1", "/recon/mem", "/apus/join"] {
            let answer = guard.call(asked(path)).await;
            assert_eq!(seal(&answer), None, "{path} without a signature");
            let mut options = asked(path);
            *options.method_mut() = Method::OPTIONS;
            assert_eq!(seal(&guard.call(options).await), None, "OPTIONS {path}");

            let signed = Captured::of(&signer(mode, "ab", NOW), asked(path)).await;
            let answer = guard.call(signed.request()).await;
            let seal_given = seal(&answer).expect(path);
            let (status, body) = said(answer).await;
            let question = Question {
                method: Method::GET,
                host: HERE.to_owned(),
                path: path.to_owned(),
                nonce: "n".to_owned(),
            };
            let is_good = |question: &Question| {
                let seal = seal_given.to_str().unwrap();
                Sealer::new(&auth).is_good(seal, question, status, body.as_bytes())
            };
            assert!(is_good(&question), "{path}");
            let relayed = Question { path: "/recon/replication/object".to_owned(), ..question };
            assert!(!is_good(&relayed), "{path}");

            // Sent again, signed with another key, too late, for another path or another nonce.
            assert_eq!(said(guard.call(signed.request()).await).await.0, 401, "{path}");
            for (key, now) in [("cd", NOW), ("ab", NOW + Duration::from_secs(90))] {
                let other = Captured::of(&signer(mode, key, now), asked(path)).await;
                let answer = guard.call(other.request()).await;
                assert_eq!((answer.status().as_u16(), seal(&answer)), (401, None), "{path}");
            }
            let mut other = Captured::of(&signer(mode, "ab", NOW), asked(path)).await;
            other.0.headers.insert(NONCE, "m".parse().unwrap());
            assert_eq!(said(guard.call(other.request()).await).await.0, 401, "{path}");
            let mut other = Captured::of(&signer(mode, "ab", NOW), asked(path)).await;
            other.0.uri = "/recon/diskusage".parse().unwrap();
            assert_eq!(said(guard.call(other.request()).await).await.0, 401, "{path}");
        }
        let signed = Captured::of(&signer(mode, "ab", NOW), asked("/sd1/0/a")).await;
        assert_eq!(seal(&guard.call(signed.request()).await), None, "not one of the sealed paths");
    }
}

#[tokio::test]
async fn a_stream_is_verified_piece_by_piece() {
    let (inner, guard) = guard(Mode::Signed, &["ab"]);
    let (sender, receiver) = tokio::sync::mpsc::channel(2);
    let signer = signer(Mode::Signed, "ab", NOW);
    let mut signed = signer.sign(HERE, true, request("PUT", stream(receiver))).unwrap();
    signed.extensions_mut().insert(Reached(HERE.parse().unwrap()));
    sender.send(Ok(Bytes::from(vec![1; 200_000]))).await.unwrap();
    sender.send(Ok(Bytes::from(vec![2; 10]))).await.unwrap();
    drop(sender);
    assert_eq!(said(guard.call(signed).await).await.0, 201);
    let (head, body) = inner.0.lock().unwrap().pop().unwrap();
    assert_eq!((body.len(), body[199_999], body[200_009]), (200_010, 1, 2));
    assert!(header(&head.headers, "content-length").is_none());
}
