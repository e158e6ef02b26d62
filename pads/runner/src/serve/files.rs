//! Open files that a supervisor passes: programs, engines and Pads.

use std::fs::File;
use std::io::{self, IoSliceMut, Read, Seek, SeekFrom};
use std::mem::MaybeUninit;
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;

use rustix::cmsg_space;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg};

/// Files of one message, below the kernel's 253.
const BATCH: usize = 200;

/// Receives so many files, of which each message has one byte and up to [`BATCH`].
pub(super) fn receive(stream: &UnixStream, count: usize) -> io::Result<Vec<File>> {
    let mut files = Vec::new();
    while files.len() < count {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(BATCH))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let received = recvmsg(stream, &mut [IoSliceMut::new(&mut byte)], &mut control, flags)?;
        let before = files.len();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(passed) = message {
                files.extend(passed.map(File::from));
            }
        }
        let is_whole = received.bytes == 1 && !received.flags.contains(ReturnFlags::CTRUNC);
        if !is_whole || files.len() == before || files.len() > count {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    Ok(files)
}

/// A regular file that is read at places of its own, whoever else has it open.
pub(super) struct Positioned {
    file: File,
    at: u64,
}

impl Positioned {
    /// Refuses pipes, devices and whatever else is no regular file.
    pub(super) fn new(file: File) -> io::Result<Self> {
        match file.metadata()?.is_file() {
            true => Ok(Self { file, at: 0 }),
            false => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
        }
    }
}

impl Read for Positioned {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(bytes, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for Positioned {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.file.metadata()?.len().checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_file_is_read_at_its_own_places() {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(b"0123456789").expect("room");
        let mut one = Positioned::new(file.try_clone().expect("a copy")).expect("regular");
        let mut two = Positioned::new(file).expect("regular");
        let mut bytes = [0; 4];
        one.seek(SeekFrom::End(-4)).expect("inside");
        two.read_exact(&mut bytes).expect("four");
        assert_eq!(&bytes, b"0123");
        one.read_exact(&mut bytes).expect("four");
        assert_eq!((&bytes, one.stream_position().expect("known")), (b"6789", 10));
        assert!(one.seek(SeekFrom::Current(-11)).is_err());
    }

    #[test]
    fn what_is_no_regular_file_is_refused() {
        for path in ["/dev/zero", "/proc", "/dev"] {
            assert!(Positioned::new(File::open(path).expect("there")).is_err(), "{path}");
        }
    }
}
