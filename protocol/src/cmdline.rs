//! The kernel command line: every key that an image may carry, and the check that nothing else is
//! there.
//!
//! The values are measured in RTMR2, so a verifier sees any change; init refuses unknown keys
//! besides, so that a guest which nobody verifies yet is not steered by its host either.

/// Longest command line that is read: the kernel's own limit on x86 (`COMMAND_LINE_SIZE`).
pub const MAX_BYTES: usize = 2048;

/// Mixes the CPU's random numbers in at boot as trusted.
pub const TRUST_CPU: &str = "random.trust_cpu=on";
/// Gives no credit for a seed from the boot loader, which is the host's.
pub const NO_BOOTLOADER_SEED: &str = "random.trust_bootloader=off";
/// Keeps time off the host's paravirtual clock.
pub const NO_KVMCLOCK: &str = "no-kvmclock";
/// Takes no page faults from the host's memory manager.
pub const NO_ASYNC_PAGE_FAULTS: &str = "no-kvmapf";
/// Shares no page with the host for time accounting.
pub const NO_STEAL_TIME: &str = "no-steal-acc";
/// Takes the timer for working: a busy host may deliver late what the kernel would count as broken.
pub const NO_TIMER_CHECK: &str = "no_timer_check";
/// Only errors are printed.
pub const QUIET: &str = "quiet";
/// The serial console of a dev guest.
pub const SERIAL_CONSOLE: &str = "console=ttyS0";
/// What OVMF appends for a kernel that was loaded with an initrd.
pub const FIRMWARE_INITRD: &str = "initrd=initrd";

/// Every parameter that init accepts, exactly as spelled.
pub const KNOWN: [&str; 9] = [
    TRUST_CPU,
    NO_BOOTLOADER_SEED,
    NO_KVMCLOCK,
    NO_ASYNC_PAGE_FAULTS,
    NO_STEAL_TIME,
    NO_TIMER_CHECK,
    QUIET,
    SERIAL_CONSOLE,
    FIRMWARE_INITRD,
];

/// What is wrong with a command line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandLineError {
    /// a parameter that no image carries
    #[error("unknown kernel parameter {parameter:?}")]
    Unknown {
        /// The parameter, cut to 64 characters.
        parameter: String,
    },
    /// a parameter occurs twice
    #[error("kernel parameter {parameter:?} occurs twice")]
    Repeated {
        /// The parameter.
        parameter: &'static str,
    },
    /// longer than the kernel keeps
    #[error("a command line of {found} bytes, at most {MAX_BYTES} are kept by the kernel")]
    TooLong {
        /// Bytes present.
        found: usize,
    },
}

/// Accepts only known parameters, each at most once.
pub fn check(line: &str) -> Result<(), CommandLineError> {
    if line.len() > MAX_BYTES {
        return Err(CommandLineError::TooLong { found: line.len() });
    }
    let mut seen = Vec::new();
    for parameter in line.split_ascii_whitespace() {
        let known = KNOWN.into_iter().find(|known| *known == parameter);
        let known = known.ok_or_else(|| CommandLineError::Unknown {
            parameter: parameter.chars().take(64).collect(),
        })?;
        if seen.contains(&known) {
            return Err(CommandLineError::Repeated { parameter: known });
        }
        seen.push(known);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_value_of_a_known_key_is_unknown() {
        assert_eq!(check("quiet no-steal-acc initrd=initrd\n"), Ok(()));
        let parameter = "console=ttyS1".to_owned();
        assert_eq!(check("quiet console=ttyS1"), Err(CommandLineError::Unknown { parameter }));
        assert_eq!(check("quiet quiet"), Err(CommandLineError::Repeated { parameter: QUIET }));
        assert!(matches!(check("init=/bin/sh"), Err(CommandLineError::Unknown { .. })));
        assert_eq!(check(&"a".repeat(2049)), Err(CommandLineError::TooLong { found: 2049 }));
    }
}
