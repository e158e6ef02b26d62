//! Payloads of frames, each with one spelling and its own bounds.

use super::budgets::{MAX_CLAIMS_BYTES, MAX_LOG_BYTES, MAX_STATEMENT_BYTES};
use super::frame::{Frame, Kind};
use super::{NONCE_BYTES, Role, VERSION};
use crate::derivation::length_prefixed;
use crate::event_log::{self, EventLogError, RawEvent};
use crate::evidence::Evidence;
use crate::launch::LaunchClaims;
use crate::reader::{ReadError, Reader};
use crate::strict_json::{self, JsonError};
use crate::{app_compose, quote, report_data};

/// Largest text of a refusal.
const MAX_TEXT_BYTES: usize = 512;
/// Why a payload was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// the payload ends too early or too late
    #[error(transparent)]
    Read(#[from] ReadError),
    /// a field is larger than its budget
    #[error("{field}: {found} bytes, at most {limit} are accepted")]
    TooLarge {
        /// The field.
        field: &'static str,
        /// Its stated length.
        found: usize,
        /// Its budget.
        limit: usize,
    },
    /// a byte stands for nothing
    #[error("{field}: {found} is unknown")]
    Unknown {
        /// The field.
        field: &'static str,
        /// The byte.
        found: u8,
    },
    /// the text of a refusal is not printable
    #[error("a refusal's text has an unprintable character")]
    Text,
    /// the list of events
    #[error("event log")]
    EventLog(#[from] EventLogError),
    /// the claims
    #[error("claims")]
    Claims(#[from] JsonError),
    /// a machine that cannot exist
    #[error("claims: {0}")]
    Shape(String),
}

/// The first frame of each side.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Hello {
    /// The sender's role.
    pub own: Role,
    /// The role that the sender expects of its peer.
    pub expected: Role,
    /// 32 random bytes of the sender's.
    pub nonce: [u8; NONCE_BYTES],
}

impl Hello {
    /// Decodes a payload.
    ///
    /// # Errors
    /// If it has another length, another version, or names an unknown role.
    pub fn decode(payload: &[u8]) -> Result<Self, MessageError> {
        let mut reader = Reader::new(payload);
        match reader.u8("version")? {
            VERSION => {}
            found => return Err(MessageError::Unknown { field: "version", found }),
        }
        let mut role = |field| {
            let found = reader.u8(field)?;
            Role::from_byte(found).ok_or(MessageError::Unknown { field, found })
        };
        let (own, expected) = (role("own role")?, role("expected role")?);
        let nonce = reader.array("nonce")?;
        reader.finish()?;
        Ok(Self { own, expected, nonce })
    }

    /// The frame.
    pub fn frame(&self) -> Frame {
        let head = [VERSION, self.own as u8, self.expected as u8];
        Frame { kind: Kind::Hello, payload: [&head[..], &self.nonce].concat() }
    }
}

/// Evidence of a side, with what it takes to judge it; all of it is a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The quote, whose report data must be that of the connection's binding.
    pub quote: Vec<u8>,
    /// The run-time events.
    pub event_log: Vec<RawEvent>,
    /// Image and shape as the host claimed them to the guest.
    pub claims: LaunchClaims,
    /// Exact bytes of the guest's app-compose.json.
    pub app_compose: Vec<u8>,
    /// What else the side states of itself, such as a KMS its root; empty for most.
    pub statement: Vec<u8>,
}

impl Proof {
    /// Decodes a payload.
    ///
    /// # Errors
    /// If a field is missing, larger than its budget, malformed, or something follows the last.
    pub fn decode(payload: &[u8]) -> Result<Self, MessageError> {
        let mut reader = Reader::new(payload);
        let quote = field(&mut reader, "quote", quote::MAX_BYTES)?.to_vec();
        let log = field(&mut reader, "event log", MAX_LOG_BYTES)?;
        let claims = field(&mut reader, "claims", MAX_CLAIMS_BYTES)?;
        let app_compose = field(&mut reader, "app-compose", app_compose::MAX_BYTES)?.to_vec();
        let statement = field(&mut reader, "statement", MAX_STATEMENT_BYTES)?.to_vec();
        reader.finish()?;
        let claims: LaunchClaims = strict_json::parse(claims, MAX_CLAIMS_BYTES)?;
        claims.shape.check().map_err(|error| MessageError::Shape(error.to_string()))?;
        Ok(Self { quote, event_log: event_log::parse(log)?, claims, app_compose, statement })
    }

