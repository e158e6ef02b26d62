//! Signals as readable events: everything is blocked from the first phase on and read from one
//! descriptor.
//!
//! The kernel drops signals with a default action that are sent to PID 1 unless they are blocked,
//! so blocking early also keeps a power button that is pressed during the boot.

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use protocol::status::{Phase, Refusal};

use crate::halt::Halt;

/// Ends of children.
const CHILD: Signal = Signal::SIGCHLD;
/// Requests to shut down: the kernel's power button (`SIGTERM`), ctrl-alt-del (`SIGINT`), a failing
/// power supply (`SIGPWR`).
const STOP: [Signal; 3] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGPWR];

/// What a batch of signals asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Children have ended.
    pub reap: bool,
    /// The machine shall shut down.
    pub stop: bool,
}

/// Blocks what [`read`] reads; children inherit this and unblock it themselves.
pub fn block_all() -> Result<(), Halt> {
    handled().thread_block().map_err(|errno| Halt::new(Phase::Started, Refusal::Internal, errno))
}

/// The descriptor on which blocked signals arrive.
pub fn open() -> nix::Result<SignalFd> {
    SignalFd::with_flags(&handled(), SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

/// Drains the descriptor.
pub fn read(signals: &mut SignalFd) -> Wanted {
    let mut wanted = Wanted::default();
    while let Ok(Some(info)) = signals.read_signal() {
        match i32::try_from(info.ssi_signo).ok().and_then(|number| Signal::try_from(number).ok()) {
            Some(CHILD) => wanted.reap = true,
            Some(signal) if STOP.contains(&signal) => wanted.stop = true,
            _ => {}
        }
    }
    wanted
}

fn handled() -> SigSet {
    STOP.into_iter().chain([CHILD]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocked_signals_are_read_as_requests() {
        // A thread of its own: the mask is per thread, and so is a signal raised in it.
        std::thread::spawn(|| {
            block_all().unwrap();
            let mut signals = open().unwrap();
            assert_eq!(read(&mut signals), Wanted::default());
            nix::sys::signal::raise(Signal::SIGPWR).unwrap();
            assert_eq!(read(&mut signals), Wanted { reap: false, stop: true });
        })
        .join()
        .unwrap();
    }
}
