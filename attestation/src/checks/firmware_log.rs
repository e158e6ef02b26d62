//! The firmware's entries in the evidence's log: well-formed, one separator a register, replaying
//! to RTMR0 to 2.
//!
//! They only explain differences, and most evidence has none. Where they are shown, they must be
//! what was measured: an explanation that anybody can write is worse than none.

use protocol::digest::{Rtmr, Sha384Digest};
use protocol::event_log::{RUNTIME_REGISTER, RawEvent};
use protocol::quote::TdReport;
use protocol::tcg_log::EV_SEPARATOR;

use crate::check_rows::CheckRows;
use crate::refusal::{CheckName, Finding};

/// Registers that the firmware and the kernel's EFI stub extend.
const REGISTERS: usize = RUNTIME_REGISTER as usize;

/// Registers into which every firmware measures a separator: entries without one are not all of
/// them. The kernel's EFI stub, which extends RTMR2, measures none.
const SEPARATED: [usize; 2] = [0, 1];

/// Judges the entries of registers 0 to 2; rows only where there are any.
pub(crate) fn judge(rows: &mut CheckRows, log: &[RawEvent], report: Option<&TdReport>) {
    let entries: Vec<_> =
        log.iter().enumerate().filter(|(_, raw)| raw.imr < RUNTIME_REGISTER).collect();
    if entries.is_empty() {
        return;
    }
    let mut separators = [0; REGISTERS];
    let second = entries.iter().find(|(_, raw)| {
        let count = &mut separators[raw.imr as usize];
        *count += u32::from(is_separator(raw));
        *count > 1
    });
    let found = second.map_or_else(
        || "so it is".to_owned(),
        |(index, raw)| format!("event {index}: a second one in RTMR{}", raw.imr),
    );
    let hint = "what stands before a separator is the firmware's, what follows is not; a second one hides which is which";
    rows.judge(
        CheckName::EventSeparator,
        second.is_none(),
        Finding::new("at most one separator a register", found, hint),
    );
    let separated = separators.map(|count| count > 0);
    match report {
        Some(report) => judge_replay(rows, &entries, separated, report),
        None => rows.skip(&[CheckName::FirmwareLog], "the quote cannot be read"),
    }
}

/// Whether an entry says that it is a separator, or measures what one does: only the digest is
/// authenticated, the type is the sender's word.
fn is_separator(raw: &RawEvent) -> bool {
    /// Contents of a separator (TCG PC Client Platform Firmware Profile 1.05, table 27): all went
    /// well; an error.
    const CONTENTS: [[u8; 4]; 2] = [[0; 4], [0xff; 4]];
    let digest = Sha384Digest::from_hex(&raw.digest);
    let measured = digest
        .is_ok_and(|digest| CONTENTS.iter().any(|content| Sha384Digest::of(content) == digest));
    measured || raw.event_type == EV_SEPARATOR
}

/// Each register whose entries can be whole must be what they replay to; `separated` says which
/// have a separator.
fn judge_replay(
    rows: &mut CheckRows,
    entries: &[(usize, &RawEvent)],
    separated: [bool; REGISTERS],
    report: &TdReport,
) {
    const EXPECTED: &str = "entries that replay to the quote's registers";
    let mut replayed = [None; REGISTERS];
    for (index, raw) in entries {
        let Ok(digest) = Sha384Digest::from_hex(&raw.digest) else {
            let found = format!("event {index}: a digest that is not 48 bytes of hex");
            rows.fail(CheckName::FirmwareLog, EXPECTED, found, HINT);
            return;
        };
        let register = &mut replayed[raw.imr as usize];
        *register = Some(register.unwrap_or(Rtmr::ZERO).extended_by(&digest));
    }
    let differs =
        |index: &usize| replayed[*index].is_some_and(|value| value != report.rtmrs[*index]);
    let partial = |index: &usize| SEPARATED.contains(index) && !separated[*index];
    let wrong = (0..REGISTERS).find(|index| differs(index) && !partial(index));
    let in_part = (0..REGISTERS).find(|index| differs(index) && partial(index));
    let silent = (0..REGISTERS)
        .find(|index| replayed[*index].is_none() && report.rtmrs[*index] != Rtmr::ZERO);
    match (wrong, in_part, silent) {
        (Some(index), ..) => {
            let (found, gives) = (report.rtmrs[index], replayed[index].unwrap_or(Rtmr::ZERO));
            rows.fail(
                CheckName::FirmwareLog,
                EXPECTED,
                format!("RTMR{index} is {found}, the entries give {gives}"),
                HINT,
            );
        }
        (None, Some(index), _) => rows.skip(&[CheckName::FirmwareLog], in_parts(index)),
        (None, None, Some(index)) => rows.skip(&[CheckName::FirmwareLog], incomplete(index)),
        (None, None, None) => {
            rows.pass(CheckName::FirmwareLog, EXPECTED, format!("{} entries do", entries.len()))
        }
    }
}

/// Why entries without a separator are neither believed nor contradicted.
fn in_parts(register: usize) -> String {
    format!(
        "the log is partial: its entries of RTMR{register} have no separator, which every firmware measures, so others \
         are left out and nothing can be replayed; dstack's attestations carry only the ACPI tables"
    )
}

/// Why a log without an entry of this register explains nothing about it.
fn incomplete(register: usize) -> String {
    format!(
        "the log is incomplete: RTMR{register} was extended and has no entry; a CCEL dump without the final-events table \
         lacks what the kernel's EFI stub measured (command line and initrd)"
    )
}

/// What to think of a log that does not replay.
const HINT: &str =
    "do not believe what this log explains: somebody changed it after the firmware wrote it";