    /// The frame.
    ///
    /// # Errors
    /// If a field is larger than its budget, so that no peer would read it.
    pub fn frame(&self) -> Result<Frame, MessageError> {
        let log = serde_json::to_vec(&self.event_log).expect("strings and numbers serialise");
        let claims = serde_json::to_vec(&self.claims).expect("strings and numbers serialise");
        let fields: [(&'static str, &[u8], usize); 5] = [
            ("quote", &self.quote, quote::MAX_BYTES),
            ("event log", &log, MAX_LOG_BYTES),
            ("claims", &claims, MAX_CLAIMS_BYTES),
            ("app-compose", &self.app_compose, app_compose::MAX_BYTES),
            ("statement", &self.statement, MAX_STATEMENT_BYTES),
        ];
        for (field, bytes, limit) in fields {
            if bytes.len() > limit {
                return Err(MessageError::TooLarge { field, found: bytes.len(), limit });
            }
        }
        let payload = length_prefixed(&fields.map(|(_, bytes, _)| bytes));
        Ok(Frame { kind: Kind::Proof, payload })
    }
}

/// What is judged. Its nonce is zero: the report data is the connection's, no nonce was asked for.
impl From<Proof> for Evidence {
    fn from(proof: Proof) -> Self {
        let Proof { quote, event_log, claims, app_compose, statement: _ } = proof;
        let nonce = [0; report_data::NONCE_BYTES];
        Self { quote, event_log, nonce, claims, app_compose: Some(app_compose) }
    }
}

fn field<'a>(
    reader: &mut Reader<'a>,
    field: &'static str,
    limit: usize,
) -> Result<&'a [u8], MessageError> {
    let found = reader.u32(field)? as usize;
    if found > limit {
        return Err(MessageError::TooLarge { field, found, limit });
    }
    Ok(reader.take(field, found)?)
}

/// An owner's key and its signature over [`super::OwnerClaim`]; nothing is verified.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OwnerProof {
    /// The ed25519 public key.
    pub key: [u8; 32],
    /// The signature.
    pub signature: [u8; 64],
}

impl OwnerProof {
    /// Decodes a payload.
    ///
    /// # Errors
    /// If it has another length.
    pub fn decode(payload: &[u8]) -> Result<Self, MessageError> {
        let mut reader = Reader::new(payload);
        let proof = Self { key: reader.array("key")?, signature: reader.array("signature")? };
        reader.finish()?;
        Ok(proof)
    }

    /// The frame.
    pub fn frame(&self) -> Frame {
        Frame { kind: Kind::Owner, payload: [&self.key[..], &self.signature].concat() }
    }
}

/// Why a side ends the connection; a peer acts on the code and shows the text to a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RefusalCode {
    /// The peer broke the protocol.
    Protocol = 1,
    /// The roles do not fit.
    Role = 2,
    /// Both sides chose the same nonce.
    Nonce = 3,
    /// The evidence was judged and refused.
    Evidence = 4,
    /// The evidence could not be judged now; the peer may try again.
    Unavailable = 5,
    /// The owner's key or signature is not accepted.
    Owner = 6,
}

impl RefusalCode {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Protocol, Self::Role, Self::Nonce, Self::Evidence, Self::Unavailable, Self::Owner]
            .into_iter()
            .find(|code| *code as u8 == byte)
    }
}

/// The last frame of a side that does not go on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Refusal {
    /// The kind of refusal.
    pub code: RefusalCode,
    /// A sentence for a person: printable, at most 512 bytes of UTF-8.
    pub text: String,
}

impl Refusal {
    /// A refusal whose text is cut to its budget and whose unprintable characters are replaced.
    pub fn new(code: RefusalCode, text: &str) -> Self {
        let mut printable = String::new();
        for letter in text.chars() {
            let letter = if letter.is_control() { ' ' } else { letter };
            if printable.len() + letter.len_utf8() > MAX_TEXT_BYTES {
                break;
            }
            printable.push(letter);
        }
        Self { code, text: printable }
    }

