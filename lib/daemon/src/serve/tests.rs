use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::*;
use crate::http::{status, stream, text};

/// Responds depending on the path.
#[derive(Default)]
struct Server {
    begun: Notify,
    finish: Notify,
    finished: AtomicBool,
    dropped: Arc<Notify>,
}

/// Notifies when it is dropped.
struct Work(Arc<Notify>);

impl Drop for Work {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[async_trait]
impl crate::Handler for Server {
    async fn call(&self, request: Request<Body>) -> Response<Body> {
        match request.uri().path() {
            "/refuse" => text(StatusCode::FORBIDDEN, "no"),
            "/read" => {
                let whole = request.into_body().collect().await.unwrap().to_bytes();
                text(StatusCode::OK, &whole.len().to_string())
            }
            "/work" => {
                let _work = Work(self.dropped.clone());
                let _ = request.into_body().collect().await;
                self.begun.notify_one();
                self.finish.notified().await;
                self.finished.store(true, Ordering::SeqCst);
                text(StatusCode::OK, "done")
            }
            "/endless" => {
                let (sender, receiver) = tokio::sync::mpsc::channel(1);
                let work = Work(self.dropped.clone());
                spawn(TaskKind::Request, async move {
                    while sender.send(Ok(Bytes::from(vec![0; 65536]))).await.is_ok() {}
                    drop(work);
                });
                Response::new(stream(receiver))
            }
            _ => status(StatusCode::NO_CONTENT),
        }
    }
}

fn short() -> Limits {
    let short = Duration::from_millis(200);
    Limits { write_timeout: short, hang_up_grace: short, ..Limits::default() }
}

async fn start_within(limits: Limits) -> (Arc<Server>, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Arc::new(Server::default());
    let work = serve(listener, server.clone(), Callers::Clients, Drain::default(), limits);
    spawn(TaskKind::Background, work);
    (server, address)
}

async fn start() -> (Arc<Server>, TcpStream) {
    let (server, address) = start_within(short()).await;
    (server, TcpStream::connect(address).await.unwrap())
}

/// Reads up to an end of the text, or of the stream.
async fn until(stream: &mut TcpStream, end: &str) -> String {
    let mut found = Vec::new();
    while !found.ends_with(end.as_bytes()) || end.is_empty() {
        let mut byte = [0; 1];
        match stream.read(&mut byte).await {
            Ok(1) => found.push(byte[0]),
            _ => break,
        }
    }
    String::from_utf8(found).unwrap()
}

async fn send(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
}

#[tokio::test]
async fn a_read_is_dropped_when_its_client_is_gone() {
    for more in ["", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"] {
        let (server, mut client) = start().await;
        send(&mut client, &format!("GET /work HTTP/1.1\r\nHost: x\r\n\r\n{more}")).await;
        server.begun.notified().await;
        drop(client);
        server.dropped.notified().await;
        assert!(!server.finished.load(Ordering::SeqCst));
    }
}

#[tokio::test]
async fn a_write_runs_to_its_end_when_its_client_is_gone() {
    for method in ["PUT", "POST", "DELETE", "COPY"] {
        let (server, mut client) = start().await;
        let head = format!("{method} /work HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx");
        send(&mut client, &head).await;
        server.begun.notified().await;
        drop(client);
        // Longer than a read would have had.
        let dropped = tokio::time::timeout(Duration::from_secs(1), server.dropped.notified());
        assert!(dropped.await.is_err(), "{method}");
        server.finish.notify_one();
        server.dropped.notified().await;
        assert!(server.finished.load(Ordering::SeqCst), "{method}");
    }
}

#[tokio::test]
async fn a_client_that_only_ended_its_side_is_answered() {
    let limits = Limits { hang_up_grace: Duration::from_secs(60), ..short() };
    let (server, address) = start_within(limits).await;
    let mut client = TcpStream::connect(address).await.unwrap();
    send(&mut client, "GET /work HTTP/1.0\r\n\r\n").await;
    client.shutdown().await.unwrap();
    server.begun.notified().await;
    server.finish.notify_one();
    assert!(until(&mut client, "").await.ends_with("done"));
}

#[tokio::test]
async fn a_client_that_does_not_read_is_given_up() {
    let (server, mut client) = start().await;
    send(&mut client, "GET /endless HTTP/1.1\r\nHost: x\r\n\r\n").await;
    server.dropped.notified().await;
}

#[tokio::test]
async fn a_short_body_that_was_refused_unread_leaves_the_connection_open() {
    let (_, mut client) = start().await;
    for _ in 0..3 {
        send(&mut client, "PUT /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: 300\r\n\r\n").await;
        let answer = until(&mut client, "no").await;
        assert!(answer.starts_with("HTTP/1.1 403") && !answer.contains("close"), "{answer}");
        send(&mut client, &"x".repeat(300)).await;
        send(&mut client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(until(&mut client, "\r\n\r\n").await.starts_with("HTTP/1.1 204"));
    }
}

#[tokio::test]
async fn a_refusal_before_a_body_that_is_not_awaited_says_that_the_connection_ends() {
    for fields in [
        "Content-Length: 9000000",
        "Transfer-Encoding: chunked",
        "Content-Length: 5\r\nExpect: 100-continue",
    ] {
        let (_, mut client) = start().await;
        send(&mut client, &format!("PUT /refuse HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n")).await;
        if !fields.contains("Expect") {
            // The handler does not read it, and the response arrives nevertheless.
            client.write_all(&vec![b'f'; 4_000_000]).await.unwrap();
        }
        let answer = until(&mut client, "").await;
        assert!(answer.starts_with("HTTP/1.1 403") && answer.ends_with("no"), "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
    }
}

#[tokio::test]
async fn a_body_that_was_read_leaves_the_connection_open() {
    let (_, mut client) = start().await;
    for body in [
        "Content-Length: 3\r\n\r\nabc",
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        "Transfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n0\r\nA: b\r\n\r\n",
    ] {
        send(&mut client, &format!("PUT /read HTTP/1.1\r\nHost: x\r\n{body}")).await;
        let answer = until(&mut client, "\r\n\r\n3").await;
        assert!(answer.starts_with("HTTP/1.1 200") && !answer.contains("close"), "{answer}");
    }
}

#[tokio::test]
async fn a_malformed_request_is_refused_with_a_text_and_the_connection_ends() {
    let twice = "Content-Length: 3\r\nTransfer-Encoding: chunked";
    let turned = "Transfer-Encoding: chunked\r\ncontent-length: 3";
    for (line, fields, status) in [
        ("PUT /read", twice, 400),
        ("PUT /read", turned, 400),
        ("PUT /read", "Transfer-Encoding: gzip, chunked", 501),
        ("PUT /read", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 501),
        ("PUT /read", "Transfer-Encoding: gzip", 400),
        ("PUT /read", "Content-Length: 3\r\nContent-Length: 4", 400),
        ("PUT /read", "Content-Length: +3", 400),
        ("GET /a`b", "A: b", 400),
        ("GET /a<b", "A: b", 400),
        ("GET /a", "A b", 400),
    ] {
        let (_, mut client) = start().await;
        send(&mut client, &format!("{line} HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n")).await;
        let answer = until(&mut client, "").await;
        let expected = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&expected), "{line} {fields}: {answer}");
        let (head, text) = answer.split_once("\r\n\r\n").unwrap();
        assert!(text.ends_with('.'), "{line} {fields}: {answer}");
        let head = head.to_ascii_lowercase();
        assert!(head.contains("connection: close"), "{answer}");
        assert!(head.contains(&format!("content-length: {}", text.len())), "{answer}");
    }
}

#[tokio::test]
async fn a_connection_over_the_share_of_its_address_is_refused_and_others_go_on() {
    let limits = Limits { address_connections_max: Some(2), ..Limits::default() };
    let (_, address) = start_within(limits).await;
    let mut served = Vec::new();
    for _ in 0..2 {
        let mut client = TcpStream::connect(address).await.unwrap();
        send(&mut client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(until(&mut client, "\r\n\r\n").await.starts_with("HTTP/1.1 204"));
        served.push(client);
    }
    let mut refused = TcpStream::connect(address).await.unwrap();
    let answer = until(&mut refused, "").await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("Retry-After"), "{answer}");
    for client in &mut served {
        send(client, "HEAD / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(until(client, "\r\n\r\n").await.starts_with("HTTP/1.1 204"));
    }
}

#[tokio::test]
async fn methods_that_only_read_are_distinguished_from_those_that_write() {
    let exchange = Exchange::new(1000);
    let none = http::HeaderMap::new();
    for (method, writes) in [("GET", false), ("HEAD", false), ("PUT", true), ("SSYNC", true)] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        assert_eq!(exchange.request(&method, &none, false), None);
        assert_eq!(exchange.is_writing(), writes, "{method}");
    }
}

async fn ask(stream: &mut TcpStream) -> String {
    send(stream, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    until(stream, "\r\n\r\n").await[..12].to_owned()
}

#[tokio::test]
async fn a_connection_that_was_accepted_before_a_patient_stop_gets_its_first_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let drain = Drain::default();
    let work = serve(
        listener,
        Arc::new(Server::default()),
        Callers::Swifts,
        drain.clone(),
        Limits::default(),
    );
    let serving = spawn(TaskKind::Background, work);
    let mut silent = TcpStream::connect(address).await.unwrap();
    // Accepted after the silent one.
    let mut other = TcpStream::connect(address).await.unwrap();
    assert_eq!(ask(&mut other).await, "HTTP/1.1 204");
    drain.begin_patiently();
    drain.stopped_listening().await;
    assert!(TcpStream::connect(address).await.is_err(), "it still listens");
    assert_eq!(ask(&mut silent).await, "HTTP/1.1 204");
    serving.await.unwrap();
}
