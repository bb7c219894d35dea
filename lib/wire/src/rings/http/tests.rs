use http_body_util::BodyExt;

use super::super::FILE_BYTES_MAX;
use super::super::file::tests::ring_file;
use super::super::folder::tests::{Directory, keys};
use super::*;

/// What stands behind: it answers 418 to all.
struct Inner;

#[async_trait]
impl Handler for Inner {
    async fn call(&self, _: Request<Body>) -> Response<Body> {
        apus_daemon::http::status(StatusCode::IM_A_TEAPOT)
    }
}

fn server(directory: &Directory) -> RingsHttp {
    let folder = RingFolder::new(&directory.0, keys(&["ab"]), Vec::new());
    RingsHttp::new(Arc::new(Inner), Some(Arc::new(folder)))
}

async fn ask(
    server: &RingsHttp,
    method: &str,
    path: &str,
    said: Option<&Statement>,
    body: Body,
) -> (u16, String) {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(said) = said {
        request = request.header(STATEMENT, said.to_text());
    }
    let answer = server.call(request.body(body).unwrap()).await;
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

/// A body that must not be read: it breaks off at once.
fn unread() -> Body {
    let (to, body) = mpsc::channel(1);
    to.try_send(Err("the body was read".into())).unwrap();
    stream(body)
}

const OBJECT: &str = "/apus/rings/object.ring.gz";

#[tokio::test]
async fn a_ring_that_was_put_is_text_and_given_as_it_came() {
    let directory = Directory::new("http");
    let (server, file) = (server(&directory), ring_file("object", 7));
    let said = keys(&["ab"]).sign(&file, 0).unwrap();
    let body = || full(file.bytes().clone());
    assert_eq!(ask(&server, "GET", OBJECT, None, unread()).await.0, 404);
    assert_eq!(ask(&server, "PUT", OBJECT, Some(&said), body()).await.0, 201);
    // What is there is not read again.
    assert_eq!(ask(&server, "PUT", OBJECT, Some(&said), unread()).await.0, 200);
    let (status, text) = ask(&server, "GET", "/apus/rings", None, unread()).await;
    assert_eq!(status, 200);
    let manifest: super::super::Manifest = serde_json::from_str(&text).unwrap();
    assert_eq!(manifest.get(file.name()).unwrap().signed(), Some(&said));
    let request = Request::get(OBJECT).body(unread()).unwrap();
    let answer = server.call(request).await;
    let (head, body) = answer.into_parts();
    assert_eq!(Statement::parse(head.headers[STATEMENT].to_str().unwrap()), Ok(said));
    assert_eq!(body.collect().await.unwrap().to_bytes(), file.bytes());
}

#[tokio::test]
async fn what_cannot_be_taken_is_refused_whatever_its_body_is() {
    let directory = Directory::new("refused");
    let (server, file) = (server(&directory), ring_file("object", 7));
    let ours = keys(&["ab"]);
    let said = ours.sign(&file, 0).unwrap();
    ask(&server, "PUT", OBJECT, Some(&said), full(file.bytes().clone())).await;
    let older = ours.sign(&ring_file("object", 6), 0).unwrap();
    let foreign = keys(&["cd"]).sign(&ring_file("object", 8), 0).unwrap();
    let long = Statement { length: FILE_BYTES_MAX + 1, ..said.clone() };
    let container = "/apus/rings/container.ring.gz";
    for (path, said, status, word) in [
        (OBJECT, Some(&older), 409, "version 6, but version 7"),
        (OBJECT, Some(&foreign), 403, "another cluster key"),
        (OBJECT, Some(&long), 413, "expected at most"),
        (OBJECT, None, 400, "x-apus-ring"),
        (container, Some(&said), 400, "container.ring.gz"),
        ("/apus/rings/object-0.ring.gz", Some(&said), 404, "object-<policy>"),
        ("/apus/rings/..%2Fobject.ring.gz", Some(&said), 404, "expected"),
        ("/apus/rings/", Some(&said), 404, "expected"),
    ] {
        let (found, text) = ask(&server, "PUT", path, said, unread()).await;
        assert_eq!(found, status, "{path}: {text}");
        assert!(text.contains(word), "{text}");
    }
    assert_eq!(ask(&server, "DELETE", OBJECT, None, unread()).await.0, 405);
    assert_eq!(ask(&server, "PUT", "/apus/rings", Some(&said), unread()).await.0, 405);
}

#[tokio::test]
async fn other_bytes_than_were_signed_are_refused_and_nothing_changes() {
    let directory = Directory::new("altered");
    let (server, file) = (server(&directory), ring_file("object", 7));
    let said = keys(&["ab"]).sign(&file, 0).unwrap();
    let bytes = file.bytes();
    let mut flipped = bytes.to_vec();
    flipped[bytes.len() / 2] ^= 1;
    let longer = [bytes.as_ref(), b"x"].concat();
    let other = ring_file("object", 8).bytes().to_vec();
    for (what, body) in [
        ("flipped", flipped),
        ("longer", longer),
        ("shorter", bytes[1..].to_vec()),
        ("other", other),
    ] {
        let (status, text) = ask(&server, "PUT", OBJECT, Some(&said), full(body)).await;
        assert_eq!(status, 400, "{what}: {text}");
        assert_eq!(ask(&server, "GET", OBJECT, None, unread()).await.0, 404, "{what}");
    }
    let (status, _) = ask(&server, "PUT", OBJECT, Some(&said), unread()).await;
    assert_eq!(status, 400, "a body that breaks off");
}

#[tokio::test]
async fn signed_bytes_that_are_no_ring_are_refused() {
    let directory = Directory::new("no-ring");
    let server = server(&directory);
    let bytes = Bytes::from_static(b"signed, and no ring");
    let (sha256, md5) = super::super::file::digests(&bytes);
    let good = keys(&["ab"]).sign(&ring_file("object", 7), 0).unwrap();
    let said = Statement { length: bytes.len() as u64, sha256, md5, ..good };
    let said = keys(&["ab"]).signed(said).unwrap();
    let (status, text) = ask(&server, "PUT", OBJECT, Some(&said), full(bytes)).await;
    assert_eq!(status, 400);
    assert!(text.contains("not a gzip file"), "{text}");
}

#[tokio::test]
async fn an_open_cluster_gives_and_takes_nothing_and_other_paths_go_on() {
    let open = RingsHttp::new(Arc::new(Inner), None);
    let (status, text) = ask(&open, "GET", "/apus/rings", None, unread()).await;
    assert_eq!(status, 403);
    assert!(text.contains("cluster_key"), "{text}");
    assert_eq!(ask(&open, "PUT", OBJECT, None, unread()).await.0, 403);
    for path in ["/apus/0/a/c/o", "/apus", "/apus/ringsx", "/sd1/0/a"] {
        assert_eq!(ask(&open, "PUT", path, None, unread()).await.0, 418, "{path}");
    }
}