    /// Decodes a payload.
    ///
    /// # Errors
    /// If the code is unknown, or the text is not printable UTF-8 of at most 512 bytes.
    pub fn decode(payload: &[u8]) -> Result<Self, MessageError> {
        let mut reader = Reader::new(payload);
        let found = reader.u8("code")?;
        let code =
            RefusalCode::from_byte(found).ok_or(MessageError::Unknown { field: "code", found })?;
        let length = usize::from(reader.u16("text")?);
        if length > MAX_TEXT_BYTES {
            return Err(MessageError::TooLarge {
                field: "text",
                found: length,
                limit: MAX_TEXT_BYTES,
            });
        }
        let text = std::str::from_utf8(reader.take("text", length)?)
            .map_err(|_| MessageError::Text)?
            .to_owned();
        reader.finish()?;
        if text.chars().any(char::is_control) {
            return Err(MessageError::Text);
        }
        Ok(Self { code, text })
    }

    /// The frame.
    pub fn frame(&self) -> Frame {
        let length = u16::try_from(self.text.len()).expect("at most 512 bytes");
        let payload = [&[self.code as u8][..], &length.to_le_bytes(), self.text.as_bytes()];
        Frame { kind: Kind::Refused, payload: payload.concat() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::OsImageHash;
    use crate::shape::Shape;

    fn proof() -> Proof {
        let shape = Shape {
            vcpus: 1,
            memory_mib: 1024,
            root_slots: 5,
            serial_ports: 1,
            qemu_version: "11.1.3".into(),
            pci_hotplug: true,
        };
        Proof {
            quote: vec![4; 100],
            event_log: Vec::new(),
            claims: LaunchClaims { os_image_hash: OsImageHash([3; 32]), shape },
            app_compose: b"{}".to_vec(),
            statement: b"root".to_vec(),
        }
    }

    #[test]
    fn each_message_is_read_as_it_was_written() {
        let hello = Hello { own: Role::Agent, expected: Role::App, nonce: [7; NONCE_BYTES] };
        assert_eq!(Hello::decode(&hello.frame().payload), Ok(hello));
        let frame = proof().frame().unwrap();
        assert_eq!(Proof::decode(&frame.payload), Ok(proof()));
        let owner = OwnerProof { key: [1; 32], signature: [2; 64] };
        assert_eq!(OwnerProof::decode(&owner.frame().payload), Ok(owner));
        let refusal = Refusal::new(RefusalCode::Evidence, "tcb-status\n: out of date");
        assert_eq!(refusal.text, "tcb-status : out of date");
        assert_eq!(Refusal::decode(&refusal.frame().payload), Ok(refusal));
    }

    #[test]
    fn leftovers_missing_bytes_and_unknown_bytes_are_refused() {
        let hello = Hello { own: Role::Agent, expected: Role::App, nonce: [7; NONCE_BYTES] };
        for payload in [hello.frame().payload, proof().frame().unwrap().payload] {
            let decode = |payload: &[u8]| match payload.len() < 64 {
                true => Hello::decode(payload).err(),
                false => Proof::decode(payload).err(),
            };
            assert!(matches!(decode(&[&payload[..], &[0]].concat()), Some(MessageError::Read(_))));
            assert!(decode(&payload[..payload.len() - 1]).is_some());
        }
        for (at, field) in [(0, "version"), (1, "own role"), (2, "expected role")] {
            let mut payload = hello.frame().payload;
            payload[at] = 99;
            assert_eq!(Hello::decode(&payload), Err(MessageError::Unknown { field, found: 99 }));
        }
    }

    #[test]
    fn a_field_over_its_budget_is_refused_by_its_stated_length() {
        let mut payload = proof().frame().unwrap().payload;
        payload[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        let limit = quote::MAX_BYTES;
        let found = u32::MAX as usize;
        let refused = MessageError::TooLarge { field: "quote", found, limit };
        assert_eq!(Proof::decode(&payload), Err(refused));
        let large = Proof { statement: vec![0; MAX_STATEMENT_BYTES + 1], ..proof() };
        assert!(matches!(large.frame(), Err(MessageError::TooLarge { field: "statement", .. })));
    }
}
