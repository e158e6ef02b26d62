//! Refusing to go on: the cause to console and status disk, then power off. There is no way back
//! into the boot.

use std::fmt::Display;

use protocol::status::{Phase, Refusal};

use crate::{console, shutdown, status};

/// Why a phase was not reached.
#[derive(Debug)]
pub struct Halt {
    /// The phase that was being entered.
    pub phase: Phase,
    /// Its code on the status disk.
    pub refusal: Refusal,
    /// The sentence for the console.
    pub cause: String,
}

impl Halt {
    /// A refusal while `phase` was being entered.
    pub fn new(phase: Phase, refusal: Refusal, cause: impl Display) -> Self {
        Self { phase, refusal, cause: cause.to_string() }
    }

    /// Says why and ends the machine.
    pub fn power_off(self) -> ! {
        console::say(&format!(
            "halted while entering {:?}: {}",
            self.phase,
            self.refusal.sentence()
        ));
        console::say(&format!("cause: {}", self.cause));
        status::record(self.phase, self.refusal);
        shutdown::power_off()
    }
}

/// Makes every panic a halt with [`Refusal::Internal`]: a PID 1 that unwinds away would panic the
/// kernel, which tells the host nothing.
pub fn on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        console::say(&format!("panic: {panic}"));
        status::refused_in_last_phase(Refusal::Internal);
        shutdown::power_off()
    }));
}
