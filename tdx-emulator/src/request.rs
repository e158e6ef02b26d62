//! What the guest's driver may ask, parsed from frames, and how a refusal travels back.

use protocol::reader::{ReadError, Reader};

use crate::frame::{ERROR, Frame, REPLY};
use crate::measure::acpi::FirmwareBlobs;
use crate::registers::{EXTENDABLE, Register};

/// Sends the firmware's blobs; starts, or starts again, the TD's life.
pub const HELLO: u8 = 0x01;
/// Asks for all registers.
pub const READ: u8 = 0x02;
/// Extends RTMR2 or RTMR3.
pub const EXTEND: u8 = 0x03;
/// Asks for a quote.
pub const QUOTE: u8 = 0x04;

/// Largest blob once its trailing zeros are back: QEMU's own ceiling for ACPI tables.
pub const MAX_BLOB_BYTES: usize = 2 * 1024 * 1024;

/// Linux error numbers (`asm-generic/errno*.h`), which the driver hands to its caller.
const EINVAL: u32 = 22;
const ENODATA: u32 = 61;
const EPROTO: u32 = 71;
const EOPNOTSUPP: u32 = 95;

/// A request in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// The blobs that the firmware measured.
    Hello(FirmwareBlobs),
    /// All registers, please.
    Read,
    /// Extend one.
    Extend {
        /// 2 or 3.
        index: usize,
        /// By this.
        digest: Register,
    },
    /// A quote over this report data, please.
    Quote([u8; 64]),
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// an opcode that no driver sends
    #[error("request {0:#04x} is unknown, known are 0x01 to 0x04")]
    Unknown(u8),
    /// a payload cut off or too long
    #[error("request {opcode:#04x}: {error}")]
    Payload {
        /// The request.
        opcode: u8,
        /// What is wrong.
        error: ReadError,
    },
    /// a blob larger than QEMU makes, or stored longer than it is
    #[error(
        "{blob}: {full} bytes of which {stored} are sent; legal are at most {MAX_BLOB_BYTES}, and not more sent"
    )]
    Blob {
        /// Which one.
        blob: &'static str,
        /// Stated length.
        full: usize,
        /// Stated stored length.
        stored: usize,
    },
    /// a register that a guest does not extend
    #[error("register {0} cannot be extended, legal are 2 and 3")]
    Register(u8),
    /// registers asked for before the driver said what it runs on
    #[error("no HELLO has come yet, so there are no registers")]
    NoHello,
}

impl RequestError {
    /// What to try.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Register(_) => {
                "RTMR0 and RTMR1 are the firmware's; a program in the guest extended one of them"
            }
            _ => "the driver in the dev image and this program must be of one version",
        }
    }

    /// The frame that tells the driver.
    pub fn reply(&self) -> Frame {
        let errno = match self {
            Self::Unknown(_) => EOPNOTSUPP,
            Self::Payload { .. } | Self::Blob { .. } => EPROTO,
            Self::Register(_) => EINVAL,
            Self::NoHello => ENODATA,
        };
        Frame { opcode: ERROR, payload: errno.to_le_bytes().to_vec() }
    }
}

impl Request {
    /// Parses a frame; every byte of its payload must be used.
    pub fn parse(frame: &Frame) -> Result<Self, RequestError> {
        let mut reader = Reader::new(&frame.payload);
        let payload = |error| RequestError::Payload { opcode: frame.opcode, error };
        let request = match frame.opcode {
            HELLO => Self::Hello(FirmwareBlobs {
                loader: blob(&mut reader, "etc/table-loader")?,
                rsdp: blob(&mut reader, "etc/acpi/rsdp")?,
                tables: blob(&mut reader, "etc/acpi/tables")?,
            }),
            READ => Self::Read,
            EXTEND => {
                let index = reader.u8("register").map_err(payload)?;
                if !EXTENDABLE.contains(&index) {
                    return Err(RequestError::Register(index));
                }
                Self::Extend {
                    index: index.into(),
                    digest: reader.array("digest").map_err(payload)?,
                }
            }
            QUOTE => Self::Quote(reader.array("report data").map_err(payload)?),
            unknown => return Err(RequestError::Unknown(unknown)),
        };
        reader.finish().map_err(payload)?;
        Ok(request)
    }
}

/// The answer to `opcode`.
pub fn reply(opcode: u8, payload: Vec<u8>) -> Frame {
    Frame { opcode: opcode | REPLY, payload }
}

/// Full length, stored length, bytes; the zeros that were trimmed come back.
fn blob(reader: &mut Reader<'_>, name: &'static str) -> Result<Vec<u8>, RequestError> {
    let payload = |error| RequestError::Payload { opcode: HELLO, error };
    let full = reader.u32(name).map_err(payload)? as usize;
    let stored = reader.u32(name).map_err(payload)? as usize;
    if full > MAX_BLOB_BYTES || stored > full {
        return Err(RequestError::Blob { blob: name, full, stored });
    }
    let mut bytes = reader.take(name, stored).map_err(payload)?.to_vec();
    bytes.resize(full, 0);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(opcode: u8, payload: &[u8]) -> Result<Request, RequestError> {
        Request::parse(&Frame { opcode, payload: payload.to_vec() })
    }

    fn hello(blobs: [(u32, &[u8]); 3]) -> Vec<u8> {
        let encode = |(full, stored): (u32, &[u8])| {
            [&full.to_le_bytes()[..], &(stored.len() as u32).to_le_bytes(), stored].concat()
        };
        blobs.into_iter().flat_map(encode).collect()
    }

    #[test]
    fn trimmed_zeros_come_back() {
        let payload = hello([(4, b"l"), (2, b"rs"), (3, b"")]);
        let expected =
            FirmwareBlobs { loader: b"l\0\0\0".to_vec(), rsdp: b"rs".to_vec(), tables: vec![0; 3] };
        assert_eq!(parse(HELLO, &payload), Ok(Request::Hello(expected)));
    }

    #[test]
    fn lengths_that_lie_are_refused_before_memory_is_taken() {
        let name = "etc/table-loader";
        let too_long = RequestError::Blob { blob: name, full: MAX_BLOB_BYTES + 1, stored: 0 };
        assert_eq!(
            parse(HELLO, &hello([(MAX_BLOB_BYTES as u32 + 1, b""), (0, b""), (0, b"")])),
            Err(too_long)
        );
        let inside_out = RequestError::Blob { blob: name, full: 1, stored: 2 };
        assert_eq!(parse(HELLO, &hello([(1, b"ab"), (0, b""), (0, b"")])), Err(inside_out));
        assert!(matches!(
            parse(HELLO, &[0, 16, 0, 0, 0, 16, 0, 0]),
            Err(RequestError::Payload { .. })
        ));
    }

    #[test]
    fn leftovers_unknown_requests_and_firmware_registers_are_refused() {
        assert!(matches!(parse(READ, &[0]), Err(RequestError::Payload { opcode: READ, .. })));
        assert_eq!(parse(9, &[]), Err(RequestError::Unknown(9)));
        for index in [0, 1, 4, 0xff] {
            let payload = [&[index][..], &[0; 48]].concat();
            assert_eq!(parse(EXTEND, &payload), Err(RequestError::Register(index)));
        }
        assert_eq!(RequestError::Register(0).reply().payload, 22_u32.to_le_bytes());
    }
}
