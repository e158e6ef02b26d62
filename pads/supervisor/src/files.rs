//! Passing open files over the stream.

use std::fs::File;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;

use rustix::cmsg_space;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

/// Files of one message, below the kernel's 253; the receiver has room for as many.
const BATCH: usize = 200;

/// Sends files, each message of them with one byte, which a message without data would not have.
pub(crate) fn send(stream: &UnixStream, files: &[File]) -> io::Result<()> {
    for batch in files.chunks(BATCH) {
        let passed: Vec<BorrowedFd<'_>> = batch.iter().map(|file| file.as_fd()).collect();
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(BATCH))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(&passed)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let sent = sendmsg(stream, &[IoSlice::new(&[0])], &mut control, SendFlags::NOSIGNAL)?;
        if sent != 1 {
            return Err(io::ErrorKind::WriteZero.into());
        }
    }
    Ok(())
}
