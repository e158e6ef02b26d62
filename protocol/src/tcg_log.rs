//! The firmware's event log (CCEL): TCG2 crypto-agile events with SHA-384 digests.
//!
//! It only explains differences; RTMR0 to 2 are judged by prediction. Sources: TCG PC Client
//! Platform Firmware Profile 1.05, section 10; UEFI 2.10, section 38 (the index is a measurement
//! register's: 0 is MRTD, 1 to 4 are RTMR0 to RTMR3).

use crate::digest::{Rtmr, Sha384Digest};
use crate::reader::{ReadError, Reader};

/// Largest dump: real ones are 64 KiB or 256 KiB regions.
pub const MAX_BYTES: usize = 1 << 20;
/// Most events; real logs have 20 to 120.
pub const MAX_EVENTS: usize = 4096;
/// Largest event data: secure boot databases reach 20 KiB.
pub const MAX_EVENT_BYTES: usize = 256 * 1024;
/// Registers RTMR0 to RTMR3.
pub const REGISTERS: usize = 4;

/// TPM_ALG_SHA384 (TCG algorithm registry, table 3).
const ALG_SHA384: u16 = 0x000c;
/// EV_NO_ACTION: recorded, never extended.
const EV_NO_ACTION: u32 = 3;
/// EV_SEPARATOR: ends the events before boot; once a register.
pub const EV_SEPARATOR: u32 = 4;
/// Signature of the first event.
const SPEC_ID: &[u8; 16] = b"Spec ID Event03\0";

/// Why a log was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TcgLogError {
    /// cut off
    #[error("firmware event log: {0}")]
    Read(#[from] ReadError),
    /// larger than the budget
    #[error("firmware event log: {found} {what}, at most {limit} are accepted")]
    TooLarge {
        /// Amount present.
        found: usize,
        /// Of what.
        what: &'static str,
        /// Budget.
        limit: usize,
    },
    /// not a crypto-agile log with exactly SHA-384
    #[error("firmware event log: {0}")]
    Header(&'static str),
    /// an event with another register, algorithm or digest count
    #[error("firmware event log: event {index}: {what}")]
    Event {
        /// Position, from 0, the header not counted.
        index: usize,
        /// What is wrong.
        what: String,
    },
    /// a register's second separator
    #[error("firmware event log: event {index}: a second separator in RTMR{register}")]
    SecondSeparator {
        /// Position, from 0, the header not counted.
        index: usize,
        /// The register.
        register: usize,
    },
}

/// One measured event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcgEvent {
    /// RTMR index, 0 to 3.
    pub register: usize,
    /// TCG event type.
    pub event_type: u32,
    /// What was extended.
    pub digest: Sha384Digest,
    /// Event data, not always the digest's preimage.
    pub data: Vec<u8>,
}

/// Parses a dump and refuses one with a register's second separator; see [`parse_as_it_is`].
pub fn parse(dump: &[u8]) -> Result<Vec<TcgEvent>, TcgLogError> {
    let events = parse_as_it_is(dump)?;
    refuse_second_separators(&events)?;
    Ok(events)
}

/// Parses a dump whose separators somebody else judges; it ends at its end, at an index of
/// 0xffffffff or at all-zero bytes.
pub fn parse_as_it_is(dump: &[u8]) -> Result<Vec<TcgEvent>, TcgLogError> {
    if dump.len() > MAX_BYTES {
        return Err(TcgLogError::TooLarge { found: dump.len(), what: "bytes", limit: MAX_BYTES });
    }
    let mut reader = Reader::new(dump);
    parse_header(&mut reader)?;
    let mut events = Vec::new();
    let mut index = 0;
    while !at_end(&reader) {
        if index == MAX_EVENTS {
            return Err(TcgLogError::TooLarge {
                found: index + 1,
                what: "events",
                limit: MAX_EVENTS,
            });
        }
        events.extend(parse_event(&mut reader, index)?);
        index += 1;
    }
    Ok(events)
}

/// The four registers after all events.
pub fn replay(events: &[TcgEvent]) -> [Rtmr; REGISTERS] {
    let mut registers = [Rtmr::ZERO; REGISTERS];
    for event in events {
        registers[event.register] = registers[event.register].extended_by(&event.digest);
    }
    registers
}

