//! The stream of a process to the one that started it.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

/// Standard input, in both directions and by its number, which the filter of system calls knows.
pub(crate) struct Standard(BorrowedFd<'static>);

impl Standard {
    pub(crate) fn new() -> Self {
        Self(rustix::stdio::stdin())
    }
}

impl AsFd for Standard {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0
    }
}

impl Read for Standard {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(self.0, bytes)?)
    }
}

impl Write for Standard {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(self.0, bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
