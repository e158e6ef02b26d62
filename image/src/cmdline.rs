//! The kernel command line of each flavour: one constant, a reason for every word.
//!
//! It is measured in RTMR2 and init halts on anything else, so nothing here may depend on a
//! machine, a launch or a user. What such things need goes through the launch block.

use protocol::cmdline;
use protocol::image::Flavour;

/// One word and why the guest needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter {
    /// As the kernel reads it.
    pub text: &'static str,
    /// Reason for the image's documentation.
    pub reason: &'static str,
}

/// Both flavours carry these, in this order.
const COMMON: [Parameter; 7] = [
    Parameter {
        text: cmdline::TRUST_CPU,
        reason: "RDSEED is the only source of randomness that the host cannot choose",
    },
    Parameter {
        text: cmdline::NO_BOOTLOADER_SEED,
        reason: "a seed from the boot loader is the host's",
    },
    Parameter {
        text: cmdline::NO_KVMCLOCK,
        reason: "the paravirtual clock lets the host move time at will; the TSC does not",
    },
    Parameter {
        text: cmdline::NO_ASYNC_PAGE_FAULTS,
        reason: "the host's memory manager must not steer the guest's faults",
    },
    Parameter {
        text: cmdline::NO_STEAL_TIME,
        reason: "no page is shared with the host for time accounting",
    },
    Parameter {
        text: cmdline::NO_TIMER_CHECK,
        reason: "a host that is late with one interrupt must not stop the boot; the check is for broken boards",
    },
    Parameter {
        text: cmdline::QUIET,
        reason: "the boot is not slowed by messages; errors still print",
    },
];

/// Only the dev flavour has a console, so that a person can read why something failed.
const DEV: [Parameter; 1] = [Parameter {
    text: cmdline::SERIAL_CONSOLE,
    reason: "the first serial port, which `dstyx logs` shows",
}];

/// The words of a flavour's command line, in order.
#[must_use]
pub fn parameters(flavour: Flavour) -> Vec<Parameter> {
    let own: &[Parameter] = match flavour {
        Flavour::Release => &[],
        Flavour::Dev => &DEV,
    };
    COMMON.iter().chain(own).copied().collect()
}

/// The command line that is given to the VMM and stands in image.json, without what firmware
/// appends.
#[must_use]
pub fn line(flavour: Flavour) -> String {
    parameters(flavour).iter().map(|parameter| parameter.text).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn init_accepts_what_the_image_says_with_what_firmware_appends() {
        for flavour in [Flavour::Release, Flavour::Dev] {
            let seen = format!("{} {}\n", line(flavour), cmdline::FIRMWARE_INITRD);
            assert_eq!(cmdline::check(&seen), Ok(()), "{flavour:?}");
        }
    }

    #[test]
    fn only_dev_has_a_console() {
        assert!(!line(Flavour::Release).contains("console"));
        assert_eq!(line(Flavour::Dev), format!("{} console=ttyS0", line(Flavour::Release)));
    }

    #[test]
    fn every_known_parameter_is_used_and_has_a_reason() {
        let dev = parameters(Flavour::Dev);
        for known in cmdline::KNOWN.into_iter().filter(|known| *known != cmdline::FIRMWARE_INITRD) {
            let reason = dev
                .iter()
                .find(|parameter| parameter.text == known)
                .map(|parameter| parameter.reason);
            assert!(reason.is_some_and(|reason| !reason.is_empty()), "{known}");
        }
    }
}
