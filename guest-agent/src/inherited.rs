//! What init hands over because it outlives an agent: the sockets that init listens on, and memory.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use protocol::app_compose::MAX_PAD_SERVICES;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::net::UnixListener;

use crate::memory::Memory;

/// Bytes of the message that carries them; their content says nothing.
const MESSAGE_BYTES: usize = 16;
/// Descriptors of the message: memory, two sockets, and those for Pads.
const MOST: usize = 3 + MAX_PAD_SERVICES;

/// Descriptors of init.
#[derive(Debug)]
pub struct Inherited {
    /// Mounted as `/var/run/dstack.sock`.
    pub dstack: UnixListener,
    /// Mounted as `/var/run/tappd.sock`.
    pub tappd: UnixListener,
    /// Mounted as `/run/dstyx/pads.sock`, for each service of the measured file's `pad_services` in
    /// their order.
    pub pads: Vec<UnixListener>,
    /// What earlier agents of this boot kept.
    pub memory: Memory,
}

impl Inherited {
    /// Takes them out of the one message that waits at standard input.
    pub fn from_stdin() -> io::Result<Self> {
        Self::from_message(&io::stdin())
    }

    fn from_message(channel: &impl AsFd) -> io::Result<Self> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
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
        let found = carried.len();
        let mut carried = carried.into_iter();
        let (Some(memory), Some(dstack), Some(tappd)) =
            (carried.next(), carried.next(), carried.next())
        else {
            let what = format!("{found} descriptors were handed over, expected memory and sockets");
            return Err(io::Error::other(what));
        };
        let memory = Memory::new(memory).map_err(io::Error::other)?;
        let pads = carried.map(listener).collect::<io::Result<_>>()?;
        Ok(Self { dstack: listener(dstack)?, tappd: listener(tappd)?, pads, memory })
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
    use crate::memory::tests::descriptor;
    use crate::memory::{DiskState, SEALS};

    #[tokio::test]
    async fn memory_and_sockets_are_taken_over_and_nothing_else_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let [a, b] = [path.clone(), directory.path().join("b")]
            .map(|p| std::os::unix::net::UnixListener::bind(p).unwrap());
        let pair = || {
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .unwrap()
        };
        let send = |to: &OwnedFd, carried: &[std::os::fd::BorrowedFd<'_>]| {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            assert!(ancillary.push(SendAncillaryMessage::ScmRights(carried)));
            sendmsg(to, &[IoSlice::new(b"sockets")], &mut ancillary, SendFlags::empty()).unwrap();
        };
        let (ours, theirs) = pair();
        let memory = descriptor(SEALS);
        send(&ours, &[memory.as_fd(), a.as_fd(), b.as_fd(), b.as_fd()]);
        let sockets = Inherited::from_message(&theirs).unwrap();
        assert_eq!(sockets.pads.len(), 1);
        assert_eq!(sockets.memory.read().unwrap().disk, DiskState::Closed);
        let _client = std::os::unix::net::UnixStream::connect(&path).unwrap();
        sockets.dstack.accept().await.unwrap();
        let (ours, theirs) = pair();
        send(&ours, &[memory.as_fd(), a.as_fd()]);
        let refused = Inherited::from_message(&theirs).unwrap_err().to_string();
        assert!(refused.contains("expected memory and sockets"), "{refused}");
        let (ours, theirs) = pair();
        send(&ours, &[a.as_fd(), b.as_fd(), a.as_fd()]);
        assert!(Inherited::from_message(&theirs).is_err());
    }
}
