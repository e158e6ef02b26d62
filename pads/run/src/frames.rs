//! The frames between the middleware and the process of a consumer program.
//!
//! A frame is its kind (one byte), the length of its body (`u32`, little-endian) and the body. The
//! length is judged by the kind before anything is allocated; a body has one spelling, and bytes
//! after its last field are refused. Both ends are of the same build, so there is no version. What
//! the process sends proves nothing: its program may have taken it over.

use std::ops::RangeInclusive;

use protocol::reader::Reader;
use zeroize::Zeroizing;

use crate::proposal::{Contents, Proposal};
use crate::{MAX_PADS, MAX_PLAIN_BYTES, MAX_PROPOSAL_BYTES, MAX_WINDOW_BYTES};

pub use crate::fault::FrameError;

/// Bytes before a frame's body.
pub const HEAD_BYTES: usize = 5;
/// Bytes of an output's data in one frame: one window.
pub const MAX_PART_BYTES: usize = MAX_WINDOW_BYTES as usize;
/// Bytes of a start besides the plain input: memory, the helpers' memory, tables, time, Pads.
const START_BYTES: usize = 8 + 8 + 4 + 4 + 4;

/// One direction of the conversation.
pub trait Frame: Sized {
    /// Which lengths the body of this kind may have; `None` if there is no such kind.
    fn lengths(kind: u8) -> Option<RangeInclusive<usize>>;

    /// Reads a body whose length was judged.
    fn read(kind: u8, reader: &mut Reader<'_>) -> Result<Self, FrameError>;

    /// Writes the body and says its kind.
    fn write(&self, to: &mut Vec<u8>) -> u8;
}

/// The length of the body that follows a head.
pub fn body_bytes<F: Frame>(head: [u8; HEAD_BYTES]) -> Result<usize, FrameError> {
    let [kind, length @ ..] = head;
    let lengths = F::lengths(kind).ok_or(FrameError::Kind(kind))?;
    let length = u32::from_le_bytes(length) as usize;
    if !lengths.contains(&length) {
        let (least, most) = lengths.into_inner();
        return Err(FrameError::Length { kind, found: length, least, most });
    }
    Ok(length)
}

/// Reads the body of a frame, which [`body_bytes`] gave the length of.
pub fn decode<F: Frame>(head: [u8; HEAD_BYTES], body: &[u8]) -> Result<F, FrameError> {
    let expected = body_bytes::<F>(head)?;
    if body.len() != expected {
        return Err(FrameError::Body { found: body.len(), expected });
    }
    let mut reader = Reader::new(body);
    let frame = F::read(head[0], &mut reader)?;
    reader.finish()?;
    Ok(frame)
}

/// A frame's bytes, wiped after use because some carry data.
pub fn encode<F: Frame>(frame: &F) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(vec![0; HEAD_BYTES]);
    let kind = frame.write(&mut bytes);
    bytes[0] = kind;
    let length = (bytes.len() - HEAD_BYTES) as u32;
    bytes[1..HEAD_BYTES].copy_from_slice(&length.to_le_bytes());
    bytes
}

/// What the process says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// It is locked down and starts the program now.
    Ready,
    /// The program adds a Pad, by its index.
    Add(u32),
    /// The program asks for the engines' answer.
    Check,
    /// The program opens its dataset.
    Open,
    /// The program asks for policies and attributes of an opened Pad, by its index.
    Describe(u32),
    /// The program proposes an output, whose data follows in parts.
    Propose(Proposal),
    /// Data of the proposed output.
    Part(Zeroizing<Vec<u8>>),
    /// The program has ended.
    Ended(Ending),
}

const READY: u8 = 1;
const ADD: u8 = 2;
const CHECK: u8 = 3;
const OPEN: u8 = 4;
const PROPOSE: u8 = 5;
const PART: u8 = 6;
const ENDED: u8 = 7;
const DESCRIBE: u8 = 8;

