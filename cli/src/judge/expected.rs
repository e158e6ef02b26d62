//! The registers that the evidence must show: predicted from the image for the machine that was stated, or claimed.

use attestation::policy::{ExpectedEvent, ExpectedRegister, ExpectedRegisters, FirmwareEvent, Neighbour, Prediction};
use measurement::{Event, ImageFacts, Register};
use protocol::digest::{OsImageHash, Sha384Digest};
use protocol::event_log;
use protocol::evidence::Evidence;
use protocol::image::ImageManifest;
use protocol::shape::Shape;

use crate::args::ShapeFlags;
use crate::failure::{Hint as _, Outcome};

/// Who else computes what an emulated guest's registers must be.
const EMULATOR: &str = "the emulator's own computation over the running QEMU's files and tables";

/// All four static registers with the events that lead to them.
pub fn registers(
    manifest: &ImageManifest,
    hash: OsImageHash,
    flags: &ShapeFlags,
    evidence: &Evidence,
    firmware_log: Vec<u8>,
) -> Outcome<ExpectedRegisters> {
    let (shape, source) = shape(flags, &evidence.claims.shape);
    shape.check().hint("the stated shape", "state a machine that QEMU can make")?;
    let facts = ImageFacts::from_manifest(manifest).hint("image.json", "build the image again: `dstyx build`")?;
    let prediction = measurement::predict_registers(&facts, &shape);
    let neighbours = neighbours(&facts, &shape, &evidence.claims.shape);
    let row = |register: Option<Register>, pick: fn(&measurement::Registers) -> [u8; 48]| match &prediction {
        Ok(prediction) => Prediction::Value(ExpectedRegister {
            value: pick(&prediction.registers),
            source: source.clone(),
            witness: Some(EMULATOR.to_owned()),
            events: events_of(&prediction.events, register),
            neighbours: if register == Some(Register::Rtmr0) { neighbours.clone() } else { Vec::new() },
        }),
        Err(error) => Prediction::Unknown(format!("{error}; state another --qemu-version or shape")),
    };
    Ok(ExpectedRegisters {
        os_image_hash: Some(hash),
        mrtd: row(None, |registers| registers.mrtd.0),
        rtmr0: row(Some(Register::Rtmr0), |registers| registers.rtmr0.0),
        rtmr1: row(Some(Register::Rtmr1), |registers| registers.rtmr1.0),
        rtmr2: row(Some(Register::Rtmr2), |registers| registers.rtmr2.0),
        firmware_log: firmware_events(&firmware_log)?,
    })
}

/// Stated numbers over claimed ones, and a sentence that says which are which.
fn shape(flags: &ShapeFlags, claimed: &Shape) -> (Shape, String) {
    let shape = Shape {
        vcpus: flags.vcpus.unwrap_or(claimed.vcpus),
        memory_mib: flags.memory.unwrap_or(claimed.memory_mib),
        root_slots: flags.root_slots.unwrap_or(claimed.root_slots),
        serial_ports: flags.serial_ports.unwrap_or(claimed.serial_ports),
        qemu_version: flags.qemu_version.clone().unwrap_or_else(|| claimed.qemu_version.clone()),
        pci_hotplug: claimed.pci_hotplug,
    };
    let word = |stated: bool| if stated { "stated" } else { "claimed" };
    let source = format!(
        "{} vCPUs ({}), {} MiB ({}), {} root slots ({}), {} serial ports ({}), QEMU {} ({})",
        shape.vcpus,
        word(flags.vcpus.is_some()),
        shape.memory_mib,
        word(flags.memory.is_some()),
        shape.root_slots,
        word(flags.root_slots.is_some()),
        shape.serial_ports,
        word(flags.serial_ports.is_some()),
        shape.qemu_version,
        word(flags.qemu_version.is_some()),
    );
    (shape, source)
}

/// RTMR0 of the machine that the evidence claims, where another was stated: names the true difference.
fn neighbours(facts: &ImageFacts<'_>, stated: &Shape, claimed: &Shape) -> Vec<Neighbour> {
    let Ok(prediction) = measurement::predict_registers(facts, claimed) else { return Vec::new() };
    let differences = differences(stated, claimed);
    if differences.is_empty() {
        return Vec::new();
    }
    let cause = format!("{}, as the evidence claims", differences.join(" and "));
    vec![Neighbour { cause, value: prediction.registers.rtmr0.0 }]
}

fn differences(stated: &Shape, claimed: &Shape) -> Vec<String> {
    let numbers = [
        (u64::from(stated.vcpus), u64::from(claimed.vcpus), "vCPUs"),
        (stated.memory_mib, claimed.memory_mib, "MiB"),
        (u64::from(stated.root_slots), u64::from(claimed.root_slots), "root slots"),
        (u64::from(stated.serial_ports), u64::from(claimed.serial_ports), "serial ports"),
    ];
    let numbers = numbers.into_iter().filter(|(stated, claimed, _)| stated != claimed);
    let mut texts: Vec<_> =
        numbers.map(|(stated, claimed, what)| format!("{claimed} {what} instead of {stated}")).collect();
    if stated.qemu_version != claimed.qemu_version {
        texts.push(format!("QEMU {} instead of {}", claimed.qemu_version, stated.qemu_version));
    }
    texts
}

fn events_of(events: &[Event], register: Option<Register>) -> Vec<ExpectedEvent> {
    let of_register = events.iter().filter(|event| Some(event.register) == register);
    of_register.map(|event| ExpectedEvent { name: event.name.to_string(), digest: event.digest }).collect()
}

fn firmware_events(log: &[u8]) -> Outcome<Vec<FirmwareEvent>> {
    if log.is_empty() {
        return Ok(Vec::new());
    }
    let events = event_log::parse(log).hint("firmware_log.json", "start the machine again")?;
    let event = |raw: &event_log::RawEvent| {
        let digest = Sha384Digest::from_hex(&raw.digest).hint("firmware_log.json", "start the machine again")?;
        Ok(FirmwareEvent { register: raw.imr as usize, digest })
    };
    events.iter().map(event).collect()
}
