//! The sockets on which the agent answers containers: listened on here, answered there.
//!
//! A container has the socket's file mounted, and a mount stays with one file. Were the agent to
//! listen by itself, its successor would make another file, and no container would ever reach it.
//! So PID 1 listens, which never ends, and hands all sockets to each agent; who connects in
//! between waits in the kernel's queue. PID 1 reads no byte from them.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, socketpair,
};
use protocol::handover::{DSTACK_SOCKET, PAD_SOCKETS, TAPPD_SOCKET};

use crate::memory::AgentMemory;

/// Any user of a container may ask; who has the file mounted decides.
const MODE: u32 = 0o666;

/// The listening sockets: both of dstack's interfaces, and those of services that may have programs
/// run on Pads.
#[derive(Debug)]
pub struct Sockets(Vec<UnixListener>);

impl Sockets {
    /// Makes the files where containers get them from; one for each of these services besides.
    pub fn open(pad_services: &[String]) -> io::Result<Self> {
        let of_service = |name| Path::new(PAD_SOCKETS).join(format!("{name}.sock"));
        let both = [DSTACK_SOCKET, TAPPD_SOCKET].map(PathBuf::from);
        Self::at(both.into_iter().chain(pad_services.iter().map(of_service)))
    }

    fn at(paths: impl IntoIterator<Item = PathBuf>) -> io::Result<Self> {
        paths.into_iter().map(|path| listen(&path)).collect::<io::Result<_>>().map(Self)
    }

    /// What becomes an agent's standard input: a socket with one message, which carries the agent's
    /// memory and then the sockets in their order.
    pub fn for_agent(&self, memory: &AgentMemory) -> io::Result<OwnedFd> {
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        let sockets = self.0.iter().map(AsRawFd::as_raw_fd);
        let carried: Vec<RawFd> = [memory.as_raw_fd()].into_iter().chain(sockets).collect();
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
        let sockets = Sockets::at(paths.clone()).unwrap();
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
