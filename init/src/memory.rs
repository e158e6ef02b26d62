//! What must outlive an agent: memory without a name that each agent gets, and that this process
//! never reads or maps.
//!
//! An agent that ends takes its memory along, and what it was given once (later: keys) it cannot
//! ask for again. So PID 1 makes a file of memory, empty and of one size for good, and hands the
//! descriptor to every agent. PID 1 holds no key, because it never looks.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::libc;
use nix::sys::memfd::{MFdFlags, memfd_create};
use protocol::handover::AGENT_MEMORY_BYTES;

/// The memory of all agents of this boot.
#[derive(Debug)]
pub struct AgentMemory(File);

impl AgentMemory {
    /// Makes it: zeros, which nothing can shorten, lengthen or unseal.
    pub fn new() -> io::Result<Self> {
        // Nothing in it is ever a program; nix has no name for that flag.
        let not_executable = MFdFlags::from_bits_retain(libc::MFD_NOEXEC_SEAL);
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING | not_executable;
        let file = File::from(memfd_create(c"dstyx-agent", flags)?);
        file.set_len(AGENT_MEMORY_BYTES)?;
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
        Ok(Self(file))
    }
}

impl AsRawFd for AgentMemory {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    #[test]
    fn it_is_empty_keeps_its_size_and_what_an_agent_writes() {
        let AgentMemory(file) = AgentMemory::new().unwrap();
        let mut bytes = vec![1; usize::try_from(AGENT_MEMORY_BYTES).unwrap()];
        file.read_exact_at(&mut bytes, 0).unwrap();
        assert!(bytes.iter().all(|byte| *byte == 0));
        assert!(file.set_len(0).is_err() && file.set_len(AGENT_MEMORY_BYTES + 1).is_err());
        assert!(file.write_all_at(b"x", AGENT_MEMORY_BYTES).is_err());
        assert!(fcntl(&file, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_WRITE)).is_err());
        file.write_all_at(b"kept", 0).unwrap();
        file.read_exact_at(&mut bytes[..4], 0).unwrap();
        assert_eq!(&bytes[..4], b"kept");
    }
}