impl Frame for Request {
    fn lengths(kind: u8) -> Option<RangeInclusive<usize>> {
        match kind {
            READY | CHECK | OPEN => Some(0..=0),
            ADD | DESCRIBE => Some(4..=4),
            PROPOSE => Some(1..=MAX_PROPOSAL_BYTES),
            PART => Some(1..=MAX_PART_BYTES),
            ENDED => Some(1..=1),
            _ => None,
        }
    }

    fn read(kind: u8, reader: &mut Reader<'_>) -> Result<Self, FrameError> {
        match kind {
            READY => Ok(Self::Ready),
            ADD => Ok(Self::Add(reader.u32("pad")?)),
            CHECK => Ok(Self::Check),
            OPEN => Ok(Self::Open),
            DESCRIBE => Ok(Self::Describe(reader.u32("pad")?)),
            PROPOSE => Proposal::read(reader).map(Self::Propose),
            PART => Ok(Self::Part(Zeroizing::new(reader.rest().to_vec()))),
            ENDED => {
                let found = reader.u8("ending")?;
                Ending::of(found).map(Self::Ended).ok_or(FrameError::Ending(found))
            }
            other => Err(FrameError::Kind(other)),
        }
    }

    fn write(&self, to: &mut Vec<u8>) -> u8 {
        match self {
            Self::Ready => READY,
            Self::Add(pad) => {
                to.extend(pad.to_le_bytes());
                ADD
            }
            Self::Check => CHECK,
            Self::Open => OPEN,
            Self::Describe(pad) => {
                to.extend(pad.to_le_bytes());
                DESCRIBE
            }
            Self::Propose(proposal) => {
                proposal.write(to);
                PROPOSE
            }
            Self::Part(data) => {
                to.extend(data.iter());
                PART
            }
            Self::Ended(ending) => {
                to.push(*ending as u8);
                ENDED
            }
        }
    }
}

/// What the middleware says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The bounds and inputs of the run: the first frame.
    Start(Start),
    /// The judge's answer to a check or a proposal.
    Answer(bool),
    /// Sizes of the opened Pads in bytes, in the order in which they were added. Their data follows
    /// in one file in memory, one Pad after the other.
    Opened(Vec<u64>),
    /// Policies and attributes of the Pad that was asked about.
    Described(Contents),
}

/// What a process needs to know before it locks itself down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// Bytes of linear memory that the program may have.
    pub memory_bytes: u64,
    /// Bytes that native helpers may take beside it.
    pub helper_bytes: u64,
    /// Elements of tables that the program may have.
    pub table_elements: u32,
    /// Seconds of the processor, after which the kernel ends it.
    pub cpu_secs: u32,
    /// Pads that were submitted.
    pub pads: u32,
    /// The owner's plain input.
    pub plain: Zeroizing<Vec<u8>>,
}

const START: u8 = 129;
const ANSWER: u8 = 130;
const OPENED: u8 = 131;
const DESCRIBED: u8 = 132;
/// Bytes of policies and attributes: two counts at least.
const MIN_CONTENTS_BYTES: usize = 4 + 4;

impl Frame for Reply {
    fn lengths(kind: u8) -> Option<RangeInclusive<usize>> {
        match kind {
            START => Some(START_BYTES..=START_BYTES + MAX_PLAIN_BYTES),
            ANSWER => Some(1..=1),
            OPENED => Some(8..=8 * MAX_PADS as usize),
            DESCRIBED => Some(MIN_CONTENTS_BYTES..=MAX_PROPOSAL_BYTES),
            _ => None,
        }
    }

