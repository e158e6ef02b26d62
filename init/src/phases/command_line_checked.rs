//! Phase 2: the kernel was started with the image's own parameters and nothing else.

use std::fs::File;
use std::io::Read;

use protocol::cmdline;
use protocol::status::{Phase, Refusal};

use super::Mounted;
use crate::halt::Halt;
use crate::status;

/// Holding one says: no parameter on the command line is foreign to the image.
pub struct CommandLineChecked {
    pub(super) machine: Mounted,
}

impl CommandLineChecked {
    /// Reads `/proc/cmdline` and refuses the first unknown or repeated parameter.
    pub fn enter(machine: Mounted) -> Result<Self, Halt> {
        let halt = |refusal, cause: String| Halt::new(Phase::CommandLineChecked, refusal, cause);
        let line =
            read().map_err(|error| halt(Refusal::Internal, format!("/proc/cmdline: {error}")))?;
        cmdline::check(&line)
            .map_err(|error| halt(Refusal::UnknownCommandLineKey, error.to_string()))?;
        status::reached(Phase::CommandLineChecked);
        Ok(Self { machine })
    }
}

fn read() -> std::io::Result<String> {
    let mut line = Vec::new();
    File::open("/proc/cmdline")?.take(cmdline::MAX_BYTES as u64 + 1).read_to_end(&mut line)?;
    // Foreign bytes become a parameter that is not known.
    Ok(String::from_utf8_lossy(&line).into_owned())
}
