//! A measured event with its name and what was hashed, so that a mismatch can be explained, not
//! only stated.

use std::borrow::Cow;
use std::fmt;

use protocol::digest::{Rtmr, Sha384Digest};

/// One of the four run-time extendable registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Register {
    /// The virtual machine's configuration: memory, firmware variables, ACPI tables, boot order.
    Rtmr0,
    /// The kernel and the firmware's last steps.
    Rtmr1,
    /// Command line and initrd.
    Rtmr2,
    /// The application.
    Rtmr3,
}

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RTMR{}", *self as u8)
    }
}

/// Where a predicted digest comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Origin {
    /// Computed from its preimage.
    #[default]
    Computed,
    /// Taken from a reference that somebody stated, since its preimage is unknown.
    Stated,
}

/// One extension of a register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What is extended.
    pub register: Register,
    /// A short name, such as `acpi-tables`, distinct within its register except where the firmware
    /// repeats itself.
    pub name: Cow<'static, str>,
    /// TCG event type (TCG PC Client Platform Firmware Profile 1.05, section 10.4.1; UEFI 2.10,
    /// section 38).
    pub event_type: u32,
    /// What the register is extended by.
    pub digest: Sha384Digest,
    /// What the digest is of, in words.
    pub preimage: Cow<'static, str>,
    /// Whether the digest was computed.
    pub origin: Origin,
}

/// Types of the events of registers 0 to 2.
pub(crate) mod event_type {
    pub const SEPARATOR: u32 = 0x0000_0004;
    pub const EVENT_TAG: u32 = 0x0000_0006;
    pub const PLATFORM_CONFIG_FLAGS: u32 = 0x0000_000a;
    pub const EFI_VARIABLE_DRIVER_CONFIG: u32 = 0x8000_0001;
    pub const EFI_VARIABLE_BOOT: u32 = 0x8000_0002;
    pub const EFI_BOOT_SERVICES_APPLICATION: u32 = 0x8000_0003;
    pub const EFI_HANDOFF_TABLES: u32 = 0x8000_0009;
    pub const EFI_ACTION: u32 = 0x8000_0007;
    pub const EFI_PLATFORM_FIRMWARE_BLOB2: u32 = 0x8000_000a;
    pub const EFI_HANDOFF_TABLES2: u32 = 0x8000_000b;
}

impl Event {
    /// The separator that ends a phase: four zero bytes.
    pub(crate) fn separator(register: Register) -> Self {
        Self {
            register,
            name: "separator".into(),
            event_type: event_type::SEPARATOR,
            digest: Sha384Digest::of(&[0; 4]),
            preimage: "four zero bytes".into(),
            origin: Origin::Computed,
        }
    }
}

/// A register's value after those of `events` that extend it, in order.
pub fn replay<'a>(register: Register, events: impl IntoIterator<Item = &'a Event>) -> Rtmr {
    Rtmr::replay(
        events.into_iter().filter(|event| event.register == register).map(|event| &event.digest),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let register =
            prop_oneof![Just(Register::Rtmr0), Just(Register::Rtmr1), Just(Register::Rtmr3)];
        let event = (register, any::<[u8; 8]>()).prop_map(|(register, content)| Event {
            register,
            name: "any".into(),
            event_type: 0,
            digest: Sha384Digest::of(&content),
            preimage: "eight bytes".into(),
            origin: Origin::Computed,
        });
        proptest::collection::vec(event, 0..24)
    }

    proptest! {
        #[test]
        fn replay_is_extension_one_by_one_and_ignores_other_registers(events in events()) {
            for register in [Register::Rtmr0, Register::Rtmr1, Register::Rtmr2, Register::Rtmr3] {
                let own: Vec<Event> = events.iter().filter(|event| event.register == register).cloned().collect();
                let one_by_one = own.iter().fold(Rtmr::ZERO, |value, event| value.extended_by(&event.digest));
                prop_assert_eq!(replay(register, &events), one_by_one);
                prop_assert_eq!(replay(register, &own), one_by_one);
            }
        }

        #[test]
        fn a_dropped_moved_or_changed_event_changes_the_register(events in events(), at in any::<prop::sample::Index>()) {
            let mut own: Vec<Event> = events.into_iter().filter(|event| event.register == Register::Rtmr0).collect();
            prop_assume!(own.len() >= 2);
            let value = replay(Register::Rtmr0, &own);
            let at = at.index(own.len() - 1);

            let mut dropped = own.clone();
            dropped.remove(at);
            prop_assert_ne!(replay(Register::Rtmr0, &dropped), value);

            let mut moved = own.clone();
            moved.swap(at, at + 1);
            prop_assert_eq!(replay(Register::Rtmr0, &moved) == value, own[at].digest == own[at + 1].digest);

            own[at].digest.0[47] ^= 1;
            prop_assert_ne!(replay(Register::Rtmr0, &own), value);
        }
    }
}