/// The first event is in the old SHA-1 form and states the algorithms of the others.
fn parse_header(reader: &mut Reader<'_>) -> Result<(), TcgLogError> {
    reader.u32("register index")?;
    if reader.u32("event type")? != EV_NO_ACTION {
        return Err(TcgLogError::Header("the first event is not EV_NO_ACTION"));
    }
    reader.take("SHA-1 digest", 20)?;
    let size = reader.u32("event size")? as usize;
    let mut header = Reader::new(reader.take("header event", size)?);
    if header.take("signature", 16)? != SPEC_ID {
        return Err(TcgLogError::Header("the first event is not a Spec ID Event03"));
    }
    header.take("platform class and versions", 8)?;
    let algorithms = header.u32("algorithm count")?;
    let only = (header.u16("algorithm")?, header.u16("digest size")?);
    if algorithms != 1 || only != (ALG_SHA384, 48) {
        return Err(TcgLogError::Header("expected SHA-384 as the only algorithm"));
    }
    let vendor = header.u8("vendor info size")?;
    header.take("vendor info", vendor.into())?;
    Ok(header.finish()?)
}

fn at_end(reader: &Reader<'_>) -> bool {
    let rest = reader.clone().rest();
    rest.starts_with(&[0xff; 4]) || rest.iter().all(|byte| *byte == 0 || *byte == 0xff)
}

/// `None` for an event that is recorded but not extended.
fn parse_event(reader: &mut Reader<'_>, index: usize) -> Result<Option<TcgEvent>, TcgLogError> {
    let wrong = |what: String| TcgLogError::Event { index, what };
    let measured = reader.u32("register index")? as usize;
    let event_type = reader.u32("event type")?;
    let (count, algorithm) = (reader.u32("digest count")?, reader.u16("algorithm")?);
    if (count, algorithm) != (1, ALG_SHA384) {
        return Err(wrong(format!(
            "{count} digests, algorithm {algorithm:#06x}; expected one SHA-384"
        )));
    }
    let digest = Sha384Digest(reader.array("digest")?);
    let size = reader.u32("event size")? as usize;
    if size > MAX_EVENT_BYTES {
        return Err(wrong(format!("{size} bytes of data, at most {MAX_EVENT_BYTES} are accepted")));
    }
    let data = reader.take("event data", size)?.to_vec();
    if event_type == EV_NO_ACTION {
        return Ok(None);
    }
    let register = measured.checked_sub(1).filter(|register| *register < REGISTERS);
    let register =
        register.ok_or_else(|| wrong(format!("register index {measured}, expected 1 to 4")))?;
    Ok(Some(TcgEvent { register, event_type, digest, data }))
}

fn refuse_second_separators(events: &[TcgEvent]) -> Result<(), TcgLogError> {
    let mut seen = [false; REGISTERS];
    for (index, event) in
        events.iter().enumerate().filter(|(_, event)| event.event_type == EV_SEPARATOR)
    {
        if std::mem::replace(&mut seen[event.register], true) {
            return Err(TcgLogError::SecondSeparator { index, register: event.register });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quote::Quote;

    #[test]
    fn a_real_log_replays_to_the_registers_of_its_quote() {
        let events =
            parse(include_bytes!("../../tests/vectors/protocol/cos-113-ccel.bin")).unwrap();
        let quote = include_bytes!("../../tests/vectors/protocol/cos-113-quote.bin");
        let quote = Quote::parse_padded(quote).unwrap();
        assert_eq!(replay(&events), quote.report.rtmrs);
    }

    #[test]
    fn a_real_dump_without_the_stubs_events_has_eighteen() {
        let events = parse(include_bytes!("../../tests/vectors/protocol/dstack-ccel.bin")).unwrap();
        assert_eq!(events.len(), 18);
    }

    #[test]
    fn a_second_separator_is_refused() {
        let separator = TcgEvent {
            register: 1,
            event_type: EV_SEPARATOR,
            digest: Sha384Digest::of(&[0; 4]),
            data: vec![],
        };
        let twice = [separator.clone(), separator];
        assert_eq!(
            refuse_second_separators(&twice),
            Err(TcgLogError::SecondSeparator { index: 1, register: 1 })
        );
    }

    #[test]
    fn another_algorithm_is_refused() {
        let mut dump = include_bytes!("../../tests/vectors/protocol/dstack-ccel.bin").to_vec();
        dump[60] = 0x0b;
        assert!(matches!(parse(&dump), Err(TcgLogError::Header(_))));
    }
}
