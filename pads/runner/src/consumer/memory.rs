//! The data of opened Pads: memory that the middleware writes and a consumer's process reads.
//!
//! It is one file in memory for all Pads of a run, one after the other. Before it holds anything it
//! is sealed: it keeps its size, and nobody can write to it but the middleware, through the mapping
//! that it had before. So the process reads without a system call, the pages count for the
//! middleware, which touches them first, and the middleware can wipe them when the process is gone.
//! `F_SEAL_WRITE` would let nobody wipe them.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, IntoRawFd as _, OwnedFd};

use rustix::cmsg_space;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use crate::lockdown::RECEIVE;
use crate::sys;

/// The one byte that the file comes with.
const MARK: u8 = 1;

/// The middleware's side.
pub(super) struct Data {
    file: OwnedFd,
    /// None if there is no byte of data, which the kernel does not map.
    memory: Option<sys::Writable>,
}

impl Data {
    /// Room for this many bytes, all of them zero.
    pub(super) fn new(bytes: u64) -> io::Result<Self> {
        let file = memfd_create("data", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&file, bytes)?;
        let size = usize::try_from(bytes).map_err(io::Error::other)?;
        let memory = NonZeroUsize::new(size).map(|size| sys::Writable::map(&file, size));
        let memory = memory.transpose()?;
        let seals = SealFlags::FUTURE_WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
        fcntl_add_seals(&file, seals)?;
        Ok(Self { file, memory })
    }

    /// The memory to write to.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        self.memory.as_mut().map_or(&mut [], sys::Writable::bytes_mut)
    }

    /// Gives the other side the file, after which nothing is written any more.
    pub(super) fn send(&self, stream: impl AsFd) -> io::Result<()> {
        let files = [self.file.as_fd()];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let is_held = control.push(SendAncillaryMessage::ScmRights(&files));
        let flags = SendFlags::NOSIGNAL;
        match is_held && sendmsg(stream, &[IoSlice::new(&[MARK])], &mut control, flags)? == 1 {
            true => Ok(()),
            false => Err(io::ErrorKind::WriteZero.into()),
        }
    }
}

/// The process's side: takes the file and maps all of its data until the process ends.
pub(super) fn receive(stream: impl AsFd, bytes: u64) -> io::Result<&'static [u8]> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut mark = [0];
    let received = recvmsg(stream, &mut [IoSliceMut::new(&mut mark)], &mut control, RECEIVE)?;
    let is_whole = received.bytes == 1 && !received.flags.contains(ReturnFlags::CTRUNC);
    let file = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut files) => files.next(),
        _ => None,
    });
    let file = file.filter(|_| is_whole).ok_or(io::ErrorKind::InvalidData)?;
    let size = usize::try_from(bytes).map_err(io::Error::other)?;
    match NonZeroUsize::new(size) {
        Some(size) => sys::readable(file, size),
        None => {
            let _ = file.into_raw_fd(); // it stays open, as one that is mapped does
            Ok(&[])
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt as _;
    use std::os::unix::net::UnixStream;

    use rustix::fs::fstat;
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn what_one_side_writes_the_other_reads() {
        let (ours, theirs) = UnixStream::pair().expect("sockets");
        let mut data = Data::new(5).expect("memory");
        data.bytes_mut().copy_from_slice(b"plain");
        data.send(&ours).expect("the stream");
        assert_eq!(receive(&theirs, 5).expect("a file"), b"plain");
    }

    #[test]
    fn the_file_can_neither_be_written_nor_cut_nor_grown() {
        let mut data = Data::new(5).expect("memory");
        data.bytes_mut().copy_from_slice(b"plain");
        let file = File::from(data.file.as_fd().try_clone_to_owned().expect("a copy"));
        let refused = |result: io::Result<()>| {
            assert_eq!(
                result.expect_err("sealed").raw_os_error(),
                Some(Errno::PERM.raw_os_error())
            );
        };
        refused(file.write_at(b"x", 0).map(drop));
        refused(file.set_len(4));
        refused(file.set_len(6));
        refused(fcntl_add_seals(&file, SealFlags::EXEC).map_err(io::Error::from));
        let again = sys::Writable::map(&file, NonZeroUsize::MIN).map(drop);
        refused(again);
        assert_eq!(fstat(&file).expect("a size").st_size, 5);
    }

    #[test]
    fn data_is_wiped_when_the_middleware_is_done() {
        let mut data = Data::new(5).expect("memory");
        data.bytes_mut().copy_from_slice(b"plain");
        let file = File::from(data.file.as_fd().try_clone_to_owned().expect("a copy"));
        let read = || {
            let mut bytes = [1; 5];
            file.read_exact_at(&mut bytes, 0).expect("five bytes");
            bytes
        };
        assert_eq!(&read(), b"plain");
        drop(data);
        assert_eq!(read(), [0; 5]);
    }

    #[test]
    fn no_data_is_no_mapping() {
        let (ours, theirs) = UnixStream::pair().expect("sockets");
        let mut data = Data::new(0).expect("a file");
        assert!(data.bytes_mut().is_empty());
        data.send(&ours).expect("the stream");
        assert!(receive(&theirs, 0).expect("a file").is_empty());
    }

    #[test]
    fn a_message_without_a_file_is_none() {
        let (ours, theirs) = UnixStream::pair().expect("sockets");
        rustix::io::write(&ours, &[1]).expect("the stream");
        assert!(receive(&theirs, 5).is_err());
        drop(ours);
        assert!(receive(&theirs, 5).is_err());
    }
}
