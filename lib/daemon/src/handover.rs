//! Messages between an overseer and its workers, with listening sockets.
//!
//! They are sent over a pair of sockets. Listening sockets are passed with them (`SCM_RIGHTS`), and so
//! stay open from one worker to the next.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// Listening sockets in one message.
const SOCKETS_MAX: usize = 64;
/// Bytes of a message.
const MESSAGE_MAX: usize = 4096;

/// The kind of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageKind {
    /// Overseer: the listening sockets of the last worker.
    Sockets,
    /// Worker: the configuration is valid; with the sockets on which it will listen.
    Ready,
    /// Worker: it cannot serve; with the reason.
    Failed,
    /// Overseer: accept.
    Go,
    /// Overseer: another worker takes over; stop work that only one worker may do.
    Seal,
    /// Worker: done.
    Sealed,
    /// Overseer: stop accepting, finish open requests, exit.
    Finish,
    /// Worker: it has stopped accepting, and no longer ends with its overseer.
    StoppedListening,
}

impl MessageKind {
    const ALL: [Self; 8] = [
        Self::Sockets,
        Self::Ready,
        Self::Failed,
        Self::Go,
        Self::Seal,
        Self::Sealed,
        Self::Finish,
        Self::StoppedListening,
    ];
}

/// One message.
#[derive(Debug)]
pub struct HandoverMessage {
    /// Its kind.
    pub kind: MessageKind,
    /// A reason; empty for most.
    pub text: String,
    /// Listening sockets.
    pub sockets: Vec<OwnedFd>,
}

/// One end of the pair. Its sockets keep message boundaries (`SEQPACKET`); the stream of tokio only
/// waits for readiness.
#[derive(Debug)]
pub struct Channel(UnixStream);

impl Channel {
    /// A new pair: one end for here, one to be the standard input of a worker.
    ///
    /// # Errors
    /// The kernel's.
    pub fn pair() -> io::Result<(Self, OwnedFd)> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((Self::over(ours)?, theirs))
    }

    /// The end that this process got as its standard input.
    ///
    /// # Errors
    /// The kernel's.
    pub fn from_stdin() -> io::Result<Self> {
        Self::over(io::stdin().as_fd().try_clone_to_owned()?)
    }

    fn over(socket: OwnedFd) -> io::Result<Self> {
        Ok(Self(UnixStream::from_std(socket.into())?))
    }

    /// Sends a message.
    ///
    /// # Errors
    /// When the other side is closed, or there are too many sockets.
    pub async fn send(
        &self,
        kind: MessageKind,
        text: &str,
        sockets: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        if sockets.len() > SOCKETS_MAX {
            return Err(io::Error::other(format!("more than {SOCKETS_MAX} listening sockets")));
        }
        let mut bytes = vec![kind as u8];
        bytes.extend(text.bytes().take(MESSAGE_MAX - 1));
        let send = || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
            let mut rights_buffer = SendAncillaryBuffer::new(&mut space);
            if !sockets.is_empty() && !rights_buffer.push(SendAncillaryMessage::ScmRights(sockets))
            {
                return Err(io::Error::other("no room for the sockets"));
            }
            let pieces = [io::IoSlice::new(&bytes)];
            Ok(rustix::net::sendmsg(&self.0, &pieces, &mut rights_buffer, SendFlags::NOSIGNAL)?)
        };
        self.0.async_io(Interest::WRITABLE, send).await.map(drop)
    }

    /// The next message; `None` when the other side is closed.
    ///
    /// # Errors
    /// The kernel's, or a message of another version.
    pub async fn receive(&self) -> io::Result<Option<HandoverMessage>> {
        self.0.async_io(Interest::READABLE, || received(self.0.as_fd())).await
    }
}

fn received(fd: BorrowedFd<'_>) -> io::Result<Option<HandoverMessage>> {
    let mut bytes = [0; MESSAGE_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut rights_buffer = RecvAncillaryBuffer::new(&mut space);
    let mut pieces = [io::IoSliceMut::new(&mut bytes)];
    let got =
        match rustix::net::recvmsg(fd, &mut pieces, &mut rights_buffer, RecvFlags::CMSG_CLOEXEC) {
            Ok(got) => got.bytes,
            // It ended with unread messages.
            Err(rustix::io::Errno::CONNRESET) => 0,
            Err(error) => return Err(error.into()),
        };
    let mut sockets = Vec::new();
    for message in rights_buffer.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            sockets.extend(rights);
        }
    }
    let Some((number, text)) = bytes.get(..got).and_then(<[u8]>::split_first) else {
        return Ok(None);
    };
    let kind = MessageKind::ALL.into_iter().find(|known| *known as u8 == *number);
    let kind = kind.ok_or_else(|| io::Error::other("a message of an unknown kind"))?;
    Ok(Some(HandoverMessage { kind, text: String::from_utf8_lossy(text).into_owned(), sockets }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[tokio::test]
    async fn a_socket_that_was_handed_over_still_listens() {
        let (here, there) = Channel::pair().unwrap();
        let there = Channel::over(there).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        here.send(MessageKind::Sockets, "text", &[listener.as_fd()]).await.unwrap();
        drop(listener);
        let waiting = TcpStream::connect(address).unwrap();
        let message = there.receive().await.unwrap().unwrap();
        assert_eq!((message.kind, message.text.as_str()), (MessageKind::Sockets, "text"));
        let socket = message.sockets.into_iter().next().unwrap();
        let (_, peer) = TcpListener::from(socket).accept().unwrap();
        assert_eq!(peer, waiting.local_addr().unwrap());
    }

    #[tokio::test]
    async fn a_closed_end_is_noticed() {
        let (here, there) = Channel::pair().unwrap();
        drop(there);
        assert!(here.receive().await.unwrap().is_none());
        assert!(here.send(MessageKind::Go, "", &[]).await.is_err());
    }

    #[test]
    fn every_kind_has_its_number() {
        for (number, kind) in MessageKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, number);
        }
    }
}
