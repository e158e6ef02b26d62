//! What should have run: one byte of any part, another machine, another app.

use attestation::CheckName::*;
use protocol::event_log::RuntimeEvent;
use protocol::event_name;
use tests::scene::{COMPOSE, flip_middle};

use crate::case::{Row, row};

pub fn rows() -> Vec<Row> {
    [parts(), shapes(), apps()].into_iter().flatten().collect()
}

fn parts() -> Vec<Row> {
    vec![
        row(
            "one byte of the firmware's code",
            &[Mrtd],
            "MRTD is not that of the image's firmware",
            |case| {
                // Zeros behind the code: the tables at the end stay what they are.
                let at = case.scene.firmware.len() - 0x800;
                case.scene.firmware[at] ^= 1;
            },
        ),
        row(
            "one byte of the firmware's configuration",
            &[Rtmr0],
            "RTMR0 is not that of the image's firmware",
            |case| {
                case.scene.firmware[0x100] ^= 1;
            },
        ),
        row(
            "one byte of the kernel",
            &[Rtmr1],
            "RTMR1 is not that of the image's kernel",
            |case| {
                let at = case.scene.kernel.len() - 20;
                case.scene.kernel[at - 0x100] ^= 1;
            },
        ),
        row("one byte of the initrd", &[Rtmr2], "command line and initrd", |case| {
            flip_middle(&mut case.scene.initrd)
        }),
        row("one byte of the command line", &[Rtmr2], "RTMR2 is not that", |case| {
            case.scene.cmdline = case.scene.cmdline.replacen("quiet", "quieu", 1);
        }),
    ]
}

fn shapes() -> Vec<Row> {
    vec![
        row("other vCPUs", &[Rtmr0], "the stated shape", |case| case.scene.shape.vcpus = 4),
        row("less memory", &[Rtmr0], "the stated shape", |case| case.scene.shape.memory_mib = 1024),
        row("memory above 4 GiB", &[Rtmr0], "the stated shape", |case| {
            case.scene.shape.memory_mib = 8192
        }),
        row("one more root slot", &[Rtmr0], "the stated shape", |case| {
            case.scene.shape.root_slots = 6
        }),
        row("another serial port", &[Rtmr0], "the stated shape", |case| {
            case.scene.shape.serial_ports = 2
        }),
        row("no PCI hotplug", &[Rtmr0], "the stated shape", |case| {
            case.scene.shape.pci_hotplug = false
        }),
    ]
}

fn apps() -> Vec<Row> {
    vec![
        row(
            "one byte of the compose file",
            &[ComposeHash, AppId],
            "another app-compose.json was measured",
            |case| {
                case.scene.compose = COMPOSE.replacen("abab", "abaa", 1);
            },
        ),
        row(
            "another published app file",
            &[PublishedCompose],
            "do not read the published file",
            |case| {
                case.evidence = |evidence| evidence.app_compose = Some(b"{}".to_vec());
            },
        ),
        row("another app id", &[AppId], "another app id was measured", |case| {
            case.scene.measured =
                |events| events[1] = RuntimeEvent::new(event_name::APP_ID, [4; 20]);
        }),
        row("a TD that was created for another app", &[MrConfigId], "when it created it", |case| {
            case.scene.mrconfigid = Some([1; 48]);
        }),
    ]
}
