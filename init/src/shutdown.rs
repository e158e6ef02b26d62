//! The end of the machine: whatever was written is synced, then the power goes off.

use nix::sys::reboot::{RebootMode, reboot};
use nix::unistd::{pause, sync};

/// Syncs and powers off; never returns, also where the platform cannot power off.
pub fn power_off() -> ! {
    sync();
    // It returns only where the caller lacks the right, which PID 1 has.
    let _ = reboot(RebootMode::RB_POWER_OFF);
    loop {
        pause();
    }
}
