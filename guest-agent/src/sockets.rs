//! The sockets that init listens on and hands over, so that they outlive an agent.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::net::UnixListener;

/// Bytes of the message that carries them; their content says nothing.
const MESSAGE_BYTES: usize = 16;

/// Where containers ask.
#[derive(Debug)]
pub struct Sockets {
    /// Mounted as `/var/run/dstack.sock`.
    pub dstack: UnixListener,
    /// Mounted as `/var/run/tappd.sock`.
    pub tappd: UnixListener,
}

impl Sockets {
    /// Takes them out of the one message that waits at standard input.
    pub fn from_stdin() -> io::Result<Self> {
        Self::from_message(&io::stdin())
    }

    fn from_message(channel: &impl AsFd) -> io::Result<Self> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut text = [0; MESSAGE_BYTES];
        recvmsg(
            channel,
            &mut [IoSliceMut::new(&mut text)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        )?;
        let mut carried: Vec<OwnedFd> = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                carried.extend(descriptors);
            }
        }
        match <[OwnedFd; 2]>::try_from(carried) {
            Ok([dstack, tappd]) => Ok(Self { dstack: listener(dstack)?, tappd: listener(tappd)? }),
            Err(other) => Err(io::Error::other(format!(
                "{} sockets were handed over, expected 2",
                other.len()
            ))),
        }
    }
}

fn listener(descriptor: OwnedFd) -> io::Result<UnixListener> {
    let listener = std::os::unix::net::UnixListener::from(descriptor);
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use rustix::net::{
        AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags,
        SocketType, sendmsg, socketpair,
    };

    use super::*;

    #[tokio::test]
    async fn two_sockets_are_taken_over_and_nothing_else_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let [a, b] = [path.clone(), directory.path().join("b")]
            .map(|p| std::os::unix::net::UnixListener::bind(p).unwrap());
        let pair = || {
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .unwrap()
        };
        let send = |to: &OwnedFd, carried: &[std::os::fd::BorrowedFd<'_>]| {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            assert!(ancillary.push(SendAncillaryMessage::ScmRights(carried)));
            sendmsg(to, &[IoSlice::new(b"sockets")], &mut ancillary, SendFlags::empty()).unwrap();
        };
        let (ours, theirs) = pair();
        send(&ours, &[a.as_fd(), b.as_fd()]);
        let sockets = Sockets::from_message(&theirs).unwrap();
        let _client = std::os::unix::net::UnixStream::connect(&path).unwrap();
        sockets.dstack.accept().await.unwrap();
        let (ours, theirs) = pair();
        send(&ours, &[a.as_fd()]);
        assert!(Sockets::from_message(&theirs).unwrap_err().to_string().contains("expected 2"));
    }
}
