use std::collections::VecDeque;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// A socket on which reads bring the pieces given, and writes take so many bytes at most.
#[derive(Default)]
struct Socket {
    arrives: VecDeque<Vec<u8>>,
    sent: Vec<u8>,
    most: usize,
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(mut piece) = self.arrives.pop_front() {
            let later = piece.split_off(piece.len().min(buffer.remaining()));
            buffer.put_slice(&piece);
            if !later.is_empty() {
                self.arrives.push_front(later);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let many = bytes.len().min(self.most);
        self.sent.extend_from_slice(&bytes[..many]);
        Poll::Ready(Ok(many))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let all: Vec<u8> = pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
        let many = all.len().min(self.most);
        self.sent.extend_from_slice(&all[..many]);
        Poll::Ready(Ok(many))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What happens on a connection, seen from HTTP: these bytes are written, or these arrive.
#[derive(Clone, Copy)]
enum Turn<'a> {
    Write(&'a str),
    Read(&'a str),
}
use Turn::{Read, Write};

/// Has the turns take place with each cut in two at `split`, or into bytes at 0; returns all that
/// was read and all that was sent.
async fn play(serves: bool, turns: &[Turn<'_>], split: usize, limit: usize) -> (String, String) {
    let cut = |text: &str| -> VecDeque<Vec<u8>> {
        let pieces: Vec<_> = match split {
            0 => text.as_bytes().chunks(1).collect(),
            at if at < text.len() => [&text.as_bytes()[..at], &text.as_bytes()[at..]].to_vec(),
            _ => vec![text.as_bytes()],
        };
        pieces.into_iter().map(<[u8]>::to_vec).collect()
    };
    let socket = Socket { most: if split == 0 { 1 } else { usize::MAX }, ..Socket::default() };
    let mut io = match serves {
        true => MetadataNames::server(socket, limit),
        false => MetadataNames::client(socket, limit).0,
    };
    let mut read = Vec::new();
    for turn in turns {
        match turn {
            Write(text) => {
                for piece in cut(text) {
                    io.write_all(&piece).await.unwrap();
                }
                io.flush().await.unwrap();
            }
            Read(text) => {
                io.inner.arrives = cut(text);
                while !io.inner.arrives.is_empty() || !io.read.due.is_empty() {
                    let mut buffer = [0; 7];
                    let many = io.read(&mut buffer).await.unwrap_or(0);
                    read.extend_from_slice(&buffer[..many]);
                    if many == 0 {
                        break;
                    }
                }
            }
        }
    }
    io.shutdown().await.unwrap();
    (String::from_utf8(read).unwrap(), String::from_utf8(io.inner.sent.clone()).unwrap())
}

/// At every split the same is read and sent.
async fn at_every_split(serves: bool, turns: &[Turn<'_>], read: &str, sent: &str) {
    let length = |turn: &Turn<'_>| match turn {
        Write(text) | Read(text) => text.len(),
    };
    for split in 0..=turns.iter().map(length).max().unwrap() {
        let (was_read, was_sent) = play(serves, turns, split, 1000).await;
        assert_eq!(was_read, read, "split at {split}");
        assert_eq!(was_sent, sent, "split at {split}");
    }
}

/// Has what looks like names within a body.
const BODY: &str = "X-Object-Meta-A=5Fb: 1\r\nX-Object-Meta-A_b: 1\r\n\r\nGET /=5F_ HTTP/1.1\r\nX-Object-Meta-A=5Fb_c: 1\r\n\r\n";

fn with_body(head: &str) -> String {
    format!("{head}\r\nContent-Length: {}\r\n\r\n{BODY}", BODY.len())
}

fn chunked(head: &str) -> String {
    let size = BODY.len();
    format!(
        "{head}\r\nTransfer-Encoding: chunked\r\n\r\n{size:x}\r\n{BODY}\r\n{size:X}\r\n{BODY}\r\n0\r\n\r\n"
    )
}

#[tokio::test]
async fn a_server_reads_names_of_each_request_and_leaves_bodies_alone() {
    let wire = "PUT /a_b=5F HTTP/1.1\r\nx-object-meta-A=5Fb=5fc: =5F_\r\nX-Object-Transient-Sysmeta-Crypto-Meta-A=5Fb: 1\r\nX-Other=5F: 1\r\nX-Object-Meta-=3D=5: 1";
    let here = "PUT /a_b=5F HTTP/1.1\r\nx-object-meta-A_b_c: =5F_\r\nX-Object-Transient-Sysmeta-Crypto-Meta-A_b: 1\r\nX-Other=5F: 1\r\nX-Object-Meta-=3D=5: 1";
    let made = "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n";
    let wires = [with_body(wire), chunked(wire), format!("{wire}\r\n\r\n"), with_body(wire)];
    let heres = [with_body(here), chunked(here), format!("{here}\r\n\r\n"), with_body(here)];
    let turns: Vec<_> = wires.iter().flat_map(|wire| [Read(wire), Write(made)]).collect();
    at_every_split(true, &turns, &heres.concat(), &made.repeat(4)).await;
}

#[tokio::test]
async fn a_client_writes_and_reads_names_and_leaves_bodies_alone() {
    let here = "PUT /a_b HTTP/1.1\r\nx-object-meta-a_b_: _\r\nx-other_: 1";
    let wire = "PUT /a_b HTTP/1.1\r\nx-object-meta-a=5Fb=5F: _\r\nx-other_: 1";
    let come = "HTTP/1.1 200 O_K=5F\r\nX-Object-Meta-A=5Fb: =5F";
    let read = "HTTP/1.1 200 O_K=5F\r\nX-Object-Meta-A_b: =5F";
    let (put, got) = (with_body(here), chunked(come));
    let (chunks, plain) = (chunked(here), with_body(come));
    let turns = [Write(&put), Read(&got), Write(&chunks), Read(&plain), Write(&put), Read(&plain)];
    let reads = [chunked(read), with_body(read), with_body(read)].concat();
    let sent = [with_body(wire), chunked(wire), with_body(wire)].concat();
    at_every_split(false, &turns, &reads, &sent).await;
}

#[tokio::test]
async fn bodies_follow_a_100_and_may_bring_another() {
    let ask = "PUT / HTTP/1.1\r\nExpect: 100-continue\r\nX-Object-Meta-A=5Fb: 1\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mime = chunked("");
    let chunks = mime.split_once("\r\n\r\n").unwrap().1;
    let (begin, end) = chunks.split_at(BODY.len() + 20);
    let go_on = "HTTP/1.1 100 Continue\r\nX-Obj-Multiphase-Commit: yes\r\n\r\n";
    let made = "HTTP/1.1 201 Created\r\nX-Object-Meta-A_b: 1\r\nContent-Length: 0\r\n\r\n";
    let wire_made = made.replace("A_b", "A=5Fb");
    let turns = [Read(ask), Write(go_on), Read(begin), Write(go_on), Read(end), Write(made)];
    let ask_here = ask.replace("A=5Fb", "A_b");
    let read = [&ask_here, chunks].concat().repeat(2);
    let sent = [go_on, go_on, &wire_made].concat().repeat(2);
    at_every_split(true, &turns.repeat(2), &read, &sent).await;
    let turns =
        [Write(&ask_here), Read(go_on), Write(begin), Read(go_on), Write(end), Read(&wire_made)];
    let sent = [ask, chunks].concat().repeat(2);
    let read = [go_on, go_on, made].concat().repeat(2);
    at_every_split(false, &turns.repeat(2), &read, &sent).await;
}

#[tokio::test]
async fn an_answer_in_mid_body_does_not_make_a_head_of_the_rest() {
    let ask = with_body("PUT / HTTP/1.1\r\nX-Object-Meta-A=5Fb: 1");
    let (begin, end) = ask.split_at(ask.len() - BODY.len());
    let no = "HTTP/1.1 422 Unprocessable Entity\r\nContent-Length: 0\r\n\r\n";
    let turns = [
        Read(begin),
        Write(no),
        Read(end),
        Read("GET / HTTP/1.1\r\nX-Object-Meta-A=5Fb: 1\r\n\r\n"),
    ];
    let read = [
        &begin.replacen("A=5Fb", "A_b", 1),
        BODY,
        "GET / HTTP/1.1\r\nX-Object-Meta-A_b: 1\r\n\r\n",
    ];
    at_every_split(true, &turns, &read.concat(), no).await;
}

#[tokio::test]
async fn an_answer_without_a_body_is_followed_by_a_head() {
    let get = "GET / HTTP/1.1\r\n\r\n";
    let head = "HEAD / HTTP/1.1\r\n\r\n";
    let long = "HTTP/1.1 200 OK\r\nX-Object-Meta-A_b: 1\r\nContent-Length: 99\r\n\r\n";
    let same = "HTTP/1.1 304 Not Modified\r\nX-Object-Meta-A_b: 1\r\nContent-Length: 99\r\n\r\n";
    let turns = [Read(head), Write(long), Read(get), Write(same), Read(head), Write(long)];
    let sent = [long, same, long].concat().replace("A_b", "A=5Fb");
    at_every_split(true, &turns, &[head, get, head].concat(), &sent).await;
    // One that ends with the connection.
    let open =
        format!("HTTP/1.1 200 OK\r\nX-Object-Meta-A_b: 1\r\n\r\n{BODY}HTTP/1.1 200 OK\r\n{BODY}");
    let turns = [Read(get), Write(&open)];
    at_every_split(true, &turns, get, &open.replacen("A_b", "A=5Fb", 1)).await;
}

#[tokio::test]
async fn heads_and_bodies_written_in_pieces_at_once_are_distinguished() {
    let here =
        [with_body("PUT / HTTP/1.1\r\nx-object-meta-a_b: 1"), chunked("PUT / HTTP/1.1")].concat();
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let second = here.rfind("PUT").unwrap();
    for (most, size) in [(1, 3), (5, 7), (50, 13), (1000, 40), (1000, 1)] {
        let mut io = MetadataNames::client(Socket { most, ..Socket::default() }, 1000).0;
        for ask in [&here[..second], &here[second..]] {
            let mut rest = ask.as_bytes();
            while !rest.is_empty() {
                let pieces: Vec<_> = rest.chunks(size).map(IoSlice::new).collect();
                let written = io.write_vectored(&pieces).await.unwrap();
                rest = &rest[written..];
            }
            io.flush().await.unwrap();
            io.inner.arrives = [answer.as_bytes().to_vec()].into();
            io.read_exact(&mut [0; 38]).await.unwrap();
        }
        let sent = String::from_utf8(io.inner.sent).unwrap();
        assert_eq!(sent, here.replacen("a_b", "a=5Fb", 1), "{most} bytes of pieces of {size}");
    }
}

#[tokio::test]
async fn who_signs_gets_names_as_they_are() {
    let ask = "GET / HTTP/1.1\r\nX-Apus-Signature: v1\r\n\r\n";
    let answer = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nX-Object-Meta-A_b: 1\r\nContent-Length: 0\r\n\r\n";
    at_every_split(true, &[Read(ask), Write(answer)], ask, answer).await;
}

#[tokio::test]
async fn a_peer_of_ours_is_sent_names_as_they_are() {
    let (mut io, peer_is_ours) =
        MetadataNames::client(Socket { most: 3, ..Socket::default() }, 1000);
    peer_is_ours.store(true, Ordering::Release);
    let ask = b"GET / HTTP/1.1\r\nx-object-meta-a_b: 1\r\n\r\n";
    io.write_all(ask).await.unwrap();
    io.flush().await.unwrap();
    assert_eq!(io.inner.sent, ask);
}

#[tokio::test]
async fn what_is_not_understood_goes_through_and_so_does_all_that_follows() {
    let fine = "GET / HTTP/1.1\r\nX-Object-Meta-A=5Fb: 1\r\n\r\n";
    let answer = "HTTP/1.1 200 OK\r\nX-Object-Meta-A_b: 1\r\nContent-Length: 0\r\n\r\n";
    for odd in [
        "GET / HTTP/1.0\r\nX-Object-Meta-A=5Fb: 1\r\n\r\n",
        "GET / HTTP/1.1\nX-Object-Meta-A=5Fb: 1\n\n",
        "GET / HTTP/1.1\r\nX-Object-Meta-A=5Fb: 1\r\n folded\r\n\r\n",
        "GET / HTTP/1.1\r\nUpgrade: x\r\nX-Object-Meta-A=5Fb: 1\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\n",
        "\r\n\r\n",
        "GET",
    ] {
        let all = [odd, fine].concat();
        at_every_split(true, &[Read(odd), Read(fine), Write(answer)], &all, answer).await;
    }
    // Two requests of which neither has an answer yet.
    let both = fine.repeat(2);
    let read = [&fine.replace("A=5Fb", "A_b"), fine].concat();
    at_every_split(true, &[Read(&both), Write(answer)], &read, answer).await;
}

#[tokio::test]
async fn a_head_over_the_limit_goes_through() {
    let long =
        format!("GET / HTTP/1.1\r\nX-Object-Meta-A=5Fb: 1\r\nX: {}\r\n\r\n", "x".repeat(200));
    for split in [0, 99, 100, 101, 1000] {
        let (read, _) = play(true, &[Read(&long)], split, 100).await;
        assert_eq!(read, long);
        let (_, sent) = play(false, &[Write(&long.replace("=5F", "_"))], split, 100).await;
        assert_eq!(sent, long.replace("=5F", "_"));
    }
}

#[tokio::test]
async fn a_head_that_ends_too_early_is_handed_on_as_it_came() {
    let half = "GET / HTTP/1.1\r\nX-Object-Meta-A=5Fb: 1\r\n";
    let socket = Socket { arrives: [half.into()].into(), ..Socket::default() };
    let mut read = String::new();
    MetadataNames::server(socket, 1000).read_to_string(&mut read).await.unwrap();
    assert_eq!(read, half);
    let turns = [Write("GET / HTTP/1.1\r\nX-Object-Meta-A_b")];
    at_every_split(false, &turns, "", "GET / HTTP/1.1\r\nX-Object-Meta-A_b").await;
}
