//! What differs between versions of QEMU in the bytes that end up in MRTD, RTMR0 and RTMR1.
//!
//! One constant a family of versions; each knob names what it changes, and each constant is what
//! its predecessor became. A version without a profile is refused: a guessed profile would turn
//! "cannot judge" into "does not match". [`Compared`] says what a profile was held against, byte
//! for byte; those that were held against nothing are read from the history of QEMU's sources, and
//! whoever uses one is told so.
//!
//! Upstream QEMU starts TDX guests from 10.1 on. The TDX machines of older families are those of
//! the patched trees that hosts ran before; dstack's `dstack-mr` (machine.rs) and `qemu-acpi`
//! record what they measured.

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
    /// Everything is edge-triggered and all 16 ISA lines have an override: the TDX trees of QEMU 8
    /// and 9.0 to 9.1, since a TD cannot intercept the end of an interrupt.
    Edge,
}

/// What a profile's bytes were held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compared {
    /// Tables that a QEMU of this family made, of many shapes.
    Binary,
    /// Blobs, logs and quotes of real TDX guests.
    RealEvidence,
    /// Nothing: read from QEMU's sources.
    Never,
}

/// Code generation of one family of QEMU versions, machine type q35 of that version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QemuProfile {
    /// The family, such as `11.1`.
    pub family: &'static str,
    /// What it was held against.
    pub compared: Compared,
    /// Order of MRTD's records.
    pub page_order: PageOrder,
    /// Interrupt triggers in MADT and PCI link devices.
    pub line_trigger: LineTrigger,
    /// Whether a TDX machine has the legacy interrupt controllers (`pic`), which the MADT says.
    pub legacy_pic: bool,
    /// Serial ports' interrupts are declared level, active low, shared; otherwise in the short
    /// form.
    pub serial_irq_with_flags: bool,
    /// The processor hot-plug device selects processor 0 when initialised, to leave its legacy
    /// mode.
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
    compared: Compared::RealEvidence,
    page_order: PageOrder::TwoPass,
    line_trigger: LineTrigger::Edge,
    legacy_pic: true,
    serial_irq_with_flags: false,
    processor_select_at_init: true,
    processor_eject_queue: false,
    device_label_checked: false,
    kernel_header_patched: true,
};

/// Patched trees add and measure page by page, and force the PIC off.
const QEMU_9_0: QemuProfile = QemuProfile {
    family: "9.0",
    compared: Compared::Never,
    page_order: PageOrder::SinglePass,
    legacy_pic: false,
    ..QEMU_8_2
};

/// As 9.0 in every byte that is measured.
const QEMU_9_1: QemuProfile = QemuProfile { family: "9.1", ..QEMU_9_0 };

/// The label function answers an absent index with nothing; patched trees no longer force edge
/// triggers.
const QEMU_9_2: QemuProfile = QemuProfile {
    family: "9.2",
    line_trigger: LineTrigger::Level,
    device_label_checked: true,
    ..QEMU_9_1
};

/// Ejected processors are queued during a scan. Compared with Debian trixie's.
const QEMU_10_0: QemuProfile = QemuProfile {
    family: "10.0",
    compared: Compared::Binary,
    processor_eject_queue: true,
    ..QEMU_9_2
};

/// The first upstream version that starts TDX guests; tables as 10.0.
const QEMU_10_1: QemuProfile =
    QemuProfile { family: "10.1", compared: Compared::Never, ..QEMU_10_0 };

/// A confidential guest's kernel is left as its file has it (commit a7542a38f399).
const QEMU_10_2: QemuProfile =
    QemuProfile { family: "10.2", kernel_header_patched: false, ..QEMU_10_1 };

/// The processor hot-plug device has no legacy mode to leave any more.
const QEMU_11_0: QemuProfile =
    QemuProfile { family: "11.0", processor_select_at_init: false, ..QEMU_10_2 };

/// Serial ports' interrupts carry flags. The locked one.
const QEMU_11_1: QemuProfile = QemuProfile {
    family: "11.1",
    compared: Compared::Binary,
    serial_irq_with_flags: true,
    ..QEMU_11_0
};

/// a version of QEMU that no profile describes
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
    pub const ALL: [Self; 9] = [
        QEMU_8_2, QEMU_9_0, QEMU_9_1, QEMU_9_2, QEMU_10_0, QEMU_10_1, QEMU_10_2, QEMU_11_0,
        QEMU_11_1,
    ];

    /// The profile of a version such as `11.1` or `11.1.3`; the patch level does not matter.
    pub fn for_version(version: &str) -> Result<Self, UnknownQemu> {
        let unknown = || UnknownQemu { version: version.to_owned() };
        let numbers: Vec<&str> = version.split('.').collect();
        let numeric =
            |number: &&str| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        if !(2..=3).contains(&numbers.len()) || !numbers.iter().all(numeric) {
            return Err(unknown());
        }
        let family = format!("{}.{}", numbers[0], numbers[1]);
        Self::ALL.into_iter().find(|profile| profile.family == family).ok_or_else(unknown)
    }

    /// What a person must know who relies on this profile; `None` where a binary or a real guest
    /// agreed with it.
    pub fn caveat(&self) -> Option<String> {
        let family = self.family;
        let caveat = || format!("the profile of QEMU {family} was never compared with a binary");
        (self.compared == Compared::Never).then(caveat)
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
        for version in
            ["11.2.0", "9.3", "8.1.0", "12.0", "11", "11.1.3.4", "11.1.", "11.1.x", "011.1", ""]
        {
            let error = QemuProfile::for_version(version).unwrap_err();
            assert!(
                error.to_string().contains("8.2, 9.0, 9.1, 9.2, 10.0, 10.1, 10.2, 11.0, 11.1"),
                "{error}"
            );
        }
    }

    #[test]
    fn whoever_relies_on_an_uncompared_profile_is_told_so() {
        let caveats = QemuProfile::ALL.iter().filter_map(QemuProfile::caveat);
        assert_eq!(caveats.count(), 6);
        assert_eq!(QEMU_10_0.caveat(), None);
        assert!(QEMU_10_1.caveat().unwrap().contains("QEMU 10.1 was never compared"));
    }

    #[test]
    fn neighbouring_families_differ_only_where_a_knob_says_so() {
        let knobs = |profile: &QemuProfile| QemuProfile {
            family: "",
            compared: Compared::Never,
            ..*profile
        };
        let same: Vec<_> = QemuProfile::ALL
            .windows(2)
            .filter(|pair| knobs(&pair[0]) == knobs(&pair[1]))
            .map(|pair| pair[1].family)
            .collect();
        assert_eq!(same, ["9.1", "10.1"]);
    }
}
