//! Status reports to init, which alone writes the status disk.
//!
//! Init gives the agent a pipe as standard output. It is taken off that number at once, so that no
//! child and no stray print can write into it.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;

use protocol::status::{Phase, Refusal, Report};

/// The writing end of the pipe.
#[derive(Debug, Clone)]
pub struct Reports(Arc<File>);

impl Reports {
    /// Moves standard output to a descriptor that no child inherits, and lets standard error take
    /// its place.
    pub fn take_over_stdout() -> io::Result<Self> {
        let pipe = io::stdout().as_fd().try_clone_to_owned()?;
        nix::unistd::dup2_stdout(io::stderr())?;
        Ok(Self(Arc::new(pipe.into())))
    }

    /// Sends a phase, or a refusal that is about no image.
    pub fn send(&self, phase: Phase, refusal: Refusal) {
        self.send_report(Report::new(phase, refusal));
    }

    /// Sends one report: a single write, below what a pipe ever splits.
    pub fn send_report(&self, report: Report) {
        let mut pipe = &*self.0;
        if let Err(error) = pipe.write_all(&report.to_bytes()) {
            tracing::warn!("status report {:?}: {error}", report.phase);
        }
    }

    #[cfg(test)]
    pub fn to_file(file: File) -> Self {
        Self(Arc::new(file))
    }
}
