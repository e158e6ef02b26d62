//! Why a register is not the predicted one: the true cause, looked for among the machine's and
//! image's neighbours.
//!
//! A cause is named only if the register's value follows from it: a neighbour's prediction that
//! equals the value proves the neighbour, and a log counts only if it replays to the value. What
//! follows from nothing is said to have no known cause, never guessed at. An explanation decides
//! nothing about trust: the register differs either way, whoever wrote the log.
//!
//! The work is bounded by the number of predictions ([`search::Budget`]), not by a clock, so the
//! same evidence gets the same answer everywhere.

use protocol::digest::{Mrtd, Rtmr, Sha384Digest};
use protocol::shape::Shape;

use crate::event::{Event, Register, replay};
use crate::facts::ImageFacts;
use crate::predict::EachRegister;
use crate::profile::QemuProfile;
use crate::rtmr0::{self, Firmware};

mod alignment;
mod cause;
mod image;
mod machine;
mod runtime;
mod search;
#[cfg(test)]
mod tests;

pub use alignment::{Aligned, align};
pub use cause::{Cause, Explanation, Field, Part, StatedBy};
pub use runtime::explain_runtime;

/// Most logged events of a register that are looked at; a firmware measures 2 to 17.
pub const MAX_LOGGED: usize = 64;

/// What was expected, and what else is known.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// The image that was expected.
    pub image: &'a ImageFacts<'a>,
    /// The machine that was expected.
    pub stated: &'a Shape,
    /// Which numbers of it nobody stated.
    pub stated_by: StatedBy,
    /// The machine that the evidence claims to be, which is tried first.
    pub claimed: Option<&'a Shape>,
    /// Images that may have been started instead.
    pub others: &'a [OtherImage<'a>],
    /// The firmware's log, as far as there is one; a claim until it replays.
    pub log: &'a [Logged],
}

/// An image that is not the expected one.
#[derive(Debug, Clone)]
pub struct OtherImage<'a> {
    /// What a person calls it, such as `the dev image`.
    pub name: String,
    /// Its facts.
    pub facts: ImageFacts<'a>,
}

/// An event as a log tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Logged {
    /// Which register it extends.
    pub register: Register,
    /// What it extends it by.
    pub digest: Sha384Digest,
}

/// The registers of a quote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoundRegisters {
    /// The firmware.
    pub mrtd: Mrtd,
    /// RTMR0 to RTMR2.
    pub rtmrs: [Rtmr; 3],
}

/// Why each register differs; `None`: it does not, or nothing was predicted for it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Explanations {
    /// The firmware.
    pub mrtd: Option<Explanation>,
    /// The machine.
    pub rtmr0: Option<Explanation>,
    /// The kernel.
    pub rtmr1: Option<Explanation>,
    /// Command line and initrd.
    pub rtmr2: Option<Explanation>,
}

/// Explains every register that is not as predicted; `expected` is the prediction for what is
/// known, of [`crate::predict_each`].
pub fn explain(known: &Known<'_>, expected: &EachRegister, found: &FoundRegisters) -> Explanations {
    let differs =
        |events: &[Event], register: Register, found: Rtmr| replay(register, events) != found;
    let [rtmr0, rtmr1, rtmr2] = found.rtmrs;

    let machine = match &expected.rtmr0 {
        Ok(events) if differs(events, Register::Rtmr0, rtmr0) => {
            Some(machine::explain(known, events, &log_of(known, Register::Rtmr0, rtmr0), rtmr0))
        }
        _ => None,
    };
    let memory_mib =
        machine.as_ref().and_then(|machine| machine.memory_mib).unwrap_or(known.stated.memory_mib);
    let kernel = |events: &Vec<Event>| {
        let log = log_of(known, Register::Rtmr1, rtmr1);
        differs(events, Register::Rtmr1, rtmr1)
            .then(|| image::kernel(known, events, &log, rtmr1, memory_mib))
    };
    let loaded =
        || image::loaded(known, &expected.rtmr2, &log_of(known, Register::Rtmr2, rtmr2), rtmr2);
    Explanations {
        mrtd: (expected.mrtd.as_ref().is_ok_and(|mrtd| *mrtd != found.mrtd))
            .then(|| image::firmware(known, found.mrtd)),
        rtmr0: machine.map(|machine| machine.explanation),
        rtmr1: expected.rtmr1.as_ref().ok().and_then(kernel),
        rtmr2: differs(&expected.rtmr2, Register::Rtmr2, rtmr2).then(loaded),
    }
}

/// The digest of the hand-off tables that the log proposes for a firmware whose reference nobody
/// stated, if with it every other event is as predicted and the log replays to `found`, the quote's
/// RTMR0.
///
/// Whoever takes it for a reference believes the host's SMBIOS tables; so it is only for a person
/// to read.
pub fn logged_handoff_tables(known: &Known<'_>, found: Rtmr) -> Option<Sha384Digest> {
    let log = log_of(known, Register::Rtmr0, found);
    if !log.replays || known.stated.check().is_err() {
        return None;
    }
    let profile = QemuProfile::for_version(&known.stated.qemu_version).ok()?;
    let handoff_tables = log.digests.get(rtmr0::HANDOFF_TABLES).copied()?;
    let firmware =
        Firmware { handoff_tables: Some(handoff_tables), ..known.image.rtmr0_firmware() };
    let events = rtmr0::events(firmware, known.stated, profile).ok()?;
    let same = events.iter().map(|event| &event.digest).eq(&log.digests);
    same.then_some(handoff_tables)
}

/// A register's part of the log, and whether it may be believed for that register's value.
struct RegisterLog {
    digests: Vec<Sha384Digest>,
    replays: bool,
}

fn log_of(known: &Known<'_>, register: Register, found: Rtmr) -> RegisterLog {
    let of_register = known.log.iter().filter(|logged| logged.register == register);
    let digests: Vec<_> = of_register.map(|logged| logged.digest).collect();
    let replays =
        !digests.is_empty() && digests.len() <= MAX_LOGGED && Rtmr::replay(&digests) == found;
    RegisterLog { digests, replays }
}
