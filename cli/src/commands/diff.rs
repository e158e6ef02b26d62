//! `dstyx diff`: two evidences, or one and a prediction, register by register and event by event.
//!
//! It judges nothing: both sides are claims. Registers decide whether they are the same; logs show
//! where they part.

use std::path::Path;
use std::process::ExitCode;

use attestation::StatedImage;
use measurement::explain::{Aligned, align};
use protocol::digest::Sha384Digest;
use protocol::event_log::{RUNTIME_REGISTER, RawEvent, RuntimeEvent};
use protocol::foreign;
use protocol::quote::{Quote, TdReport};
use serde::Serialize;

use crate::args::Diff;
use crate::commands::stated;
use crate::failure::{Failure, Hint as _, Outcome};
use crate::files;
use crate::image_directory;
use crate::output::{Output, columns, note};
use crate::printable::line;

/// Exit status of evidence that differs.
const DIFFERS: u8 = 1;

/// Exit status where a register of the prediction could not be had, and the others are the same.
const NOT_WHOLE: u8 = 2;

/// Exit status 0 only if everything that was compared is the same, 1 if something differs.
pub fn run(options: &Diff, output: &Output) -> Outcome<ExitCode> {
    let first = read(&options.a)?;
    let second = match (&options.b, &options.image) {
        (Some(file), _) => read(file)?.side,
        (None, Some(directory)) => predicted(directory, options, &first)?,
        (None, None) => {
            return Err(Failure::new("nothing to compare with", "give a second file, or --image"));
        }
    };
    let document = compare(&first.side, &second);
    let (same, whole) = (document.same, second.whole);
    output.result(&document, || text(&document));
    Ok(match (same, whole) {
        (false, _) => ExitCode::from(DIFFERS),
        (true, false) => ExitCode::from(NOT_WHOLE),
        (true, true) => ExitCode::SUCCESS,
    })
}

