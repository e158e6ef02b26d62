//! The faults of the table: each one edit of a launch, and what must be said of it.

use super::*;

/// One thing that is not as expected.
pub(super) struct Fault {
    pub(super) name: &'static str,
    /// Faults of one kind exclude each other.
    pub(super) kind: &'static str,
    pub(super) make: fn(&mut Launch<'_>),
    /// What is said of MRTD and RTMR0 to RTMR2; empty: they are as expected.
    pub(super) says: [&'static str; 4],
    /// Whether the cause can be told without a log.
    pub(super) told_without_log: bool,
}

fn at(events: &[Event], name: &str) -> usize {
    events.iter().position(|event| event.name == name).unwrap()
}

const fn fault(
    name: &'static str,
    kind: &'static str,
    make: fn(&mut Launch<'_>),
    says: [&'static str; 4],
) -> Fault {
    Fault { name, kind, make, says, told_without_log: true }
}

const fn by_log_only(
    name: &'static str,
    kind: &'static str,
    make: fn(&mut Launch<'_>),
    says: [&'static str; 4],
) -> Fault {
    Fault { name, kind, make, says, told_without_log: false }
}

/// Causes as they stand in a list of several; alone, "it is that of" stands before those of
/// machines and images.
// Long: one row a fault.
pub(super) fn faults() -> Vec<Fault> {
    vec![
        fault("4 vCPUs", "vcpus", |l| l.shape.vcpus = 4, ["", "4 vCPUs; you stated 2", "", ""]),
        fault(
            "127 vCPUs",
            "vcpus",
            |l| l.shape.vcpus = 127,
            ["", "127 vCPUs; you stated 2", "", ""],
        ),
        fault(
            "4 GiB",
            "memory",
            |l| l.shape.memory_mib = 4096,
            ["", "4096 MiB of memory; you stated 2048", "", ""],
        ),
        fault(
            "1 GiB",
            "memory",
            |l| l.shape.memory_mib = 1024,
            ["", "1024 MiB of memory; you stated 2048", "", ""],
        ),
        fault(
            "6 slots",
            "slots",
            |l| l.shape.root_slots = 6,
            ["", "6 root slots; you stated 4", "", ""],
        ),
        fault(
            "3 slots",
            "slots",
            |l| l.shape.root_slots = 3,
            ["", "3 root slots; you stated 4", "", ""],
        ),
        fault(
            "2 ports",
            "ports",
            |l| l.shape.serial_ports = 2,
            ["", "2 serial ports; you stated 1", "", ""],
        ),
        fault(
            "no hot-plug",
            "hotplug",
            |l| l.shape.pci_hotplug = false,
            ["", "a machine without PCI hot-plug; you stated with", "", ""],
        ),
        fault(
            "QEMU 11.0",
            "qemu",
            |l| l.shape.qemu_version = "11.0.2".into(),
            ["", "QEMU 11.0; you stated 11.1.3", "", ""],
        ),
        fault(
            "QEMU 10.1",
            "qemu",
            |l| l.shape.qemu_version = "10.1.0".into(),
            ["", "QEMU 10.0 or 10.1 or 10.2; you stated 11.1.3", "REWRITTEN", ""],
        ),
        fault(
            "QEMU 9.0",
            "qemu",
            |l| l.shape.qemu_version = "9.0.2".into(),
            ["", "QEMU 9.0 or 9.1; you stated 11.1.3", "REWRITTEN", ""],
        ),
        fault(
            "QEMU 8.2",
            "qemu",
            |l| l.shape.qemu_version = "8.2.2".into(),
            [
                "the expected firmware, added in two passes (the TDX trees of QEMU 8)",
                "QEMU 8.2; you stated 11.1.3",
                "REWRITTEN",
                "",
            ],
        ),
        fault(
            "two passes",
            "qemu",
            |l| l.order = Some(PageOrder::TwoPass),
            ["the expected firmware, added in two passes (the TDX trees of QEMU 8)", "", "", ""],
        ),
        fault("header rewritten", "qemu", |l| l.rewritten = Some(true), ["", "", "REWRITTEN", ""]),
        fault(
            "command line of the other flavour",
            "cmdline",
            |l| l.image.cmdline = l.dev.cmdline.clone(),
            ["", "", "", "the command line of the dev image"],
        ),
        fault(
            "kernel of the other flavour",
            "kernel",
            |l| {
                l.image.kernel.authenticode_sha384 = l.dev.kernel.authenticode_sha384;
                l.image.kernel_source = l.dev.kernel_source;
            },
            ["", "", "the kernel of the dev image", ""],
        ),
        fault(
            "initrd of the other flavour",
            "cmdline",
            |l| {
                l.image.kernel.initrd_sha384 = l.dev.kernel.initrd_sha384;
            },
            ["", "", "", "the initrd of the dev image"],
        ),
        fault(
            "the other flavour's command line and initrd",
            "cmdline",
            |l| {
                l.image.cmdline = l.dev.cmdline.clone();
                l.image.kernel.initrd_sha384 = l.dev.kernel.initrd_sha384;
            },
            ["", "", "", "the command line and initrd of the dev image"],
        ),
        fault(
            "no separator",
            "missing",
            |l| {
                l.edits.push(|events| {
                    let separator = at(events, "separator");
                    events.remove(separator);
                })
            },
            ["", "event 7 (separator) is missing", "", ""],
        ),
        fault(
            "initrd not measured",
            "cmdline",
            |l| {
                l.edits.push(|events| {
                    let initrd = at(events, "initrd");
                    events.remove(initrd);
                })
            },
            ["", "", "", "event 1 (initrd) is missing"],
        ),
        fault(
            "calling-application twice",
            "kernel-events",
            |l| {
                l.edits.push(|events| {
                    let action = at(events, "calling-application");
                    events.insert(action, events[action].clone());
                })
            },
            ["", "", "event 2 measures calling-application a second time", ""],
        ),
        fault(
            "PK and KEK swapped",
            "order",
            |l| {
                l.edits.push(|events| {
                    let key = at(events, "PK");
                    events.swap(key, key + 1);
                })
            },
            ["", "its events are in another order: PK moved", "", ""],
        ),
        by_log_only(
            "another boot order",
            "boot",
            |l| {
                l.edits.push(|events| {
                    let order = at(events, "BootOrder");
                    events[order].digest = Sha384Digest::of(&[1, 0]);
                })
            },
            [
                "",
                "event 11 (BootOrder) measures something else, which is of no known neighbour",
                "",
                "",
            ],
        ),
        by_log_only(
            "a foreign event at the end",
            "foreign",
            |l| {
                l.edits.push(|events| {
                    let last = at(events, "Boot0000");
                    let digest = Sha384Digest::of(b"foreign");
                    events.insert(
                        last + 1,
                        Event { digest, name: "foreign".into(), ..events[last].clone() },
                    );
                })
            },
            ["", "event 13 is one that was not expected", "", ""],
        ),
        by_log_only(
            "tables of the host's own",
            "tables",
            |l| {
                l.edits.push(|events| {
                    let tables = at(events, "acpi-tables");
                    events[tables].digest = Sha384Digest::of(b"an SSDT more");
                })
            },
            [
                "",
                "event 10 (acpi-tables) measures something else, which is of no known neighbour",
                "",
                "",
            ],
        ),
    ]
}

/// The sentence of a rewritten kernel depends on the memory of the launch.
pub(super) fn rewritten(says: &str, memory_mib: u64) -> String {
    if says != "REWRITTEN" {
        return says.to_owned();
    }
    let same = if memory_mib == 2048 || memory_mib >= 2816 {
        "2048 MiB, or 2816 MiB and more".to_owned()
    } else {
        format!("{memory_mib} MiB")
    };
    format!("a kernel whose header QEMU before 10.2 rewrote for memory of {same}")
}