    fn read(kind: u8, reader: &mut Reader<'_>) -> Result<Self, FrameError> {
        match kind {
            START => Ok(Self::Start(Start {
                memory_bytes: reader.u64("memory")?,
                helper_bytes: reader.u64("helpers' memory")?,
                table_elements: reader.u32("tables")?,
                cpu_secs: reader.u32("time")?,
                pads: reader.u32("pads")?,
                plain: Zeroizing::new(reader.rest().to_vec()),
            })),
            ANSWER => match reader.u8("answer")? {
                0 => Ok(Self::Answer(false)),
                1 => Ok(Self::Answer(true)),
                found => Err(FrameError::Flag { field: "answer", found }),
            },
            OPENED => {
                let mut sizes = Vec::new();
                while reader.left() > 0 {
                    sizes.push(reader.u64("size")?);
                }
                Ok(Self::Opened(sizes))
            }
            DESCRIBED => Contents::read(reader).map(Self::Described),
            other => Err(FrameError::Kind(other)),
        }
    }

    fn write(&self, to: &mut Vec<u8>) -> u8 {
        match self {
            Self::Start(start) => {
                to.extend(start.memory_bytes.to_le_bytes());
                to.extend(start.helper_bytes.to_le_bytes());
                to.extend(start.table_elements.to_le_bytes());
                to.extend(start.cpu_secs.to_le_bytes());
                to.extend(start.pads.to_le_bytes());
                to.extend(start.plain.iter());
                START
            }
            Self::Answer(answer) => {
                to.push(u8::from(*answer));
                ANSWER
            }
            Self::Opened(sizes) => {
                sizes.iter().for_each(|size| to.extend(size.to_le_bytes()));
                OPENED
            }
            Self::Described(contents) => {
                contents.write(to);
                DESCRIBED
            }
        }
    }
}

/// How a program ended, as its process says. The texts are constant: a program that has read data
/// must not write any into an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[repr(u8)]
pub enum Ending {
    /// it returned
    #[error("the program returned")]
    Returned = 0,
    /// it trapped
    #[error("the program trapped")]
    Trapped = 1,
    /// it asked for more memory than it may have
    #[error("the program reached its memory ceiling")]
    Memory = 2,
    /// it asked for more table elements than it may have
    #[error("the program reached its ceiling of table elements")]
    Tables = 3,
    /// its calls were nested too deeply
    #[error("the program reached its stack ceiling")]
    Stack = 4,
    /// it passed more than one call may carry
    #[error("the program passed more data than one call may carry")]
    Call = 5,
    /// it asked for a window that is not wholly inside a Pad, or too long
    #[error("the program asked for a window outside a Pad's data, or for more than 1 MiB")]
    Window = 6,
    /// it named a Pad that is not open
    #[error("the program named a Pad that is not open")]
    Handle = 7,
    /// it could not be started
    #[error("the program could not be started")]
    Start = 8,
    /// it gave the helper no model that it reads, or tensors that are not the model's
    #[error("the program used the helper onnx with a model or tensors that it does not take")]
    Inference = 9,
}

impl Ending {
    const ALL: [Self; 10] = [
        Self::Returned,
        Self::Trapped,
        Self::Memory,
        Self::Tables,
        Self::Stack,
        Self::Call,
        Self::Window,
        Self::Handle,
        Self::Start,
        Self::Inference,
    ];

    fn of(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|ending| *ending as u8 == code)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proposal::{Attribute, Policy, Value};

    fn head(kind: u8, length: u32) -> [u8; HEAD_BYTES] {
        let [a, b, c, d] = length.to_le_bytes();
        [kind, a, b, c, d]
    }

    fn again<F: Frame>(bytes: &[u8]) -> Result<F, FrameError> {
        let (head, body) = bytes.split_first_chunk().expect("a head");
        decode(*head, body)
    }

    fn contents() -> Contents {
        let policy = Policy {
            engine: [1; 32],
            policy_type: [2; 16],
            input_id: "records".into(),
            input_constraint: vec![4; 5],
            program_constraint: Vec::new(),
            output_constraint: vec![6],
        };
        let values = [Value::Number(u64::MAX), Value::Text("a".into()), Value::Bytes(vec![0])];
        let attribute = |value| Attribute { name: "entries".into(), value };
        Contents { policies: vec![policy], attributes: values.map(attribute).into() }
    }

