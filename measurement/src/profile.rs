//! What differs between versions of QEMU in the bytes that end up in MRTD, RTMR0 and RTMR1.
//!
//! One constant a family of versions; each knob names what it changes. A version without a profile is
//! refused: a guessed profile would turn "cannot judge" into "does not match". Profiles were compared
//! byte for byte: 8.2 with real TDX evidence, 11.1 with the locked QEMU itself.

/// In which order pages are added to and measured into MRTD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageOrder {
    /// A page is added, then its content measured, then the next page (QEMU 9.0 and later).
    SinglePass,
    /// All pages of a section are added, then their contents measured (the TDX trees of QEMU 8).
    TwoPass,
}

/// How ACPI says that interrupt lines are triggered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineTrigger {
    /// PCI interrupts are level-triggered; only they and the timer have an override in the MADT.
    Level,
    /// Everything is edge-triggered and all 16 ISA lines have an override: the TDX trees of QEMU 8 and
    /// 9.0 to 9.1, since a TD cannot intercept the end of an interrupt.
    Edge,
}

/// Code generation of one family of QEMU versions, machine type q35 of that version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QemuProfile {
    /// The family, such as `11.1`.
    pub family: &'static str,
    /// Order of MRTD's records.
    pub page_order: PageOrder,
    /// Interrupt triggers in MADT and PCI link devices.
    pub line_trigger: LineTrigger,
    /// Whether a TDX machine has the legacy interrupt controllers (`pic`), which the MADT says.
    pub legacy_pic: bool,
    /// Serial ports' interrupts are declared level, active low, shared; otherwise in the short form.
    pub serial_irq_with_flags: bool,
    /// The processor hot-plug device selects processor 0 when initialised, to leave its legacy mode.
    pub processor_select_at_init: bool,
    /// Ejected processors are queued and notified after the scan, not during it.
    pub processor_eject_queue: bool,
    /// The hot-plug `_DSM` answers with an index only if the device has one.
    pub device_label_checked: bool,
    /// The kernel's setup header is rewritten before a confidential guest sees it.
    pub kernel_header_patched: bool,
}

/// QEMU 8.2 with the TDX patches of its time, as dstack hosts ran it.
const QEMU_8_2: QemuProfile = QemuProfile {
    family: "8.2",
    page_order: PageOrder::TwoPass,
    line_trigger: LineTrigger::Edge,
    legacy_pic: true,
    serial_irq_with_flags: false,
    processor_select_at_init: true,
    processor_eject_queue: false,
    device_label_checked: false,
    kernel_header_patched: true,
};

/// QEMU 11.1, the locked one.
const QEMU_11_1: QemuProfile = QemuProfile {
    family: "11.1",
    page_order: PageOrder::SinglePass,
    line_trigger: LineTrigger::Level,
    legacy_pic: false,
    serial_irq_with_flags: true,
    processor_select_at_init: false,
    processor_eject_queue: true,
    device_label_checked: true,
    kernel_header_patched: false,
};

/// A version of QEMU that no profile describes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "QEMU version `{version}` has no profile, known are {}; launch with one of them, or state its version if the claim is wrong",
    families()
)]
pub struct UnknownQemu {
    /// What was asked for.
    pub version: String,
}

impl QemuProfile {
    /// All profiles, oldest first.
    pub const ALL: [Self; 2] = [QEMU_8_2, QEMU_11_1];

    /// The profile of a version such as `11.1` or `11.1.3`; the patch level does not matter.
    pub fn for_version(version: &str) -> Result<Self, UnknownQemu> {
        let unknown = || UnknownQemu { version: version.to_owned() };
        let numbers: Vec<&str> = version.split('.').collect();
        let numeric = |number: &&str| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        if !(2..=3).contains(&numbers.len()) || !numbers.iter().all(numeric) {
            return Err(unknown());
        }
        let family = format!("{}.{}", numbers[0], numbers[1]);
        Self::ALL.into_iter().find(|profile| profile.family == family).ok_or_else(unknown)
    }
}

fn families() -> String {
    QemuProfile::ALL.map(|profile| profile.family).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_finds_its_family_whatever_its_patch_level() {
        assert_eq!(QemuProfile::for_version("11.1.3"), Ok(QEMU_11_1));
        assert_eq!(QemuProfile::for_version("8.2"), Ok(QEMU_8_2));
    }

    #[test]
    fn other_versions_and_other_texts_are_refused_with_the_known_ones() {
        for version in ["11.2.0", "11", "11.1.3.4", "11.1.", "11.1.x", ""] {
            let error = QemuProfile::for_version(version).unwrap_err();
            assert!(error.to_string().contains("8.2, 11.1"), "{error}");
        }
    }
}
