//! The sockets on which the agent answers containers: listened on here, answered there.
//!
//! A container has the socket's file mounted, and a mount stays with one file. Were the agent to
//! listen by itself, its successor would make another file, and no container would ever reach it.
//! So PID 1 listens, which never ends, and hands both sockets to each agent; who connects in
//! between waits in the kernel's queue. PID 1 reads no byte from them.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;

use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, socketpair,
};
use protocol::handover::{DSTACK_SOCKET, TAPPD_SOCKET};

use crate::memory::AgentMemory;

/// Any user of a container may ask; who has the file mounted decides.
const MODE: u32 = 0o666;

/// Both listening sockets.
#[derive(Debug)]
pub struct Sockets([UnixListener; 2]);

impl Sockets {
    /// Makes the files where containers get them from.
    pub fn open() -> io::Result<Self> {
        Self::at([DSTACK_SOCKET, TAPPD_SOCKET].map(Path::new))
    }

    fn at([dstack, tappd]: [&Path; 2]) -> io::Result<Self> {
        Ok(Self([listen(dstack)?, listen(tappd)?]))
    }

    /// What becomes an agent's standard input: a socket with one message, which carries both
    /// sockets in their order and then the agent's memory.
    pub fn for_agent(&self, memory: &AgentMemory) -> io::Result<OwnedFd> {
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        let [dstack, tappd] = self.0.each_ref().map(AsRawFd::as_raw_fd);
        let carried: [RawFd; 3] = [dstack, tappd, memory.as_raw_fd()];
        let message = [ControlMessage::ScmRights(&carried)];
        sendmsg::<()>(
            ours.as_raw_fd(),
            &[IoSlice::new(b"sockets")],
            &message,
            MsgFlags::empty(),
            None,
        )?;
        Ok(theirs)
    }
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    if let Some(directory) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(MODE))?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use std::io::{IoSliceMut, Read, Write};
    use std::os::unix::net::UnixStream;

    use nix::sys::socket::recvmsg;

    use super::*;

    #[test]
    fn anybody_may_connect_and_waits_for_an_agent() {
        let directory = tempfile::tempdir().unwrap();
        let paths = ["api/dstack.sock", "api/tappd.sock"].map(|name| directory.path().join(name));
        let sockets = Sockets::at([&paths[0], &paths[1]]).unwrap();
        let mut client = UnixStream::connect(&paths[0]).unwrap();
        client.write_all(b"early").unwrap();
        assert_eq!(fs::metadata(&paths[1]).unwrap().permissions().mode() & 0o777, MODE);
        // Two agents, one after the other, get the same socket.
        let memory = AgentMemory::new().unwrap();
        drop(sockets.for_agent(&memory).unwrap());
        let stdin = sockets.for_agent(&memory).unwrap();
        let mut text = [0; 16];
        let mut space = nix::cmsg_space!([RawFd; 3]);
        let mut slices = [IoSliceMut::new(&mut text)];
        let message =
            recvmsg::<()>(stdin.as_raw_fd(), &mut slices, Some(&mut space), MsgFlags::empty())
                .unwrap();
        assert_eq!((message.bytes, message.cmsgs().unwrap().count()), (7, 1));
        let (mut served, _) = sockets.0[0].accept().unwrap();
        let mut early = [0; 5];
        served.read_exact(&mut early).unwrap();
        assert_eq!(&early, b"early");
    }
}