/// One of the two things.
struct Side {
    /// Registers and fields by name, in the order of the table; values in hex.
    values: Vec<(&'static str, String)>,
    events: Vec<Logged>,
    /// Whether every register could be had.
    whole: bool,
    /// Why a register of the other side differs from this one, where that is known.
    reasons: Vec<(&'static str, String)>,
}

/// An event of any register.
struct Logged {
    register: u32,
    name: String,
    digest: Sha384Digest,
}

/// Evidence of a file, and what a prediction needs of it.
struct Read {
    evidence: protocol::evidence::Evidence,
    side: Side,
}

/// The comparison as a program reads it.
#[derive(Serialize)]
struct Document {
    same: bool,
    registers: Vec<RegisterRow>,
    events: Vec<EventRow>,
}

/// A register or field.
#[derive(Serialize)]
struct RegisterRow {
    name: &'static str,
    a: String,
    b: String,
    same: bool,
    why: Option<String>,
}

/// An event; a position is that in its register's log, from 0.
#[derive(Serialize)]
struct EventRow {
    register: u32,
    a: Option<usize>,
    b: Option<usize>,
    name: String,
    digest: String,
    difference: &'static str,
}

fn read(path: &Path) -> Outcome<Read> {
    let file = files::read_bounded(path, foreign::MAX_BYTES as u64)?;
    let converted = foreign::read(&file, &[])
        .hint(path.display(), "give evidence whole, in a format that is read")?;
    let evidence = converted.evidence;
    let quote = Quote::parse_padded(&evidence.quote)
        .hint(path.display(), "its quote cannot be read; is it whole?")?;
    let events = evidence.event_log.iter().filter_map(logged).collect();
    let side = Side { values: values(&quote.report), events, whole: true, reasons: Vec::new() };
    Ok(Read { evidence, side })
}

/// Everything of a report that a prediction or another launch of the same can be compared in; not
/// its report data.
fn values(report: &TdReport) -> Vec<(&'static str, String)> {
    let [rtmr0, rtmr1, rtmr2, rtmr3] = report.rtmrs.map(|rtmr| rtmr.to_string());
    vec![
        ("mrtd", report.mrtd.to_string()),
        ("rtmr0", rtmr0),
        ("rtmr1", rtmr1),
        ("rtmr2", rtmr2),
        ("rtmr3", rtmr3),
        ("mrconfigid", report.mr_config_id.to_string()),
        ("td_attributes", format!("{:#018x}", report.td_attributes)),
        ("xfam", format!("{:#018x}", report.xfam)),
        ("mrseam", hex::encode(report.mr_seam)),
        ("tee_tcb_svn", hex::encode(report.tee_tcb_svn)),
    ]
}

/// An event with a name for a person; one without a digest has that of its payload.
fn logged(raw: &RawEvent) -> Option<Logged> {
    let digest = match Sha384Digest::from_hex(&raw.digest) {
        Ok(digest) => digest,
        Err(_) if raw.imr == RUNTIME_REGISTER => {
            RuntimeEvent::new(raw.event.clone(), hex::decode(&raw.event_payload).ok()?).digest()
        }
        Err(_) => return None,
    };
    let name = if raw.event.is_empty() { type_name(raw.event_type) } else { raw.event.clone() };
    Some(Logged { register: raw.imr, name, digest })
}

/// TCG PC Client Platform Firmware Profile 1.05, section 10.4.1.
fn type_name(event_type: u32) -> String {
    let name = match event_type {
        0x0000_0004 => "EV_SEPARATOR",
        0x0000_0006 => "EV_EVENT_TAG",
        0x0000_000a => "EV_PLATFORM_CONFIG_FLAGS",
        0x8000_0001 => "EV_EFI_VARIABLE_DRIVER_CONFIG",
        0x8000_0002 => "EV_EFI_VARIABLE_BOOT",
        0x8000_0003 => "EV_EFI_BOOT_SERVICES_APPLICATION",
        0x8000_0007 => "EV_EFI_ACTION",
        0x8000_0009 => "EV_EFI_HANDOFF_TABLES",
        0x8000_000a => "EV_EFI_PLATFORM_FIRMWARE_BLOB2",
        0x8000_000b => "EV_EFI_HANDOFF_TABLES2",
        other => return format!("event type {other:#010x}"),
    };
    name.to_owned()
}

/// The prediction for an image on the stated machine, with the reasons why the evidence differs
/// from it; a register that cannot be predicted withholds no other.
fn predicted(directory: &Path, options: &Diff, first: &Read) -> Outcome<Side> {
    let image = image_directory::read(directory)?;
    let stated = StatedImage {
        image: &image,
        machine: &stated::machine(&options.shape),
        firmware: &stated::firmware(&options.of_firmware)?,
        others: &image_directory::others(directory, &image),
        firmware_log: &[],
    };
    let registers = attestation::predicted(&stated, &first.evidence)
        .map_err(|fault| image_directory::unusable(directory, &fault))?;
    let event = |event: &measurement::Event| Logged {
        register: event.register as u32,
        name: event.name.to_string(),
        digest: event.digest,
    };
    let mut side =
        Side { values: Vec::new(), events: Vec::new(), whole: true, reasons: Vec::new() };
    for predicted in registers {
        match predicted.value {
            Ok(value) => side.values.push((predicted.register, hex::encode(value))),
            Err(why) => {
                side.whole = false;
                note(&format!("{} is not compared: {why}", predicted.register));
            }
        }
        side.events.extend(predicted.events.iter().map(event));
        side.reasons.extend(predicted.difference.map(|why| (predicted.register, why)));
    }
    Ok(side)
}

fn compare(first: &Side, second: &Side) -> Document {
    let value_of =
        |side: &Side, name: &str| side.values.iter().find(|(known, _)| *known == name).cloned();
    let registers: Vec<RegisterRow> = first
        .values
        .iter()
        .filter_map(|(name, a)| {
            let (_, b) = value_of(second, name)?;
            let why = second
                .reasons
                .iter()
                .find(|(register, _)| register == name)
                .map(|(_, why)| why.clone());
            Some(RegisterRow { name, a: a.clone(), same: *a == b, b, why })
        })
        .collect();
    let compared = |register: &u32| registers.iter().any(|row| row.name == rtmr_name(*register));
    let events: Vec<EventRow> =
        (0..4).filter(compared).flat_map(|register| event_rows(register, first, second)).collect();
    let same = registers.iter().all(|row| row.same);
    Document { same, registers, events }
}

fn rtmr_name(register: u32) -> &'static str {
    ["rtmr0", "rtmr1", "rtmr2", "rtmr3"][register as usize & 3]
}

/// A register's events side by side; none where a side has no log of it.
fn event_rows(register: u32, first: &Side, second: &Side) -> Vec<EventRow> {
    let (first, second) = (first.of_register(register), second.of_register(register));
    if first.is_empty() || second.is_empty() {
        return Vec::new();
    }
    let digests = |events: &[&Logged]| events.iter().map(|event| event.digest).collect::<Vec<_>>();
    let row = |a: Option<usize>, b: Option<usize>, event: &Logged, difference| EventRow {
        register,
        a,
        b,
        name: event.name.clone(),
        digest: event.digest.to_string(),
        difference,
    };
    let lines = align(&digests(&first), &digests(&second)).into_iter();
    lines
        .map(|line| match line {
            // A prediction's names say more than a log's types.
            Aligned::Both(a, b) => row(Some(a), Some(b), second[b], "same"),
            Aligned::First(a) => row(Some(a), None, first[a], "only in A"),
            Aligned::Second(b) => row(None, Some(b), second[b], "only in B"),
        })
        .collect()
}

impl Side {
    fn of_register(&self, register: u32) -> Vec<&Logged> {
        self.events.iter().filter(|event| event.register == register).collect()
    }
}

/// A number whole, of a digest as much as tells two apart.
fn short(value: &str) -> String {
    if value.starts_with("0x") { value.to_owned() } else { value.chars().take(16).collect() }
}

fn text(document: &Document) -> String {
    let header = |names: [&str; 4]| names.map(str::to_owned).to_vec();
    let registers = document.registers.iter().map(|row| {
        let verdict = if row.same { "same" } else { "DIFFERS" };
        vec![row.name.to_owned(), verdict.to_owned(), short(&row.a), short(&row.b)]
    });
    let registers: Vec<_> =
        [header(["REGISTER", "", "A", "B"])].into_iter().chain(registers).collect();
    let whys = document.registers.iter();
    let whys = whys.filter_map(|row| Some(format!("{}: {}\n", row.name, line(row.why.as_ref()?))));
    let place = |at: Option<usize>| at.map(|at| at.to_string()).unwrap_or_default();
    let events = document.events.iter().map(|row| {
        let at = format!("{} {}", place(row.a), place(row.b));
        vec![
            rtmr_name(row.register).to_owned(),
            row.difference.to_owned(),
            at,
            row.name.clone(),
            short(&row.digest),
        ]
    });
    let events: Vec<_> = events.filter(|row| row[1] != "same").collect();
    let events = if events.is_empty() { String::new() } else { format!("\n{}", columns(&events)) };
    let last = if document.same { "the same" } else { "they differ" };
    format!("{}\n{}{events}\n{last}\n", columns(&registers), whys.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(rtmr0: &str, names: &[&str]) -> Side {
        let event = |name: &&str| Logged {
            register: 0,
            name: (*name).to_owned(),
            digest: Sha384Digest::of(name.as_bytes()),
        };
        let events: Vec<Logged> = names.iter().map(event).collect();
        Side {
            values: vec![("mrtd", "00".into()), ("rtmr0", rtmr0.into())],
            events,
            whole: true,
            reasons: Vec::new(),
        }
    }

    #[test]
    fn what_is_only_on_one_side_stands_alone() {
        let document = compare(&side("a", &["x", "y"]), &side("b", &["x", "z"]));
        assert!(!document.same);
        let rows: Vec<_> =
            document.events.iter().map(|row| (row.name.as_str(), row.difference)).collect();
        assert_eq!(rows, [("x", "same"), ("y", "only in A"), ("z", "only in B")]);
        let text = text(&document);
        assert!(text.contains("DIFFERS") && text.ends_with("they differ\n"), "{text}");
    }

    #[test]
    fn a_number_is_shown_to_its_last_digit() {
        assert_eq!(short("0x0000000010000001"), "0x0000000010000001");
        assert_eq!(short(&"ab".repeat(48)).len(), 16);
    }

    #[test]
    fn equal_sides_are_the_same() {
        let document = compare(&side("a", &["x"]), &side("a", &["x"]));
        assert!(document.same && document.events.iter().all(|row| row.difference == "same"));
    }

    #[test]
    fn real_evidence_is_the_same_as_itself_and_differs_from_another() {
        let vector = |name: &str| Path::new("../tests/vectors/measurement").join(name);
        let first = read(&vector("dstack-0.6-2cpu-2GiB.json")).unwrap().side;
        assert!(compare(&first, &first).same);
        let other = read(&vector("dstack-0.3-1cpu-1GiB.json")).unwrap().side;
        let document = compare(&first, &other);
        let differing =
            document.events.iter().filter(|row| row.register == 0 && row.difference == "only in A");
        assert_eq!(differing.count(), 4, "memory and the three events of ACPI");
    }
}