    fn proposal() -> Proposal {
        Proposal { custodian: Some([7; 32]), contents: contents(), size_bytes: 9 }
    }

    #[test]
    fn every_frame_is_read_as_it_was_written() {
        let data = Zeroizing::new(vec![5; 3]);
        let mut requests = vec![
            Request::Ready,
            Request::Add(u32::MAX),
            Request::Check,
            Request::Open,
            Request::Describe(0),
            Request::Propose(proposal()),
            Request::Part(data.clone()),
        ];
        requests.extend(Ending::ALL.map(Request::Ended));
        for request in requests {
            assert_eq!(again(&encode(&request)), Ok(request));
        }
        let start = Start {
            memory_bytes: 1 << 40,
            helper_bytes: 7,
            table_elements: 3,
            cpu_secs: 5,
            pads: 2,
            plain: data,
        };
        for reply in [
            Reply::Start(start),
            Reply::Answer(true),
            Reply::Answer(false),
            Reply::Opened(vec![0, u64::MAX]),
            Reply::Described(contents()),
            Reply::Described(Contents::default()),
        ] {
            assert_eq!(again(&encode(&reply)), Ok(reply));
        }
    }

    #[test]
    fn a_length_is_refused_before_anything_is_allocated() {
        let most = MAX_PART_BYTES as u32;
        assert_eq!(body_bytes::<Request>(head(PART, most)), Ok(MAX_PART_BYTES));
        for refused in [
            head(PART, most + 1),
            head(PART, 0),
            head(ADD, 3),
            head(READY, 1),
            head(PROPOSE, u32::MAX),
            head(0, 0),
            head(START, START_BYTES as u32),
        ] {
            assert!(body_bytes::<Request>(refused).is_err(), "{refused:?}");
        }
        // The other direction's kinds are none here.
        assert_eq!(body_bytes::<Reply>(head(ADD, 4)), Err(FrameError::Kind(ADD)));
    }

    #[test]
    fn a_count_is_not_believed() {
        let mut bytes = vec![0];
        bytes.extend(0_u64.to_le_bytes());
        bytes.extend(u32::MAX.to_le_bytes());
        let found = decode::<Request>(head(PROPOSE, bytes.len() as u32), &bytes);
        assert!(matches!(found, Err(FrameError::Budget { field: "policies", .. })), "{found:?}");
    }

    #[test]
    fn a_cut_or_longer_proposal_is_none() {
        let whole = encode(&Request::Propose(proposal()));
        let body = &whole[HEAD_BYTES..];
        for length in 1..body.len() {
            assert!(decode::<Request>(head(PROPOSE, length as u32), &body[..length]).is_err());
        }
        let longer = [body, &[0]].concat();
        assert!(decode::<Request>(head(PROPOSE, longer.len() as u32), &longer).is_err());
        assert!(decode::<Request>(head(PROPOSE, longer.len() as u32), body).is_err());
    }

    #[test]
    fn an_attribute_has_a_name_of_text() {
        let mut proposal = proposal();
        proposal.contents.attributes[0].name = "\u{7f}".into();
        let mut bytes = encode(&Request::Propose(proposal)).to_vec();
        let at = bytes.iter().position(|byte| *byte == 0x7f).expect("the name");
        bytes[at] = 0xff;
        assert_eq!(again::<Request>(&bytes), Err(FrameError::Text("name")));
    }

    proptest! {
        #[test]
        fn what_is_read_has_one_spelling(kind in any::<u8>(), body in prop::collection::vec(any::<u8>(), 0..200)) {
            let head = head(kind, body.len() as u32);
            let bytes = [head.as_slice(), &body].concat();
            if let Ok(request) = decode::<Request>(head, &body) {
                prop_assert_eq!(&encode(&request)[..], &bytes[..]);
            }
            if let Ok(reply) = decode::<Reply>(head, &body) {
                prop_assert_eq!(&encode(&reply)[..], &bytes[..]);
            }
        }
    }
}
